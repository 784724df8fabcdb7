//! The memory and the nets that the fake device pretends to have, from the file
//! `nets` in `MESHKILN_FAKE_DIR`. It is read again each time, so that a test can
//! change its mind.
//!
//! ```text
//! device 10GiB                          its memory; without this line it tells nothing
//! others 3GiB                           what somebody else uses
//! net matting 2GiB cutout [500MiB]      holds 2 GiB, `cutout` needs it and takes 500 MiB on top
//! load matting error out_of_memory once what happens at its load: a directive as in a source
//! keep matting 1GiB                     does not come back when it is let go
//! late 2000ms                           readings are so old
//! wrong 1GiB                            readings claim so much more to be free
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    env, fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use meshkiln_models::stage;
use meshkiln_protocol::net::DeviceMemory;

use super::script::{bytes, is_directive, millis};
use crate::{
    catalogue::{Catalogue, Listed, Needed, NetRow},
    worker::{
        frames::{Failure, FailureKind},
        memory::Gauge,
    },
};

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pretended {
    total: Option<u64>,
    others: u64,
    nets: Vec<PretendedNet>,
    /// Net and directive.
    loads: Vec<(String, String)>,
    keeps: BTreeMap<String, u64>,
    late: Duration,
    wrong: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct PretendedNet {
    id: String,
    bytes: u64,
    stage: String,
    working: u64,
}

/// The pretended memory of this process.
pub struct FakeMemory {
    dir: Option<PathBuf>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Net and bytes by load.
    nets: BTreeMap<u64, (String, u64)>,
    leaked: u64,
    working: u64,
    peak: u64,
    /// What was used at which time, oldest first.
    history: VecDeque<(Instant, u64)>,
}

/// The nets as the daemon's catalogue; none without a file.
pub fn catalogue() -> Arc<dyn Catalogue> {
    let pretended = Pretended::read(env::var_os("MESHKILN_FAKE_DIR").map(PathBuf::from).as_ref());
    let mut listed = Listed::default();
    for net in pretended.nets {
        let row = NetRow {
            id: net.id.as_str().into(),
            doc: "Pretended.".to_owned(),
            declared_bytes: net.bytes + net.working,
        };
        let stage =
            stage::find(&net.stage).unwrap_or_else(|| panic!("MESHKILN_FAKE_DIR/nets: no stage `{}`", net.stage));
        let needed =
            stage.engines.iter().map(|engine| Needed { stage: stage.id, engine: engine.id, net: row.id.clone() });
        listed.needed.extend(needed);
        listed.nets.push(row);
    }
    Arc::new(listed)
}

impl Pretended {
    fn read(dir: Option<&PathBuf>) -> Pretended {
        let text = dir.and_then(|dir| fs::read_to_string(dir.join("nets")).ok()).unwrap_or_default();
        let mut pretended = Pretended::default();
        for line in text.lines().filter(|line| is_directive(line)) {
            pretended.add(line).unwrap_or_else(|| panic!("MESHKILN_FAKE_DIR/nets: `{line}` is not understood"));
        }
        pretended
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.first()? {
            "device" => self.total = Some(bytes(words.get(1)?)?),
            "others" => self.others = bytes(words.get(1)?)?,
            "net" => self.nets.push(PretendedNet {
                id: (*words.get(1)?).to_owned(),
                bytes: bytes(words.get(2)?)?,
                stage: (*words.get(3)?).to_owned(),
                working: words.get(4).map_or(Some(0), |working| bytes(working))?,
            }),
            "load" => self.loads.push(((*words.get(1)?).to_owned(), words.get(2..)?.join(" "))),
            "keep" => _ = self.keeps.insert((*words.get(1)?).to_owned(), bytes(words.get(2)?)?),
            "late" => self.late = millis(words.get(1)?)?,
            "wrong" => self.wrong = bytes(words.get(1)?)?,
            _ => return None,
        }
        Some(())
    }

    fn net(&self, id: &str) -> Option<&PretendedNet> {
        self.nets.iter().find(|net| net.id == id)
    }

    fn room(&self, used: u64) -> u64 {
        self.total.unwrap_or(u64::MAX).saturating_sub(self.others).saturating_sub(used)
    }
}

impl FakeMemory {
    pub fn from_env() -> FakeMemory {
        FakeMemory { dir: env::var_os("MESHKILN_FAKE_DIR").map(PathBuf::from), held: Mutex::default() }
    }

    /// Directives for the load of this net.
    pub fn at_load(&self, net: &str) -> Vec<String> {
        let pretended = Pretended::read(self.dir.as_ref());
        pretended.loads.into_iter().filter(|(of, _)| of == net).map(|(_, directive)| directive).collect()
    }

    pub fn load(&self, load: u64, net: &str) -> Result<(), Failure> {
        let pretended = Pretended::read(self.dir.as_ref());
        let found = pretended.net(net).ok_or_else(|| Failure {
            kind: FailureKind::WeightsMissing,
            message: format!("the fake has no net `{net}`"),
            hint: "add it to MESHKILN_FAKE_DIR/nets".to_owned(),
        })?;
        let mut held = self.lock();
        if pretended.room(held.used()) < found.bytes {
            return Err(out_of_memory(format!("`{net}` does not fit into the pretended memory")));
        }
        held.nets.insert(load, (net.to_owned(), found.bytes));
        held.changed();
        Ok(())
    }

    pub fn unload(&self, load: u64) {
        let pretended = Pretended::read(self.dir.as_ref());
        let mut held = self.lock();
        if let Some((net, bytes)) = held.nets.remove(&load) {
            held.leaked += pretended.keeps.get(&net).copied().unwrap_or(0).min(bytes);
        }
        held.changed();
    }

    /// A stage begins that needs these.
    pub fn begin_run(&self, nets: &[String]) -> Result<(), Failure> {
        let pretended = Pretended::read(self.dir.as_ref());
        let mut held = self.lock();
        // That of a stage that panicked.
        held.working = 0;
        let mut working = 0;
        for net in nets {
            if !held.nets.values().any(|(loaded, _)| loaded == net) {
                return Err(super::internal(format!("net `{net}` is not loaded")));
            }
            working += pretended.net(net).map_or(0, |net| net.working);
        }
        if pretended.room(held.used()) < working {
            return Err(out_of_memory("the stage does not fit into the pretended memory".to_owned()));
        }
        held.working = working;
        held.changed();
        Ok(())
    }

    pub fn end_run(&self) {
        let mut held = self.lock();
        held.working = 0;
        held.changed();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gauge for FakeMemory {
    fn read(&self) -> Option<DeviceMemory> {
        let pretended = Pretended::read(self.dir.as_ref());
        let total_bytes = pretended.total?;
        let used_bytes = self.lock().used_before(pretended.late);
        let free_bytes = (pretended.room(used_bytes) + pretended.wrong).min(total_bytes);
        Some(DeviceMemory { used_bytes, free_bytes, total_bytes })
    }

    fn reset_peak(&self) {
        let mut held = self.lock();
        held.peak = held.used();
    }

    fn peak_used_bytes(&self) -> u64 {
        self.lock().peak
    }
}

impl Held {
    fn used(&self) -> u64 {
        self.nets.values().map(|(_, bytes)| bytes).sum::<u64>() + self.leaked + self.working
    }

    fn used_before(&self, age: Duration) -> u64 {
        let then = Instant::now().checked_sub(age);
        let known = self.history.iter().rev().find(|(at, _)| then.is_some_and(|then| *at <= then));
        if age.is_zero() { self.used() } else { known.map_or(0, |(_, used)| *used) }
    }

    fn changed(&mut self) {
        let used = self.used();
        self.peak = self.peak.max(used);
        self.history.push_back((Instant::now(), used));
        if self.history.len() > 1000 {
            self.history.pop_front();
        }
    }
}

fn out_of_memory(message: String) -> Failure {
    Failure { kind: FailureKind::OutOfMemory, message, hint: "pretend to have more".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn pretended_memory_is_taken_given_back_and_told_late() {
        let dir = tempfile::tempdir().unwrap();
        let say = |text: &str| fs::write(dir.path().join("nets"), text).unwrap();
        let memory = FakeMemory { dir: Some(dir.path().to_owned()), held: Mutex::default() };
        assert_eq!(memory.read(), None);
        let nets = "device 10GiB\nnet a 2GiB cutout 1GiB\nnet b 7GiB decode\nkeep b 512MiB\n";
        say(nets);
        memory.load(1, "a").unwrap();
        memory.load(2, "b").unwrap();
        let reading = |memory: &FakeMemory| memory.read().map(|m| (m.used_bytes, m.free_bytes)).unwrap();
        assert_eq!(reading(&memory), (9 * GIB, GIB));
        assert_eq!(memory.load(3, "b").unwrap_err().kind, FailureKind::OutOfMemory);
        memory.reset_peak();
        memory.begin_run(&["a".to_owned()]).unwrap();
        memory.end_run();
        assert_eq!(memory.peak_used_bytes(), 10 * GIB);
        memory.unload(2);
        assert_eq!(reading(&memory), (2 * GIB + GIB / 2, 8 * GIB - GIB / 2));
        say(&format!("{nets}late 3600000ms\nothers 1GiB\nwrong 1GiB\n"));
        assert_eq!(reading(&memory), (0, 10 * GIB));
        assert_eq!(memory.begin_run(&["b".to_owned()]).unwrap_err().kind, FailureKind::Internal);
        assert_eq!(memory.load(4, "c").unwrap_err().kind, FailureKind::WeightsMissing);
    }
}
