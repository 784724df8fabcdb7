//! Finished files: what they are written from (content.rs), for whom (preset.rs),
//! in which formats, and how to tell that one is ours (ownership.rs).

pub mod content;
pub mod format;
pub mod glb;
pub mod ownership;
pub mod png_record;
pub mod preset;
pub mod provenance;
mod seal;
pub mod texture;
