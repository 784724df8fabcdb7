//! Worker processes as they are: the real binary, its pipes, its deaths.

// Tests from end to end, their helpers included.
#![allow(clippy::unwrap_used)]

mod child;
mod harness;
mod supervise;
