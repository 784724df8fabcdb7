//! Compares what is on the disk with what is known, and says what to do.
//!
//! Pure: lists and times in, paths out. A file is ready when its size and times
//! stand still for `quiet`, or when its writer has closed it; what it holds is
//! then judged by content: equal bytes are no work.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use meshkiln_protocol::job::JobId;

use super::scan::{Scope, Stat};

/// A picture that ends too early is looked at again until it has been so for this long.
pub const NOT_YET: Duration = Duration::from_secs(60);
/// How often an unfinished picture is looked at while nothing is heard of it.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A vanished file may be in the middle of being saved.
const GONE_FOR: Duration = Duration::from_secs(2);

/// What is remembered of a file that was dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub stat: Stat,
    pub state: KnownState,
    /// Digest of what was fired; `None` when it was refused or has vanished.
    pub sha256: Option<String>,
    /// Rises with each firing of this path: part of the job's idempotency key.
    pub generation: u64,
    pub job: Option<JobId>,
    /// Where the asset went.
    pub output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownState {
    Fired,
    /// Looked into, and nothing to fire: too large, or an asset of ours.
    Refused,
    /// Not there any more; kept for its generation, so that it is new work when it comes back.
    Vanished,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    stat: Stat,
    /// Since when the stat stands still.
    since: Instant,
    due: Instant,
}

/// What a snapshot of a ready file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A picture up to its end, or a format without an end mark.
    Whole(String),
    /// It ends before its format does.
    Short(String),
    /// Changed while it was read.
    Moving,
    /// Cannot be fired, now or later, as it is; the line has been logged.
    Refused,
    /// It cannot be opened at the moment, or the folder's rules are broken.
    Later,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Queue a job under this generation.
    Fire { generation: u64 },
    /// Known content, or nothing to fire.
    Nothing,
    /// Looked at again later.
    Wait,
}

#[derive(Debug)]
pub struct Reconciler {
    known: BTreeMap<PathBuf, Known>,
    waiting: BTreeMap<PathBuf, Waiting>,
    gone: BTreeMap<PathBuf, Instant>,
    /// Closed by their writers, not listed since.
    closed: BTreeSet<PathBuf>,
    quiet: Duration,
}

impl Reconciler {
    pub fn new(known: BTreeMap<PathBuf, Known>, quiet: Duration) -> Self {
        Self { known, waiting: BTreeMap::new(), gone: BTreeMap::new(), closed: BTreeSet::new(), quiet }
    }

    /// `files` is everything on the disk within `scope`.
    pub fn listed(&mut self, scope: &Scope, files: &BTreeMap<PathBuf, Stat>, now: Instant) {
        for (rel, &stat) in files {
            self.gone.remove(rel);
            let closed = self.closed.remove(rel);
            if self.known.get(rel).is_some_and(|known| known.stat == stat && known.state != KnownState::Vanished) {
                self.waiting.remove(rel);
                continue;
            }
            let quiet = self.quiet;
            let entry = self.waiting.entry(rel.clone()).or_insert(Waiting { stat, since: now, due: now + quiet });
            if entry.stat != stat {
                *entry = Waiting { stat, since: now, due: now + quiet };
            }
            if closed {
                entry.due = now;
            }
        }
        self.waiting.retain(|rel, _| !scope.contains(rel) || files.contains_key(rel));
        for (rel, known) in &self.known {
            if known.state != KnownState::Vanished && scope.contains(rel) && !files.contains_key(rel) {
                self.gone.entry(rel.clone()).or_insert(now + GONE_FOR);
            }
        }
        self.closed.retain(|rel| !scope.contains(rel));
    }

    /// Its writer closed it, or it was moved here whole: ready as soon as it is listed.
    pub fn closed(&mut self, rel: PathBuf) {
        self.closed.insert(rel);
    }

    /// Files to look into now, at most `limit`, with the stat they were listed with.
    pub fn ready(&self, now: Instant, limit: usize) -> Vec<(PathBuf, Stat)> {
        let due = self.waiting.iter().filter(|(_, w)| w.due <= now);
        due.map(|(rel, w)| (rel.clone(), w.stat)).take(limit).collect()
    }

    /// A ready file was opened: `stat` is what it was then.
    pub fn looked_into(&mut self, rel: &Path, stat: Stat, found: &Found, now: Instant) -> Verdict {
        let Some(waiting) = self.waiting.get_mut(rel) else { return Verdict::Nothing };
        if *found == Found::Later {
            waiting.due = now + LOOK_AGAIN;
            return Verdict::Wait;
        }
        if waiting.stat != stat || *found == Found::Moving {
            *waiting = Waiting { stat, since: now, due: now + self.quiet };
            return Verdict::Wait;
        }
        let sha256 = match found {
            Found::Short(_) if now.saturating_duration_since(waiting.since) < NOT_YET => {
                waiting.due = now + LOOK_AGAIN;
                return Verdict::Wait;
            }
            Found::Refused => {
                self.waiting.remove(rel);
                let known = self.known.entry(rel.to_owned()).or_insert_with(|| Known::first(stat));
                *known = Known { stat, state: KnownState::Refused, sha256: None, ..known.clone() };
                return Verdict::Nothing;
            }
            Found::Whole(sha256) | Found::Short(sha256) => sha256,
            Found::Later | Found::Moving => return Verdict::Wait,
        };
        match self.known.get_mut(rel) {
            Some(known) if known.sha256.as_ref() == Some(sha256) => {
                known.stat = stat;
                self.waiting.remove(rel);
                Verdict::Nothing
            }
            known => Verdict::Fire { generation: known.map_or(0, |k| k.generation) + 1 },
        }
    }

    /// The job for a ready file is queued.
    pub fn fired(&mut self, rel: &Path, known: Known) {
        self.waiting.remove(rel);
        self.known.insert(rel.to_owned(), known);
    }

    /// The queue did not take it.
    pub fn postpone(&mut self, rel: &Path, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(rel) {
            waiting.due = now + LOOK_AGAIN;
        }
    }

    /// Known files that have been gone for long enough; their jobs are to be
    /// cancelled. Returned as they were; they are work again if they come back.
    pub fn vanished(&mut self, now: Instant) -> Vec<(PathBuf, Known)> {
        let over: Vec<PathBuf> = self.gone.iter().filter(|(_, at)| **at <= now).map(|(rel, _)| rel.clone()).collect();
        over.into_iter()
            .filter_map(|rel| {
                self.gone.remove(&rel);
                let known = self.known.get_mut(&rel)?;
                let before = known.clone();
                *known = Known { state: KnownState::Vanished, sha256: None, job: None, ..before.clone() };
                Some((rel, before))
            })
            .collect()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.waiting.values().map(|w| w.due);
        waiting.chain(self.gone.values().copied()).min()
    }

    pub fn get(&self, rel: &Path) -> Option<&Known> {
        self.known.get(rel)
    }

    pub fn known(&self) -> &BTreeMap<PathBuf, Known> {
        &self.known
    }

    pub fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing on the disk can be told at the moment: forget what was about to happen.
    pub fn lost_sight(&mut self) {
        self.waiting.clear();
        self.gone.clear();
        self.closed.clear();
    }
}

impl Known {
    fn first(stat: Stat) -> Known {
        Known { stat, state: KnownState::Fired, sha256: None, generation: 0, job: None, output: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(500);

    struct Bench {
        reconciler: Reconciler,
        start: Instant,
        trace: String,
    }

    /// A line a step: `TIME list NAME:STAT...`, `TIME closed NAME`, `TIME look NAME whole|short|later SHA`.
    fn check(steps: &str, expected: expect_test::Expect) {
        let start = Instant::now();
        let mut bench = Bench { reconciler: Reconciler::new(BTreeMap::new(), QUIET), start, trace: String::new() };
        steps.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| bench.step(line));
        expected.assert_eq(&bench.trace);
    }

    impl Bench {
        fn step(&mut self, line: &str) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let now = self.start + Duration::from_millis(words[0].parse().unwrap());
            let scope = Scope { folder: PathBuf::new(), recursive: true };
            match words[1] {
                "list" => {
                    let files = words[2..].iter().map(|word| {
                        let (name, n) = word.split_once(':').unwrap();
                        (PathBuf::from(name), stat(n.parse().unwrap()))
                    });
                    self.reconciler.listed(&scope, &files.collect(), now);
                }
                "closed" => self.reconciler.closed(words[2].into()),
                "look" => {
                    for (rel, stat) in self.reconciler.ready(now, 100) {
                        let found = match words[2] {
                            "whole" => Found::Whole(words[3].into()),
                            "short" => Found::Short(words[3].into()),
                            "moving" => Found::Moving,
                            _ => Found::Later,
                        };
                        let verdict = self.reconciler.looked_into(&rel, stat, &found, now);
                        self.trace += &format!("{} {}: {verdict:?}\n", words[0], rel.display());
                        if let Verdict::Fire { generation } = verdict {
                            let sha256 = Some(words[3].to_owned());
                            let known = Known { sha256, generation, job: Some(JobId(7)), ..Known::first(stat) };
                            self.reconciler.fired(&rel, known);
                        }
                    }
                    for (rel, known) in self.reconciler.vanished(now) {
                        self.trace += &format!("{} {} vanished, job {:?}\n", words[0], rel.display(), known.job);
                    }
                }
                other => panic!("no step `{other}`"),
            }
        }
    }

    fn stat(n: u64) -> Stat {
        Stat { bytes: n, modified: n as i64, changed: 0, file: 1 }
    }

    #[test]
    fn a_file_is_fired_once_it_stands_still() {
        check(
            "0 list a.png:1
             400 list a.png:2
             600 look whole x
             899 look whole x
             900 look whole x
             1000 list a.png:2
             9000 look whole x",
            expect_test::expect![[r#"
                900 a.png: Fire { generation: 1 }
            "#]],
        );
    }

    #[test]
    fn a_closed_file_does_not_wait() {
        check(
            "0 closed a.png
             1 list a.png:1
             1 look whole x",
            expect_test::expect![[r#"
                1 a.png: Fire { generation: 1 }
            "#]],
        );
    }

    #[test]
    fn equal_bytes_are_no_work_and_old_bytes_come_back_as_new_work() {
        check(
            "0 list a.png:1
             500 look whole x
             600 list a.png:2
             1100 look whole x
             1200 list a.png:3
             1700 look whole y
             1800 list a.png:4
             2300 look whole x",
            expect_test::expect![[r#"
                500 a.png: Fire { generation: 1 }
                1100 a.png: Nothing
                1700 a.png: Fire { generation: 2 }
                2300 a.png: Fire { generation: 3 }
            "#]],
        );
    }

    #[test]
    fn a_short_picture_waits_a_minute_before_it_is_fired_as_it_is() {
        check(
            "0 list a.png:1
             500 look short x
             2499 look short x
             2500 look short x
             59999 look short x
             61999 look short x",
            expect_test::expect![[r#"
                500 a.png: Wait
                2500 a.png: Wait
                59999 a.png: Wait
                61999 a.png: Fire { generation: 1 }
            "#]],
        );
    }

    #[test]
    fn a_file_saved_by_replacing_it_does_not_vanish() {
        check(
            "0 list a.png:1
             500 look whole x
             600 list
             900 list a.png:2
             3000 look whole y
             4000 list
             5999 look whole y
             6000 look whole y
             7000 list a.png:2
             8000 look whole y",
            expect_test::expect![[r#"
                500 a.png: Fire { generation: 1 }
                3000 a.png: Fire { generation: 2 }
                6000 a.png vanished, job Some(JobId(7))
                8000 a.png: Fire { generation: 3 }
            "#]],
        );
    }
}
