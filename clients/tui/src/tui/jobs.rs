//! The jobs as shown: running first, then the queue as it will go, then what has
//! ended, newest first. Ten thousand of them change thousands of times a second;
//! nothing here looks at all of them but a search.

use std::collections::{BTreeMap, BTreeSet};

use meshkiln_protocol::{
    daemon::QueueStatus,
    job::{Class, Job, JobId, JobState, Progress, StageState},
};

/// Which jobs are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Show {
    #[default]
    All,
    /// Queued, paused or running.
    Open,
    /// Failed, dead or cancelled.
    Failed,
    Done,
}

impl Show {
    /// In the order in which a key goes through them.
    pub const ALL: [Show; 4] = [Show::All, Show::Open, Show::Failed, Show::Done];

    fn has(self, state: JobState) -> bool {
        match self {
            Show::All => true,
            Show::Open => !state.is_final(),
            Show::Failed => matches!(state, JobState::Failed | JobState::Dead | JobState::Cancelled),
            Show::Done => state == JobState::Done,
        }
    }
}

/// Place in the list: group, class, number.
type Place = (u8, Class, u64);

/// All jobs that are known, in order.
#[derive(Debug, Default)]
pub struct Jobs {
    all: BTreeMap<JobId, Job>,
    order: BTreeSet<Place>,
    /// Of the queued ones, by class.
    queued: BTreeSet<(Class, JobId)>,
    pub queue: QueueStatus,
    pub show: Show,
    pub search: String,
    /// More is on its way.
    pub loading: bool,
    /// Rows, as of the last change of what is listed.
    rows: Vec<JobId>,
    stale: bool,
}

impl Jobs {
    /// A job, if it is known.
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.all.get(&id)
    }

    /// Jobs that are known, listed or not.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// What is listed, from the top. Call `refresh` first.
    pub fn rows(&self) -> &[JobId] {
        &self.rows
    }

    /// Forgets all: they are about to be listed afresh.
    pub fn clear(&mut self) {
        self.all.clear();
        self.order.clear();
        self.queued.clear();
        self.stale = true;
    }

    /// The queue or a device is another now: what jobs were told to wait for no longer
    /// holds. The daemon tells anew with each job.
    pub fn wait_no_more(&mut self) {
        self.all.values_mut().for_each(|job| job.waits_for = None);
    }

    /// As the daemon has forgotten them.
    pub fn forget_ended(&mut self) {
        self.all.retain(|_, job| !job.state.is_final());
        self.order.retain(|(group, ..)| *group < 2);
        self.stale = true;
    }

    /// What the daemon says now.
    pub fn put(&mut self, mut job: Job) {
        let place = self::place(&job);
        if let Some(old) = self.all.get(&job.id) {
            // Events of a job carry no progress; it is what was heard last.
            if job.progress.is_none() && job.state == JobState::Running && old.attempt == job.attempt {
                job.progress.clone_from(&old.progress);
            }
            let before = self::place(old);
            if before != place {
                self.order.remove(&before);
                self.stale = true;
            }
            // What a filter or a search looks at.
            self.stale |= old.state != job.state;
            if old.state == JobState::Queued {
                self.queued.remove(&(old.class, old.id));
            }
        } else {
            self.stale = true;
        }
        if job.state == JobState::Queued {
            self.queued.insert((job.class, job.id));
        }
        self.order.insert(place);
        self.all.insert(job.id, job);
    }

    /// What an answer to a call says: events may have told more meanwhile. Events
    /// and lists come in order and are put as they come.
    pub fn told(&mut self, job: Job) {
        let is_old = self.all.get(&job.id).is_some_and(|known| {
            job.attempt < known.attempt || (job.attempt == known.attempt && how_far(&job) < how_far(known))
        });
        if !is_old {
            self.put(job);
        }
    }

    /// How far a running job is; of any other it is stale.
    pub fn progress(&mut self, id: JobId, progress: Progress) {
        if let Some(job) = self.all.get_mut(&id).filter(|job| job.state == JobState::Running) {
            job.progress = Some(progress);
        }
    }

    /// Jobs that go before a queued one.
    pub fn position(&self, job: &Job) -> usize {
        self.queued.range(..(job.class, job.id)).count()
    }

    /// Whether estimates go down by themselves.
    pub fn is_anything_running(&self) -> bool {
        self.order.first().is_some_and(|first| first.0 == 0)
    }

    /// Lists only these states.
    pub fn set_show(&mut self, show: Show) {
        self.show = show;
        self.stale = true;
    }

    /// Lists only jobs with these words; nothing lists all.
    pub fn set_search(&mut self, search: &str) {
        self.search = search.to_lowercase();
        self.stale = true;
    }

    /// Brings the rows up to date.
    pub fn refresh(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        self.rows.clear();
        for &(_, _, number) in &self.order {
            let id = JobId(if number > u64::MAX / 2 { u64::MAX - number } else { number });
            if let Some(job) = self.all.get(&id)
                && self.show.has(job.state)
                && (self.search.is_empty() || matches(job, &self.search))
            {
                self.rows.push(id);
            }
        }
    }

    /// The newest job whose source lies in this folder.
    pub fn newest_in(&self, folder: &str) -> Option<&Job> {
        let inside = |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '\\']));
        self.all.values().rev().find(|job| job.source_path.as_deref().is_some_and(inside))
    }
}

fn place(job: &Job) -> Place {
    match job.state {
        JobState::Running => (0, Class::Interactive, job.id.0),
        JobState::Queued | JobState::Paused => (1, job.class, job.id.0),
        _ => (2, Class::Interactive, u64::MAX - job.id.0),
    }
}

/// Grows within one attempt.
fn how_far(job: &Job) -> usize {
    match job.state {
        JobState::Queued | JobState::Paused => 0,
        JobState::Running => 1 + job.stages.iter().filter(|stage| stage.state != StageState::Pending).count(),
        JobState::Done | JobState::Failed | JobState::Cancelled | JobState::Dead => usize::MAX,
    }
}

/// By number, or by words of its name, path, recipe, client, state or error.
fn matches(job: &Job, search: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(search);
    job.id.to_string() == search.trim_start_matches('#')
        || has(&job.name)
        || has(&job.recipe)
        || has(job.state.id())
        || job.source_path.as_deref().is_some_and(has)
        || job.client.as_deref().is_some_and(has)
        || job.error.as_ref().is_some_and(|error| has(&error.message))
}

#[cfg(test)]
mod tests {
    use super::super::samples::job;
    use super::*;

    fn rows(jobs: &mut Jobs) -> Vec<u64> {
        jobs.refresh();
        jobs.rows().iter().map(|id| id.0).collect()
    }

    #[test]
    fn running_comes_first_then_the_queue_then_what_ended_newest_first() {
        let mut jobs = Jobs::default();
        for (id, state, class) in [
            (1, JobState::Done, Class::Interactive),
            (2, JobState::Failed, Class::Watch),
            (3, JobState::Queued, Class::Batch),
            (4, JobState::Queued, Class::Interactive),
            (5, JobState::Paused, Class::Interactive),
            (6, JobState::Running, Class::Watch),
        ] {
            jobs.put(Job { class, ..job(id, state) });
        }
        assert_eq!(rows(&mut jobs), [6, 4, 5, 3, 2, 1]);
        assert_eq!(jobs.position(jobs.get(JobId(3)).unwrap()), 1, "a paused job holds nobody up");
        jobs.put(job(6, JobState::Done));
        assert_eq!(rows(&mut jobs), [4, 5, 3, 6, 2, 1]);
        jobs.set_show(Show::Failed);
        assert_eq!(rows(&mut jobs), [2]);
        jobs.set_show(Show::All);
        jobs.set_search("#4");
        assert_eq!(rows(&mut jobs), [4]);
    }

    #[test]
    fn an_answer_that_events_have_overtaken_changes_nothing() {
        let mut jobs = Jobs::default();
        jobs.told(job(1, JobState::Queued));
        jobs.put(job(1, JobState::Done));
        jobs.told(job(1, JobState::Queued));
        assert_eq!(jobs.get(JobId(1)).unwrap().state, JobState::Done);
        jobs.told(Job { attempt: 2, ..job(1, JobState::Running) });
        assert_eq!(jobs.get(JobId(1)).unwrap().state, JobState::Running, "a later attempt is news");
    }

    #[test]
    fn a_job_event_keeps_the_progress_heard_before() {
        let mut jobs = Jobs::default();
        jobs.put(job(1, JobState::Running));
        jobs.progress(JobId(1), Progress { stage: "bake".into(), done: 1, total: 2, fraction: 0.5, eta_ms: None });
        jobs.put(job(1, JobState::Running));
        assert!(jobs.get(JobId(1)).unwrap().progress.is_some());
    }
}
