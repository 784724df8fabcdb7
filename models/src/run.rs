//! Run a whole plan in this process: for tests, benches and tools. The daemon
//! runs stage by stage in its workers instead, with blobs in between.

use crate::{
    cx::{CancelToken, Progress, StageCx},
    error::StageError,
    nets::{Nets, NoNets},
    recipe::{Plan, PlannedStep},
    slot::Asset,
    stage,
};

/// A stage that returned early.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{stage}: {source}")]
pub struct RunError {
    pub stage: &'static str,
    pub source: StageError,
}

/// Runs the plan's stages in order on `asset`, which must hold `source` and
/// `provenance`; each stage sees only the slots it declares. `progress` hears
/// the counted work of each stage, between a first 0 of 1 and a last 1 of 1.
/// After an error `asset` holds what the stages before it wrote.
pub fn run_plan(
    plan: &Plan,
    asset: &mut Asset,
    cancel: &CancelToken,
    progress: &(dyn Fn(&'static str, Progress) + Sync),
) -> Result<(), RunError> {
    run_plan_with(&NoNets, plan, asset, cancel, progress)
}

/// `run_plan` for plans whose engines need networks.
pub fn run_plan_with(
    nets: &dyn Nets,
    plan: &Plan,
    asset: &mut Asset,
    cancel: &CancelToken,
    progress: &(dyn Fn(&'static str, Progress) + Sync),
) -> Result<(), RunError> {
    for step in &plan.steps {
        progress(step.stage, Progress { done: 0, total: 1 });
        run_step(nets, step, asset, cancel, progress).map_err(|source| RunError { stage: step.stage, source })?;
        progress(step.stage, Progress { done: 1, total: 1 });
    }
    Ok(())
}

fn run_step(
    nets: &dyn Nets,
    step: &PlannedStep,
    asset: &mut Asset,
    cancel: &CancelToken,
    progress: &(dyn Fn(&'static str, Progress) + Sync),
) -> Result<(), StageError> {
    let stage = stage::find(step.stage).ok_or_else(|| StageError::internal(format!("no stage `{}`", step.stage)))?;
    let mut seen = Asset::default();
    for slot in stage.sees() {
        if let Some(value) = asset.get(slot) {
            seen.set(slot, value.clone());
        }
    }
    seen.forget_writes();
    let cx = StageCx {
        engine: step.engine,
        settings: &step.settings,
        cancel: cancel.clone(),
        progress: &|counted| progress(step.stage, counted),
        nets,
    };
    cx.check_cancel()?;
    (stage.run)(&cx, &mut seen)?;
    for (slot, value) in stage.outputs(&seen) {
        let value = value
            .ok_or_else(|| StageError::internal(format!("stage `{}` left slot `{}` empty", stage.id, slot.id())))?;
        asset.set(slot, value.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use image::{Rgba, RgbaImage};
    use serde_json::json;

    use super::*;
    use crate::{
        error::StageErrorKind,
        export::ownership,
        recipe::Recipe,
        slot::{Slot, Value},
    };

    fn export_image() -> Plan {
        let mut plan = Recipe::built_in("cutout").unwrap().plan(&|_| false).unwrap();
        plan.steps.retain(|step| step.stage == "export-image");
        plan
    }

    fn asset() -> Asset {
        let mut asset = Asset::default();
        asset.set_image(Slot::Cutout, RgbaImage::from_pixel(4, 4, Rgba([1, 2, 3, 99])));
        asset.set(Slot::Provenance, Value::Json(json!({ "name": "x" }).into()));
        asset
    }

    #[test]
    fn stages_run_in_order_and_say_so() {
        let heard = Mutex::new(Vec::new());
        let mut asset = asset();
        let hear = |stage: &'static str, p: Progress| heard.lock().unwrap().push((stage, p.done, p.total));
        run_plan(&export_image(), &mut asset, &CancelToken::default(), &hear).unwrap();
        assert!(ownership::is_ours(&asset.bytes(Slot::Asset).unwrap()));
        let heard = heard.into_inner().unwrap();
        assert_eq!(heard.first(), Some(&("export-image", 0, 1)));
        assert_eq!(heard.last(), Some(&("export-image", 1, 1)));
    }

    #[test]
    fn a_cancelled_run_and_a_missing_slot_name_the_stage() {
        let cancel = CancelToken::default();
        cancel.cancel();
        let error = run_plan(&export_image(), &mut asset(), &cancel, &|_, _| {}).expect_err("cancelled");
        assert_eq!((error.stage, error.source.kind), ("export-image", StageErrorKind::Cancelled));
        let error = run_plan(&export_image(), &mut Asset::default(), &CancelToken::default(), &|_, _| {});
        assert_eq!(error.expect_err("empty").to_string(), "export-image: slot `provenance` is empty");
    }
}
