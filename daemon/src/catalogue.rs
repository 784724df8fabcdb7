//! The boundary to the table of nets: which there are, which stage needs which,
//! what each is said to take, and whether its weights are here.
//!
//! The daemon decides by ids and bytes alone; graphs, files and licences are
//! behind this trait.

mod installed;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::Arc,
};

use meshkiln_models::{recipe::PlannedStep, stage::STAGES};

pub use installed::{Installed, Known};

/// A net by the id of the catalogue.
pub type NetId = Arc<str>;

#[derive(Debug, Clone, PartialEq)]
pub struct NetRow {
    pub id: NetId,
    /// What it is for, in a sentence.
    pub doc: String,
    /// Memory it takes at its peak, weights and work together, until it has been measured.
    pub declared_bytes: u64,
}

/// An engine of a stage, and the net it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Needed {
    pub stage: &'static str,
    pub engine: &'static str,
    pub net: NetId,
}

/// What is known about nets. The methods are asked in the loop, hence answer from memory; `remove`
/// alone may take its time.
pub trait Catalogue: fmt::Debug + Send + Sync {
    /// Every net there is. Does not change while the daemon lives.
    fn nets(&self) -> Vec<NetRow>;

    /// Which engines need one. Does not change either.
    fn needed(&self) -> Vec<Needed> {
        needed_by_stages()
    }

    /// Its weights are on this machine, as far as is known.
    fn is_here(&self, net: &str) -> bool;

    /// SHA-256 of its files, in a fixed order: results of other weights are other results.
    fn weights(&self, net: &str) -> Vec<String>;

    /// Of its weights, as the catalogue or the user says.
    fn license(&self, _net: &str) -> Option<String> {
        None
    }

    /// Deletes its files.
    fn remove(&self, net: &str) -> io::Result<()>;
}

/// As the stage table says.
pub fn needed_by_stages() -> Vec<Needed> {
    let engines = STAGES.iter().flat_map(|stage| stage.engines.iter().map(move |engine| (stage.id, engine)));
    engines.filter_map(|(stage, engine)| Some(Needed { stage, engine: engine.id, net: engine.net?.into() })).collect()
}

/// A catalogue that is a list: for builds without nets, for the fake device and for tests.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    pub nets: Vec<NetRow>,
    pub needed: Vec<Needed>,
}

impl Catalogue for Listed {
    fn nets(&self) -> Vec<NetRow> {
        self.nets.clone()
    }

    fn needed(&self) -> Vec<Needed> {
        self.needed.clone()
    }

    fn is_here(&self, net: &str) -> bool {
        self.nets.iter().any(|row| &*row.id == net)
    }

    fn weights(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn remove(&self, net: &str) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("net `{net}` has no files")))
    }
}

/// Net by step, quick to ask.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// By stage and engine.
    needed: BTreeMap<&'static str, BTreeMap<&'static str, NetId>>,
    /// Every net there is.
    ids: BTreeSet<NetId>,
}

impl Needs {
    pub fn new(catalogue: &dyn Catalogue) -> Needs {
        let mut needs = Needs { ids: catalogue.nets().into_iter().map(|row| row.id).collect(), ..Needs::default() };
        for Needed { stage, engine, net } in catalogue.needed() {
            needs.needed.entry(stage).or_default().insert(engine, net);
        }
        needs
    }

    /// The net that the step names, or else that of its engine.
    pub fn of(&self, step: &PlannedStep) -> Option<&NetId> {
        match step.own_net() {
            Some(named) => self.ids.get(named),
            None => self.needed.get(step.stage)?.get(step.engine),
        }
    }

    /// The net that the step names, where there is none of this name.
    pub fn missing<'a>(&self, step: &'a PlannedStep) -> Option<&'a str> {
        step.own_net().filter(|named| !self.ids.contains(*named))
    }
}
