//! `meshkilnd`: owns threads, time, files, processes and policy.
//!
//! ```text
//!   rpc, watch --Event--> main_loop: State::handle(event, now) --Effect--> store, worker, deliver, hub
//! ```
//!
//! The loop is the only writer of jobs. Reads (`job.list`, `status`) come from
//! the store's reader and the published `View`, and never wait for the loop.

pub mod serve;

pub mod main_loop;

pub mod catalogue;
pub mod jobs;
pub mod residency;
pub mod scheduler;
pub mod state;

pub mod events;
pub mod rpc;

pub mod collect;
pub mod deliver;
pub mod doctor;
pub mod durable;
pub mod home;
pub mod logging;
pub mod outside;
pub mod pulls;
pub mod recipes;
pub mod settings;
#[cfg(test)]
mod small_disk;
pub mod store;
pub mod system;
pub mod viewer;
pub mod watch;
pub mod worker;
