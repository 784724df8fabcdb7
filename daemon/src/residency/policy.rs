//! The figures by which nets come and go.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct NetPolicy {
    /// A net stays in memory so long after its last use, unless it says otherwise.
    pub keep_alive: Duration,
    /// Kept free on a device: at least so many bytes, and this part of all.
    pub reserve_bytes: u64,
    pub reserve_part: f64,
    /// The same part where the device's memory is that of the whole machine.
    pub shared_reserve_part: f64,
    /// Most that nets may take on a device, weights and work together; `None` for what is free.
    pub most_bytes: Option<u64>,
    /// A measured peak may be exceeded by this part of itself.
    pub margin: f64,
    /// Memory that was let go has to come back within this time.
    pub settle: Duration,
    /// So much may stay behind without a fresh start of the worker.
    pub slack_bytes: u64,
    /// Ends of the worker during loads of one net, in a row, that make it an error.
    pub load_crashes: u32,
    /// A net that ended its worker so often is not tried for this long.
    pub problem_pause: Duration,
    /// A load may take this long, or ...
    pub load_timeout: Duration,
    /// ... this many times its last duration, whichever is longer.
    pub load_factor: f64,
}

impl Default for NetPolicy {
    fn default() -> NetPolicy {
        let s = Duration::from_secs;
        NetPolicy {
            keep_alive: s(15 * 60),
            reserve_bytes: 512 << 20,
            reserve_part: 0.1,
            shared_reserve_part: 0.25,
            most_bytes: None,
            margin: 0.1,
            settle: s(5),
            slack_bytes: 512 << 20,
            load_crashes: 3,
            problem_pause: s(30),
            load_timeout: s(120),
            load_factor: 5.0,
        }
    }
}
