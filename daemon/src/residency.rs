//! Which nets are warm on which device. Pure: readings and reports go in, the
//! next thing to do comes out; time is an argument.
//!
//! The daemon decides, the worker measures. A net is admitted when its peak, as
//! declared until it has been measured, fits into what is free beside a reserve;
//! what is free is the lesser of what the device says and what our own books
//! leave, because drivers are late to tell. To make room, idle nets go, least
//! recently used first; pinned ones stay. One load at a time a device.
//!
//! After a net was let go its memory has to come back: within `settle`, else the
//! worker is started afresh. When somebody else leaves less than the reserve,
//! idle nets go until there is room again.
//!
//! Policy after ollama's `server/sched.go` and its scars: predicted before,
//! measured after, one retry when memory ran out, then an error.

mod books;
mod policy;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use meshkiln_protocol::net::{DeviceMemory, KeepAlive};

use crate::{
    catalogue::{NetId, NetRow},
    main_loop::Device,
};
use books::{Card, Settle, Task, Warm};
pub use books::{Measured, Measures};
pub use policy::NetPolicy;

/// What it takes to use a net on a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Cost {
    /// It is warm.
    Nothing,
    /// There is room for it, or it can only be refused.
    Load,
    /// These have to go first, in this order.
    Swap(Vec<NetId>),
    /// No room can be made: others use the memory, or it has not come back yet.
    Blocked,
}

/// The next thing to do for a net.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Ready,
    Load,
    Unload(NetId),
    Wait,
    Refuse(Refused),
}

/// Why a net is not loaded at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// It cannot fit, whatever goes: what it needs, and what the device has for nets.
    TooLarge { need_bytes: u64, room_bytes: u64 },
    /// It has just failed; tried again later.
    Problem(String),
}

/// What a device should do though no job asks for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Chore {
    Unload(NetId, Why),
    /// Memory did not come back.
    Recycle,
}

/// Why a net goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was told to.
    Asked,
    /// A stage panicked while using it.
    Doubt,
    /// Memory ran out.
    OutOfMemory,
    /// Others need the memory.
    Pressure,
    /// Nobody has used it for long.
    Expired,
    /// Another net needs its room.
    Room,
}

/// What was in a worker that has ended.
#[derive(Debug, Default, PartialEq)]
pub struct Lost {
    pub loading: Option<NetId>,
    pub warm: Vec<NetId>,
}

pub struct Residency {
    policy: NetPolicy,
    nets: BTreeMap<NetId, Net>,
    cards: BTreeMap<Device, Card>,
    measures: Measures,
}

/// What is known about a net wherever it is.
#[derive(Debug, Clone)]
pub struct Net {
    pub doc: String,
    pub declared: u64,
    pub keep: KeepAlive,
    pub pinned: bool,
    /// To be loaded when there is nothing else to do.
    pub wanted: bool,
    /// The last load ran out of memory, and everything else was let go since.
    pub ran_out: bool,
    /// Workers that ended while loading it, in a row.
    pub crashes: u32,
    pub problem: Option<String>,
    pub problem_until: Option<Instant>,
    pub loads: u64,
    pub load_ms: Option<u64>,
}

impl Residency {
    pub fn new(policy: NetPolicy, rows: Vec<NetRow>, devices: Vec<Device>, measures: Measures) -> Residency {
        let keep = KeepAlive::Ms(policy.keep_alive.as_millis() as u64);
        let net = |row: NetRow| {
            let net = Net {
                doc: row.doc,
                declared: row.declared_bytes,
                keep,
                pinned: false,
                wanted: false,
                ran_out: false,
                crashes: 0,
                problem: None,
                problem_until: None,
                loads: 0,
                load_ms: None,
            };
            (row.id, net)
        };
        Residency {
            nets: rows.into_iter().map(net).collect(),
            cards: devices.into_iter().map(|device| (device, Card::default())).collect(),
            policy,
            measures,
        }
    }

    pub fn policy(&self) -> &NetPolicy {
        &self.policy
    }

    pub fn net(&self, net: &str) -> Option<&Net> {
        self.nets.get(net)
    }

    pub fn net_mut(&mut self, net: &str) -> Option<&mut Net> {
        self.nets.get_mut(net)
    }

    pub fn ids(&self) -> impl Iterator<Item = &NetId> {
        self.nets.keys()
    }

    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// The device it is warm on.
    pub fn home(&self, net: &str) -> Option<&Device> {
        self.cards.iter().find(|(_, card)| card.warm.contains_key(net)).map(|(device, _)| device)
    }

    pub fn warm(&self, device: &str) -> impl Iterator<Item = &NetId> {
        self.cards.get(device).into_iter().flat_map(|card| card.warm.keys())
    }

    /// Loaded and not used since.
    pub fn unused(&self, device: &str) -> Option<&NetId> {
        self.cards.get(device)?.unused.as_ref()
    }

    pub fn memory(&self, device: &str) -> Option<DeviceMemory> {
        self.cards.get(device)?.memory
    }

    pub fn recycles(&self, device: &str) -> u32 {
        self.cards.get(device).map_or(0, |card| card.recycles)
    }

    /// When an idle net is let go.
    pub fn expires(&self, net: &str) -> Option<Instant> {
        let found = self.nets.get(net)?;
        let warm = self.cards.values().find_map(|card| card.warm.get(net))?;
        if found.pinned {
            return None;
        }
        match found.keep {
            KeepAlive::Forever => None,
            KeepAlive::Ms(ms) => warm.used.checked_add(Duration::from_millis(ms)),
        }
    }

    /// When `chore` may have something to say though nothing has happened; for an idle worker.
    pub fn deadline(&self, device: &str, is_needed: &dyn Fn(&NetId) -> bool) -> Option<Instant> {
        let card = self.cards.get(device)?;
        let expiry = card.warm.keys().filter(|net| !is_needed(net)).filter_map(|net| self.expires(net)).min();
        card.settle.as_ref().map(|settle| settle.until).into_iter().chain(expiry).min()
    }

    /// What it takes to use `net` on `device` now, when no stage runs there.
    pub fn cost(&self, device: &str, net: &str) -> Cost {
        let Some(card) = self.cards.get(device) else { return Cost::Blocked };
        if card.task.is_some() || card.settle.is_some() || !card.going.is_empty() {
            return Cost::Blocked;
        }
        let warm = card.warm.get(net);
        let need = match warm {
            Some(warm) => self.work(device, net, warm),
            None => self.need(device, net),
        };
        let fits = if warm.is_some() { Cost::Nothing } else { Cost::Load };
        let mut room = self.headroom(device, card, warm.is_some());
        if need <= room || (warm.is_none() && self.never(device, card, net).is_some()) {
            return fits;
        }
        let mut victims = Vec::new();
        for (victim, victim_warm) in self.idle(card).into_iter().filter(|(idle, _)| ***idle != *net) {
            victims.push(victim.clone());
            room = match card.memory {
                Some(_) => room.saturating_add(victim_warm.bytes),
                None => self.unmeasured(card, &victims),
            };
            if need <= room {
                return Cost::Swap(victims);
            }
        }
        // The work of a warm net with nothing beside it may go into the reserve: it is there to work in.
        let free = card.memory.map_or(u64::MAX, |memory| memory.free_bytes);
        if warm.is_some() && victims.is_empty() && need <= free { fits } else { Cost::Blocked }
    }

    /// The next thing to do so that `net` gets warm on `device`, whose worker is idle.
    pub fn towards(&self, device: &str, net: &str, now: Instant) -> Step {
        let Some(card) = self.cards.get(device) else { return Step::Wait };
        let problem = self.nets.get(net).and_then(|net| Some((net.problem_until?, net.problem.clone()?)));
        match problem {
            Some((until, problem)) if until > now => return Step::Refuse(Refused::Problem(problem)),
            _ => {}
        }
        match self.cost(device, net) {
            Cost::Nothing => Step::Ready,
            Cost::Blocked => Step::Wait,
            Cost::Swap(victims) => victims.into_iter().next().map_or(Step::Wait, Step::Unload),
            Cost::Load => self.never(device, card, net).map_or(Step::Load, Step::Refuse),
        }
    }

    /// What an idle device should do first. `is_needed`: jobs wait for it, so it does not expire.
    pub fn chore(&self, device: &str, now: Instant, is_needed: &dyn Fn(&NetId) -> bool) -> Option<Chore> {
        let card = self.cards.get(device)?;
        if card.task.is_some() {
            return None;
        }
        if let Some((net, why)) = card.going.first() {
            return Some(Chore::Unload(net.clone(), *why));
        }
        if let Some(settle) = &card.settle {
            return (settle.until <= now && settle.is_ours(card.memory)).then_some(Chore::Recycle);
        }
        let reserve = self.reserve(device, card);
        if card.memory.is_some_and(|memory| memory.free_bytes < reserve)
            && let Some((net, _)) = self.idle(card).into_iter().next()
        {
            return Some(Chore::Unload(net.clone(), Why::Pressure));
        }
        let expired = card.warm.keys().filter(|net| self.expires(net).is_some_and(|at| at <= now));
        expired.into_iter().find(|net| !is_needed(net)).map(|net| Chore::Unload(net.clone(), Why::Expired))
    }

    /// A net that should be warm though no job waits for it, and what to do for it. Room is
    /// made for one that was asked for; a pinned one comes back when there is room.
    pub fn wish(&self, device: &str, now: Instant) -> Option<(NetId, Step)> {
        let cold = self.nets.iter().filter(|(id, _)| self.home(id).is_none());
        let steps = cold.filter_map(|(id, net)| {
            let may = net.wanted || (net.pinned && net.problem.is_none());
            let step = may.then(|| self.towards(device, id, now))?;
            Some((id.clone(), step)).filter(|(_, step)| match step {
                Step::Load => true,
                Step::Unload(_) | Step::Refuse(_) => net.wanted,
                Step::Ready | Step::Wait => false,
            })
        });
        steps.into_iter().next()
    }

    // What has happened.

    /// A reading of the device's memory, taken while no stage ran and no net was on its way.
    pub fn idle_reading(&mut self, device: &str, memory: Option<DeviceMemory>) {
        let Some(card) = self.cards.get_mut(device) else { return };
        card.memory = memory.or(card.memory);
        if card.settle.as_ref().is_some_and(|settle| settle.is_over(card.memory)) {
            card.settle = None;
        }
    }

    /// Any other reading: worth knowing, no ground for decisions about what came back.
    pub fn busy_reading(&mut self, device: &str, memory: Option<DeviceMemory>) {
        let Some(card) = self.cards.get_mut(device) else { return };
        card.memory = memory.or(card.memory);
    }

    /// A fresh worker, with nothing loaded.
    pub fn ready(&mut self, device: &str, memory: Option<DeviceMemory>) {
        let Some(card) = self.cards.get_mut(device) else { return };
        *card = Card { memory, recycles: card.recycles, ..Card::default() };
        card.baseline = memory.map_or(0, |memory| memory.used_bytes);
    }

    /// Its worker has ended, and everything in it with it.
    pub fn gone(&mut self, device: &str) -> Lost {
        let Some(card) = self.cards.get_mut(device) else { return Lost::default() };
        let recycles = card.recycles;
        let lost = std::mem::replace(card, Card { recycles, ..Card::default() });
        let loading = match lost.task {
            Some(Task::Loading { net, .. }) => Some(net),
            Some(Task::Unloading { .. }) | None => None,
        };
        Lost { loading, warm: lost.warm.into_keys().collect() }
    }

    pub fn recycled(&mut self, device: &str) {
        if let Some(card) = self.cards.get_mut(device) {
            card.recycles += 1;
        }
    }

    pub fn begin_load(&mut self, device: &str, net: &NetId, load: u64) {
        let Some(card) = self.cards.get_mut(device) else { return };
        debug_assert!(card.task.is_none(), "one load at a time a device");
        card.task = Some(Task::Loading { net: net.clone(), load });
    }

    /// The net that has come; `None` when this is not the load that goes on.
    pub fn loaded(&mut self, device: &str, loaded: &Loaded, now: Instant) -> Option<NetId> {
        let card = self.cards.get_mut(device)?;
        let net = match &card.task {
            Some(Task::Loading { net, load }) if *load == loaded.load => net.clone(),
            _ => return None,
        };
        card.task = None;
        card.memory = loaded.memory.or(card.memory);
        card.warm.insert(net.clone(), Warm { load: loaded.load, bytes: loaded.bytes, used: now });
        card.unused = Some(net.clone());
        self.measures.loaded(device, &net, loaded);
        if let Some(known) = self.nets.get_mut(&net) {
            known.loads += 1;
            known.load_ms = Some(loaded.elapsed_ms);
            (known.wanted, known.ran_out, known.crashes) = (false, false, 0);
            (known.problem, known.problem_until) = (None, None);
        }
        Some(net)
    }

    pub fn load_failed(&mut self, device: &str, load: u64, memory: Option<DeviceMemory>) -> Option<NetId> {
        let card = self.cards.get_mut(device)?;
        let net = match &card.task {
            Some(Task::Loading { net, load: known }) if *known == load => net.clone(),
            _ => return None,
        };
        card.task = None;
        card.memory = memory.or(card.memory);
        Some(net)
    }

    /// The load to name; `None` when it is not warm.
    pub fn begin_unload(&mut self, device: &str, net: &NetId) -> Option<u64> {
        let card = self.cards.get_mut(device)?;
        let load = card.warm.get(net)?.load;
        card.going.retain(|(going, _)| going != net);
        card.task = Some(Task::Unloading { load });
        Some(load)
    }

    /// The net that has gone. Its memory may take a while to come back.
    pub fn unloaded(&mut self, device: &str, load: u64, memory: Option<DeviceMemory>, now: Instant) -> Option<NetId> {
        let card = self.cards.get_mut(device)?;
        if !matches!(card.task, Some(Task::Unloading { load: known }) if known == load) {
            return None;
        }
        card.task = None;
        let net = card.warm.iter().find(|(_, warm)| warm.load == load).map(|(net, _)| net.clone())?;
        let bytes = card.warm.remove(&net).map_or(0, |warm| warm.bytes);
        card.unused = card.unused.take().filter(|unused| *unused != net);
        let settle = Settle {
            until: now + self.policy.settle,
            most_used: card.ledger() + self.policy.slack_bytes.max(bytes / 4),
            least_free: card.memory.map_or(0, |before| before.free_bytes + bytes / 4 * 3),
        };
        card.memory = memory.or(card.memory);
        card.settle = (!settle.is_over(memory)).then_some(settle);
        Some(net)
    }

    /// A settle that is over because the time is up and what is missing is not ours.
    pub fn stop_settling(&mut self, device: &str, now: Instant) {
        let Some(card) = self.cards.get_mut(device) else { return };
        if card.settle.as_ref().is_some_and(|settle| settle.until <= now && !settle.is_ours(card.memory)) {
            card.settle = None;
        }
    }

    /// A stage that needs it begins or ends.
    pub fn used(&mut self, device: &str, net: &str, now: Instant) {
        let Some(card) = self.cards.get_mut(device) else { return };
        if card.unused.as_deref() == Some(net) {
            card.unused = None;
        }
        if let Some(warm) = card.warm.get_mut(net) {
            warm.used = now;
        }
    }

    /// Its time runs anew.
    pub fn touched(&mut self, device: &str, net: &str, now: Instant) {
        if let Some(warm) = self.cards.get_mut(device).and_then(|card| card.warm.get_mut(net)) {
            warm.used = now;
        }
    }

    /// Nobody waits for the net that was loaded last.
    pub fn not_used(&mut self, device: &str) {
        if let Some(card) = self.cards.get_mut(device) {
            card.unused = None;
        }
    }

    /// A stage that needs it took so much on top of what was there.
    pub fn worked(&mut self, device: &str, net: &NetId, working_bytes: u64) {
        self.measures.worked(device, net, working_bytes);
    }

    /// What was measured is in doubt: by the declared figure again, where that asks for less.
    pub fn doubt_measure(&mut self, device: &str, net: &NetId) {
        let declared = self.nets.get(net).map_or(0, |net| net.declared);
        if self.measures.of(device, net).is_some_and(|measured| declared < measured.peak_bytes()) {
            self.measures.forget(device, net);
        }
    }

    /// Lets a net go as soon as its device is idle. Says whether it was warm.
    pub fn let_go(&mut self, net: &str, why: Why) -> bool {
        let mut found = false;
        for card in self.cards.values_mut() {
            if let Some((id, _)) = card.warm.get_key_value(net)
                && !card.going.iter().any(|(going, _)| **going == *net)
            {
                card.going.push((id.clone(), why));
                found = true;
            }
        }
        found
    }

    /// Memory ran out: every net goes before anything else is done; pinned ones with `all` alone.
    pub fn let_all_go(&mut self, device: &str, all: bool) {
        let Some(card) = self.cards.get(device) else { return };
        let pinned = |net: &NetId| self.nets.get(net).is_some_and(|net| net.pinned);
        let going: Vec<NetId> = card.warm.keys().filter(|net| all || !pinned(net)).cloned().collect();
        for net in going {
            self.let_go(&net, Why::OutOfMemory);
        }
    }

    // The books.

    /// Kept free of nets.
    pub fn reserve_bytes(&self, device: &str) -> u64 {
        self.cards.get(device).map_or(0, |card| self.reserve(device, card))
    }

    /// Most that it takes, weights and work together.
    pub fn need(&self, device: &str, net: &str) -> u64 {
        match self.measures.of(device, net) {
            Some(measured) => {
                let peak = measured.peak_bytes();
                peak + (peak as f64 * self.policy.margin) as u64
            }
            None => self.nets.get(net).map_or(0, |net| net.declared),
        }
    }

    /// Most that a stage takes on top of the warm net.
    fn work(&self, device: &str, net: &str, warm: &Warm) -> u64 {
        match self.measures.of(device, net) {
            Some(measured) => measured.working_bytes + (measured.working_bytes as f64 * self.policy.margin) as u64,
            None => self.need(device, net).saturating_sub(warm.bytes),
        }
    }

    fn reserve(&self, device: &str, card: &Card) -> u64 {
        let part = if device == "cpu" { self.policy.shared_reserve_part } else { self.policy.reserve_part };
        let total = card.memory.map_or(0, |memory| memory.total_bytes);
        self.policy.reserve_bytes.max((total as f64 * part) as u64)
    }

    /// What is free beside the reserve: as the device says, or as our books say, whichever is less.
    fn headroom(&self, device: &str, card: &Card, is_warm: bool) -> u64 {
        let Some(memory) = card.memory else { return if is_warm { u64::MAX } else { self.unmeasured(card, &[]) } };
        let ours_and_free = memory.free_bytes.saturating_add(memory.used_bytes).min(memory.total_bytes);
        let by_the_books = ours_and_free.saturating_sub(card.ledger());
        let beside_reserve = memory.free_bytes.min(by_the_books).saturating_sub(self.reserve(device, card));
        let allowed = self.policy.most_bytes.map_or(u64::MAX, |most| most.saturating_sub(card.held()));
        beside_reserve.min(allowed)
    }

    /// Where memory cannot be told: one net at a time.
    fn unmeasured(&self, card: &Card, without: &[NetId]) -> u64 {
        if card.warm.keys().all(|net| without.contains(net)) { u64::MAX } else { 0 }
    }

    /// Not even if all but the pinned ones go, and nobody else uses the device.
    fn never(&self, device: &str, card: &Card, net: &str) -> Option<Refused> {
        let memory = card.memory?;
        let pinned = card.warm.iter().filter(|(id, _)| self.nets.get(*id).is_some_and(|net| net.pinned));
        let pinned = pinned.map(|(_, warm)| warm.bytes).sum::<u64>();
        let ours = memory.total_bytes.saturating_sub(self.reserve(device, card) + card.baseline);
        let room_bytes = ours.min(self.policy.most_bytes.unwrap_or(u64::MAX)).saturating_sub(pinned);
        let need_bytes = self.need(device, net);
        (need_bytes > room_bytes).then_some(Refused::TooLarge { need_bytes, room_bytes })
    }

    /// What may go to make room, least recently used first.
    fn idle<'a>(&self, card: &'a Card) -> Vec<(&'a NetId, &'a Warm)> {
        let mut idle: Vec<_> =
            card.warm.iter().filter(|(id, _)| !self.nets.get(*id).is_some_and(|net| net.pinned)).collect();
        idle.sort_by_key(|(id, warm)| (warm.used, warm.load, (*id).clone()));
        idle
    }
}

/// What a worker says about a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loaded {
    pub load: u64,
    pub bytes: u64,
    pub peak_bytes: u64,
    pub elapsed_ms: u64,
    pub memory: Option<DeviceMemory>,
}
