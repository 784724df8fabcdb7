//! `meshkilnd`: the daemon, and its worker processes.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

#[derive(Parser)]
#[command(name = "meshkilnd", version)]
enum Program {
    /// Run stages for a daemon, over stdin and stdout.
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        device: String,
        #[arg(long)]
        blobs: PathBuf,
    },
}

fn main() -> ExitCode {
    match Program::parse() {
        Program::Worker { device, blobs } => meshkilnd::worker::child::main(&device, &blobs),
    }
}
