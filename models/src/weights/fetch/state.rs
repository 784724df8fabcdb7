//! `state.json`: what was verified in the folder of a net.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    super::{Result, WeightsError, convert, save},
    Net, NetFile,
};

const NAME: &str = "state.json";

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Of the repository, that `files` came from.
    #[serde(default)]
    pub revision: String,
    /// Verified files by their published name.
    #[serde(default)]
    pub files: BTreeMap<String, Seen>,
    /// What was made of checkpoints, by the name it is loaded under.
    #[serde(default)]
    pub made: BTreeMap<String, Seen>,
    /// What the first download of a file was whose sum the catalogue does not
    /// know, by `REVISION/NAME`. Outlives the files.
    #[serde(default)]
    pub first_seen: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub bytes: u64,
    pub sha256: String,
}

impl State {
    /// Empty where there is none yet.
    pub fn read(home: &Path) -> Result<Self> {
        let path = home.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(WeightsError::io(path.display(), &error)),
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| WeightsError::Damaged { file: path.display().to_string(), what: error.to_string() })
    }

    pub fn write(&self, home: &Path) -> Result<()> {
        let path = home.join(NAME);
        match serde_json::to_vec_pretty(self) {
            Ok(bytes) => save::write(&path, &bytes),
            Err(error) => Err(WeightsError::Io { file: path.display().to_string(), what: error.to_string() }),
        }
    }

    /// Files of another revision are not the ones that are wanted now.
    pub fn expect_revision(&mut self, revision: &str) {
        if self.revision != revision {
            self.files.clear();
            self.revision = revision.to_owned();
        }
    }

    /// The record of a file that is there in its full length and still the one in the catalogue.
    pub fn here(&self, home: &Path, file: &NetFile) -> Option<&Seen> {
        let seen = self.files.get(file.path)?;
        let is_wanted = file.sha256.is_none_or(|sha256| sha256 == seen.sha256);
        (is_wanted && len(&home.join(file.path)) == Some(seen.bytes)).then_some(seen)
    }

    /// Whether what was made of a checkpoint that is here is there in its full
    /// length, and made of just this one.
    pub fn is_made(&self, home: &Path, file: &NetFile, checkpoint: &Seen) -> bool {
        let (name, path) = (file.loaded_as(), home.join(file.loaded_as()));
        self.made.get(&name).is_some_and(|made| len(&path) == Some(made.bytes))
            && convert::is_current(&path, &checkpoint.sha256)
    }

    pub fn first_seen(&self, net: &Net, file: &NetFile) -> Option<&Seen> {
        self.first_seen.get(&key(net, file))
    }

    /// Notes a verified file; the first one counts where the catalogue knows no sum.
    pub fn record(&mut self, net: &Net, file: &NetFile, seen: Seen) {
        if file.sha256.is_none() {
            self.first_seen.entry(key(net, file)).or_insert_with(|| seen.clone());
        }
        self.files.insert(file.path.to_owned(), seen);
    }
}

fn len(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.len())
}

fn key(net: &Net, file: &NetFile) -> String {
    format!("{}/{}", net.revision_or_main(), file.path)
}
