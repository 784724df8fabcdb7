//! Every number the daemon decides by, in one place, and which device does what.

use std::time::Duration;

use crate::{main_loop::Device, residency::NetPolicy, scheduler::Rules};

#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Jobs that have not ended. More are refused as busy.
    pub live_jobs: usize,
    /// A class passed over for this long gets one turn.
    pub patience: Duration,
    /// Jobs that wait for a cold net are passed over no longer than this.
    pub net_patience: Duration,
    /// Jobs open for one net before its turn must come; four times as many for all nets.
    pub open_jobs: usize,
    /// An idle device waits so long for jobs on their way before it swaps nets.
    pub linger: Duration,
    /// Jobs wait no longer than this for memory that others use.
    pub memory_patience: Duration,
    pub nets: NetPolicy,
    /// Waits before each further try after an error that may pass; then it is final.
    pub retry_delays: Vec<Duration>,
    /// Each wait is longer or shorter by up to this part of itself, so that jobs
    /// that failed together do not come back together.
    pub jitter: f64,
    /// Crashes that make a job `dead`.
    pub crashes: u32,
    /// Wait after a crash, times the crashes so far.
    pub crash_delay: Duration,
    /// Unclean ends of the daemon in a row, each while the job was running, that pause it.
    pub daemon_deaths: u32,
    /// A cancelled stage has this long to stop; then its worker is killed.
    pub cancel_grace: Duration,
    /// From spawning a worker to its first word.
    pub start_timeout: Duration,
    pub heartbeat_timeout: Duration,
    /// A stage may go without progress for this long, or ...
    pub progress_timeout: Duration,
    /// ... this many times its usual duration, whichever is longer.
    pub progress_factor: f64,
    /// Wait before a worker that did not start is tried again; doubles each time.
    pub restart_delay: Duration,
    /// So many failed starts ...
    pub breaker_starts: usize,
    /// ... within this time open the breaker ...
    pub breaker_window: Duration,
    /// ... and for this long the worker is not tried.
    pub breaker_pause: Duration,
    /// A worker idle for this long is asked to give memory back.
    pub trim_after: Duration,
    /// At shutdown, workers have this long to leave before they are killed.
    pub leave_grace: Duration,
    /// Progress events of one job are at least this far apart.
    pub progress_interval: Duration,
    /// While nothing can be written: from one try to the next.
    pub write_probe: Duration,
    /// Jobs answered wholly from the cache in one turn.
    pub starts_per_turn: usize,
}

impl Default for Policy {
    fn default() -> Policy {
        let s = Duration::from_secs;
        let ms = Duration::from_millis;
        Policy {
            live_jobs: 100_000,
            patience: s(600),
            net_patience: s(60),
            open_jobs: 64,
            linger: s(2),
            memory_patience: s(600),
            nets: NetPolicy::default(),
            retry_delays: vec![s(5), s(30), s(120)],
            jitter: 0.2,
            crashes: 3,
            crash_delay: s(1),
            daemon_deaths: 3,
            cancel_grace: s(3),
            start_timeout: s(30),
            heartbeat_timeout: s(10),
            progress_timeout: s(60),
            progress_factor: 5.0,
            restart_delay: ms(500),
            breaker_starts: 3,
            breaker_window: s(60),
            breaker_pause: s(30),
            trim_after: s(15),
            leave_grace: s(2),
            progress_interval: ms(100),
            write_probe: s(2),
            starts_per_turn: 32,
        }
    }
}

impl Policy {
    pub fn rules(&self) -> Rules {
        Rules {
            patience: self.patience,
            net_patience: self.net_patience,
            open_jobs: self.open_jobs,
            linger: self.linger,
            memory_patience: self.memory_patience,
        }
    }
}

/// Which device runs what.
#[derive(Debug, Clone, PartialEq)]
pub struct Devices {
    /// For engines that need no network.
    pub built_in: Device,
    /// For engines that need one.
    pub nets: Device,
}

impl Devices {
    /// One device for everything.
    pub fn only(device: &str) -> Devices {
        Devices { built_in: device.to_owned(), nets: device.to_owned() }
    }

    /// Nets on `device`. What needs none runs on the CPU beside a device of its own.
    pub fn with_nets_on(device: &str) -> Devices {
        let built_in = match device {
            "cpu" | "fake" => device,
            other if other.starts_with("fake:") => "fake",
            _ => "cpu",
        };
        Devices { built_in: built_in.to_owned(), nets: device.to_owned() }
    }

    pub fn of(&self, needs_net: bool) -> &Device {
        if needs_net { &self.nets } else { &self.built_in }
    }

    pub fn all(&self) -> impl Iterator<Item = &Device> {
        std::iter::once(&self.built_in).chain((self.nets != self.built_in).then_some(&self.nets))
    }
}
