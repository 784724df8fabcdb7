//! What runs next on a free device. Pure: jobs that could run go in, one comes
//! out, or the net that should be loaded first.
//!
//! Three classes a device: interactive before watch before batch. Within a
//! class, jobs that have started come before fresh ones, so that few are open
//! at once; fresh ones take turns by client, each client's oldest first. A
//! class that has been passed over for `patience` gets one turn, so that a
//! stream of better ones cannot starve it, and costs that stream one job.
//!
//! Started jobs stand in groups by the net their next step needs. Groups that
//! need no load go first. Before a net is swapped for another, fresh jobs that
//! head for the warm one are opened, so that many jobs of one recipe go stage by
//! stage and a net is loaded once for all of them, not once a job. That ends
//! when `open_jobs` wait for the cold net, or when its group has been passed
//! over for `net_patience`. A net that was loaded is used before another goes.

mod lane;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use meshkiln_protocol::job::{Class, JobId};

use crate::{catalogue::NetId, main_loop::Device, residency::Cost};
use lane::{Choice, Lane, Limits};

pub type Client = Option<Arc<str>>;

/// Better ones first.
const CLASSES: [Class; 3] = [Class::Interactive, Class::Watch, Class::Batch];

#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
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
}

/// What the scheduler must know about the nets of the device it chooses for.
pub trait Outlook {
    fn cost(&self, net: &NetId) -> Cost;
    /// A job of this class, running on another device, will need it next.
    fn is_coming(&self, class: Class, net: &NetId) -> bool;
    /// Loaded and not used since.
    fn unused(&self) -> Option<&NetId>;
}

/// What a free device should do.
#[derive(Debug, Clone, PartialEq)]
pub enum Pick {
    /// This job waits no longer.
    Job(JobId),
    /// The jobs that need it go on waiting.
    Load(NetId),
    /// There has been no room for it for too long.
    GiveUp(NetId),
    /// Nothing now; look again then.
    Wait(Instant),
    Nothing,
}

/// Jobs that wait for a device.
#[derive(Debug)]
pub struct Ready {
    rules: Rules,
    lanes: BTreeMap<(Device, Class), Lane>,
    places: BTreeMap<JobId, Place>,
    /// Jobs that will need a net later than in their next step.
    heading: BTreeMap<(Class, NetId), usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub device: Device,
    pub class: Class,
    pub client: Client,
    /// A stage of this attempt has been looked at already.
    pub started: bool,
    /// What the next step needs, once started.
    pub net: Option<NetId>,
    /// The first net that any step ahead needs.
    pub heading: Option<NetId>,
}

impl Ready {
    pub fn new(rules: Rules) -> Ready {
        Ready { rules, lanes: BTreeMap::new(), places: BTreeMap::new(), heading: BTreeMap::new() }
    }

    /// Moves the job when it waits already.
    pub fn push(&mut self, job: JobId, place: Place, now: Instant) {
        self.remove(job);
        self.lanes.entry((place.device.clone(), place.class)).or_default().push(job, &place, now);
        if let Some(key) = place.heads_for() {
            *self.heading.entry(key).or_default() += 1;
        }
        self.places.insert(job, place);
    }

    /// Says whether it waited.
    pub fn remove(&mut self, job: JobId) -> bool {
        let Some(place) = self.forget(job) else { return false };
        if let Some(lane) = self.lanes.get_mut(&(place.device.clone(), place.class)) {
            lane.remove(job, &place);
        }
        true
    }

    pub fn contains(&self, job: JobId) -> bool {
        self.places.contains_key(&job)
    }

    /// Started jobs whose next step needs `net` on `device`.
    pub fn waiting_for(&self, device: &Device, net: &NetId) -> Vec<JobId> {
        let lanes = CLASSES.iter().filter_map(|&class| self.lanes.get(&(device.clone(), class)));
        lanes.flat_map(|lane| lane.group(Some(net))).collect()
    }

    /// Jobs wait for it there, or head for it from elsewhere.
    pub fn needs(&self, device: &Device, net: &NetId) -> bool {
        CLASSES.iter().any(|&class| {
            let lane = self.lanes.get(&(device.clone(), class));
            self.heading.contains_key(&(class, net.clone()))
                || lane.is_some_and(|lane| lane.group(Some(net)).count() > 0)
        })
    }

    /// Every started job that waits, with what its next step needs.
    pub fn waiting(&self) -> impl Iterator<Item = (JobId, &Device, Option<&NetId>)> {
        let lanes = self.lanes.iter().filter(|(_, lane)| !lane.is_empty());
        lanes.flat_map(|((device, _), lane)| lane.started().map(move |(job, net)| (job, device, net)))
    }

    /// What `device` should do now. A picked job waits no longer.
    pub fn pick(&mut self, device: &Device, now: Instant, outlook: &dyn Outlook) -> Pick {
        let order = self.order(device, now);
        let limits = self.limits();
        // What was loaded is used before anything else goes, or loads might chase each other.
        if let Some(net) = outlook.unused().filter(|net| !self.waiting_for(device, net).is_empty()) {
            match outlook.cost(net) {
                Cost::Nothing => {
                    if let Some(job) = self.take_from(device, &order, net, now) {
                        return Pick::Job(job);
                    }
                }
                Cost::Swap(_) => return Pick::Load(net.clone()),
                Cost::Load | Cost::Blocked => {}
            }
        }
        let mut wait: Option<Instant> = None;
        for class in order {
            let only_free = wait.is_some();
            let Some(lane) = self.lanes.get_mut(&(device.clone(), class)) else { continue };
            let heading = &self.heading;
            let is_coming = |net: &NetId| {
                heading.get(&(class, net.clone())).is_some_and(|&n| n > 0) || outlook.is_coming(class, net)
            };
            match lane.choose(now, &self.rules, &limits, only_free, &|net| outlook.cost(net), &is_coming) {
                Choice::Job(job) => {
                    lane.served(now);
                    self.forget(job);
                    return Pick::Job(job);
                }
                Choice::Load(net) => return Pick::Load(net),
                Choice::GiveUp(net) => return Pick::GiveUp(net),
                Choice::Wait(until) => wait = Some(wait.map_or(until, |at| at.min(until))),
                Choice::Nothing => {}
            }
        }
        wait.map_or(Pick::Nothing, Pick::Wait)
    }

    /// Classes with somebody waiting, in the order in which they are to be looked at.
    fn order(&self, device: &Device, now: Instant) -> Vec<Class> {
        let lane = |class: Class| self.lanes.get(&(device.clone(), class)).filter(|lane| !lane.is_empty());
        let mut open: Vec<Class> = CLASSES.into_iter().filter(|&class| lane(class).is_some()).collect();
        let passed_over = open
            .iter()
            .skip(1)
            .filter_map(|&class| Some((lane(class)?.waited(now), class)))
            .filter(|(waited, _)| *waited >= self.rules.patience)
            .max();
        if let Some((_, first)) = passed_over {
            open.retain(|&class| class != first);
            open.insert(0, first);
        }
        open
    }

    fn limits(&self) -> Limits {
        let mut waiting: BTreeMap<NetId, usize> = BTreeMap::new();
        for lane in self.lanes.values() {
            for (net, n) in lane.group_sizes() {
                *waiting.entry(net.clone()).or_default() += n;
            }
        }
        Limits { open_jobs: self.rules.open_jobs, all: waiting.values().sum(), waiting }
    }

    fn take_from(&mut self, device: &Device, order: &[Class], net: &NetId, now: Instant) -> Option<JobId> {
        let job = order.iter().find_map(|&class| {
            let lane = self.lanes.get_mut(&(device.clone(), class))?;
            let job = lane.take_from_group(Some(net), now)?;
            lane.served(now);
            Some(job)
        })?;
        self.forget(job);
        Some(job)
    }

    /// Out of everything but its lane.
    fn forget(&mut self, job: JobId) -> Option<Place> {
        let place = self.places.remove(&job)?;
        if let Some(key) = place.heads_for()
            && let Some(n) = self.heading.get_mut(&key)
        {
            *n -= 1;
            if *n == 0 {
                self.heading.remove(&key);
            }
        }
        Some(place)
    }
}

impl Place {
    /// What it will need, unless it waits for just that.
    fn heads_for(&self) -> Option<(Class, NetId)> {
        if self.started && self.net.is_some() { None } else { Some((self.class, self.heading.clone()?)) }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// A device that holds one net; what is warm has to go before another comes.
    #[derive(Default)]
    struct Pretended {
        warm: Vec<NetId>,
        blocked: Vec<NetId>,
    }

    impl Outlook for Pretended {
        fn cost(&self, net: &NetId) -> Cost {
            match () {
                () if self.warm.contains(net) => Cost::Nothing,
                () if self.blocked.contains(net) => Cost::Blocked,
                () if self.warm.is_empty() => Cost::Load,
                () => Cost::Swap(self.warm.clone()),
            }
        }

        fn is_coming(&self, _: Class, _: &NetId) -> bool {
            false
        }

        fn unused(&self) -> Option<&NetId> {
            None
        }
    }

    /// `+ ID CLASS CLIENT [started] [needs NET] [heads NET]`, `- ID`, `wait SECONDS`,
    /// `warm NET`, `blocked NET`, `pick N`.
    fn check(script: &str, expected: Expect) {
        let s = Duration::from_secs;
        let mut ready = Ready::new(Rules {
            patience: s(600),
            net_patience: s(60),
            open_jobs: 3,
            linger: s(2),
            memory_patience: s(600),
        });
        let mut outlook = Pretended::default();
        let device = "cpu".to_owned();
        let mut now = Instant::now();
        let mut trace = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let after = |word| words.iter().position(|w| *w == word).map(|at| NetId::from(words[at + 1]));
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
                        net: after("needs"),
                        heading: after("heads").or_else(|| after("needs")),
                    };
                    ready.push(JobId(words[1].parse().unwrap()), place, now);
                }
                "-" => assert!(ready.remove(JobId(words[1].parse().unwrap()))),
                "warm" => outlook.warm = words[1..].iter().map(|net| NetId::from(*net)).collect(),
                "blocked" => outlook.blocked = words[1..].iter().map(|net| NetId::from(*net)).collect(),
                "wait" => now += Duration::from_secs(words[1].parse().unwrap()),
                "pick" => {
                    for _ in 0..words[1].parse().unwrap() {
                        match ready.pick(&device, now, &outlook) {
                            Pick::Job(job) => trace += &format!("{job} "),
                            Pick::Load(net) => trace += &format!("load-{net} "),
                            Pick::GiveUp(net) => trace += &format!("give-up-{net} "),
                            Pick::Wait(until) => trace += &format!("wait-{} ", (until - now).as_secs()),
                            Pick::Nothing => trace += "none ",
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

    #[test]
    fn jobs_whose_net_is_warm_come_first() {
        check(
            "warm a
             + 1 watch x started needs b
             + 2 watch x started needs a
             + 3 watch x started
             pick 3",
            expect![[r#"
                2 3 load-b
            "#]],
        );
    }

    #[test]
    fn a_class_is_worth_more_than_a_warm_net() {
        check(
            "warm a
             + 1 watch x started needs a
             + 2 interactive x started needs b
             pick 1",
            expect![[r#"
                load-b
            "#]],
        );
    }

    #[test]
    fn fresh_jobs_that_head_for_the_warm_net_are_opened_before_a_swap() {
        check(
            "warm a
             + 1 watch x started needs b
             + 2 watch x heads a
             + 3 watch x heads b
             + 4 watch x heads a
             pick 4",
            expect![[r#"
                2 3 4 load-b
            "#]],
        );
    }

    #[test]
    fn no_more_jobs_are_opened_than_may_wait_for_a_net() {
        check(
            "warm a
             + 1 watch x started needs b
             + 2 watch x started needs b
             + 3 watch x started needs b
             + 4 watch x heads a
             pick 1
             blocked b
             + 5 watch x heads b
             + 6 watch x
             pick 3",
            expect![[r#"
                load-b
                4 6 wait-600
            "#]],
        );
    }

    #[test]
    fn who_waits_for_a_cold_net_is_not_passed_over_for_ever() {
        check(
            "warm a
             + 1 watch x started needs b
             wait 59
             + 2 watch x started needs a
             + 3 watch x started needs a
             pick 1
             wait 1
             pick 1
             warm b
             pick 2",
            expect![[r#"
                2
                load-b
                1 load-a
            "#]],
        );
    }

    #[test]
    fn memory_that_others_use_is_waited_for_but_not_for_ever() {
        check(
            "blocked b
             + 1 watch x started needs b
             + 2 watch x
             pick 2
             wait 600
             pick 1",
            expect![[r#"
                2 wait-600
                give-up-b
            "#]],
        );
    }
}
