//! Which engine does a step: the first whose weights are here, the one that was named, or the one
//! that runs the network which was named.

use serde_json::Value as Json;

use super::{AUTO, RecipeError, Step, find_stage};
use crate::stage::{Engine, NET, Stage};

/// What is known of networks where a recipe is planned.
pub trait Networks {
    /// Its weights are here.
    fn is_here(&self, net: &str) -> bool;

    /// The engine of `stage` that runs a network which a step names. `wanted` is the engine that
    /// the step names too; it is for those who know no better.
    ///
    /// Errors: there is no such network, it does another stage, or it cannot be used.
    fn engine(
        &self,
        net: &str,
        stage: &'static Stage,
        wanted: Option<&'static Engine>,
    ) -> Result<&'static Engine, RecipeError>;
}

/// Networks of which nothing is known but whether weights are here: names are believed.
impl<F: Fn(&str) -> bool> Networks for F {
    fn is_here(&self, net: &str) -> bool {
        self(net)
    }

    fn engine(
        &self,
        net: &str,
        stage: &'static Stage,
        wanted: Option<&'static Engine>,
    ) -> Result<&'static Engine, RecipeError> {
        let takers = || stage.engines.iter().filter(|engine| engine.takes_nets());
        let own = takers().find(|engine| engine.net == Some(net));
        wanted.or(own).or(takers().next()).ok_or_else(|| none(stage))
    }
}

pub(super) fn choose_engine(step: &Step, nets: &dyn Networks) -> Result<&'static Engine, RecipeError> {
    let stage = find_stage(step.stage);
    let named = step.given.get(NET).and_then(Json::as_str);
    if step.engine == AUTO {
        let is_ready = |engine: &&Engine| !engine.takes_only_own() && engine.net.is_none_or(|net| nets.is_here(net));
        return match named {
            Some(net) => nets.engine(net, stage, None),
            None => stage.engines.iter().find(is_ready).ok_or_else(|| none(stage)),
        };
    }
    let engine = stage.engine(&step.engine).ok_or_else(|| none(stage))?;
    match named {
        None if engine.takes_only_own() => Err(RecipeError {
            message: format!("engine `{}` of `{}` runs only networks of your own", engine.id, stage.id),
            hint: format!("name one: {}.{NET}=ID; `meshkiln nets` lists them", stage.id),
            at: None,
        }),
        // What other engines would be told is passed over, as with every parameter.
        Some(net) if engine.takes_nets() && engine.net != Some(net) => {
            let found = nets.engine(net, stage, Some(engine))?;
            if found.id == engine.id {
                return Ok(engine);
            }
            Err(RecipeError {
                message: format!("network `{net}` is run by engine `{}`, not by `{}`", found.id, engine.id),
                hint: format!("leave {}.engine out", stage.id),
                at: None,
            })
        }
        _ => Ok(engine),
    }
}

fn none(stage: &Stage) -> RecipeError {
    RecipeError {
        message: format!("no engine of `{}` can run here", stage.id),
        hint: "`meshkiln stages` lists engines and the networks they need".to_owned(),
        at: None,
    }
}
