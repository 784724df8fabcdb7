//! Worker processes as they are: the real binary, its pipes, its deaths.

mod child;
mod harness;
mod supervise;
