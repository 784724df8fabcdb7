//! `meshkiln`: commands for the daemon that turns images into game-ready 3D
//! assets. A thin client: it knows the protocol and nothing else.

mod args;
mod client;
mod commands;
mod error;
mod show;
mod tui;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, error::Failure};

fn main() -> ExitCode {
    let args = Args::parse();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

/// What every command returns.
pub type Outcome = Result<(), Failure>;
