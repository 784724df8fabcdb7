//! Networks of a user beside the catalogue: a folder `ID` among the weights with a manifest,
//! `net.toml`, and the files it names.
//!
//! ```toml
//! kind = "triposr"               # what runs it: a network of the catalogue, here with weights of one's own
//! doc = "Our barrels."           # for lists
//! license = "CC-BY-4.0"          # of the weights
//! weights = "model.safetensors"  # or a checkpoint; `model.safetensors` or `model.ckpt` unless given
//! config = "config.yaml"         # `config.yaml` where it is there unless given
//! ```
//!
//! A TorchScript module says besides what it takes and makes, see `signature.rs`.
//!
//! `taken` keeps a record of what was read: sizes, times and sums. A file that is not as recorded
//! is not loaded until it was taken in again, so that results never stand for other weights.

mod manifest;
pub mod signature;
pub mod taken;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use self::signature::Signature;
use super::catalogue::{self, Runs};

/// Name of the manifest.
pub const MANIFEST: &str = "net.toml";

/// Why torchscript nets are not run where the feature is left out.
pub const NO_TORCHSCRIPT: (&str, &str) = (
    "this meshkilnd was built without torchscript",
    "build it with `cargo build --release --features meshkilnd/torchscript`",
);

/// A network as its manifest says. Whether its files are sound is found out when they are taken in.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// Name of the folder: a-z, 0-9 and `-`.
    pub id: String,
    pub folder: PathBuf,
    pub doc: String,
    /// As stated by the user.
    pub license: Option<String>,
    pub kind: Kind,
    /// Names below the folder.
    pub weights: String,
    pub config: Option<String>,
}

/// What runs it.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The network of the catalogue that is called so, with other weights.
    BuiltIn {
        net: &'static str,
        runs: Runs,
    },
    TorchScript(Signature),
}

/// A folder that says it is a network, and is none that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Name of the folder.
    pub id: String,
    /// What is wrong, with file, line and column.
    pub message: String,
    pub hint: String,
}

impl Own {
    /// As it is written in the manifest.
    pub fn kind_id(&self) -> &'static str {
        match self.kind {
            Kind::BuiltIn { net, .. } => net,
            Kind::TorchScript(_) => "torchscript",
        }
    }

    /// The engine that runs it.
    pub fn runs(&self) -> Runs {
        match &self.kind {
            Kind::BuiltIn { runs, .. } => *runs,
            Kind::TorchScript(signature) => Runs { stage: signature.stage, engine: "torchscript" },
        }
    }

    /// Files that results depend on: weights, then the configuration.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.weights.as_str()).chain(self.config.as_deref())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Whether a network may be called so.
pub fn is_id(id: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    id.len() <= 64 && id.split('-').all(is_part)
}

/// All below `root`, the folder of all weights, by name, and what is wrong with the others.
pub fn list(root: &Path) -> (Vec<Own>, Vec<Problem>) {
    // Without the folder there are none.
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut ids: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.retain(|id| root.join(id).join(MANIFEST).is_file());
    ids.sort_unstable();
    let (mut nets, mut problems) = (Vec::new(), Vec::new());
    for id in ids {
        match open(&id, root) {
            Ok(own) => nets.push(own),
            Err(problem) => problems.push(problem),
        }
    }
    (nets, problems)
}

/// The network `id` below `root`; `None` where no folder says that it is one, or the catalogue does.
pub fn find(id: &str, root: &Path) -> Option<Result<Own, Problem>> {
    // No path is made of an id that could leave the folder.
    let is_own = is_id(id) && catalogue::find(id).is_none() && root.join(id).join(MANIFEST).is_file();
    is_own.then(|| open(id, root))
}

fn open(id: &str, root: &Path) -> Result<Own, Problem> {
    let problem = |message: String, hint: &str| Err(Problem { id: id.to_owned(), message, hint: hint.to_owned() });
    let folder = root.join(id);
    if !is_id(id) {
        let message = format!("a network cannot be called `{id}`");
        return problem(message, "rename its folder: a-z, 0-9 and single `-` between them, 64 at most");
    }
    if catalogue::find(id).is_some() {
        let message = format!("`{id}` is a network of the catalogue, and {} says it is one of yours", folder.display());
        return problem(message, "rename the folder of yours");
    }
    let own = manifest::read(id, &folder)?;
    match own.kind {
        Kind::TorchScript(_) if !cfg!(feature = "torchscript") => {
            problem(NO_TORCHSCRIPT.0.to_owned(), NO_TORCHSCRIPT.1)
        }
        _ => Ok(own),
    }
}

#[cfg(test)]
mod tests;
