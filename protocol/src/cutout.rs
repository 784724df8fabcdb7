//! Cutting out by pointing: a picture is opened once, then each click is answered at once.
//!
//! A session is nothing that is kept: when it is over, its picture is opened again. What was
//! pointed at is made into an asset by firing a job with the settings that each answer gives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::SourceParams;

/// Unique within the daemon's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CutoutId(pub u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutoutOpenParams {
    /// The picture.
    pub source: SourceParams,
    /// An engine of `cutout` that takes points; the first whose weights are here unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// A network of the user's own in place of the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CutoutSession {
    pub session: CutoutId,
    pub engine: String,
    pub net: String,
    /// Of the picture as clicks count it, upright, in pixels.
    pub width: u32,
    pub height: u32,
    /// It is over when nothing is asked of it for so long.
    pub expires_in_ms: u64,
    /// Opening it took so long.
    pub elapsed_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutoutClickParams {
    pub session: CutoutId,
    /// All points so far, not the newest alone; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<CutoutPoint>,
    /// A rectangle around the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<CutoutFrame>,
}

/// A place in pixels from the picture's top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutoutPoint {
    pub x: f32,
    pub y: f32,
    /// `false`: on what is not to be part of the cutout.
    #[serde(default = "yes")]
    pub object: bool,
}

fn yes() -> bool {
    true
}

/// Edges in pixels from the picture's top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutoutFrame {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CutoutMasks {
    /// Best first; three for a single point, which may mean a part or the whole, else one.
    pub masks: Vec<CutoutMask>,
    /// Of the masks: the picture's, or less where its longer side is more than 1024 pixels.
    pub width: u32,
    pub height: u32,
    /// Settings that cut the best one out at full size: `set` of `job.submit`.
    pub set: Vec<String>,
    /// The picture had to be looked at again: its network had gone from memory.
    pub embedded: bool,
    /// The answer took so long, loading and waiting included.
    pub elapsed_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CutoutMask {
    /// A PNG in grey, in base64: white on the object, black elsewhere.
    pub png_base64: String,
    /// Overlap with the true mask over their union, as the network expects it.
    pub iou: f32,
    /// Share of the picture that is object, 0 to 1.
    pub share: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutoutCloseParams {
    pub session: CutoutId,
}
