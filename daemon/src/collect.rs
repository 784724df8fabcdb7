//! Keeping disk use bounded: old events, old jobs, results nobody has used for
//! long, and blobs that nothing refers to.
//!
//! Works in slices of a few milliseconds in the loop's thread, so that nothing can
//! be submitted between the look whether a blob is wanted and its removal. Never
//! removes what a live job, a kept asset or a kept result refers to.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use meshkiln_protocol::UnixMs;

use crate::{
    state::Time,
    store::{
        Store, StoreError,
        blobs::{Digest, Entry},
    },
};

#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Of everything stages have made; the least recently used goes first.
    pub result_bytes: u64,
    /// Ended jobs kept, with their assets' blobs ...
    pub jobs: u64,
    /// ... and for how long.
    pub job_age: Duration,
    pub events: u64,
    /// An upload that nobody submits is kept this long.
    pub upload_grace: Duration,
    /// What is left of an evicted result, and temporary files of writers that died.
    pub orphan_grace: Duration,
    /// From one round to the next.
    pub interval: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Limits {
            result_bytes: 20 << 30,
            jobs: 100_000,
            job_age: hours(90 * 24),
            events: 100_000,
            upload_grace: hours(24),
            orphan_grace: hours(1),
            interval: hours(1),
        }
    }
}

/// Longest stretch of work at once, apart from the commit at its end.
const SLICE: Duration = Duration::from_millis(8);
/// Between two slices, so that a round takes a small part of the loop's time.
const PAUSE: Duration = Duration::from_millis(40);
/// The first round waits until the daemon has settled.
const FIRST: Duration = Duration::from_secs(60);
/// Rows removed in one slice. A job takes its log and a dozen index entries along.
const JOBS_A_SLICE: u32 = 50;
const EVENTS_A_SLICE: u32 = 500;
const RESULTS_A_SLICE: u32 = 50;

pub struct Collector {
    limits: Limits,
    phase: Phase,
    /// When the next slice, or the next round, is due.
    due: Instant,
    round_due: Instant,
    /// Blobs of evicted results that were too young to remove then.
    evicted: BTreeSet<Digest>,
    /// Bytes in the blob store as of the last whole walk.
    blob_bytes: Option<u64>,
}

enum Phase {
    Rest,
    Events,
    Jobs,
    Plans,
    Results { whole_round: bool },
    Temps,
    Blobs { next_folder: u16, entries: VecDeque<Entry>, bytes: u64 },
}

impl Collector {
    pub fn new(limits: Limits, now: Instant) -> Collector {
        let first = now + FIRST.min(limits.interval);
        Collector {
            limits,
            phase: Phase::Rest,
            due: first,
            round_due: first,
            evicted: BTreeSet::new(),
            blob_bytes: None,
        }
    }

    /// When `slice` wants to be called. Results over their limit do not wait for the round.
    pub fn due(&self, store: &Store, now: Instant) -> Instant {
        match self.phase {
            Phase::Rest if store.result_bytes() > self.limits.result_bytes => now,
            _ => self.due,
        }
    }

    /// Bytes in the blob store, as far as they have been counted.
    pub fn blob_bytes(&self, store: &Store) -> u64 {
        self.blob_bytes.unwrap_or(0).max(store.result_bytes())
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A few milliseconds of work. `pinned` are blobs that running jobs hold.
    pub fn slice(&mut self, store: &mut Store, pinned: &BTreeSet<&str>, time: Time) -> Result<(), StoreError> {
        self.due = time.now + PAUSE;
        match &mut self.phase {
            Phase::Rest if time.now >= self.round_due => {
                self.round_due = time.now + self.limits.interval;
                store.recount_results()?;
                self.phase = Phase::Events;
            }
            Phase::Rest => self.phase = Phase::Results { whole_round: false },
            Phase::Events => {
                if store.trim_events(self.limits.events, EVENTS_A_SLICE)? == 0 {
                    self.phase = Phase::Jobs;
                }
            }
            Phase::Jobs => {
                let oldest = time.wall.saturating_sub(self.limits.job_age.as_millis() as UnixMs);
                if store.forget_jobs(self.limits.jobs, oldest, JOBS_A_SLICE)? == 0 {
                    self.phase = Phase::Plans;
                }
            }
            Phase::Plans => {
                store.forget_plans()?;
                self.phase = Phase::Results { whole_round: true };
            }
            Phase::Results { whole_round } => {
                let whole_round = *whole_round;
                let evicted = store.evict_results(self.limits.result_bytes, RESULTS_A_SLICE)?;
                if evicted.is_empty() {
                    self.phase = if whole_round { Phase::Temps } else { Phase::Rest };
                    if !whole_round {
                        self.due = self.round_due;
                    }
                }
                for sha256 in evicted {
                    if let Ok(digest) = sha256.parse::<Digest>()
                        && !remove_if_unwanted(store, digest, self.limits.orphan_grace, pinned)?
                    {
                        self.evicted.insert(digest);
                    }
                }
            }
            Phase::Temps => {
                match store.blobs().remove_stale_temps(self.limits.orphan_grace) {
                    Ok(0) => {}
                    Ok(n) => tracing::info!("removed {n} stale temporary files"),
                    Err(e) => tracing::warn!("temporary files cannot be removed: {e}"),
                }
                self.phase = Phase::Blobs { next_folder: 0, entries: VecDeque::new(), bytes: 0 };
            }
            Phase::Blobs { .. } => self.walk_blobs(store, pinned, time)?,
        }
        Ok(())
    }

    fn walk_blobs(&mut self, store: &mut Store, pinned: &BTreeSet<&str>, time: Time) -> Result<(), StoreError> {
        let Phase::Blobs { next_folder, entries, bytes } = &mut self.phase else { return Ok(()) };
        let end = Instant::now() + SLICE;
        while Instant::now() < end {
            let Some(entry) = entries.pop_front() else {
                let Ok(folder) = u8::try_from(*next_folder) else {
                    self.blob_bytes = Some(*bytes);
                    self.evicted.clear();
                    self.phase = Phase::Rest;
                    self.due = self.round_due.max(time.now);
                    return Ok(());
                };
                *next_folder += 1;
                entries.extend(store.blobs().iter_folder(folder).filter_map(|entry| {
                    entry.inspect_err(|e| tracing::warn!("blob folder {folder:02x} cannot be listed: {e}")).ok()
                }));
                continue;
            };
            let grace = match self.evicted.contains(&entry.digest) {
                true => self.limits.orphan_grace,
                false => self.limits.upload_grace,
            };
            let old = entry.used.elapsed().is_ok_and(|age| age >= grace);
            if !old || !remove_if_unwanted(store, entry.digest, grace, pinned)? {
                *bytes += entry.bytes;
            }
        }
        Ok(())
    }
}

/// Says whether the blob is gone: nothing refers to it, and nobody has put or
/// touched it within `grace`.
fn remove_if_unwanted(
    store: &Store,
    digest: Digest,
    grace: Duration,
    pinned: &BTreeSet<&str>,
) -> Result<bool, StoreError> {
    let sha256 = digest.to_string();
    if pinned.contains(sha256.as_str()) || store.refers_to(&sha256)? {
        return Ok(false);
    }
    let since = SystemTime::now().checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
    let removed = store.blobs().remove_unless_used_since(digest, since);
    Ok(removed.inspect_err(|e| tracing::warn!("blob {sha256} cannot be removed: {e}")).unwrap_or(false))
}
