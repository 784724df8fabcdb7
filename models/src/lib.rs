//! Pixels in, geometry out: what Meshkiln can do to an asset in the making.
//!
//! `STAGES` (stage.rs) is the table of contents. A recipe (recipe.rs) orders
//! stages; each reads and writes slots (slot.rs) through its `StageCx` (cx.rs).
//! Nothing here knows about time, files outside the arguments, RPC or jobs.

pub mod cx;
pub mod error;
pub mod export;
pub mod field;
pub mod image;
pub mod import;
pub mod mesh;
pub mod nets;
pub mod recipe;
pub mod run;
pub mod slot;
pub mod stage;
pub mod stages;
pub mod weights;

pub use error::{StageError, StageErrorKind};
