//! Whole-system tests: real daemon, real workers, real files.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod commands;
mod corpus;
mod kill_loop;
mod repo;
