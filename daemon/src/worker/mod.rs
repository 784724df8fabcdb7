//! Worker processes: one a device, each owning the device and its warm nets.
//!
//! `frames.rs` is what they say, `child.rs` the process itself, `supervise.rs`
//! how the daemon starts, hears and ends one, `fake.rs` a device for tests.

pub mod frames;
