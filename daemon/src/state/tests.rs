//! The policy, rule by rule.

mod ends;
mod life;
mod order;
