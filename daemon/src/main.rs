//! `meshkilnd`: the daemon, and the processes that work for it.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use meshkilnd::serve::{self, Options};
use tracing_subscriber::filter::LevelFilter;

/// Turns images into game-ready assets, in the background. `meshkiln` starts it
/// when it is needed; it serves one user on this machine alone.
#[derive(Parser)]
#[command(name = "meshkilnd", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    program: Option<Program>,

    /// TCP port on 127.0.0.1; the system chooses one unless given
    #[arg(long, value_name = "N")]
    port: Option<u16>,

    /// Log to stderr too: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log: Option<LevelFilter>,

    /// What runs the stages
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

#[derive(Subcommand)]
enum Program {
    /// Run stages for a daemon, over stdin and stdout.
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        device: String,
        #[arg(long)]
        blobs: PathBuf,
        #[arg(long)]
        nets: PathBuf,
    },
    /// Draw finished assets for a daemon, over stdin and stdout.
    #[command(hide = true)]
    Viewer {
        #[arg(long)]
        blobs: PathBuf,
    },
}

fn main() -> ExitCode {
    let Arguments { program, port, log, device } = Arguments::parse();
    match program {
        Some(Program::Worker { device, blobs, nets }) => meshkilnd::worker::child::main(&device, &blobs, &nets),
        Some(Program::Viewer { blobs }) => meshkilnd::viewer::main(&blobs),
        None => serve::run(&Options { port, log, device }),
    }
}
