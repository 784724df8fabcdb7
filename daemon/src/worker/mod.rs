//! Worker processes: one a device, each owning the device and its warm nets.
//!
//! `frames.rs` is what they say, `child.rs` the process itself, `execute.rs` what
//! it does with real stages, `nets.rs` what it holds for them, `memory.rs` what that
//! takes, `supervise.rs` how the daemon starts, hears and ends one, `process.rs`
//! where platforms differ, `fake.rs` a device for tests.

pub mod child;
mod execute;
pub mod fake;
pub mod frames;
mod looks;
pub mod memory;
pub mod nets;
pub mod process;
mod stored;
pub mod supervise;
