//! The server as a client, or an attacker, meets it: real sockets, a queue in
//! memory behind.

mod support;

mod auth;
mod blobs;
mod calls;
mod events;
mod fuzz;
mod gate;
mod jobs;
