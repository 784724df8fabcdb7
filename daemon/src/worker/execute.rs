//! The real stages: blobs to values, one stage on them, values to blobs.
//!
//! Values that were just read or made are kept decoded, so that the next stage
//! of the same asset need not read them again. What is kept never changes a
//! result: it equals what its blob decodes to.

use std::{collections::BTreeMap, io, sync::Arc};

use meshkiln_models::{
    StageError, StageErrorKind,
    cx::{Progress, StageCx},
    nets::{Nets, sam::Sam},
    slot::{Asset, Slot, Value},
};

use super::{
    child::{Asking, Runner, Running, internal},
    frames::{Failure, FailureKind, Looked, Output, Run},
    looks::{Looks, Picture},
    nets::{NetStore, WarmNets},
};
use crate::{
    durable,
    store::blobs::{BlobStore, Digest},
};

/// Decoded values kept between runs, in bytes.
const KEPT_BYTES: usize = 256 << 20;

pub struct Stages {
    blobs: BlobStore,
    kept: Kept,
    store: Box<dyn NetStore>,
    nets: WarmNets,
    looks: Looks,
}

impl Stages {
    pub fn new(blobs: BlobStore, store: Box<dyn NetStore>) -> Self {
        Self { blobs, kept: Kept::new(KEPT_BYTES), store, nets: WarmNets::default(), looks: Looks::default() }
    }

    fn load_inputs(&mut self, run: &Run) -> Result<Asset, Failure> {
        let mut asset = Asset::default();
        for (id, sha256) in &run.inputs {
            let (slot, digest) = (slot(id)?, digest(sha256)?);
            let value = match self.kept.get(slot, digest) {
                Some(value) => value,
                None => {
                    let bytes = read_input(&self.blobs, slot, digest)?;
                    let value = slot.decode(&bytes).map_err(failure)?;
                    self.kept.insert(slot, digest, value.clone());
                    value
                }
            };
            asset.set(slot, value);
        }
        for (id, json) in &run.inline {
            asset.set(slot(id)?, Value::Json(Arc::new(json.clone())));
        }
        asset.forget_writes();
        Ok(asset)
    }
}

impl Runner for Stages {
    fn run(&mut self, Running { run, stage, cancel, progress }: &Running) -> Result<BTreeMap<String, Output>, Failure> {
        if stage.engine(&run.engine).is_none() {
            return Err(internal(format!("stage `{}` has no engine `{}`", stage.id, run.engine)));
        }
        self.nets.check(&run.nets)?;
        let mut asset = self.load_inputs(run)?;
        let given = self.nets.given(&run.nets, &*self.store);
        let cx = StageCx {
            engine: &run.engine,
            settings: &run.settings,
            cancel: cancel.clone(),
            progress: *progress,
            nets: &given,
        };
        cx.check_cancel().map_err(failure)?;
        (stage.run)(&cx, &mut asset).map_err(failure)?;

        let mut encoded = Vec::new();
        for (slot, value) in stage.outputs(&asset) {
            cx.check_cancel().map_err(failure)?;
            let value =
                value.ok_or_else(|| internal(format!("stage `{}` did not write slot `{}`", stage.id, slot.id())))?;
            encoded.push((slot, value.encode().map_err(failure)?));
        }
        let outputs = write_outputs(&self.blobs, &encoded)?;
        for (slot, bytes) in &encoded {
            let kept = match asset.get(*slot) {
                // Numbers in JSON text need not come back to the last bit.
                Some(Value::Json(_)) | None => slot.decode(bytes).map_err(failure)?,
                Some(value) => value.clone(),
            };
            self.kept.insert(*slot, digest(&outputs[slot.id()].sha256)?, kept);
        }
        Ok(outputs)
    }

    fn load(&mut self, load: u64, net: &str) -> Result<(), Failure> {
        self.nets.load(load, net, &mut *self.store)
    }

    fn unload(&mut self, load: u64, net: &str) {
        self.nets.unload(load, net);
        self.looks.forget(net);
    }

    fn ask(&mut self, Asking { ask, cancel, progress }: &Asking) -> Result<Looked, Failure> {
        let given = self.nets.given(std::slice::from_ref(&ask.net), &*self.store);
        let net = given.net(&ask.net, None).map_err(failure)?;
        let net = net.get::<Sam>().ok_or_else(|| internal(format!("net `{}` takes no clicks", ask.net)))?;
        let picture = Picture { blobs: &self.blobs, digest: digest(&ask.source_sha256)? };
        let step = |done, total| {
            progress(Progress { done, total });
            if cancel.is_cancelled() { Err(StageError::cancelled()) } else { Ok(()) }
        };
        self.looks.ask((&ask.net, &net), &picture, ask.prompt.as_ref(), &step)
    }

    fn trim(&mut self) {
        self.kept = Kept::new(KEPT_BYTES);
    }
}

/// The blob of an input, verified. Lost inputs are told apart from a disk that
/// cannot be read: their stage can run again.
pub fn read_input(blobs: &BlobStore, slot: Slot, digest: Digest) -> Result<Vec<u8>, Failure> {
    blobs.get(digest).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => Failure {
            kind: FailureKind::InputLost,
            message: format!("slot `{}` is lost: {e}", slot.id()),
            hint: "retry: the stage that made it runs again".to_owned(),
        },
        _ => storage(&e),
    })
}

/// Puts outputs into the store, durable, and names them.
pub fn write_outputs(blobs: &BlobStore, encoded: &[(Slot, Vec<u8>)]) -> Result<BTreeMap<String, Output>, Failure> {
    let mut outputs = BTreeMap::new();
    for (slot, bytes) in encoded {
        let blob = blobs.put(bytes).map_err(|e| storage(&e))?;
        outputs.insert(slot.id().to_owned(), Output { sha256: blob.sha256, bytes: blob.bytes });
    }
    Ok(outputs)
}

pub fn slot(id: &str) -> Result<Slot, Failure> {
    Slot::find(id).ok_or_else(|| internal(format!("this worker knows no slot `{id}`")))
}

pub fn digest(sha256: &str) -> Result<Digest, Failure> {
    sha256.parse().map_err(|e| internal(format!("`{sha256}` is {e}")))
}

pub fn failure(error: StageError) -> Failure {
    let kind = match error.kind {
        StageErrorKind::InvalidInput => FailureKind::InvalidInput,
        StageErrorKind::Truncated => FailureKind::Truncated,
        StageErrorKind::Unsupported => FailureKind::Unsupported,
        StageErrorKind::TooLarge => FailureKind::TooLarge,
        StageErrorKind::NoObject => FailureKind::NoObject,
        StageErrorKind::GateFailed => FailureKind::GateFailed,
        StageErrorKind::Cancelled => FailureKind::Cancelled,
        StageErrorKind::Internal => FailureKind::Internal,
    };
    Failure { kind, message: error.message, hint: error.hint }
}

fn storage(error: &io::Error) -> Failure {
    let hint = match error {
        full if durable::is_full(full) => "free some space on the disk of the blob store, then retry",
        _ => "run `meshkiln doctor`",
    };
    let message = format!("the blob store cannot be read or written: {error}");
    Failure { kind: FailureKind::Storage, message, hint: hint.to_owned() }
}

/// The most recently used values, up to a number of bytes.
struct Kept {
    limit: usize,
    bytes: usize,
    /// Least recently used first. Few, so a list is quick enough.
    values: Vec<(Slot, Digest, Value)>,
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, values: Vec::new() }
    }

    fn get(&mut self, slot: Slot, digest: Digest) -> Option<Value> {
        let at = self.values.iter().position(|(s, d, _)| (*s, *d) == (slot, digest))?;
        let found = self.values.remove(at);
        self.values.push(found.clone());
        Some(found.2)
    }

    fn insert(&mut self, slot: Slot, digest: Digest, value: Value) {
        if self.get(slot, digest).is_some() || value.size() > self.limit {
            return;
        }
        self.bytes += value.size();
        self.values.push((slot, digest, value));
        while self.bytes > self.limit {
            let (_, _, oldest) = self.values.remove(0);
            self.bytes -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_value_goes_first_and_oversized_ones_are_not_kept() {
        let value = |n: usize| Value::Bytes(vec![0; n].into());
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Digest::of(name.as_bytes()));
        let mut kept = Kept::new(100);
        kept.insert(Slot::Source, a, value(40));
        kept.insert(Slot::Source, b, value(40));
        assert!(kept.get(Slot::Source, a).is_some());
        assert!(kept.get(Slot::Asset, a).is_none(), "the same bytes mean another value in another slot");
        kept.insert(Slot::Source, c, value(40));
        kept.insert(Slot::Source, d, value(101));
        let found = [a, b, c, d].map(|digest| kept.get(Slot::Source, digest).is_some());
        assert_eq!((found, kept.bytes), ([true, false, true, false], 80));
    }
}
