//! Runs one stage in a test, with its default settings but for those given.

use serde_json::Value as Json;

use crate::{
    cx::{CancelToken, StageCx},
    error::StageError,
    slot::Asset,
    stage::{Settings, Stage},
};

/// The stage's first engine on `asset`. Unknown and bad settings panic.
pub fn run(stage: &Stage, set: &[(&str, Json)], asset: &mut Asset) -> Result<(), StageError> {
    let engine = &stage.engines[0];
    let mut settings: Settings = stage.params_of(engine).map(|p| (p.id.to_owned(), p.default())).collect();
    for (id, value) in set {
        let param = stage.params_of(engine).find(|p| p.id == *id).unwrap_or_else(|| panic!("no parameter {id}"));
        settings.insert((*id).to_owned(), param.check(value).unwrap());
    }
    let cx = StageCx {
        engine: engine.id,
        settings: &settings,
        cancel: CancelToken::default(),
        progress: &|_| {},
        nets: &crate::nets::NoNets,
    };
    (stage.run)(&cx, asset)
}
