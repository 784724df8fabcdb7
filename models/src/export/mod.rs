//! Finished files.

pub mod glb;
pub mod ownership;
pub mod png_record;
pub mod provenance;
