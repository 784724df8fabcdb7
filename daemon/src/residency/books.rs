//! What is known about one device, and what nets were measured to take.

use std::{collections::BTreeMap, time::Instant};

use meshkiln_protocol::net::DeviceMemory;

use super::{Loaded, Why};
use crate::{catalogue::NetId, main_loop::Device};

#[derive(Debug, Default)]
pub(super) struct Card {
    /// The last reading; none where memory cannot be told, or not yet.
    pub memory: Option<DeviceMemory>,
    /// What the worker used before anything was loaded.
    pub baseline: u64,
    pub warm: BTreeMap<NetId, Warm>,
    pub task: Option<Task>,
    pub settle: Option<Settle>,
    /// To be unloaded before anything else.
    pub going: Vec<(NetId, Why)>,
    pub unused: Option<NetId>,
    pub recycles: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Warm {
    pub load: u64,
    /// Held when idle.
    pub bytes: u64,
    /// Begin or end of its last use.
    pub used: Instant,
}

/// What the worker was told and has not answered.
#[derive(Debug)]
pub(super) enum Task {
    Loading { net: NetId, load: u64 },
    Unloading { load: u64 },
}

/// Memory on its way back.
#[derive(Debug)]
pub(super) struct Settle {
    pub until: Instant,
    /// It is back when our worker uses no more than this and ...
    pub most_used: u64,
    /// ... so much is free.
    pub least_free: u64,
}

impl Settle {
    pub fn is_over(&self, memory: Option<DeviceMemory>) -> bool {
        memory.is_none_or(|memory| !self.is_ours(Some(memory)) && memory.free_bytes >= self.least_free)
    }

    /// Our worker still holds it.
    pub fn is_ours(&self, memory: Option<DeviceMemory>) -> bool {
        memory.is_some_and(|memory| memory.used_bytes > self.most_used)
    }
}

impl Card {
    /// What our worker should use, by what it said about each load.
    pub fn ledger(&self) -> u64 {
        self.baseline + self.held()
    }

    /// By nets.
    pub fn held(&self) -> u64 {
        self.warm.values().map(|warm| warm.bytes).sum()
    }
}

/// What a net was measured to take on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// Held when idle, as of the last load.
    pub resident_bytes: u64,
    /// Most that loading or a stage took on top.
    pub working_bytes: u64,
    /// How long the last load took.
    pub load_ms: u64,
}

impl Measured {
    pub fn peak_bytes(&self) -> u64 {
        self.resident_bytes + self.working_bytes
    }
}

/// By device and net.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures(pub BTreeMap<(Device, NetId), Measured>);

impl Measures {
    pub fn of(&self, device: &str, net: &str) -> Option<&Measured> {
        self.0.get(&(device.to_owned(), net.into()))
    }

    pub(super) fn loaded(&mut self, device: &str, net: &NetId, loaded: &Loaded) {
        let measured = self.0.entry((device.to_owned(), net.clone())).or_default();
        measured.resident_bytes = loaded.bytes;
        measured.working_bytes = measured.working_bytes.max(loaded.peak_bytes.saturating_sub(loaded.bytes));
        measured.load_ms = loaded.elapsed_ms;
    }

    pub(super) fn worked(&mut self, device: &str, net: &NetId, working_bytes: u64) {
        if let Some(measured) = self.0.get_mut(&(device.to_owned(), net.clone())) {
            // Up at once, down slowly: the next run may be a large one again.
            let less = measured.working_bytes.saturating_sub(working_bytes);
            measured.working_bytes = measured.working_bytes.max(working_bytes) - less / 8;
        }
    }

    pub(super) fn forget(&mut self, device: &str, net: &NetId) {
        self.0.remove(&(device.to_owned(), net.clone()));
    }
}
