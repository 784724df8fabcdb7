//! One worker process on the fake device, spoken to in frames.

use std::{
    collections::BTreeMap,
    io::Read,
    path::PathBuf,
    process::{Child, ChildStdin, Command as Program, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use meshkilnd::{
    store::blobs::BlobStore,
    worker::frames::{Command, Failure, FailureKind, Output, Report, Run, read_frame, write_frame},
};
use tempfile::TempDir;

pub const EXE: &str = env!("CARGO_BIN_EXE_meshkilnd");
/// Long enough for a machine that does much else; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A blob store and a memory for the fake.
pub struct Place {
    pub dir: TempDir,
    pub blobs: BlobStore,
}

pub fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("fake")).unwrap();
    Place { blobs: BlobStore::open(dir.path().join("blobs")).unwrap(), dir }
}

impl Place {
    pub fn fake_dir(&self) -> PathBuf {
        self.dir.path().join("fake")
    }

    /// A run of `stage` that reads a source saying `directives`.
    pub fn run(&self, run: u64, stage: &str, directives: &str) -> Run {
        let source = self.blobs.put(directives.as_bytes()).unwrap().sha256;
        let stage = meshkiln_models::stage::find(stage).unwrap();
        Run {
            run,
            stage: stage.id.to_owned(),
            engine: stage.engines[0].id.to_owned(),
            settings: stage.params_of(&stage.engines[0]).map(|param| (param.id.to_owned(), param.default())).collect(),
            inputs: BTreeMap::from([(stage.reads[0].id().to_owned(), source)]),
            inline: BTreeMap::new(),
            nets: Vec::new(),
        }
    }

    pub fn worker(&self, device: &str) -> Worker {
        let mut worker = self.starting(device);
        let Report::Ready { pid, .. } = worker.next() else { panic!("ready comes first") };
        assert_eq!(pid, worker.child.id());
        worker
    }

    pub fn starting(&self, device: &str) -> Worker {
        let mut program = Program::new(EXE);
        program.args(["worker", "--device", device, "--blobs"]).arg(self.blobs.dir());
        Worker::start(program.env("MESHKILN_FAKE_DIR", self.fake_dir()))
    }
}

pub struct Worker {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    reports: Receiver<std::io::Result<Report>>,
}

impl Worker {
    pub fn start(program: &mut Program) -> Worker {
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let (sender, reports) = channel();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            while let Some(report) = read_frame(&mut stdout).transpose() {
                let broken = report.is_err();
                if sender.send(report).is_err() || broken {
                    return;
                }
            }
        });
        Worker { stdin: child.stdin.take(), child, reports }
    }

    pub fn send(&mut self, command: Command) {
        write_frame(self.stdin.as_mut().unwrap(), &command).unwrap();
    }

    /// The next report, whichever.
    pub fn next(&mut self) -> Report {
        self.reports.recv_timeout(PATIENCE).expect("a report in time").expect("a report")
    }

    /// Everything up to the answer of a run, heartbeats included.
    pub fn until_answer(&mut self, run: u64) -> (Vec<Report>, Report) {
        let mut before = Vec::new();
        loop {
            match self.next() {
                Report::Done { run: of, .. } | Report::Failed { run: of, .. } if of != run => panic!("not asked: {of}"),
                answer @ (Report::Done { .. } | Report::Failed { .. }) => return (before, answer),
                other => before.push(other),
            }
        }
    }

    pub fn done(&mut self, run: Run) -> BTreeMap<String, Output> {
        let id = run.run;
        self.send(Command::Run(run));
        match self.until_answer(id).1 {
            Report::Done { outputs, .. } => outputs,
            other => panic!("{other:?}"),
        }
    }

    pub fn failed(&mut self, run: Run) -> Failure {
        let id = run.run;
        self.send(Command::Run(run));
        match self.until_answer(id).1 {
            Report::Failed { failure, .. } => failure,
            other => panic!("{other:?}"),
        }
    }

    pub fn kind(&mut self, run: Run) -> FailureKind {
        self.failed(run).kind
    }

    /// Reads reports until the pipe ends; `Err` when it ended in something else.
    pub fn until_end(&mut self) -> Result<Vec<Report>, std::io::Error> {
        let mut all = Vec::new();
        let late = Instant::now() + PATIENCE;
        loop {
            match self.reports.recv_timeout(late.saturating_duration_since(Instant::now())) {
                Ok(report) => all.push(report?),
                Err(RecvTimeoutError::Disconnected) => return Ok(all),
                Err(RecvTimeoutError::Timeout) => panic!("the worker did not end"),
            }
        }
    }

    pub fn status(&mut self) -> ExitStatus {
        self.until_end().unwrap();
        self.child.wait().unwrap()
    }

    pub fn stderr(mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until it is so, or the test fails.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let late = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < late, "{what}: not in time");
        thread::park_timeout(Duration::from_millis(2));
    }
}

pub fn is_alive(pid: u32) -> bool {
    meshkilnd::worker::process::started(pid).is_some()
}
