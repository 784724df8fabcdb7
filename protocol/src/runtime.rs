//! Where the daemon's folders are, and `daemon.json`, by which a client finds it.
//! Both sides must agree on this; nothing here opens a file.

use std::{env, path::PathBuf};

use directories::ProjectDirs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Written with mode 0600 into the runtime folder once the daemon serves,
/// removed when it stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuntimeFile {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Sent as `Authorization: Bearer TOKEN` with every request.
    pub token: String,
    pub pid: u32,
    pub version: String,
}

/// Name of the file in the runtime folder.
pub const RUNTIME_FILE: &str = "daemon.json";

/// Environment variable that moves every folder under one.
pub const HOME_VARIABLE: &str = "MESHKILN_HOME";

/// Exit code of a daemon that finds another one serving the same state folder.
pub const EXIT_ALREADY_RUNNING: i32 = 3;

/// Folders of one daemon. With `MESHKILN_HOME` set all of them lie under it.
#[derive(Debug, Clone, PartialEq)]
pub struct Folders {
    /// Recipes and settings the user writes.
    pub config: PathBuf,
    /// The queue and the log.
    pub state: PathBuf,
    /// Blobs and weights: everything in it can be made or fetched again.
    pub cache: PathBuf,
    /// `daemon.json` and the lock.
    pub runtime: PathBuf,
}

impl Folders {
    /// `None` when the user has no home folder.
    pub fn from_env() -> Option<Folders> {
        match env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty()) {
            Some(home) => {
                let home = std::path::absolute(home).ok()?;
                Some(Folders {
                    config: home.join("config"),
                    state: home.join("state"),
                    cache: home.join("cache"),
                    runtime: home.join("runtime"),
                })
            }
            None => {
                let dirs = ProjectDirs::from("", "", "meshkiln")?;
                let state = dirs.state_dir().unwrap_or(dirs.data_local_dir()).to_owned();
                Some(Folders {
                    config: dirs.config_dir().to_owned(),
                    cache: dirs.cache_dir().to_owned(),
                    runtime: dirs.runtime_dir().map_or_else(|| state.join("runtime"), PathBuf::from),
                    state,
                })
            }
        }
    }

    pub fn log_file(&self) -> PathBuf {
        self.state.join("log").join("meshkilnd.log")
    }

    /// Weights of networks, a folder each.
    pub fn nets(&self) -> PathBuf {
        self.cache.join("nets")
    }

    pub fn runtime_file(&self) -> PathBuf {
        self.runtime.join(RUNTIME_FILE)
    }
}
