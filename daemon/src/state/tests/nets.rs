//! Which nets are warm, which go, and in what order jobs use them.

mod drops;
mod faults;
mod keeping;
mod memory;
