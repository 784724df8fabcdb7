//! The catalogue of networks as far as it is on this machine.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use meshkiln_models::weights::{
    catalogue::{self, NETS},
    fetch,
};

use super::{Catalogue, NetRow};

/// What is in the folder of all weights. Looked at when it is opened and after each change that
/// goes through it, so that questions are answered from memory.
#[derive(Debug)]
pub struct Installed {
    root: PathBuf,
    /// SHA-256 of the published files, by net whose weights are here.
    here: RwLock<BTreeMap<&'static str, Vec<String>>>,
}

impl Installed {
    pub fn open(root: &Path) -> Installed {
        let installed = Installed { root: root.to_owned(), here: RwLock::default() };
        NETS.iter().for_each(|net| installed.look(net.id));
        installed
    }

    /// Folder of all weights.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The files of `net` have changed.
    pub fn look(&self, net: &str) {
        let Some(net) = catalogue::find(net) else { return };
        let found = fetch::installed(net, &self.root);
        let mut here = self.here.write().unwrap_or_else(PoisonError::into_inner);
        match found {
            Some(installed) => here.insert(net.id, installed.files.into_iter().map(|file| file.sha256).collect()),
            None => here.remove(net.id),
        };
    }
}

impl Catalogue for Installed {
    fn nets(&self) -> Vec<NetRow> {
        // Weights once as they lie in the file, and as much again to work in.
        let row = |net: &catalogue::Net| NetRow {
            id: net.id.into(),
            doc: net.doc.to_owned(),
            declared_bytes: 2 * net.known_bytes(),
        };
        NETS.iter().map(row).collect()
    }

    fn is_here(&self, net: &str) -> bool {
        self.here.read().unwrap_or_else(PoisonError::into_inner).contains_key(net)
    }

    fn weights(&self, net: &str) -> Vec<String> {
        self.here.read().unwrap_or_else(PoisonError::into_inner).get(net).cloned().unwrap_or_default()
    }

    fn remove(&self, net: &str) -> io::Result<()> {
        let found = catalogue::find(net).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let removed = fetch::remove(found, &self.root).map_err(|e| io::Error::other(e.to_string()));
        self.look(net);
        removed
    }
}
