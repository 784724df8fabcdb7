//! Recipes and the stage table, as clients see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecipeList {
    pub recipes: Vec<RecipeInfo>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecipeInfo {
    pub name: String,
    pub doc: String,
    /// Path of the user's file; absent when built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub stages: Vec<String>,
    /// What is wrong with the user's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<RecipeProblem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeGetParams {
    /// The recipe for pictures unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Changes to it: `stage.param=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecipeText {
    pub name: String,
    /// TOML as written.
    pub text: String,
    /// Every stage with its engine and every setting.
    pub plan: Json,
    /// Nets that would be used if their weights were here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_nets: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeValidateParams {
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecipeVerdict {
    /// Absent when the recipe is sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<RecipeProblem>,
    /// Present when the recipe is sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Json>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecipeProblem {
    pub message: String,
    pub hint: String,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageList {
    pub stages: Vec<StageInfo>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageInfo {
    pub id: String,
    pub doc: String,
    pub reads: Vec<String>,
    /// Read as well where an earlier stage of the recipe wrote them.
    pub may_read: Vec<String>,
    pub writes: Vec<String>,
    /// Written when there is something to write.
    pub may_write: Vec<String>,
    pub engines: Vec<EngineInfo>,
    /// Common to all engines.
    pub params: Vec<ParamInfo>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInfo {
    pub id: String,
    pub doc: String,
    /// Network it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<String>,
    /// Only this engine has them.
    pub params: Vec<ParamInfo>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParamInfo {
    pub id: String,
    pub doc: String,
    pub unit: String,
    pub default: Json,
    #[serde(flatten)]
    pub kind: ParamKindInfo,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ParamKindInfo {
    Int {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    Flag,
    Choice {
        options: Vec<String>,
    },
    /// Text; `form` says in words what may be written.
    Text {
        form: String,
    },
}
