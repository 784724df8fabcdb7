//! The server as a client, or an attacker, meets it: real sockets, a queue in
//! memory behind.

#![allow(clippy::unwrap_used)] // all of it is test

mod support;
mod wire;

mod auth;
mod blobs;
mod calls;
mod events;
mod fuzz;
mod gate;
mod jobs;
