//! Finished assets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    Sha256, UnixMs,
    job::{AssetRef, JobId},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// The job that made it.
    pub id: JobId,
    pub name: String,
    pub recipe: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_path: Option<String>,
    pub source_sha256: Sha256,
    /// Where the finished file was put, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The finished file as a blob.
    pub sha256: Sha256,
    pub bytes: u64,
    /// A PNG of it, as a blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_sha256: Option<Sha256>,
    /// What the gate measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Json>,
    /// Every setting it was made with, as in `recipe.get`; only in the answer to `asset.get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Json>,
    pub created_ms: UnixMs,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetGetParams {
    pub asset: AssetRef,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetListParams {
    /// Only assets with a smaller id: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<JobId>,
    /// 1 to 500; 50 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssetPage {
    pub assets: Vec<Asset>,
    /// Pass as `before` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<JobId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetViewParams {
    /// The job that made it.
    pub id: JobId,
    /// Degrees the camera stands to the right of the asset's front; 30 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yaw_deg: Option<f32>,
    /// Degrees the camera looks down, -80 to 80; 14 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pitch_deg: Option<f32>,
    /// How many times larger than just fitting, 1 to 16; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zoom: Option<f32>,
    /// Width and height of the picture, 16 to 768 pixels; 512 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    #[serde(default)]
    pub mode: ViewMode,
}

/// What the surface of an asset shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ViewMode {
    /// Materials in a studio's light.
    #[default]
    Shaded,
    /// Edges of the triangles on clay.
    Wireframe,
    /// Normals seen from the camera: red to the right, green up, blue to the viewer.
    Normals,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssetView {
    /// A PNG with alpha, in base64.
    pub png_base64: String,
}
