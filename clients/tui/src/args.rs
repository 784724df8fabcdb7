//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use meshkiln_protocol::net::KeepAlive;

use crate::error::EXIT_CODES;

/// Turns images into game-ready 3D assets, on your own machine.
///
/// Without a command: everything on one screen. The daemon is started when it is
/// needed and goes on running; `meshkiln down` stops it.
#[derive(Debug, Parser)]
#[command(name = "meshkiln", version, after_help = EXIT_CODES)]
pub struct Args {
    /// Print JSON: an object with a named list or the named thing.
    #[arg(long, global = true)]
    pub json: bool,

    /// Draw nothing but ASCII on the screen.
    #[arg(long)]
    pub ascii: bool,

    /// How pictures are shown on the screen; by what the terminal can unless given.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Graphics::Auto)]
    pub graphics: Graphics,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Ways of terminals to show pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Graphics {
    Auto,
    Kitty,
    Sixel,
    Iterm2,
    /// Half blocks, or characters in ASCII: works everywhere.
    Cells,
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
    /// List networks: what each is for, what it takes, whether it is here.
    Nets {
        /// Which tools suit this need, built-in ones too.
        #[arg(long = "for", value_name = "NEED", value_parser = ["image", "3d", "texture", "depth", "optimize"])]
        need: Option<String>,
    },
    /// Fetch the weights of a network; resumes where an earlier pull stopped.
    Pull {
        /// As `meshkiln nets` names it.
        net: String,
        /// Take the published files from this folder instead of the hub.
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        from: Option<PathBuf>,
    },
    /// What is in memory, and what it takes.
    Ps,
    /// Load a network now, so that the next job need not wait for it.
    Warm(Warm),
    /// Let a network go from memory, and unpin it.
    Stop {
        /// As `meshkiln ps` names it.
        net: String,
    },
    /// Delete the weights of a network from this machine.
    Rm {
        /// As `meshkiln ps` names it.
        net: String,
    },
    /// Give the device that runs networks to other programs; jobs that need it wait.
    Yield {
        /// Take it back by itself after so long: 90s, 10m, 2h.
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        time: Option<Duration>,
        /// Do not wait for the running stage; its job is queued again.
        #[arg(long)]
        now: bool,
    },
    /// Stop starting jobs; what runs is finished, networks stay in memory.
    Pause,
    /// End a pause of the queue, and take a yielded device back.
    Resume {
        /// Only the one or the other.
        what: Option<Resumed>,
    },
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

#[derive(Debug, clap::Args)]
pub struct Warm {
    /// As `meshkiln ps` names it.
    pub net: String,
    /// How long it stays after its last use, from now on: 0s, 15m, forever.
    #[arg(long, value_name = "TIME", value_parser = keep_alive)]
    pub keep_alive: Option<KeepAlive>,
    /// Never let it go to make room, and load it again when it was lost.
    #[arg(long, conflicts_with = "unpin")]
    pub pin: bool,
    /// The contrary.
    #[arg(long)]
    pub unpin: bool,
    /// Do not wait until it is loaded.
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub enum Resumed {
    /// Start jobs again.
    Queue,
    /// Take the device back.
    Device,
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

#[derive(Debug, Clone, Subcommand)]
pub enum JobWhat {
    /// Stop it.
    Cancel,
    /// Queue it again after it failed or was cancelled.
    Retry,
    /// Hold it back while it is queued.
    Pause,
    /// Let it go on.
    Resume,
    /// Move it, while it waits: interactive jobs go first, then those of watched folders, then batch.
    Class {
        #[arg(value_parser = crate::commands::jobs::parse_class)]
        class: meshkiln_protocol::job::Class,
    },
    /// What happened to it.
    Log,
    /// Save the picture of what it made: a still, or a turn with `preview.turntable`.
    Preview {
        /// Where to put it; NAME-preview in this folder unless given. No file is overwritten.
        #[arg(short, long, value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Wait until it has ended, showing its progress.
    Wait,
}

#[derive(Debug, clap::Args)]
pub struct Assets {
    /// How many.
    #[arg(short = 'n', long, default_value_t = 20)]
    pub limit: u32,
}

/// `500ms`, `90s`, `10m`, `2h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms_each = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("expected a time such as 90s, 10m or 2h, not `{text}`")),
    };
    let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(ms_each));
    ms.map(Duration::from_millis).ok_or_else(|| format!("expected a time such as 90s, 10m or 2h, not `{text}`"))
}

fn keep_alive(text: &str) -> Result<KeepAlive, String> {
    if text == "forever" {
        return Ok(KeepAlive::Forever);
    }
    Ok(KeepAlive::Ms(duration(text).map_err(|e| format!("{e}, or forever"))?.as_millis() as u64))
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
    fn times_are_read_with_their_units() {
        let ms = |text| duration(text).map(|time| time.as_millis());
        assert_eq!(
            [ms("0"), ms("90"), ms("90s"), ms("10m"), ms("2h"), ms("5ms")].map(Result::unwrap),
            [0, 90_000, 90_000, 600_000, 7_200_000, 5]
        );
        for wrong in ["", "m", "-1s", "1.5m", "10 m", "99999999999999999h", "5d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(keep_alive("forever"), Ok(KeepAlive::Forever));
        assert_eq!(keep_alive("0s"), Ok(KeepAlive::Ms(0)));
    }

    #[test]
    fn settings_repeat_and_json_goes_anywhere() {
        let args = Args::parse_from(["meshkiln", "fire", "a.png", "b.png", "-s", "x.y=1", "--set", "x.z=2", "--json"]);
        assert!(args.json);
        let Some(Command::Fire(fire)) = args.command else { panic!("not fire") };
        assert_eq!(fire.images.len(), 2);
        assert_eq!(fire.how.set, ["x.y=1", "x.z=2"]);
    }
}
