//! What the fake is told: directives in a source, or carried on by an earlier
//! fake value.

use std::{str::SplitWhitespace, time::Duration};

use meshkiln_models::{
    export::{glb, ownership},
    mesh::shapes,
    slot::Slot,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::worker::{
    execute::failure,
    frames::{Failure, FailureKind, Run},
};

/// Directives follow this line when the source is a real picture.
const MARK: &[u8] = b"\nmeshkiln-fake\n";

#[derive(Debug, Clone, PartialEq)]
pub struct Directive {
    pub action: Action,
    pub once: bool,
    pub ignore_cancel: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Sleep(Duration),
    Progress { steps: u32, each: Duration },
    Error(FailureKind),
    Crash(Crash),
    Panic,
    OutOfMemory,
    PretendMemory(u64),
    Hang,
    Mute,
    Freeze,
    Lie(Lie),
    Garbage,
    Close,
    Chatter,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crash {
    Segv,
    Abort,
    Kill,
    Exit,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Lie {
    Missing,
    Digest,
    Stale,
    Silent,
}

/// What one fake value carries to the next stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// SHA-256 of the source.
    pub source: String,
    pub directives: Vec<String>,
}

impl Script {
    /// What a source says, or what the value of an earlier stage carries on.
    pub fn find(sha256: &str, bytes: &[u8]) -> Script {
        let carried = serde_json::from_slice(bytes).ok().or_else(|| ownership::record(bytes));
        if let Some(script) = carried.and_then(|carried: Json| serde_json::from_value(carried).ok()) {
            return script;
        }
        let text = match bytes.windows(MARK.len()).rposition(|window| window == MARK) {
            Some(at) => &bytes[at + MARK.len()..],
            None if str::from_utf8(bytes).is_ok() => bytes,
            None => &[],
        };
        let lines = String::from_utf8_lossy(text);
        let directives = lines.lines().filter(|line| is_directive(line)).map(|line| line.trim().to_owned()).collect();
        Script { source: sha256.to_owned(), directives }
    }

    /// Differs whenever anything that goes into the stage differs.
    pub fn output(&self, run: &Run, slot: Slot) -> Result<Vec<u8>, Failure> {
        let made = json!({
            "stage": run.stage, "slot": slot.id(), "engine": run.engine,
            "settings": run.settings, "inputs": run.inputs, "inline": run.inline,
        });
        let value = json!({ "source": self.source, "directives": self.directives, "fake": made });
        match slot {
            // A real one: it is delivered, and replaced by the next, as such.
            Slot::Asset => glb::write(&shapes::cube(), &shapes::grey(), "fake", &value).map_err(failure),
            _ => Ok(value.to_string().into_bytes()),
        }
    }

    pub fn ignores_cancel(&self, stage: &str) -> bool {
        self.directives.iter().any(|line| line.starts_with(stage) && line.ends_with(" ignore-cancel"))
    }
}

impl Directive {
    /// `action arguments [once] [ignore-cancel]`
    pub fn parse(line: &str) -> Result<Directive, String> {
        let (line, ignore_cancel) = strip(line, " ignore-cancel");
        let (line, once) = strip(line, " once");
        let mut words = line.split_whitespace();
        let action = Action::parse(&mut words).ok_or_else(|| format!("the fake cannot `{line}`"))?;
        match words.next() {
            None => Ok(Directive { action, once, ignore_cancel }),
            Some(word) => Err(format!("`{word}` in `{line}` is too much")),
        }
    }
}

impl Action {
    fn parse(words: &mut SplitWhitespace) -> Option<Action> {
        Some(match words.next()? {
            "sleep" => Action::Sleep(millis(words.next()?)?),
            "progress" => {
                let steps = words.next()?.parse().ok()?;
                let each = words.next().filter(|word| *word == "x").and_then(|_| millis(words.next()?))?;
                Action::Progress { steps, each }
            }
            "error" => Action::Error(serde_json::from_value(Json::from(words.next()?)).ok()?),
            "crash" => Action::Crash(match words.next().unwrap_or("segv") {
                "segv" => Crash::Segv,
                "abort" => Crash::Abort,
                "kill" => Crash::Kill,
                "exit" => Crash::Exit,
                _ => return None,
            }),
            "panic" => Action::Panic,
            "oom" => Action::OutOfMemory,
            "pretend-memory" => Action::PretendMemory(bytes(words.next()?)?),
            "hang" => Action::Hang,
            "mute" => Action::Mute,
            "freeze" => Action::Freeze,
            "lie" => Action::Lie(match words.next()? {
                "missing" => Lie::Missing,
                "digest" => Lie::Digest,
                "stale" => Lie::Stale,
                "silent" => Lie::Silent,
                _ => return None,
            }),
            "close" => Action::Close,
            "garbage" => Action::Garbage,
            "chatter" => Action::Chatter,
            _ => return None,
        })
    }
}

/// `500ms`
pub fn millis(text: &str) -> Option<Duration> {
    text.trim_end_matches("ms").parse().ok().map(Duration::from_millis)
}

/// `3GiB`, `500MiB`
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(3)?)?;
    let shift = match unit {
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_shl(shift)
}

fn strip<'a>(line: &'a str, end: &str) -> (&'a str, bool) {
    line.strip_suffix(end).map_or((line, false), |rest| (rest, true))
}

/// Neither empty nor a remark.
pub fn is_directive(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}
