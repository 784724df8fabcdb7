//! What stages and nets have done since the daemon started: one place to count,
//! many to read it (`daemon.status`, `net.list`, `/metrics`).

use std::collections::BTreeMap;

use meshkiln_protocol::daemon::StageUsage;

use crate::catalogue::NetId;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    stages: BTreeMap<(&'static str, &'static str), StageCount>,
    nets: BTreeMap<NetId, NetCount>,
}

/// Of one engine of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StageCount {
    pub runs: u64,
    pub failures: u64,
    pub cached: u64,
    pub run_ms: u64,
    pub peak_bytes: u64,
}

/// Of one net, on whatever device.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NetCount {
    pub loads: u64,
    pub load_failures: u64,
    pub load_ms: u64,
    /// Times it was let go, for whatever reason.
    pub unloads: u64,
}

impl Usage {
    pub fn stage(&mut self, stage: &'static str, engine: &'static str) -> &mut StageCount {
        self.stages.entry((stage, engine)).or_default()
    }

    pub fn net(&mut self, net: &NetId) -> &mut NetCount {
        self.nets.entry(net.clone()).or_default()
    }

    pub fn nets(&self) -> &BTreeMap<NetId, NetCount> {
        &self.nets
    }

    pub fn wire(&self) -> Vec<StageUsage> {
        let wire = |(&(stage, engine), count): (&(&'static str, &'static str), &StageCount)| StageUsage {
            stage: stage.to_owned(),
            engine: engine.to_owned(),
            runs: count.runs,
            failures: count.failures,
            cached: count.cached,
            run_ms: count.run_ms,
            peak_bytes: count.peak_bytes,
        };
        self.stages.iter().map(wire).collect()
    }
}
