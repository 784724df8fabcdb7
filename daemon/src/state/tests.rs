//! The policy, rule by rule.

mod clicks;
mod ends;
mod life;
mod nets;
mod order;
mod yielding;
