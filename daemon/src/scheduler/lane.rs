//! One class of jobs on one device.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use meshkiln_protocol::job::JobId;

use super::{Client, Place, Rules};
use crate::{catalogue::NetId, residency::Cost};

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Started jobs by the net their next step needs.
    groups: BTreeMap<Option<NetId>, Group>,
    clients: BTreeMap<Client, Turns>,
    /// Turn of the client served last: who comes back is never put before it, so
    /// nobody gains by leaving.
    clock: u64,
    /// Since when somebody here has waited without anybody being served.
    waiting_since: Option<Instant>,
}

#[derive(Debug)]
struct Group {
    jobs: BTreeSet<JobId>,
    /// Since when somebody here has waited without anybody of the group being served.
    waiting_since: Instant,
}

/// Start-time fair queueing: the client with the lowest turn is next.
#[derive(Debug)]
struct Turns {
    next: u64,
    /// Fresh jobs by the first net they will need.
    jobs: BTreeMap<Option<NetId>, BTreeSet<JobId>>,
}

/// How many jobs are open for nets.
pub(super) struct Limits {
    pub open_jobs: usize,
    /// Started jobs that wait for each net, and for any.
    pub waiting: BTreeMap<NetId, usize>,
    pub all: usize,
}

pub(super) enum Choice {
    Job(JobId),
    Load(NetId),
    GiveUp(NetId),
    Wait(Instant),
    Nothing,
}

impl Lane {
    pub fn push(&mut self, job: JobId, place: &Place, now: Instant) {
        self.waiting_since.get_or_insert(now);
        if place.started {
            let group = Group { jobs: BTreeSet::new(), waiting_since: now };
            self.groups.entry(place.net.clone()).or_insert(group).jobs.insert(job);
            return;
        }
        let clock = self.clock;
        let turns = self.clients.entry(place.client.clone()).or_insert(Turns { next: clock, jobs: BTreeMap::new() });
        if turns.jobs.is_empty() {
            turns.next = turns.next.max(clock);
        }
        turns.jobs.entry(place.heading.clone()).or_default().insert(job);
    }

    pub fn remove(&mut self, job: JobId, place: &Place) {
        if place.started {
            self.take_out(&place.net, job);
        } else if let Some(turns) = self.clients.get_mut(&place.client) {
            turns.remove(&place.heading, job);
        }
        self.forget_idle_clients();
        if self.is_empty() {
            self.waiting_since = None;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.clients.values().all(|turns| turns.jobs.is_empty())
    }

    pub fn waited(&self, now: Instant) -> Duration {
        self.waiting_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    /// One of its jobs has been picked.
    pub fn served(&mut self, now: Instant) {
        self.waiting_since = if self.is_empty() { None } else { Some(now) };
    }

    pub fn group(&self, net: Option<&NetId>) -> impl Iterator<Item = JobId> {
        self.groups.get(&net.cloned()).into_iter().flat_map(|group| group.jobs.iter().copied())
    }

    pub fn group_sizes(&self) -> impl Iterator<Item = (&NetId, usize)> {
        self.groups.iter().filter_map(|(net, group)| Some((net.as_ref()?, group.jobs.len())))
    }

    pub fn started(&self) -> impl Iterator<Item = (JobId, Option<&NetId>)> {
        self.groups.iter().flat_map(|(net, group)| group.jobs.iter().map(move |&job| (job, net.as_ref())))
    }

    pub fn take_from_group(&mut self, net: Option<&NetId>, now: Instant) -> Option<JobId> {
        let net = net.cloned();
        let group = self.groups.get_mut(&net)?;
        group.waiting_since = now;
        let job = *group.jobs.first()?;
        self.take_out(&net, job);
        Some(job)
    }

    /// `only_free`: nothing may be loaded for this lane now. `is_coming`: other jobs of this class
    /// will need the net before long.
    pub fn choose(
        &mut self,
        now: Instant,
        rules: &Rules,
        limits: &Limits,
        only_free: bool,
        cost: &dyn Fn(&NetId) -> Cost,
        is_coming: &dyn Fn(&NetId) -> bool,
    ) -> Choice {
        let mut free: Option<(JobId, Option<NetId>)> = None;
        let mut load: Option<(JobId, NetId)> = None;
        let mut swap: Option<(JobId, NetId, Vec<NetId>)> = None;
        let mut overdue: Option<(Instant, NetId)> = None;
        let mut blocked: Option<(Instant, NetId)> = None;
        for (net, group) in &self.groups {
            let Some(&first) = group.jobs.first() else { continue };
            let cost = net.as_ref().map_or(Cost::Nothing, cost);
            if let (Some(net), Cost::Load | Cost::Swap(_)) = (net, &cost)
                && now.duration_since(group.waiting_since) >= rules.net_patience
                && overdue.as_ref().is_none_or(|(since, _)| group.waiting_since < *since)
            {
                overdue = Some((group.waiting_since, net.clone()));
            }
            match (net, cost) {
                (net, Cost::Nothing) if free.as_ref().is_none_or(|(job, _)| first < *job) => {
                    free = Some((first, net.clone()));
                }
                (Some(net), Cost::Load) if load.as_ref().is_none_or(|(job, _)| first < *job) => {
                    load = Some((first, net.clone()));
                }
                (Some(net), Cost::Swap(victims)) if swap.as_ref().is_none_or(|(job, ..)| first < *job) => {
                    swap = Some((first, net.clone(), victims));
                }
                (Some(net), Cost::Blocked) if blocked.as_ref().is_none_or(|(at, _)| group.waiting_since < *at) => {
                    blocked = Some((group.waiting_since, net.clone()));
                }
                _ => {}
            }
        }
        if let Some((since, net)) = &blocked
            && now >= *since + rules.memory_patience
        {
            return Choice::GiveUp(net.clone());
        }
        match overdue {
            Some((_, net)) if !only_free => return Choice::Load(net),
            _ => {}
        }
        if let Some((job, net)) = free {
            self.take_from_group(net.as_ref(), now);
            return Choice::Job(job);
        }
        match (load, swap) {
            (Some(_), _) | (_, Some(_)) if only_free => {}
            (Some((_, net)), _) => return Choice::Load(net),
            (None, Some((_, net, victims))) => {
                let full = limits.waiting.get(&net).is_some_and(|&n| n >= limits.open_jobs);
                if full || !victims.iter().any(is_coming) {
                    return Choice::Load(net);
                }
                if let Some(job) = self.take_fresh(limits) {
                    return Choice::Job(job);
                }
                let since = self.groups.get(&Some(net.clone())).map_or(now, |group| group.waiting_since);
                let until = since.max(self.waiting_since.unwrap_or(since)) + rules.linger;
                return if until <= now { Choice::Load(net) } else { Choice::Wait(until) };
            }
            (None, None) => {}
        }
        match (self.take_fresh(limits), blocked) {
            (Some(job), _) => Choice::Job(job),
            (None, Some((since, _))) => Choice::Wait(since + rules.memory_patience),
            (None, None) => Choice::Nothing,
        }
    }

    fn take_fresh(&mut self, limits: &Limits) -> Option<JobId> {
        let turns = self
            .clients
            .values_mut()
            .filter_map(|turns| {
                let (heading, oldest) = turns.oldest(limits)?;
                Some((turns.next, oldest, heading, turns))
            })
            .min_by_key(|(next, oldest, ..)| (*next, *oldest));
        let (_, job, heading, turns) = turns?;
        turns.remove(&heading, job);
        self.clock = turns.next;
        turns.next += 1;
        self.forget_idle_clients();
        Some(job)
    }

    fn take_out(&mut self, net: &Option<NetId>, job: JobId) {
        if let Some(group) = self.groups.get_mut(net) {
            group.jobs.remove(&job);
            if group.jobs.is_empty() {
                self.groups.remove(net);
            }
        }
    }

    /// A client without jobs whose turn has come would be given this turn anyway
    /// when it is back.
    fn forget_idle_clients(&mut self) {
        let clock = self.clock;
        self.clients.retain(|_, turns| !turns.jobs.is_empty() || turns.next > clock);
    }
}

impl Turns {
    /// The oldest job that may be opened, and what it heads for.
    fn oldest(&self, limits: &Limits) -> Option<(Option<NetId>, JobId)> {
        let open = self.jobs.iter().filter(|(heading, _)| limits.may_open(heading.as_ref()));
        open.filter_map(|(heading, jobs)| Some((*jobs.first()?, heading)))
            .min_by_key(|(job, _)| *job)
            .map(|(job, heading)| (heading.clone(), job))
    }

    fn remove(&mut self, heading: &Option<NetId>, job: JobId) {
        if let Some(jobs) = self.jobs.get_mut(heading) {
            jobs.remove(&job);
            if jobs.is_empty() {
                self.jobs.remove(heading);
            }
        }
    }
}

impl Limits {
    fn may_open(&self, heading: Option<&NetId>) -> bool {
        let Some(net) = heading else { return true };
        self.all < 4 * self.open_jobs && self.waiting.get(net).is_none_or(|&n| n < self.open_jobs)
    }
}
