//! The store on a real file.

mod history;
mod jobs;
mod trouble;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use meshkiln_models::recipe::Recipe;
use meshkiln_protocol::{
    asset::AssetListParams,
    daemon::QueueStatus,
    event::{Event, EventBody},
    job::{AssetRef, Class, JobListParams, Progress, StageRun, StageState},
};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    jobs::{Finished, SharedPlan},
    main_loop::Submission,
    residency::Measures,
    state::{Changes, Made, view::View},
};

struct Bench {
    folder: TempDir,
    store: Store,
    plan: Arc<SharedPlan>,
    usual: UsualTimes,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
        let store = Store::open(&folder.path().join("queue.db"), blobs).unwrap();
        let plan = Recipe::built_in("cutout").unwrap().plan(&|_| false).unwrap();
        Bench { folder, store, plan: Arc::new(SharedPlan::new(plan)), usual: UsualTimes::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    fn reopen(self) -> Bench {
        let Bench { folder, store, plan, usual } = self;
        drop(store);
        let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
        let store = Store::open(&folder.path().join("queue.db"), blobs).unwrap();
        Bench { folder, store, plan, usual }
    }

    fn job(&self, id: u64) -> Job {
        let submission = Submission {
            source_sha256: format!("source {id}"),
            source_path: Some(format!("/in/{id}.png").into()),
            name: format!("job {id}"),
            plan: self.plan.plan.clone(),
            output: Some(format!("/out/{id}.png").into()),
            class: Class::Interactive,
            client: Some("test".to_owned()),
            idempotency_key: None,
            watch: None,
        };
        Job::new(JobId(id), submission, self.plan.clone(), 1000 + id)
    }

    fn done(&self, id: u64) -> Job {
        let mut job = self.job(id);
        job.start(2000 + id);
        let asset = Output { sha256: format!("asset {id}"), bytes: 7 };
        let preview_sha256 = Some(format!("preview {id}"));
        job.finish(Finished { asset: Some(asset), preview_sha256, report: Some(json!({ "id": id })) }, 3000 + id);
        job
    }

    fn write(
        &mut self,
        changes: Changes,
        jobs: &[&Job],
        events: &[Event],
        logs: &[(JobId, String)],
    ) -> Result<(), StoreError> {
        self.store.commit(&Writes {
            now_ms: 5000,
            changes: &changes,
            jobs: jobs.to_vec(),
            next_job: jobs.iter().map(|job| job.id.0 + 1).max().unwrap_or(1),
            usual: &self.usual,
            measures: &Measures::default(),
            events,
            logs,
        })
    }

    fn insert(&mut self, jobs: &[&Job]) -> Result<(), StoreError> {
        let new_jobs: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
        self.write(Changes { new_jobs, ..Changes::default() }, jobs, &[], &[])
    }

    fn update(&mut self, job: &Job) -> Result<(), StoreError> {
        self.write(Changes::default(), &[job], &[], &[])
    }

    fn result(&mut self, key: &str, blobs: &[(&str, &str, u64)], now_ms: u64) {
        let output =
            |&(slot, sha256, bytes): &(&str, &str, u64)| (slot.to_owned(), Output { sha256: sha256.to_owned(), bytes });
        let made = Made { stage: "decode".to_owned(), outputs: blobs.iter().map(output).collect() };
        let changes = Changes { results: [(key.to_owned(), made)].into(), ..Changes::default() };
        self.store
            .commit(&Writes {
                now_ms,
                changes: &changes,
                jobs: Vec::new(),
                next_job: 1,
                usual: &self.usual,
                measures: &Measures::default(),
                events: &[],
                logs: &[],
            })
            .unwrap();
    }

    fn ids(&self, params: JobListParams) -> (Vec<u64>, Option<u64>) {
        let page = self.store.reader().jobs(&params, &View::default()).unwrap();
        (page.jobs.iter().map(|job| job.id.0).collect(), page.next.map(|id| id.0))
    }
}

fn queue_event(seq: u64) -> Event {
    Event { seq, time_ms: seq, body: EventBody::Queue { queue: QueueStatus::default() } }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Not UTF-8 where that is possible.
fn odd_path() -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        std::ffi::OsStr::from_bytes(b"/in/caf\xe9.png").into()
    }
    #[cfg(not(unix))]
    "C:\\in\\caf\u{e9}.png".into()
}
