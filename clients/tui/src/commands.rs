//! One function a command.

pub mod admin;
pub mod fire;
pub mod follow;
pub mod jobs;
pub mod measure;
pub mod nets;
pub mod pull;
pub mod recipes;
pub mod watch;

use crate::{
    Outcome,
    args::{Args, Command},
};

pub fn run(args: Args) -> Outcome {
    let json = args.json;
    let Some(command) = args.command else { return admin::open(args.ascii, args.graphics) };
    match command {
        Command::Fire(fire) => fire::fire(fire, json),
        Command::Refire(refire) => fire::refire(refire, json),
        Command::Analyze(args) => measure::analyze(args, json),
        Command::Compare(args) => measure::compare(args, json),
        Command::Watch(watch) => watch::run(watch, json),
        Command::Jobs(jobs) => jobs::jobs(jobs, json),
        Command::Job(job) => jobs::job(job, json),
        Command::Assets(assets) => jobs::assets(assets, json),
        Command::Recipes { name } => recipes::recipes(name, json),
        Command::Stages { id } => recipes::stages(id, json),
        Command::Nets { need } => nets::list(need, json),
        Command::Pull { net, from } => pull::pull(net, from, json),
        Command::Ps => nets::ps(json),
        Command::Warm(warm) => nets::warm(warm, json),
        Command::Stop { net } => nets::stop(net, json),
        Command::Rm { net } => nets::remove(net, json),
        Command::Yield { time, now } => nets::give_away(time, now, json),
        Command::Pause => admin::pause(json),
        Command::Resume { what } => nets::resume(what, json),
        Command::Status => admin::status(json),
        Command::Doctor => admin::doctor(json),
        Command::Up => admin::up(json),
        Command::Down { now } => admin::down(now, json),
        Command::Log { lines, follow } => admin::log(lines, follow),
        Command::Completions { shell } => admin::completions(shell),
    }
}
