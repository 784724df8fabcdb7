//! Whole-system tests: real daemon, real workers, real files.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod cancel;
mod clicks;
mod commands;
mod corpus;
mod full_disk;
mod kill_loop;
mod meshes;
mod names;
mod nets;
mod poison;
mod repo;
mod restart;
mod resume;
mod single;
#[cfg(unix)]
mod terminal;
mod view;
mod watched;
mod workers;
