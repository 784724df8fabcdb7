//! Finished files.

pub mod provenance;
