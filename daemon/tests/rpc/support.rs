//! A real server on a real port, a queue in memory behind it.

use std::{
    collections::BTreeMap,
    ops::Deref,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jsonrpsee::{RpcModule, server::Methods};
use meshkiln_protocol::{
    api::{Method, NoParams},
    asset::{Asset, AssetListParams, AssetPage},
    daemon::{QueueStatus, WorkerState, WorkerStatus},
    error::ErrorKind,
    event::{Event, EventBody, EventPage},
    job::{AssetRef, Job, JobId, JobListParams, JobLog, JobPage, JobState, Progress},
    runtime::Folders,
};
use meshkilnd::{
    catalogue::{Installed, Listed},
    events::{Hub, job_of},
    main_loop::{Answer, Call, Refusal, Submission},
    pulls::Pulls,
    recipes::Recipes,
    rpc::{Backend, Daemon, gate::Gate, methods, server},
    state::view::View,
    store::blobs::BlobStore,
    viewer::Viewer,
    watch::{Input, Request, WatchHandle},
};
use serde_json::json;
use tokio::{runtime::Runtime, sync::Semaphore};

pub use crate::wire::*;

pub const TOKEN: &str = "4d7a2f9e0c1b8a6d5e3f4d7a2f9e0c1b8a6d5e3f4d7a2f9e0c1b8a6d5e3f0011";
pub const ORIGIN: &str = "vscode-webview://0k3v1p2n";

pub struct TestServer {
    pub door: Door,
    pub queue: Arc<FakeQueue>,
    pub daemon: Arc<Daemon>,
    pub dir: tempfile::TempDir,
    pub server: Option<server::Server>,
    pub runtime: Runtime,
}

impl TestServer {
    pub fn start() -> TestServer {
        TestServer::start_with(|_| {})
    }

    /// `more` may add methods of its own.
    pub fn start_with(more: impl FnOnce(&mut RpcModule<Daemon>)) -> TestServer {
        let dir = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(16).enable_all().build();
        let runtime = runtime.unwrap();
        let home = dir.path().to_owned();
        let folders = Folders {
            config: home.join("config"),
            state: home.join("state"),
            cache: home.join("cache"),
            runtime: home.join("runtime"),
        };
        for folder in [&folders.config, &folders.state, &folders.cache, &folders.runtime] {
            std::fs::create_dir(folder).unwrap();
        }
        let hub = Hub::new(0);
        let queue = Arc::new(FakeQueue::new(hub.clone()));
        let daemon = Arc::new(Daemon {
            backend: queue.clone(),
            blobs: BlobStore::open(folders.cache.join("blobs")).unwrap(),
            watch: fake_watcher(),
            hub,
            recipes: Recipes::new(&folders.config, Arc::new(|_: &str| false)),
            catalogue: Arc::new(Listed::default()),
            pulls: Pulls::new(Arc::new(Installed::open(&folders.nets())), Arc::new(|_| {})),
            viewer: Viewer::new(env!("CARGO_BIN_EXE_meshkilnd").into(), folders.cache.join("blobs")),
            folders,
            started_ms: 1,
            queue_limit: 100_000,
            subscriber_patience: Duration::from_millis(300),
        });
        let mut module = methods::module(daemon.clone());
        more(&mut module);
        let server = runtime.block_on(async {
            let listener = server::bind(0).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let gate = Gate::new(port, TOKEN.into(), "/run/daemon.json".into(), vec![ORIGIN.into()]);
            let (blobs, backend) = (daemon.blobs.clone(), daemon.backend.clone());
            server::Server::start(listener, gate, Methods::from(module), blobs, backend).unwrap()
        });
        let door = Door { port: server.addr().port(), token: TOKEN.into() };
        TestServer { door, queue, daemon, dir, server: Some(server), runtime }
    }
}

impl Deref for TestServer {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

/// Jobs in memory. They end when a test says so.
pub struct FakeQueue {
    pub hub: Hub,
    pub jobs: Mutex<BTreeMap<JobId, (Job, Option<Submission>)>>,
    pub assets: Mutex<Vec<Asset>>,
    pub stored: Mutex<Vec<Event>>,
    pub n_calls: AtomicUsize,
    seq: AtomicU64,
    paused: Mutex<bool>,
    pub shutdowns: AtomicUsize,
}

impl FakeQueue {
    fn new(hub: Hub) -> FakeQueue {
        FakeQueue {
            hub,
            jobs: Mutex::default(),
            assets: Mutex::default(),
            stored: Mutex::default(),
            n_calls: AtomicUsize::new(0),
            seq: AtomicU64::new(0),
            paused: Mutex::default(),
            shutdowns: AtomicUsize::new(0),
        }
    }

    /// Calls of the loop and reads of the store, together.
    pub fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::SeqCst)
    }

    pub fn publish(&self, body: EventBody) -> u64 {
        let mut stored = self.stored.lock().unwrap();
        let seq = self.seq.fetch_add(1, Ordering::SeqCst) + 1;
        let event = Event { seq, time_ms: 1, body };
        if !matches!(event.body, EventBody::Progress { .. }) {
            stored.push(event.clone());
        }
        self.hub.publish(event);
        seq
    }

    pub fn progress(&self, id: u64, done: u32) -> u64 {
        let progress = Progress { stage: "bake".into(), done, total: 100, fraction: 0.5, eta_ms: None };
        self.publish(EventBody::Progress { id: JobId(id), progress })
    }

    pub fn set_state(&self, id: JobId, state: JobState) -> Option<Job> {
        let job = {
            let mut jobs = self.jobs.lock().unwrap();
            let (job, _) = jobs.get_mut(&id)?;
            job.state = state;
            job.clone()
        };
        self.publish(EventBody::Job { job: Box::new(job.clone()) });
        Some(job)
    }

    pub fn add(&self, submission: Option<Submission>) -> JobId {
        let mut job: Job = serde_json::from_value(json!({
            "id": 0, "state": "queued", "class": "interactive", "name": "asset", "source_sha256": "", "recipe": "prop",
            "submitted_ms": 1, "attempt": 0, "crashes": 0, "stages": []
        }))
        .unwrap();
        if let Some(s) = &submission {
            let shown = |path: &PathBuf| path.display().to_string();
            job.name = s.name.clone();
            job.source_sha256 = s.source_sha256.clone();
            job.recipe = s.plan.recipe.clone();
            job.source_path = s.source_path.as_ref().map(shown);
            job.output = s.output.as_ref().map(shown);
            job.client = s.client.clone();
        }
        let id = {
            let mut jobs = self.jobs.lock().unwrap();
            let id = JobId(jobs.len() as u64 + 1);
            job.id = id;
            jobs.insert(id, (job.clone(), submission));
            id
        };
        self.publish(EventBody::Job { job: Box::new(job) });
        id
    }

    fn queue(&self) -> QueueStatus {
        QueueStatus { paused: *self.paused.lock().unwrap(), ..QueueStatus::default() }
    }

    fn answer(&self, call: Call) -> Answer {
        let changed = |id, state| match self.set_state(id, state) {
            Some(_) => Answer::Done,
            None => Answer::Refused(Refusal {
                kind: ErrorKind::NotFound,
                message: format!("there is no job {id}"),
                hint: "`meshkiln jobs` lists them".into(),
            }),
        };
        match call {
            Call::Submit(list) => Answer::Jobs(list.into_iter().map(|s| self.add(Some(s))).collect()),
            Call::Cancel(id) => changed(id, JobState::Cancelled),
            Call::Retry(id) | Call::Resume(id) | Call::Reclass(id, _) => changed(id, JobState::Queued),
            Call::Pause(id) => changed(id, JobState::Paused),
            Call::Clear(_) => Answer::Cleared(0),
            Call::PauseQueue | Call::ResumeQueue => {
                *self.paused.lock().unwrap() = matches!(call, Call::PauseQueue);
                Answer::Queue(self.queue())
            }
            Call::WarmNet { net, .. } | Call::StopNet(net) | Call::ReleaseNet(net) => Answer::Refused(Refusal {
                kind: ErrorKind::NotFound,
                message: format!("there is no net `{net}`"),
                hint: "`meshkiln nets` lists them".into(),
            }),
            Call::OpenCutout { .. } | Call::Click { .. } | Call::CloseCutout(_) => Answer::Refused(Refusal {
                kind: ErrorKind::NotFound,
                message: "there is no open picture".into(),
                hint: "open it again with `cutout.open`".into(),
            }),
            Call::Yield { .. } | Call::TakeBack => Answer::Done,
            Call::Shutdown { .. } => {
                self.shutdowns.fetch_add(1, Ordering::SeqCst);
                Answer::Done
            }
        }
    }
}

impl Backend for FakeQueue {
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>> {
        self.n_calls.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer(call);
        Box::pin(async { Ok(answer) })
    }

    fn view(&self) -> Arc<View> {
        let worker = WorkerStatus {
            device: "cpu".into(),
            state: WorkerState::Idle,
            pid: None,
            doing: None,
            restarts: 0,
            rss_bytes: None,
        };
        Arc::new(View { queue: self.queue(), workers: vec![worker], ..View::default() })
    }

    fn job(&self, id: JobId) -> Result<Option<Job>, Refusal> {
        self.n_calls.fetch_add(1, Ordering::SeqCst);
        Ok(self.jobs.lock().unwrap().get(&id).map(|(job, _)| job.clone()))
    }

    fn jobs(&self, params: &JobListParams) -> Result<JobPage, Refusal> {
        self.n_calls.fetch_add(1, Ordering::SeqCst);
        let limit = params.limit.unwrap() as usize;
        let jobs = self.jobs.lock().unwrap().values().rev().take(limit).map(|(job, _)| job.clone()).collect();
        Ok(JobPage { jobs, next: None })
    }

    fn log(&self, id: JobId) -> Result<Option<JobLog>, Refusal> {
        Ok(self.jobs.lock().unwrap().contains_key(&id).then_some(JobLog { id, lines: Vec::new() }))
    }

    fn submission(&self, id: JobId) -> Result<Option<Submission>, Refusal> {
        Ok(self.jobs.lock().unwrap().get(&id).and_then(|(_, submission)| submission.clone()))
    }

    fn asset(&self, asset: &AssetRef) -> Result<Option<Asset>, Refusal> {
        let assets = self.assets.lock().unwrap();
        let is_it = |a: &&Asset| match asset.id {
            Some(id) => a.id == id,
            None => a.path == asset.path || a.source_path == asset.path,
        };
        Ok(assets.iter().rev().find(is_it).cloned())
    }

    fn assets(&self, _: &AssetListParams) -> Result<AssetPage, Refusal> {
        Ok(AssetPage { assets: self.assets.lock().unwrap().clone(), next: None })
    }

    fn events(&self, since: u64, limit: u32, job: Option<JobId>) -> Result<EventPage, Refusal> {
        let stored = self.stored.lock().unwrap();
        let wanted = stored.iter().filter(|e| e.seq > since && job.is_none_or(|job| job_of(&e.body) == Some(job)));
        let events: Vec<Event> = wanted.take(limit as usize).cloned().collect();
        let next = events.last().map_or(since, |event| event.seq);
        let first = stored.first().map_or(1, |first| first.seq);
        Ok(EventPage { events, next, lost: first > 1 && since + 1 < first })
    }
}

/// Has no watches and refuses to add any.
fn fake_watcher() -> WatchHandle {
    let (sender, inbox) = std::sync::mpsc::sync_channel(64);
    std::thread::spawn(move || {
        let none = || Refusal { kind: ErrorKind::NotFound, message: "nothing is watched".into(), hint: "none".into() };
        while let Ok(Input::Request(request)) = inbox.recv() {
            match request {
                Request::Add(_, reply) => drop(reply.send(Err(none()))),
                Request::List(reply) => drop(reply.send(Ok(Vec::new()))),
                Request::Remove(_, reply) => drop(reply.send(Err(none()))),
                Request::Rescan(_, reply) => drop(reply.send(Ok(Vec::new()))),
            }
        }
    });
    WatchHandle::new(sender)
}

pub struct Holds;

impl Method for Holds {
    const NAME: &'static str = "test.holds";
    type Params = NoParams;
    type Result = u64;
}

/// Calls that stay until `gate` is opened, counted.
pub struct Held {
    pub gate: Arc<Semaphore>,
    pub running: Arc<AtomicUsize>,
    pub most: Arc<AtomicUsize>,
}

impl Held {
    pub fn new() -> Held {
        Held { gate: Arc::new(Semaphore::new(0)), running: Arc::default(), most: Arc::default() }
    }

    pub fn add(&self, module: &mut RpcModule<Daemon>) {
        let (gate, running, most) = (self.gate.clone(), self.running.clone(), self.most.clone());
        methods::register::<Holds, _, _>(module, move |_, _| {
            let (gate, running, most) = (gate.clone(), running.clone(), most.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let _open = gate.acquire().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(7)
            }
        });
    }
}

/// Looks again until it holds; fails after 10 s.
pub fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came about");
        std::thread::yield_now();
    }
}
