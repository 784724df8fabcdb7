//! The stage table: everything that can be done to an asset in the making.
//!
//! One table, many readers: the runner, the scheduler, cache keys, validation
//! of recipes and settings, `stage.list`, the clients' forms and the docs.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::{
    cx::StageCx,
    error::StageError,
    slot::{Asset, Slot, Value},
    stages,
    weights::own,
};

/// Complete, checked settings of one stage: every parameter of the stage and of
/// its engine, by id. Sorted, hence canonical when serialised.
pub type Settings = BTreeMap<String, Json>;

pub struct Stage {
    pub id: &'static str,
    /// Part of the cache key: raise it whenever equal inputs give other outputs.
    pub version: u32,
    pub doc: &'static str,
    pub reads: &'static [Slot],
    /// Read as well where an earlier stage of the recipe wrote them.
    pub may_read: &'static [Slot],
    pub writes: &'static [Slot],
    /// Written when there is something to write.
    pub may_write: &'static [Slot],
    /// First one is the default among those whose weights are here.
    pub engines: &'static [Engine],
    /// Parameters common to all engines.
    pub params: &'static [Param],
    pub run: fn(&StageCx, &mut Asset) -> Result<(), StageError>,
}

/// One way to do a stage.
pub struct Engine {
    pub id: &'static str,
    pub doc: &'static str,
    /// Network it needs, `None` for built-in engines, which run on the CPU worker, and for those
    /// that run networks of the user alone.
    pub net: Option<&'static str>,
    /// Parameters only this engine has.
    pub params: &'static [Param],
}

impl Engine {
    /// It runs networks that a user names, too.
    pub fn takes_nets(&self) -> bool {
        self.params.iter().any(|param| matches!(param.kind, ParamKind::Net { .. }))
    }

    /// It does nothing until a user names a network.
    pub fn takes_only_own(&self) -> bool {
        self.net.is_none() && self.takes_nets()
    }
}

pub struct Param {
    pub id: &'static str,
    pub doc: &'static str,
    /// `""` when the value has no unit.
    pub unit: &'static str,
    pub kind: ParamKind,
}

pub enum ParamKind {
    Int {
        default: i64,
        min: i64,
        max: i64,
    },
    Float {
        default: f64,
        min: f64,
        max: f64,
    },
    Flag {
        default: bool,
    },
    Choice {
        default: &'static str,
        options: &'static [&'static str],
    },
    /// Text of a form of its own.
    Text {
        default: &'static str,
        /// What may be written, in words.
        form: &'static str,
        /// Gives it in canonical form, or says what is wrong with it.
        read: fn(&str) -> Result<String, String>,
    },
    /// Id of a network that the engine can run. `default` is the engine's own, empty where it
    /// runs those of the user alone.
    Net {
        default: &'static str,
    },
}

/// Id of parameters of kind `Net`.
pub const NET: &str = "net";

/// For engines that run networks of a user beside the one of the catalogue, `default`.
pub const fn net_param(default: &'static str) -> Param {
    Param {
        id: NET,
        doc: "Network that does it: the one of the engine, or one of your own.",
        unit: "",
        kind: ParamKind::Net { default },
    }
}

/// Everything that can be done to an asset in the making, in the order in which
/// the built-in recipes do it.
pub static STAGES: &[Stage] = &[
    stages::decode::STAGE,
    stages::load::STAGE,
    stages::cutout::STAGE,
    stages::upscale::STAGE,
    stages::depth::STAGE,
    stages::reconstruct::STAGE,
    stages::relief::STAGE,
    stages::surface::STAGE,
    stages::clean::STAGE,
    stages::simplify::STAGE,
    stages::unwrap::STAGE,
    stages::bake::STAGE,
    stages::texture::STAGE,
    stages::lods::STAGE,
    stages::collider::STAGE,
    stages::export::STAGE,
    stages::export_image::STAGE,
    stages::check::STAGE,
    stages::analyze::STAGE,
    stages::compare::STAGE,
    stages::preview::STAGE,
];

pub fn find(id: &str) -> Option<&'static Stage> {
    STAGES.iter().find(|stage| stage.id == id)
}

impl Stage {
    /// Every slot the stage sees where it is there: those it needs, then those it can do without.
    pub fn sees(&self) -> impl Iterator<Item = Slot> {
        self.reads.iter().chain(self.may_read).copied()
    }

    pub fn engine(&self, id: &str) -> Option<&'static Engine> {
        self.engines.iter().find(|engine| engine.id == id)
    }

    /// Every slot that is there after the stage because of it: those it must
    /// write, then those it has written.
    pub fn outputs<'a>(&self, after: &'a Asset) -> impl Iterator<Item = (Slot, Option<&'a Value>)> {
        let more = self.may_write.iter().filter(|slot| after.is_written(**slot));
        self.writes.iter().chain(more).map(|&slot| (slot, after.get(slot)))
    }

    /// Parameters that apply when `engine` does this stage.
    pub fn params_of(&self, engine: &Engine) -> impl Iterator<Item = &'static Param> {
        self.params.iter().chain(engine.params)
    }

    /// Name under which the result of this stage is kept: equal keys mean equal
    /// outputs. `inputs` maps each slot seen to the SHA-256 of its blob;
    /// `weights` are the SHA-256 of the files of the engine's network.
    pub fn cache_key(
        &self,
        engine: &str,
        settings: &Settings,
        weights: &[String],
        inputs: &BTreeMap<Slot, String>,
    ) -> String {
        let inputs: BTreeMap<&str, &String> = inputs.iter().map(|(slot, sha)| (slot.id(), sha)).collect();
        let key = json!({
            "stage": self.id,
            "version": self.version,
            "engine": engine,
            "settings": settings,
            "weights": weights,
            "inputs": inputs,
        });
        crate::slot::sha256_hex(key.to_string().as_bytes())
    }
}

impl Param {
    pub fn default(&self) -> Json {
        match self.kind {
            ParamKind::Int { default, .. } => json!(default),
            ParamKind::Float { default, .. } => json!(default),
            ParamKind::Flag { default } => json!(default),
            ParamKind::Choice { default, .. } | ParamKind::Text { default, .. } | ParamKind::Net { default } => {
                json!(default)
            }
        }
    }

    /// `value` in canonical form, or a sentence that says what was expected.
    pub fn check(&self, value: &Json) -> Result<Json, String> {
        let wrong = || Err(format!("`{}` must be {}, not {value}", self.id, self.expected()));
        match self.kind {
            ParamKind::Int { min, max, .. } => match value.as_i64() {
                Some(v) if (min..=max).contains(&v) => Ok(json!(v)),
                _ => wrong(),
            },
            ParamKind::Float { min, max, .. } => match value.as_f64() {
                Some(v) if (min..=max).contains(&v) => Ok(json!(v)),
                _ => wrong(),
            },
            ParamKind::Flag { .. } => {
                if value.is_boolean() {
                    Ok(value.clone())
                } else {
                    wrong()
                }
            }
            ParamKind::Choice { options, .. } => match value.as_str() {
                Some(v) if options.contains(&v) => Ok(value.clone()),
                _ => wrong(),
            },
            ParamKind::Text { read, .. } => match value.as_str() {
                Some(text) => read(text).map(|text| json!(text)).map_err(|wrong| format!("`{}`: {wrong}", self.id)),
                None => wrong(),
            },
            // Which there are is asked where a recipe is planned.
            ParamKind::Net { .. } => {
                if value.as_str().is_some_and(own::is_id) {
                    Ok(value.clone())
                } else {
                    wrong()
                }
            }
        }
    }

    /// What may be written for this parameter, in words.
    pub fn expected(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        match self.kind {
            ParamKind::Int { min, max, .. } => format!("a whole number from {min} to {max}{unit}"),
            ParamKind::Float { min, max, .. } => format!("a number from {min} to {max}{unit}"),
            ParamKind::Flag { .. } => "true or false".to_owned(),
            ParamKind::Choice { options, .. } => format!("one of {}", options.join(", ")),
            ParamKind::Text { form, .. } => form.to_owned(),
            ParamKind::Net { .. } => "the id of a network, in a-z, 0-9 and -".to_owned(),
        }
    }
}
