//! Which engine does a step: the first whose weights are here, the one that was named, or the one
//! that runs the network which was named.

use serde_json::Value as Json;

use super::{AUTO, RecipeError, Step, find_stage};
use crate::{
    stage::{Engine, NET, ParamKind, Stage},
    weights::catalogue,
};

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
        let others = takers().find(|engine| engine.takes_only_own());
        wanted.or(own).or(others).or(takers().next()).ok_or_else(|| none(stage))
    }
}

pub(super) fn choose_engine(step: &Step, nets: &dyn Networks) -> Result<&'static Engine, RecipeError> {
    let stage = find_stage(step.stage);
    let named = step.given.get(NET).and_then(Json::as_str);
    if step.engine == AUTO {
        let is_ready = |engine: &&Engine| !engine.takes_only_own() && engine.net.is_none_or(|net| nets.is_here(net));
        return match named {
            Some(net) => nets.engine(net, stage, None),
            None => candidates(step, stage).find(|engine| is_ready(engine)).ok_or_else(|| none_for(step, stage)),
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

/// Engines that `auto` chooses from: those that read what was written for them, as points on a picture.
pub(super) fn candidates<'a>(step: &'a Step, stage: &'static Stage) -> impl Iterator<Item = &'static Engine> + 'a {
    let has = |engine: &Engine, id: &str| stage.params_of(engine).any(|param| param.id == id);
    stage.engines.iter().filter(move |engine| texts(step, stage).all(|id| has(engine, id)))
}

/// Texts that are not empty, by the id of their parameter.
fn texts<'a>(step: &'a Step, stage: &'static Stage) -> impl Iterator<Item = &'a str> + 'a {
    let params = move || stage.params.iter().chain(stage.engines.iter().flat_map(|engine| engine.params));
    let is_text = move |id: &str| params().any(|p| p.id == id && matches!(p.kind, ParamKind::Text { .. }));
    let written = step.given.iter().filter(|(_, value)| value.as_str().is_some_and(|text| !text.is_empty()));
    written.map(|(id, _)| id.as_str()).filter(move |id| is_text(id))
}

fn none_for(step: &Step, stage: &'static Stage) -> RecipeError {
    let nets: Vec<&str> = candidates(step, stage).filter_map(|engine| engine.net).collect();
    match texts(step, stage).next() {
        Some(text) => RecipeError {
            message: format!("no engine of `{}` that reads `{text}` can run here", stage.id),
            hint: format!("fetch the weights of one of their networks with `meshkiln pull`: {}", nets.join(", ")),
            at: None,
        },
        None => none(stage),
    }
}

/// Where a built-in engine stands in for networks, the one of them to fetch: the first of those that
/// ask least of a machine.
pub(super) fn missed(step: &Step, stage: &'static Stage, chosen: &Engine) -> Option<&'static str> {
    if chosen.net.is_some() || step.given.contains_key(NET) {
        return None;
    }
    let before = candidates(step, stage).take_while(|engine| engine.id != chosen.id).filter_map(|engine| engine.net);
    before.min_by_key(|net| catalogue::find(net).map(|net| net.memory))
}

fn none(stage: &Stage) -> RecipeError {
    RecipeError {
        message: format!("no engine of `{}` can run here", stage.id),
        hint: "`meshkiln stages` lists engines and the networks they need".to_owned(),
        at: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::recipe::{Plan, Recipe};

    fn plan(set: &[&str], has_net: bool) -> Result<Plan, String> {
        let mut recipe = Recipe::built_in("draft").unwrap();
        set.iter().for_each(|assignment| recipe.set_text(assignment).unwrap());
        recipe.plan(&|_| has_net).map_err(|e| e.message)
    }

    #[test]
    fn a_net_that_is_named_decides_on_the_engine_and_a_stored_plan_repeats_it() {
        let engine = |plan: &Plan, stage: &str| plan.steps.iter().find(|step| step.stage == stage).unwrap().engine;
        let named = plan(&["reconstruct.net=tune", "cutout.net=matte"], false).unwrap();
        assert_eq!((engine(&named, "reconstruct"), engine(&named, "cutout")), ("triposr", "torchscript"));
        let own: Vec<_> = named.steps.iter().filter_map(|step| step.own_net()).collect();
        assert_eq!(own, ["matte", "tune"]);
        assert!(named.missing_nets().is_empty());
        let again = Plan::recipe_from_json(&named.to_json()).unwrap().plan(&|_| false).unwrap();
        assert_eq!(again, named);

        let plain = plan(&[], true).unwrap();
        assert_eq!((engine(&plain, "reconstruct"), engine(&plain, "cutout")), ("triposr", "birefnet"));
        let step = plain.steps.iter().find(|step| step.stage == "reconstruct").unwrap();
        assert_eq!((&step.settings["net"], step.own_net()), (&json!("triposr"), None));
        let inflated = plan(&["reconstruct.engine=inflate", "reconstruct.net=tune"], true).unwrap();
        assert!(inflated.steps.iter().all(|step| step.own_net().is_none()), "an engine without nets was given one");
    }

    #[test]
    fn points_on_a_picture_decide_on_an_engine_that_reads_them() {
        let cutout = |set: &[&str], has: &[&str]| {
            let mut recipe = Recipe::built_in("draft").unwrap();
            set.iter().for_each(|assignment| recipe.set_text(assignment).unwrap());
            let plan = recipe.plan(&|net| has.contains(&net)).map_err(|e| format!("{e}; {}", e.hint))?;
            let step = plan.steps.iter().find(|step| step.stage == "cutout").unwrap().clone();
            Ok::<_, String>((step.engine, step.missed))
        };
        assert_eq!(cutout(&["cutout.points="], &["sam-vit-b"]).unwrap().0, "classic");
        let points = ["cutout.points=0.4,0.5 -0.1,0.1"];
        assert_eq!(cutout(&points, &["sam-vit-b"]), Ok(("sam-vit-b", vec![])));
        assert_eq!(cutout(&[points[0], "cutout.engine=classic"], &[]).unwrap().0, "classic");
        let none = cutout(&points, &[]).unwrap_err();
        assert!(none.contains("reads `points`") && none.contains("mobile-sam, sam-vit-b"), "{none}");
    }

    #[test]
    fn an_engine_that_runs_only_own_nets_needs_a_name() {
        let message = "engine `torchscript` of `cutout` runs only networks of your own";
        assert_eq!(plan(&["cutout.engine=torchscript"], true), Err(message.to_owned()));
        assert!(plan(&["cutout.engine=torchscript", "cutout.net=matte"], true).is_ok());
    }
}
