//! What runs next on a free device. Pure: jobs that could run go in, one comes out.
//!
//! Three classes a device: interactive before watch before batch. Within a
//! class, jobs that have started come before fresh ones, so that few are open
//! at once; fresh ones take turns by client, each client's oldest first. A
//! class that has been passed over for `patience` gets one turn, so that a
//! stream of better ones cannot starve it, and costs that stream one job.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use meshkiln_protocol::job::{Class, JobId};

use crate::main_loop::Device;

pub type Client = Option<Arc<str>>;

/// Jobs that wait for a device.
#[derive(Debug)]
pub struct Ready {
    patience: Duration,
    lanes: BTreeMap<(Device, Class), Lane>,
    places: BTreeMap<JobId, Place>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub device: Device,
    pub class: Class,
    pub client: Client,
    /// A stage of this attempt has been looked at already.
    pub started: bool,
}

#[derive(Debug, Default)]
struct Lane {
    started: BTreeSet<JobId>,
    clients: BTreeMap<Client, Turns>,
    /// Turn of the client served last: who comes back is never put before it, so
    /// nobody gains by leaving.
    clock: u64,
    /// Since when somebody here has waited without anybody being served.
    waiting_since: Option<Instant>,
}

/// Start-time fair queueing: the client with the lowest turn is next.
#[derive(Debug)]
struct Turns {
    next: u64,
    jobs: BTreeSet<JobId>,
}

impl Ready {
    pub fn new(patience: Duration) -> Ready {
        Ready { patience, lanes: BTreeMap::new(), places: BTreeMap::new() }
    }

    /// Moves the job when it waits already.
    pub fn push(&mut self, job: JobId, place: Place, now: Instant) {
        self.remove(job);
        let lane = self.lanes.entry((place.device.clone(), place.class)).or_default();
        lane.waiting_since.get_or_insert(now);
        if place.started {
            lane.started.insert(job);
        } else {
            let clock = lane.clock;
            let turns =
                lane.clients.entry(place.client.clone()).or_insert(Turns { next: clock, jobs: BTreeSet::new() });
            if turns.jobs.is_empty() {
                turns.next = turns.next.max(clock);
            }
            turns.jobs.insert(job);
        }
        self.places.insert(job, place);
    }

    /// Says whether it waited.
    pub fn remove(&mut self, job: JobId) -> bool {
        let Some(place) = self.places.remove(&job) else { return false };
        if let Some(lane) = self.lanes.get_mut(&(place.device, place.class)) {
            lane.started.remove(&job);
            if let Some(turns) = lane.clients.get_mut(&place.client) {
                turns.jobs.remove(&job);
            }
            lane.forget_idle_clients();
            if lane.is_empty() {
                lane.waiting_since = None;
            }
        }
        true
    }

    /// The job to run on `device` now; it waits no longer.
    ///
    /// A preference for jobs whose net is warm belongs here, within a lane.
    pub fn pick(&mut self, device: &Device, now: Instant) -> Option<JobId> {
        let key = |class| (device.clone(), class);
        let waited = |lane: &Lane| lane.waiting_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        let open: Vec<Class> = [Class::Interactive, Class::Watch, Class::Batch]
            .into_iter()
            .filter(|&class| self.lanes.get(&key(class)).is_some_and(|lane| !lane.is_empty()))
            .collect();
        let passed_over = open
            .iter()
            .skip(1)
            .map(|&class| (waited(&self.lanes[&key(class)]), class))
            .filter(|(waited, _)| *waited >= self.patience)
            .max();
        let class = passed_over.map(|(_, class)| class).or(open.first().copied())?;

        let lane = self.lanes.get_mut(&key(class))?;
        let job = lane.take()?;
        lane.waiting_since = if lane.is_empty() { None } else { Some(now) };
        self.places.remove(&job);
        Some(job)
    }

    pub fn contains(&self, job: JobId) -> bool {
        self.places.contains_key(&job)
    }
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.started.is_empty() && self.clients.values().all(|turns| turns.jobs.is_empty())
    }

    fn take(&mut self) -> Option<JobId> {
        if let Some(job) = self.started.pop_first() {
            return Some(job);
        }
        let turns = self
            .clients
            .values_mut()
            .filter_map(|turns| turns.jobs.first().copied().map(|oldest| (turns.next, oldest, turns)))
            .min_by_key(|(next, oldest, _)| (*next, *oldest));
        let (_, job, turns) = turns?;
        turns.jobs.remove(&job);
        self.clock = turns.next;
        turns.next += 1;
        self.forget_idle_clients();
        Some(job)
    }

    /// A client without jobs whose turn has come would be given this turn anyway
    /// when it is back.
    fn forget_idle_clients(&mut self) {
        let clock = self.clock;
        self.clients.retain(|_, turns| !turns.jobs.is_empty() || turns.next > clock);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// `+ ID CLASS CLIENT [started]`, `- ID`, `wait SECONDS`, `pick N`.
    fn check(script: &str, expected: Expect) {
        let mut ready = Ready::new(Duration::from_secs(600));
        let device = "cpu".to_owned();
        let mut now = Instant::now();
        let mut trace = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[0] {
                "+" => {
                    let class = match words[2] {
                        "interactive" => Class::Interactive,
                        "watch" => Class::Watch,
                        "batch" => Class::Batch,
                        other => panic!("class {other}"),
                    };
                    let place = Place {
                        device: device.clone(),
                        class,
                        client: Some(words[3].into()),
                        started: words.contains(&"started"),
                    };
                    ready.push(JobId(words[1].parse().unwrap()), place, now);
                }
                "-" => assert!(ready.remove(JobId(words[1].parse().unwrap()))),
                "wait" => now += Duration::from_secs(words[1].parse().unwrap()),
                "pick" => {
                    for _ in 0..words[1].parse().unwrap() {
                        match ready.pick(&device, now) {
                            Some(job) => trace += &format!("{job} "),
                            None => trace += "none ",
                        }
                    }
                    trace = trace.trim_end().to_owned() + "\n";
                }
                other => panic!("verb {other}"),
            }
        }
        expected.assert_eq(&trace);
    }

    #[test]
    fn classes_first_then_age() {
        check(
            "+ 1 batch a
             + 2 watch a
             + 3 interactive a
             + 4 interactive a
             pick 5",
            expect![[r#"
                3 4 2 1 none
            "#]],
        );
    }

    #[test]
    fn started_jobs_come_before_fresh_ones_of_their_class() {
        check(
            "+ 1 batch a
             + 2 batch a started
             + 3 interactive a
             pick 3",
            expect![[r#"
                3 2 1
            "#]],
        );
    }

    #[test]
    fn clients_take_turns() {
        check(
            "+ 1 watch hungry
             + 2 watch hungry
             + 3 watch hungry
             + 4 watch hungry
             + 5 watch modest
             + 6 watch modest
             pick 6",
            expect![[r#"
                1 5 2 6 3 4
            "#]],
        );
    }

    #[test]
    fn a_client_gains_nothing_by_leaving_and_coming_back() {
        check(
            "+ 1 watch patient
             + 2 watch patient
             + 3 watch patient
             + 4 watch hopping
             pick 2
             + 5 watch hopping
             pick 2
             + 6 watch hopping
             pick 2",
            expect![[r#"
                1 4
                2 5
                3 6
            "#]],
        );
    }

    #[test]
    fn a_late_client_does_not_get_the_turns_it_missed() {
        check(
            "+ 1 watch early
             + 2 watch early
             + 3 watch early
             + 4 watch early
             pick 3
             + 5 watch late
             + 6 watch late
             + 7 watch late
             pick 4",
            expect![[r#"
                1 2 3
                5 4 6 7
            "#]],
        );
    }

    #[test]
    fn a_class_passed_over_for_long_gets_one_turn() {
        check(
            "+ 1 batch a
             + 2 batch a
             + 3 interactive b
             + 4 interactive b
             + 5 interactive b
             wait 599
             pick 1
             wait 1
             pick 2
             wait 600
             + 6 interactive b
             pick 2",
            expect![[r#"
                3
                1 4
                2 5
            "#]],
        );
    }

    #[test]
    fn who_is_removed_is_not_picked() {
        check(
            "+ 1 watch a
             + 2 watch a
             - 1
             pick 2",
            expect![[r#"
                2 none
            "#]],
        );
    }
}
