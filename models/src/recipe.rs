//! Recipes: an ordered list of stages with their settings. Data, not code.
//!
//! A `Recipe` is what was written, checked against `STAGES`; a `Plan` is a
//! recipe with every engine chosen and every setting spelled out, which is what
//! a job runs, what the cache is keyed by and what the asset carries.
//!
//! ```toml
//! doc = "Our barrels"
//! recipe = "prop"            # start from this recipe, or list [[stage]] tables
//!
//! [set.simplify]             # and change some of its settings
//! triangles = 2000
//! ```

mod networks;

use std::{collections::BTreeSet, fmt, ops::Range};

use serde_json::{Value as Json, json};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    slot::Slot,
    stage::{self, NET, STAGES, Settings, Stage},
    stages,
};

pub use networks::Networks;

/// Lets the recipe choose the engine: the first one whose weights are here.
pub const AUTO: &str = "auto";

/// Recipes that are always there.
pub static BUILT_IN: &[(&str, &str)] = &[
    ("prop", include_str!("recipes/prop.toml")),
    ("draft", include_str!("recipes/draft.toml")),
    ("cutout", include_str!("recipes/cutout.toml")),
    ("upscale", include_str!("recipes/upscale.toml")),
    ("hero", include_str!("recipes/hero.toml")),
    ("mobile", include_str!("recipes/mobile.toml")),
    ("depth", include_str!("recipes/depth.toml")),
    ("relief", include_str!("recipes/relief.toml")),
    ("coin", include_str!("recipes/coin.toml")),
    ("terrain", include_str!("recipes/terrain.toml")),
    ("optimize", include_str!("recipes/optimize.toml")),
    ("analyze", include_str!("recipes/analyze.toml")),
    ("compare", include_str!("recipes/compare.toml")),
];

#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub name: String,
    pub doc: String,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub stage: &'static str,
    /// An engine of the stage, or `auto`.
    pub engine: String,
    /// What was written; the rest are defaults.
    pub given: Settings,
    /// Of a step whose engine was chosen earlier: nets that were not here then.
    pub missed: Vec<&'static str>,
}

/// A recipe with everything decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub recipe: String,
    pub steps: Vec<PlannedStep>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep {
    pub stage: &'static str,
    pub engine: &'static str,
    /// Complete: one entry for each parameter of the stage and the engine.
    pub settings: Settings,
    /// The net that would do better than the built-in engine which `auto` chose, were its weights here.
    pub missed: Vec<&'static str>,
}

/// What is wrong with a recipe or a setting, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct RecipeError {
    pub message: String,
    /// What to write instead.
    pub hint: String,
    /// Line and column, from 1, when it came from a file.
    pub at: Option<(usize, usize)>,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "line {line}, column {column}: ")?;
        }
        write!(f, "{}", self.message)
    }
}

impl Recipe {
    pub fn built_in(name: &str) -> Option<Recipe> {
        let (name, text) = BUILT_IN.iter().find(|(id, _)| *id == name)?;
        Some(Recipe::parse(name, text, &Recipe::built_in).unwrap_or_else(|e| panic!("built-in recipe `{name}`: {e}")))
    }

    /// Reads a recipe file. `base` finds the recipe that `recipe = "..."` names.
    ///
    /// Errors say line and column, what was expected and the nearest valid name.
    pub fn parse(name: &str, text: &str, base: &dyn Fn(&str) -> Option<Recipe>) -> Result<Recipe, RecipeError> {
        let at = |span: Range<usize>| Some(line_column(text, span.start));
        let table = DeTable::parse(text).map_err(|e| RecipeError {
            message: e.message().to_owned(),
            hint: "check the TOML syntax there".to_owned(),
            at: e.span().and_then(at),
        })?;

        let mut recipe = Recipe { name: name.to_owned(), doc: String::new(), steps: Vec::new() };
        let mut base_name = None;
        for (key, value) in table.get_ref() {
            let result = match key.get_ref().as_ref() {
                "doc" => text_of(value).map(|doc| recipe.doc = doc.to_owned()),
                "recipe" => text_of(value).map(|name| base_name = Some((name, value.span()))),
                "stage" | "set" => Ok(()),
                other => Err(unknown("key", other, ["doc", "recipe", "stage", "set"])),
            };
            result.map_err(|e| e.or_at(at(key.span())))?;
        }

        if let Some((base_name, span)) = &base_name {
            let found = base(base_name).ok_or_else(|| RecipeError {
                message: format!("there is no recipe `{base_name}`"),
                hint: "`meshkiln recipes` lists them".to_owned(),
                at: at(span.clone()),
            })?;
            recipe.steps = found.steps;
            if recipe.doc.is_empty() {
                recipe.doc = found.doc;
            }
        }

        if let Some(stages) = table.get_ref().get("stage") {
            if base_name.is_some() {
                return Err(RecipeError {
                    message: "a recipe has either `recipe` or [[stage]] tables, not both".to_owned(),
                    hint: "change settings of the base recipe under [set.STAGE]".to_owned(),
                    at: at(stages.span()),
                });
            }
            let list = stages.get_ref().as_array().ok_or_else(|| RecipeError {
                message: "`stage` must be a list of tables".to_owned(),
                hint: "write [[stage]] with two brackets".to_owned(),
                at: at(stages.span()),
            })?;
            for entry in list.iter() {
                let step = parse_step(entry, text)?;
                recipe.steps.push(step);
            }
        }

        if let Some(set) = table.get_ref().get("set") {
            let stages = table_of(set).map_err(|e| e.or_at(at(set.span())))?;
            for (stage_id, params) in stages {
                let params_table = table_of(params).map_err(|e| e.or_at(at(params.span())))?;
                for (param, value) in params_table {
                    json_of(value)
                        .and_then(|json| recipe.set(stage_id.get_ref(), param.get_ref(), &json))
                        .map_err(|e| e.or_at(at(param.span())))?;
                }
            }
        }

        recipe.check_order()?;
        Ok(recipe)
    }

    /// Changes one setting of every step that does `stage`. `engine` is a setting too.
    pub fn set(&mut self, stage_id: &str, param: &str, value: &Json) -> Result<(), RecipeError> {
        if stage::find(stage_id).is_none() {
            return Err(unknown("stage", stage_id, STAGES.iter().map(|s| s.id)));
        }
        let here: Vec<&'static str> = self.steps.iter().map(|s| s.stage).collect();
        let mut found = false;
        for step in self.steps.iter_mut().filter(|s| s.stage == stage_id) {
            step.set(param, value)?;
            found = true;
        }
        if found { Ok(()) } else { Err(unknown("stage of this recipe", stage_id, here)) }
    }

    /// `simplify.triangles=2000`, as given on a command line.
    pub fn set_text(&mut self, assignment: &str) -> Result<(), RecipeError> {
        let parts = assignment.split_once('=').and_then(|(path, value)| {
            let (stage, param) = path.trim().split_once('.')?;
            Some((stage, param, value.trim()))
        });
        let (stage, param, value) = parts.ok_or_else(|| RecipeError {
            message: format!("`{assignment}` is not a setting"),
            hint: "write stage.param=value, for example simplify.triangles=2000".to_owned(),
            at: None,
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        self.set(stage, param, &value)
    }

    /// Decides what `auto` and the defaults leave open. `has_net` says whether
    /// the weights of a network are here; networks that steps name are believed.
    pub fn plan(&self, has_net: &dyn Fn(&str) -> bool) -> Result<Plan, RecipeError> {
        self.plan_with(&has_net)
    }

    /// The same, and every network that a step names must be one that can be used.
    pub fn plan_with(&self, nets: &dyn Networks) -> Result<Plan, RecipeError> {
        let mut steps = self.steps.iter().map(|step| step.plan(nets)).collect::<Result<Vec<_>, _>>()?;
        stages::upscale::settle(&mut steps);
        Ok(Plan { recipe: self.name.clone(), steps })
    }

    /// Every slot must have been written before it is read.
    fn check_order(&self) -> Result<(), RecipeError> {
        if self.steps.is_empty() {
            return Err(RecipeError {
                message: "the recipe has no stages".to_owned(),
                hint: "start from one with recipe = \"prop\", or list [[stage]] tables".to_owned(),
                at: None,
            });
        }
        let mut written = BTreeSet::from([Slot::Source, Slot::Provenance]);
        for step in &self.steps {
            let stage = find_stage(step.stage);
            if let Some(slot) = stage.reads.iter().find(|slot| !written.contains(slot)) {
                let writers: Vec<_> = STAGES.iter().filter(|s| s.writes.contains(slot)).map(|s| s.id).collect();
                return Err(RecipeError {
                    message: format!("stage `{}` reads `{}`, which no stage before it writes", step.stage, slot.id()),
                    hint: format!("put one of these before it: {}", writers.join(", ")),
                    at: None,
                });
            }
            written.extend(stage.writes);
        }
        if !written.contains(&Slot::Asset) && !written.contains(&Slot::Report) {
            return Err(RecipeError {
                message: "the recipe makes neither a file nor a report".to_owned(),
                hint: "end it with `export`, or with `export-image` for a picture".to_owned(),
                at: None,
            });
        }
        Ok(())
    }
}

impl Step {
    fn set(&mut self, param: &str, value: &Json) -> Result<(), RecipeError> {
        let stage = find_stage(self.stage);
        if param == "engine" {
            let id = value.as_str().unwrap_or_default();
            if id != AUTO && stage.engine(id).is_none() {
                let engines = stage.engines.iter().map(|e| e.id).chain([AUTO]);
                return Err(unknown(&format!("engine of `{}`", self.stage), id, engines));
            }
            self.engine = id.to_owned();
            return Ok(());
        }
        let all: Vec<_> = stage.params.iter().chain(stage.engines.iter().flat_map(|e| e.params)).collect();
        let known = all.iter().find(|p| p.id == param).ok_or_else(|| {
            unknown(&format!("parameter of `{}`", self.stage), param, all.iter().map(|p| p.id).chain(["engine"]))
        })?;
        let value = known.check(value).map_err(|message| RecipeError {
            message,
            hint: format!("{}; the default is {}", known.doc, known.default()),
            at: None,
        })?;
        self.given.insert(param.to_owned(), value);
        Ok(())
    }

    fn plan(&self, nets: &dyn Networks) -> Result<PlannedStep, RecipeError> {
        let engine = networks::choose_engine(self, nets)?;
        let stage = find_stage(self.stage);
        let missed = match self.engine == AUTO {
            true => networks::missed(self, stage, engine).into_iter().collect(),
            false => self.missed.clone(),
        };
        let settings = stage
            .params_of(engine)
            .map(|p| (p.id.to_owned(), self.given.get(p.id).cloned().unwrap_or_else(|| p.default())))
            .collect();
        Ok(PlannedStep { stage: self.stage, engine: engine.id, settings, missed })
    }
}

impl Plan {
    /// Whether there is a finished file; otherwise there is only a report.
    pub fn makes_file(&self) -> bool {
        self.steps.iter().any(|step| find_stage(step.stage).writes.contains(&Slot::Asset))
    }

    /// What the finished file's name ends in.
    pub fn extension(&self) -> &'static str {
        let named = self.steps.iter().rev().find_map(|step| match step.stage {
            "export-image" => Some(self.picture_extension()),
            "export" => Some(stages::export::options(&step.settings).extension()),
            _ => None,
        });
        named.unwrap_or(".glb")
    }

    /// What the name of a finished picture ends in: what was last done to it.
    fn picture_extension(&self) -> &'static str {
        let last = self.steps.iter().rev().find_map(|step| match step.stage {
            "upscale" => Some(".upscaled.png"),
            "cutout" => Some(".cutout.png"),
            "depth" => Some(".depth.png"),
            _ => None,
        });
        last.unwrap_or(".picture.png")
    }

    /// Nets that engines of this plan stand in for, because their weights were not here.
    pub fn missing_nets(&self) -> Vec<String> {
        let mut nets: Vec<String> =
            self.steps.iter().flat_map(|step| &step.missed).map(|net| (*net).to_owned()).collect();
        nets.sort_unstable();
        nets.dedup();
        nets
    }

    /// Canonical: equal plans give equal text.
    pub fn to_json(&self) -> Json {
        json!({
            "recipe": self.recipe,
            "steps": self.steps.iter().map(PlannedStep::to_json).collect::<Vec<_>>(),
        })
    }

    /// A plan as stored in a job or an asset, as a recipe that repeats it.
    /// Settings this version does not know are errors, never dropped.
    pub fn recipe_from_json(json: &Json) -> Result<Recipe, RecipeError> {
        let malformed = || RecipeError {
            message: "this is not the plan of a job".to_owned(),
            hint: "fire the source image again".to_owned(),
            at: None,
        };
        let name = json["recipe"].as_str().ok_or_else(malformed)?;
        let mut recipe = Recipe { name: name.to_owned(), doc: String::new(), steps: Vec::new() };
        let steps = json["steps"].as_array().ok_or_else(malformed)?;
        let setting = |stage: &str, param: &str| {
            Some(steps.iter().find(|step| step["stage"] == stage)?["settings"].get(param)?.clone())
        };
        for step in steps {
            let id = step["stage"].as_str().ok_or_else(malformed)?;
            let stage = stage::find(id).ok_or_else(|| unknown("stage", id, STAGES.iter().map(|s| s.id)))?;
            let missed = stage
                .engines
                .iter()
                .filter_map(|e| e.net)
                .filter(|net| step["missed"].as_array().is_some_and(|missed| missed.iter().any(|m| m == net)));
            let mut read =
                Step { stage: stage.id, engine: AUTO.to_owned(), given: Settings::new(), missed: missed.collect() };
            read.set("engine", &step["engine"])?;
            for (param, value) in step["settings"].as_object().ok_or_else(malformed)? {
                if !stages::upscale::is_settled(id, param, value, setting) {
                    read.set(param, value)?;
                }
            }
            recipe.steps.push(read);
        }
        recipe.check_order()?;
        Ok(recipe)
    }
}

impl PlannedStep {
    /// The network that this step names in place of its engine's.
    pub fn own_net(&self) -> Option<&str> {
        let engine = find_stage(self.stage).engine(self.engine)?;
        let named = self.settings.get(NET).filter(|_| engine.takes_nets())?.as_str()?;
        (engine.net != Some(named)).then_some(named)
    }

    fn to_json(&self) -> Json {
        let mut json = json!({ "stage": self.stage, "engine": self.engine, "settings": self.settings });
        if !self.missed.is_empty() {
            json["missed"] = json!(self.missed);
        }
        json
    }
}

fn parse_step(entry: &Spanned<DeValue>, text: &str) -> Result<Step, RecipeError> {
    let at = |span: Range<usize>| Some(line_column(text, span.start));
    let table = table_of(entry).map_err(|e| e.or_at(at(entry.span())))?;
    let id = table.get("id").ok_or_else(|| RecipeError {
        message: "this [[stage]] has no `id`".to_owned(),
        hint: "name the stage: id = \"cutout\"".to_owned(),
        at: at(entry.span()),
    })?;
    let name = text_of(id).map_err(|e| e.or_at(at(id.span())))?;
    let stage =
        stage::find(name).ok_or_else(|| unknown("stage", name, STAGES.iter().map(|s| s.id)).or_at(at(id.span())))?;

    let mut step = Step { stage: stage.id, engine: AUTO.to_owned(), given: Settings::new(), missed: Vec::new() };
    for (key, value) in table.iter().filter(|(key, _)| key.get_ref() != "id") {
        json_of(value).and_then(|json| step.set(key.get_ref(), &json)).map_err(|e| e.or_at(at(key.span())))?;
    }
    Ok(step)
}

fn find_stage(id: &str) -> &'static Stage {
    stage::find(id).unwrap_or_else(|| panic!("step names stage `{id}`, which is not in STAGES"))
}

pub(crate) fn text_of<'a>(value: &'a Spanned<DeValue>) -> Result<&'a str, RecipeError> {
    value.get_ref().as_str().ok_or_else(|| expected("text in quotes", value))
}

pub(crate) fn table_of<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> Result<&'a DeTable<'i>, RecipeError> {
    value.get_ref().as_table().ok_or_else(|| expected("a table", value))
}

pub(crate) fn json_of(value: &Spanned<DeValue>) -> Result<Json, RecipeError> {
    let number = "a number that fits";
    match value.get_ref() {
        DeValue::String(text) => Ok(json!(text)),
        DeValue::Boolean(flag) => Ok(json!(flag)),
        DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).map(|n| json!(n)).map_err(|_| expected(number, value))
        }
        DeValue::Float(n) => n.as_str().parse::<f64>().map(|n| json!(n)).map_err(|_| expected(number, value)),
        _ => Err(expected("a number, true, false or text in quotes", value)),
    }
}

pub(crate) fn expected(what: &str, found: &Spanned<DeValue>) -> RecipeError {
    RecipeError {
        message: format!("expected {what}, found {}", found.get_ref().type_str()),
        hint: format!("write {what} there"),
        at: None,
    }
}

/// An error that names the nearest of `valid`, or all of them.
pub fn unknown<'a>(what: &str, given: &str, valid: impl IntoIterator<Item = &'a str>) -> RecipeError {
    let valid: Vec<&str> = valid.into_iter().collect();
    let nearest = valid.iter().max_by(|a, b| strsim::jaro_winkler(a, given).total_cmp(&strsim::jaro_winkler(b, given)));
    let hint = match nearest {
        Some(near) if strsim::jaro_winkler(near, given) > 0.75 => format!("did you mean `{near}`?"),
        _ => format!("one of: {}", valid.join(", ")),
    };
    RecipeError { message: format!("there is no {what} `{given}`"), hint, at: None }
}

impl RecipeError {
    pub(crate) fn or_at(mut self, at: Option<(usize, usize)>) -> Self {
        self.at = self.at.or(at);
        self
    }
}

/// Line and column of a byte, both from 1, columns in characters.
pub(crate) fn line_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let shown = match Recipe::parse("test", text, &Recipe::built_in) {
            Ok(recipe) => format!("{:#}", recipe.plan(&|_| false).unwrap().to_json()),
            Err(e) => format!("{e}\nhint: {}", e.hint),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn built_in_recipes_are_sound_and_repeat_themselves() {
        for (name, _) in BUILT_IN {
            let plan = Recipe::built_in(name).unwrap().plan(&|_| false).unwrap();
            let again = Plan::recipe_from_json(&plan.to_json()).unwrap().plan(&|_| false).unwrap();
            assert_eq!(plan, again);
            assert!(!Recipe::built_in(name).unwrap().doc.is_empty(), "{name} has no doc");
        }
    }

    #[test]
    fn a_misspelt_stage_is_answered_with_the_nearest() {
        check(
            "[[stage]]\nid = \"decode\"\n[[stage]]\nid = \"cutuot\"\n",
            expect![[r#"
            line 4, column 6: there is no stage `cutuot`
            hint: did you mean `cutout`?"#]],
        );
    }

    #[test]
    fn a_misspelt_parameter_is_answered_with_the_nearest() {
        check(
            "recipe = \"prop\"\n[set.simplify]\ntriangels = 5\n",
            expect![[r#"
            line 3, column 1: there is no parameter of `simplify` `triangels`
            hint: did you mean `triangles`?"#]],
        );
    }

    #[test]
    fn a_stage_that_reads_what_nobody_wrote_is_refused() {
        check(
            "[[stage]]\nid = \"cutout\"\n",
            expect![[r#"
            stage `cutout` reads `image`, which no stage before it writes
            hint: put one of these before it: decode"#]],
        );
    }

    #[test]
    fn a_recipe_that_makes_no_file_is_refused() {
        check(
            "[[stage]]\nid = \"decode\"\n",
            expect![[r#"
            the recipe makes neither a file nor a report
            hint: end it with `export`, or with `export-image` for a picture"#]],
        );
    }

    #[test]
    fn names_end_in_what_the_plan_makes() {
        let of = |name| Recipe::built_in(name).unwrap().plan(&|_| false).unwrap().extension();
        assert_eq!((of("prop"), of("draft"), of("cutout")), (".glb", ".glb", ".cutout.png"));
    }

    #[test]
    fn bad_toml_says_where() {
        check(
            "recipe = \n",
            expect![[r#"
            line 1, column 10: string values must be quoted, expected literal string
            hint: check the TOML syntax there"#]],
        );
    }

    #[test]
    fn a_missing_base_is_named() {
        check(
            "recipe = \"porp\"\n",
            expect![[r#"
            line 1, column 10: there is no recipe `porp`
            hint: `meshkiln recipes` lists them"#]],
        );
    }

    #[test]
    fn command_line_settings_are_checked_like_files() {
        let mut recipe = Recipe::built_in("prop").unwrap();
        recipe.set_text("simplify.triangles=2000").unwrap();
        let plan = recipe.plan(&|_| false).unwrap();
        let simplify = plan.steps.iter().find(|s| s.stage == "simplify").unwrap();
        assert_eq!(simplify.settings["triangles"], json!(2000));
        assert!(recipe.set_text("simplify.triangles=lots").is_err());
        assert!(recipe.set_text("simplify").is_err());
    }
}
