//! The log: a file, turned over by size, and stderr for who watches.
//!
//! Only our own crates may say more than warnings: libraries print the heads of
//! requests at their lowest level, and with them the token.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, fmt, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::durable;

/// Of one file, in bytes.
const TURN_AT: u64 = 4 << 20;
/// Older files that are kept: `NAME.1` and so on.
const KEPT: u32 = 3;

/// Starts logging for the whole process into the file `path`. `level` is for our own crates; with one,
/// or on a terminal, lines go to stderr too.
pub fn start(path: &Path, level: Option<LevelFilter>) -> io::Result<()> {
    let file = Turning::open(path, TURN_AT)?;
    let filter = || {
        let ours = level.unwrap_or(LevelFilter::INFO);
        EnvFilter::new(format!("warn,meshkilnd={ours},meshkiln_models={ours},meshkiln_protocol={ours}"))
    };
    let to_file = fmt::layer().with_ansi(false).with_writer(Shared(Mutex::new(file))).with_filter(filter());
    let to_terminal = (level.is_some() || io::stderr().is_terminal())
        .then(|| fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).with_filter(filter()));
    tracing_subscriber::registry().with(to_file).with(to_terminal).try_init().map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(|info| {
        let trace = std::backtrace::Backtrace::force_capture();
        tracing::error!("a panic in thread {:?}: {info}\n{trace}", std::thread::current().name().unwrap_or("?"));
    }));
    Ok(())
}

/// A file that is put aside when it has become long.
struct Turning {
    path: PathBuf,
    file: File,
    bytes: u64,
    turn_at: u64,
}

impl Turning {
    fn open(path: &Path, turn_at: u64) -> io::Result<Turning> {
        if let Some(folder) = path.parent() {
            durable::create_private_folder(folder)?;
        }
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Turning { path: path.to_owned(), file, bytes, turn_at })
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.turn_at {
            for n in (1..KEPT).rev() {
                // There may be fewer yet.
                let _ = fs::rename(self.numbered(n), self.numbered(n + 1));
            }
            fs::rename(&self.path, self.numbered(1))?;
            self.file = append(&self.path)?;
            self.bytes = 0;
        }
        self.bytes += line.len() as u64;
        self.file.write_all(line)
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

struct Shared(Mutex<Turning>);

impl<'a> MakeWriter<'a> for Shared {
    type Writer = &'a Shared;

    fn make_writer(&'a self) -> &'a Shared {
        self
    }
}

/// One call a line: that is how the formatter writes.
impl Write for &Shared {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A full disk must not stop the daemon; stderr may still say so.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_turns_over_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshkilnd.log");
        let mut log = Turning::open(&path, 100).unwrap();
        for n in 0..50 {
            log.write_line(format!("{n:09}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(read("meshkilnd.log").ends_with("000000049\n"));
        assert!(read("meshkilnd.log.1").starts_with("000000030\n"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + KEPT as usize);
        drop(log);
        let mut log = Turning::open(&path, 100).unwrap();
        log.write_line(b"next\n").unwrap();
        assert!(read("meshkilnd.log.1").ends_with("000000049\n"), "what is there is counted and kept");
    }
}
