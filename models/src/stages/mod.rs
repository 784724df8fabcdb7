//! One file per stage; `STAGES` in stage.rs lists them in order.

pub mod analyze;
pub mod bake;
pub mod check;
pub mod clean;
pub mod collider;
pub mod compare;
pub mod cutout;
pub mod decode;
pub mod depth;
pub mod export;
pub mod export_image;
pub mod load;
pub mod lods;
pub mod preview;
pub mod quality;
pub mod reconstruct;
pub mod relief;
pub mod simplify;
pub mod surface;
pub mod texture;
pub mod unwrap;
pub mod upscale;

#[cfg(test)]
pub mod testing;
