//! Finished files: what they are written from (content.rs), for whom (preset.rs),
//! in which formats (format.rs, file.rs), and how to tell that one is ours
//! (ownership.rs).
//!
//! `file::write` and `file::read` are the way in; each format has a file of its own.

pub mod archive;
pub mod content;
pub mod file;
#[cfg(test)]
mod file_tests;
pub mod format;
pub mod glb;
pub mod obj;
pub mod ownership;
pub mod ply;
pub mod png_record;
pub mod preset;
pub mod provenance;
mod seal;
pub mod stl;
pub mod texture;

pub use self::file::{Options, read, with_report, write};
