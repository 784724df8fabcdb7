//! The catalogue of networks as far as it is on this machine, and those of the user beside it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use meshkiln_models::{
    recipe::{Networks, RecipeError, unknown},
    stage::{Engine, Stage},
    weights::{
        catalogue::{self, NETS, Runs},
        fetch,
        own::{self, Own, Problem},
    },
};

use super::{Catalogue, NetRow};

/// What is in the folder of all weights. Looked at when it is opened and after each change that
/// goes through it, so that questions are answered from memory. Networks of the user are those
/// that were there when it was opened.
#[derive(Debug)]
pub struct Installed {
    root: PathBuf,
    /// By id.
    own: Vec<Own>,
    problems: Vec<Problem>,
    /// SHA-256 of the files as they were published, by net whose weights are here.
    here: RwLock<BTreeMap<String, Vec<String>>>,
}

impl Installed {
    pub fn open(root: &Path) -> Installed {
        let (own, problems) = own::list(root);
        let installed = Installed { root: root.to_owned(), own, problems, here: RwLock::default() };
        let ids = NETS.iter().map(|net| net.id).chain(installed.own.iter().map(|own| own.id.as_str()));
        ids.for_each(|id| installed.look(id));
        installed
    }

    /// Folder of all weights.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Networks of the user.
    pub fn own(&self) -> &[Own] {
        &self.own
    }

    pub fn find_own(&self, net: &str) -> Option<&Own> {
        self.own.iter().find(|own| own.id == net)
    }

    /// Folders that say they are networks and are none that can be used.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Why `net` cannot be used, where that is a folder of the user and nothing of the catalogue.
    pub fn problem(&self, net: &str) -> Option<&Problem> {
        self.problems.iter().find(|problem| problem.id == net && catalogue::find(net).is_none())
    }

    /// The files of `net` have changed.
    pub fn look(&self, net: &str) {
        let found = match (self.find_own(net), catalogue::find(net)) {
            (Some(own), _) => own.ready().map(|ready| ready.sha256),
            (None, Some(net)) => fetch::installed(net, &self.root)
                .map(|installed| installed.files.into_iter().map(|file| file.sha256).collect()),
            (None, None) => return,
        };
        let mut here = self.here.write().unwrap_or_else(PoisonError::into_inner);
        match found {
            Some(sha256) => here.insert(net.to_owned(), sha256),
            None => here.remove(net),
        };
    }

    /// What a net does, `stage` if it can; `None` where there is no such net.
    fn runs(&self, net: &str, stage: &str) -> Option<Runs> {
        let of_catalogue = || {
            let engines = catalogue::find(net)?.engines;
            engines.iter().find(|runs| runs.stage == stage).or(engines.first()).copied()
        };
        self.find_own(net).map(Own::runs).or_else(of_catalogue)
    }

    /// Ids of the nets that somebody may name for `stage` and one of its engines.
    pub fn fitting(&self, stage: &str, engine: &str) -> Vec<String> {
        let fits = |id: &&str| self.runs(id, stage).is_some_and(|runs| (runs.stage, runs.engine) == (stage, engine));
        self.ids().filter(fits).map(str::to_owned).collect()
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        NETS.iter().map(|net| net.id).chain(self.own.iter().map(|own| own.id.as_str()))
    }
}

impl Catalogue for Installed {
    fn nets(&self) -> Vec<NetRow> {
        // Weights once as they lie in the file, and as much again to work in.
        let of_catalogue = NETS.iter().map(|net| NetRow {
            id: net.id.into(),
            doc: net.doc.to_owned(),
            declared_bytes: 2 * net.known_bytes(),
        });
        let of_user = self.own.iter().map(|own| NetRow {
            id: own.id.as_str().into(),
            doc: own.doc.clone(),
            declared_bytes: 2 * own.bytes(),
        });
        of_catalogue.chain(of_user).collect()
    }

    fn is_here(&self, net: &str) -> bool {
        self.here.read().unwrap_or_else(PoisonError::into_inner).contains_key(net)
    }

    fn weights(&self, net: &str) -> Vec<String> {
        self.here.read().unwrap_or_else(PoisonError::into_inner).get(net).cloned().unwrap_or_default()
    }

    fn license(&self, net: &str) -> Option<String> {
        let of_catalogue = || catalogue::find(net).map(|net| net.license.id.to_owned());
        self.find_own(net).map_or_else(of_catalogue, |own| own.license.clone())
    }

    fn remove(&self, net: &str) -> io::Result<()> {
        let found = catalogue::find(net).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let removed = fetch::remove(found, &self.root).map_err(|e| io::Error::other(e.to_string()));
        self.look(net);
        removed
    }
}

/// What plans are made with: the nets that the daemon decides about, and what is installed.
pub struct Known {
    pub catalogue: Arc<dyn Catalogue>,
    pub installed: Arc<Installed>,
}

impl Networks for Known {
    fn is_here(&self, net: &str) -> bool {
        self.catalogue.is_here(net)
    }

    fn engine(
        &self,
        net: &str,
        stage: &'static Stage,
        _: Option<&'static Engine>,
    ) -> Result<&'static Engine, RecipeError> {
        let installed = &self.installed;
        let wrong = |message: String, hint: String| Err(RecipeError { message, hint, at: None });
        if let Some(problem) = installed.problem(net) {
            return wrong(format!("network `{net}` cannot be used: {}", problem.message), problem.hint.clone());
        }
        let Some(runs) = installed.runs(net, stage.id) else {
            return Err(unknown("network", net, installed.ids()));
        };
        let Some(engine) = stage.engine(runs.engine).filter(|_| runs.stage == stage.id) else {
            let message = format!("network `{net}` is for {}, not for {}", runs.stage, stage.id);
            return wrong(message, format!("name it there: {}.net={net}", runs.stage));
        };
        if installed.find_own(net).is_some() && !self.is_here(net) {
            return wrong(
                format!("the files of network `{net}` have not been read yet"),
                format!("`meshkiln pull {net}` reads them, and waits until that is done"),
            );
        }
        Ok(engine)
    }
}
