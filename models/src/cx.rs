//! What a running stage may ask of the world: its settings, whether it has been
//! cancelled, and somewhere to report counted work.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    error::StageError,
    nets::{Net, Nets, Precision},
    stage::{NET, Settings},
};

/// Set once, from any thread; stages look at it between steps of their work.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counted work within one stage: `done` of `total` steps, never a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u32,
    pub total: u32,
}

pub struct StageCx<'a> {
    /// Engine id, never `auto`.
    pub engine: &'a str,
    pub settings: &'a Settings,
    pub cancel: CancelToken,
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Networks of the device the stage runs on.
    pub nets: &'a dyn Nets,
}

impl StageCx<'_> {
    /// Reports that `done` of `total` steps are finished and returns
    /// `Cancelled` when the job has been cancelled meanwhile.
    pub fn step(&self, done: u32, total: u32) -> Result<(), StageError> {
        (self.progress)(Progress { done, total });
        self.check_cancel()
    }

    pub fn check_cancel(&self) -> Result<(), StageError> {
        if self.cancel.is_cancelled() { Err(StageError::cancelled()) } else { Ok(()) }
    }

    /// The network of this run, warm, in `precision` or what suits the device best: the one that
    /// the setting `net` names, or else `id` of the catalogue.
    pub fn net<N: Net>(&self, id: &str, precision: Option<Precision>) -> Result<Arc<N>, StageError> {
        let id = self.named_net().unwrap_or(id);
        let handle = self.nets.net(id, precision)?;
        let other = || StageError::internal(format!("network `{id}` was loaded as another kind of net"));
        handle.get().ok_or_else(other)
    }

    /// Id of the network that the setting `net` names.
    pub fn named_net(&self) -> Option<&str> {
        self.settings.get(NET)?.as_str()
    }

    /// Settings are complete and checked before a stage runs (recipe.rs), so a
    /// missing name is a mistake in the stage's own table.
    pub fn int(&self, param: &str) -> i64 {
        self.settings[param].as_i64().unwrap_or_else(|| panic!("`{param}` is not an integer"))
    }

    pub fn float(&self, param: &str) -> f64 {
        self.settings[param].as_f64().unwrap_or_else(|| panic!("`{param}` is not a number"))
    }

    pub fn flag(&self, param: &str) -> bool {
        self.settings[param].as_bool().unwrap_or_else(|| panic!("`{param}` is not a flag"))
    }

    pub fn text(&self, param: &str) -> &str {
        self.settings[param].as_str().unwrap_or_else(|| panic!("`{param}` is not text"))
    }

    pub fn choice(&self, param: &str) -> &str {
        self.settings[param].as_str().unwrap_or_else(|| panic!("`{param}` is not a choice"))
    }
}
