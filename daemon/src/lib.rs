//! `meshkilnd`: owns threads, time, files, processes and policy.
//!
//! ```text
//!   rpc, watch --Event--> main_loop: State::handle(event, now) --Effect--> store, worker, deliver, hub
//! ```
//!
//! The loop is the only writer of jobs. Reads (`job.list`, `status`) come from
//! the store's reader and the published `View`, and never wait for the loop.

pub mod deliver;
pub mod durable;
pub mod main_loop;
#[cfg(test)]
mod small_disk;
pub mod store;
pub mod watch;
pub mod worker;
