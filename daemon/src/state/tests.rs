//! The policy, rule by rule.

mod ends;
mod life;
mod nets;
mod order;
mod yielding;
