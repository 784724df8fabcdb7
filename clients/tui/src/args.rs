//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::error::EXIT_CODES;

/// Turns images into game-ready 3D assets, on your own machine.
///
/// The daemon is started when a command needs it and goes on running; `meshkiln
/// down` stops it.
#[derive(Debug, Parser)]
#[command(name = "meshkiln", version, after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    /// Print JSON: an object with a named list or the named thing.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn images into assets, and meshes into better ones.
    Fire(Fire),
    /// Make an asset again with other settings; what did not change is not computed again.
    Refire(Refire),
    /// Say what is good and what is wrong with a mesh, in numbers.
    Analyze(Analyze),
    /// Hold one mesh against another: distances, F-score, normals, silhouettes.
    Compare(Compare),
    /// Folders in which every new image is fired.
    #[command(subcommand)]
    Watch(Watch),
    /// List jobs, newest first.
    Jobs(Jobs),
    /// Show or change one job.
    Job(Job),
    /// List finished assets, newest first.
    Assets(Assets),
    /// List recipes, or show one in full.
    Recipes {
        /// Show this recipe.
        name: Option<String>,
    },
    /// List what can be done to an asset, with every parameter.
    Stages {
        /// Show only this stage.
        id: Option<String>,
    },
    /// Stop starting jobs; what runs is finished.
    Pause,
    /// Start jobs again.
    Resume,
    /// What the daemon is doing.
    Status,
    /// Look for what commonly goes wrong, and say the fix.
    Doctor,
    /// Start the daemon, unless it is running.
    Up,
    /// Stop the daemon. Queued jobs are kept.
    Down {
        /// Do not wait for the running stage.
        #[arg(long)]
        now: bool,
    },
    /// Show the daemon's log.
    Log {
        /// Lines from the end.
        #[arg(short = 'n', long, default_value_t = 40)]
        lines: usize,
        /// Go on as it grows.
        #[arg(short, long)]
        follow: bool,
    },
    /// Print completions for a shell.
    Completions { shell: Shell },
}

#[derive(Debug, clap::Args)]
pub struct Fire {
    /// Image files, or mesh files (GLB, glTF, OBJ, PLY, STL).
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub images: Vec<PathBuf>,
    /// File for one image, folder for several; beside each image unless given.
    #[arg(short, long, value_hint = ValueHint::AnyPath)]
    pub out: Option<PathBuf>,
    /// Recipe: `meshkiln recipes` lists them.
    #[arg(short, long)]
    pub recipe: Option<String>,
    #[command(flatten)]
    pub how: How,
}

#[derive(Debug, clap::Args)]
pub struct Refire {
    /// Job number, finished file, or source image.
    pub asset: String,
    /// Where to put it; over the old one unless given.
    #[arg(short, long, value_hint = ValueHint::AnyPath)]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub how: How,
}

#[derive(Debug, clap::Args)]
pub struct Analyze {
    /// Mesh file: GLB, glTF, OBJ, PLY or STL.
    #[arg(value_hint = ValueHint::FilePath)]
    pub mesh: PathBuf,
    /// Change a setting, for example load.axes=z-up; repeatable.
    #[arg(short, long = "set", value_name = "STAGE.PARAM=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct Compare {
    /// Mesh file: GLB, glTF, OBJ, PLY or STL.
    #[arg(value_hint = ValueHint::FilePath)]
    pub mesh: PathBuf,
    /// The mesh it is held against.
    #[arg(value_hint = ValueHint::FilePath)]
    pub against: PathBuf,
    /// Change a setting, for example compare.samples=100000; repeatable.
    #[arg(short, long = "set", value_name = "STAGE.PARAM=VALUE")]
    pub set: Vec<String>,
}

/// Common to `fire` and `refire`.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Change a setting, for example simplify.triangles=2000; repeatable.
    #[arg(short, long = "set", value_name = "STAGE.PARAM=VALUE")]
    pub set: Vec<String>,
    /// Whenever there is time, after everything else.
    #[arg(long)]
    pub batch: bool,
    /// Do not wait for the result.
    #[arg(short, long)]
    pub detach: bool,
}

#[derive(Debug, Subcommand)]
pub enum Watch {
    /// Watch a folder.
    Add {
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// Recipe for what lands there.
        #[arg(short, long)]
        recipe: Option<String>,
        /// Folder for finished files; beside the images unless given.
        #[arg(short, long, value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
        /// Sub-folders too.
        #[arg(short = 'R', long)]
        recursive: bool,
    },
    /// List watched folders.
    List,
    /// Stop watching a folder. Files stay.
    Remove {
        /// Folder or number.
        watch: String,
    },
    /// Compare with the disk now; all folders unless one is given.
    Rescan {
        /// Folder or number.
        watch: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub struct Jobs {
    /// Only these states: queued, paused, running, done, failed, cancelled, dead.
    #[arg(short, long = "state", value_delimiter = ',', value_parser = crate::commands::jobs::parse_state)]
    pub states: Vec<meshkiln_protocol::job::JobState>,
    /// How many.
    #[arg(short = 'n', long, default_value_t = 20)]
    pub limit: u32,
    /// Forget ended jobs (of these states) instead of listing.
    #[arg(long)]
    pub clear: bool,
}

#[derive(Debug, clap::Args)]
pub struct Job {
    pub id: u64,
    #[command(subcommand)]
    pub what: Option<JobWhat>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum JobWhat {
    /// Stop it.
    Cancel,
    /// Queue it again after it failed or was cancelled.
    Retry,
    /// Hold it back while it is queued.
    Pause,
    /// Let it go on.
    Resume,
    /// What happened to it.
    Log,
    /// Wait until it has ended, showing its progress.
    Wait,
}

#[derive(Debug, clap::Args)]
pub struct Assets {
    /// How many.
    #[arg(short = 'n', long, default_value_t = 20)]
    pub limit: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn settings_repeat_and_json_goes_anywhere() {
        let args = Args::parse_from(["meshkiln", "fire", "a.png", "b.png", "-s", "x.y=1", "--set", "x.z=2", "--json"]);
        assert!(args.json);
        let Command::Fire(fire) = args.command else { panic!("not fire") };
        assert_eq!(fire.images.len(), 2);
        assert_eq!(fire.how.set, ["x.y=1", "x.z=2"]);
    }
}
