//! Pictures of finished assets, drawn as they are turned.
//!
//! A process of its own draws: the daemon decodes no picture, and the memory goes with the process
//! when nobody has looked for a while. It keeps the last asset decoded, so that turning it costs a
//! picture each and no more. Orders and answers are frames, as for workers, one after the other.

use std::{
    io::{self, BufReader},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use meshkiln_models::{
    StageError,
    export::{self, content::Content},
    image::png_io,
    mesh::render::{Background, Look, Paint, render},
};
use meshkiln_protocol::asset::ViewMode;
use serde::{Deserialize, Serialize};

use crate::{
    store::blobs::{BlobStore, Digest},
    worker::{
        frames::{read_frame, write_frame},
        process,
    },
};

/// Largest picture, in pixels: with alpha it fits into a frame, whatever it shows.
pub const MAX_SIZE: u32 = 768;
/// How long the process stays when there is nothing to draw, and the longest that a picture takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A picture that is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The finished file, as a blob.
    pub asset: String,
    /// Width and height, in pixels.
    pub size: u32,
    /// Degrees the camera stands to the right of the front, and looks down.
    pub azimuth: f32,
    pub elevation: f32,
    /// At least 1: the asset just fits.
    pub zoom: f32,
    pub mode: ViewMode,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// PNG in base64.
    Picture(String),
    /// The file is no longer kept.
    Gone(String),
    /// It is no mesh, or cannot be drawn.
    NoMesh(String),
}

/// The process, as the daemon uses it.
pub struct Viewer {
    exe: PathBuf,
    blobs: PathBuf,
    /// Locked while a picture is drawn.
    pipes: Mutex<Option<Pipes>>,
    child: Mutex<Option<Child>>,
    /// Orders so far.
    n: AtomicU64,
}

struct Pipes {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Viewer {
    /// `exe` is `meshkilnd`, `blobs` the folder of the blob store. Nothing is started yet.
    pub fn new(exe: PathBuf, blobs: PathBuf) -> Arc<Viewer> {
        Arc::new(Viewer { exe, blobs, pipes: Mutex::default(), child: Mutex::default(), n: AtomicU64::new(0) })
    }

    /// Draws, after those who asked before. The number is for `rest`. Waits as long as it takes,
    /// or until somebody calls `stop`.
    ///
    /// Errors: the process cannot be started, or ended.
    pub fn draw(&self, order: &Order) -> io::Result<(Answer, u64)> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let n = self.n.fetch_add(1, Ordering::Relaxed) + 1;
        // One that has ended meanwhile is started again, once.
        let first = pipes.as_mut().map(|pipes| pipes.ask(order));
        if let Some(Ok(answer)) = first {
            return Ok((answer, n));
        }
        *pipes = None;
        self.stop();
        let mut fresh = self.start()?;
        let answer = fresh.ask(order).inspect_err(|_| self.stop())?;
        *pipes = Some(fresh);
        Ok((answer, n))
    }

    /// Ends the process unless a picture was asked for since the `n`th.
    pub fn rest(&self, n: u64) {
        if self.n.load(Ordering::Relaxed) == n {
            self.stop();
        }
    }

    fn start(&self) -> io::Result<Pipes> {
        let mut program = Command::new(&self.exe);
        program.args(["viewer", "--blobs"]).arg(&self.blobs);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        #[cfg(unix)]
        // Out of the terminal's reach: Ctrl-C is the daemon's affair.
        std::os::unix::process::CommandExt::process_group(&mut program, 0);
        let mut child = program.spawn()?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked for");
        };
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(Pipes { orders, answers: BufReader::new(answers) })
    }

    /// Ends the process, whatever it does.
    pub fn stop(&self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Pipes {
    fn ask(&mut self, order: &Order) -> io::Result<Answer> {
        write_frame(&mut self.orders, order)?;
        read_frame(&mut self.answers)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// The process itself: answers orders until there are no more, which is also when the daemon died.
pub fn main(blobs: &Path) -> ExitCode {
    match serve(blobs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(blobs: &Path) -> io::Result<()> {
    process::guard_memory("cpu");
    let mut answers = process::take_stdout()?;
    let mut orders = io::stdin().lock();
    let store = BlobStore::open(blobs)?;
    let mut last = None;
    while let Some(order) = read_frame::<Order>(&mut orders)? {
        let answer = catch_unwind(AssertUnwindSafe(|| answer(&order, &store, &mut last)));
        let mistake = || Answer::NoMesh("its pictures cannot be drawn: a mistake of ours".to_owned());
        write_frame(&mut answers, &answer.unwrap_or_else(|_| mistake()))?;
    }
    Ok(())
}

/// `last`: the asset that was drawn before.
fn answer(order: &Order, store: &BlobStore, last: &mut Option<(String, Content)>) -> Answer {
    if last.as_ref().is_none_or(|(asset, _)| *asset != order.asset) {
        *last = None;
        let digest = order.asset.parse::<Digest>().map_err(|_| io::Error::from(io::ErrorKind::NotFound));
        let bytes = match digest.and_then(|digest| store.get(digest)) {
            Ok(bytes) => bytes,
            Err(e) => return Answer::Gone(e.to_string()),
        };
        match export::read(&bytes) {
            Ok(content) => *last = Some((order.asset.clone(), content)),
            Err(e) => return Answer::NoMesh(e.message),
        }
    }
    match last.as_ref().map(|(_, content)| picture(order, content)) {
        Some(Ok(png)) => Answer::Picture(BASE64_STANDARD.encode(png)),
        Some(Err(e)) => Answer::NoMesh(e.message),
        None => Answer::NoMesh("it is empty".to_owned()),
    }
}

fn picture(order: &Order, content: &Content) -> Result<Vec<u8>, StageError> {
    let look = Look {
        size: order.size,
        background: Background::Transparent,
        azimuth: order.azimuth,
        elevation: order.elevation,
        zoom: order.zoom,
        paint: match order.mode {
            ViewMode::Shaded => Paint::Lit,
            ViewMode::Normals => Paint::Normals,
            ViewMode::Wireframe => Paint::Wires,
        },
    };
    png_io::encode_rgba(&render(&content.mesh, &content.maps, &look))
}
