//! Forms for firing, refiring and watching, drawn from what the daemon tells of
//! recipes, stages and parameters. Nothing here knows a stage.

use std::collections::BTreeMap;

use meshkiln_protocol::{
    job::{AssetRef, Class, JobId, RefireParams, SourceParams, SubmitParams},
    recipe::{ParamInfo, ParamKindInfo, RecipeInfo, StageInfo},
    watch::WatchAddParams,
};
use serde_json::Value as Json;

use super::{
    input::Input,
    msg::{Ask, Trouble},
    paths,
};

/// Who asks, as the daemon shows it.
pub const CLIENT: &str = "tui";

/// What is sent in the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    Fire { paths: Vec<String> },
    Refire { id: JobId, name: String, recipe: String },
    Watch { folder: String },
}

/// What a field takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// One of these.
    Choice(Vec<String>),
    Flag,
    Number {
        range: String,
    },
    Text,
}

/// One line of a form.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Stage, or empty.
    pub group: String,
    /// As in `stage.param`.
    pub id: String,
    pub doc: String,
    pub unit: String,
    pub kind: Kind,
    /// What holds unless something is set.
    pub value: String,
}

impl Field {
    fn own(id: &str, doc: &str, kind: Kind, value: &str) -> Field {
        let (group, unit) = (String::new(), String::new());
        Field { group, id: id.to_owned(), doc: doc.to_owned(), unit, kind, value: value.to_owned() }
    }

    fn key(&self) -> (String, String) {
        (self.group.clone(), self.id.clone())
    }
}

/// A form being filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// Answers to other forms are not for this one.
    pub number: u64,
    pub purpose: Purpose,
    pub fields: Vec<Field>,
    pub at: usize,
    pub edit: Option<Input>,
    /// What a field is looked for by.
    pub find: Option<Input>,
    /// What was changed, by group and field.
    pub set: BTreeMap<(String, String), String>,
    /// What the daemon has against it.
    pub problem: Option<Trouble>,
    /// Sent, and not answered.
    pub sent: bool,
    /// Settings that an asset was made with, as far as the daemon told them.
    pub base: Vec<String>,
    pub missing_nets: Vec<String>,
}

const RECIPE: &str = "recipe";
const OUTPUT: &str = "output";
const CLASS: &str = "priority";
const RECURSIVE: &str = "sub-folders";
const ENGINE: &str = "engine";
/// The recipe that the daemon takes when none is named.
const USUAL: &str = "usual";
const CLASSES: [(&str, Class); 2] = [("now", Class::Interactive), ("whenever there is time", Class::Batch)];

impl Form {
    /// With the fields that every such form has; those of stages come with a plan.
    pub fn new(number: u64, purpose: Purpose, recipes: &[RecipeInfo]) -> Form {
        let mut form = Form {
            number,
            purpose,
            fields: Vec::new(),
            at: 0,
            edit: None,
            find: None,
            set: BTreeMap::new(),
            problem: None,
            sent: false,
            base: Vec::new(),
            missing_nets: Vec::new(),
        };
        form.fields = form.head(recipes);
        form
    }

    /// Fields that are not settings of stages.
    fn head(&self, recipes: &[RecipeInfo]) -> Vec<Field> {
        let mut names: Vec<String> = recipes.iter().filter(|r| r.problem.is_none()).map(|r| r.name.clone()).collect();
        names.insert(0, USUAL.to_owned());
        let recipe = Field::own(
            RECIPE,
            "what is made; the daemon knows what is usual for each file",
            Kind::Choice(names),
            USUAL,
        );
        let classes = CLASSES.map(|(name, _)| name.to_owned()).to_vec();
        let class = Field::own(CLASS, "when it is its turn", Kind::Choice(classes), CLASSES[0].0);
        let output = |doc, value| Field::own(OUTPUT, doc, Kind::Text, value);
        match &self.purpose {
            Purpose::Fire { .. } => {
                vec![recipe, output("file, or folder ending in /, for what is made", "beside the source"), class]
            }
            Purpose::Refire { .. } => vec![output("file for what is made", "over the old one"), class],
            Purpose::Watch { .. } => vec![
                recipe,
                output("folder for what is made, sub-folders kept", "beside the source"),
                Field::own(RECURSIVE, "watch the folders in it too", Kind::Flag, "false"),
            ],
        }
    }

    /// The chosen recipe; none for the usual.
    pub fn recipe(&self) -> Option<String> {
        self.set.get(&(String::new(), RECIPE.to_owned())).filter(|name| *name != USUAL).cloned()
    }

    /// A sentence on the chosen recipe or the field in hand.
    pub fn doc<'a>(&'a self, recipes: &'a [RecipeInfo]) -> &'a str {
        let Some(field) = self.fields.get(self.at) else { return "" };
        let chosen = recipes.iter().find(|recipe| field.id == RECIPE && recipe.name == self.value(field));
        chosen.map_or(&field.doc, |recipe| &recipe.doc)
    }

    /// What holds: what was set, or what would hold anyway.
    pub fn value<'a>(&'a self, field: &'a Field) -> &'a str {
        self.set.get(&field.key()).map_or(&field.value, String::as_str)
    }

    /// Whether it was changed here.
    pub fn is_set(&self, field: &Field) -> bool {
        self.set.contains_key(&field.key())
    }

    /// Settings as the daemon takes them, engines first: they decide which others there are.
    pub fn settings(&self) -> Vec<String> {
        let mut settings: Vec<(&(String, String), &String)> =
            self.set.iter().filter(|((group, _), _)| !group.is_empty()).collect();
        settings.sort_by_key(|((_, id), _)| id != ENGINE);
        settings.into_iter().map(|((group, id), value)| format!("{group}.{id}={value}")).collect()
    }

    /// Asks what all settings are, with what was changed; nothing for a watch.
    pub fn plan(&self) -> Option<Ask> {
        let recipe = match &self.purpose {
            Purpose::Fire { .. } => self.recipe(),
            Purpose::Refire { recipe, .. } => Some(recipe.clone()),
            Purpose::Watch { .. } => return None,
        };
        let set = self.base.iter().cloned().chain(self.settings()).collect();
        Some(Ask::Plan { form: self.number, recipe, set })
    }

    /// Starts from the settings of an asset.
    pub fn start_from(&mut self, plan: &Json) {
        for step in plan["steps"].as_array().into_iter().flatten() {
            let Some(stage) = step["stage"].as_str() else { continue };
            self.base.push(format!("{stage}.{ENGINE}={}", word(&step["engine"])));
            for (id, value) in step["settings"].as_object().into_iter().flatten() {
                self.base.push(format!("{stage}.{id}={}", word(value)));
            }
        }
    }

    /// Draws the fields of the stages anew. The cursor stays on what it is on.
    pub fn planned(&mut self, plan: &Json, stages: &[StageInfo]) {
        let here = self.fields.get(self.at).map(Field::key);
        self.fields.retain(|field| field.group.is_empty());
        for step in plan["steps"].as_array().into_iter().flatten() {
            let Some(stage) = stages.iter().find(|stage| step["stage"] == stage.id.as_str()) else { continue };
            self.fields.extend(stage_fields(stage, step));
        }
        self.at = here.and_then(|key| self.fields.iter().position(|field| field.key() == key)).unwrap_or(0);
        self.problem = None;
    }

    /// Goes to the first field, from `from` on and round, whose name has these words.
    pub fn find(&mut self, words: &str, from: usize) {
        let words = words.to_lowercase();
        let n = self.fields.len();
        let has = |at: &usize| {
            let field = &self.fields[*at];
            format!("{}.{}", field.group, field.id).contains(&words) || field.doc.to_lowercase().contains(&words)
        };
        let named = |at: &usize| self.fields[*at].id.contains(&words);
        let order = || (0..n).map(|step| (from + step) % n);
        if let Some(at) = order().find(named).or_else(|| order().find(has)) {
            self.at = at;
        }
    }

    /// Sets the field in hand; nothing unsets it.
    pub fn put(&mut self, value: &str) {
        let Some(field) = self.fields.get(self.at) else { return };
        let key = field.key();
        let is_usual = value == field.value && !self.set.contains_key(&key);
        match value.is_empty() || is_usual {
            true => self.set.remove(&key),
            false => self.set.insert(key, value.to_owned()),
        };
    }

    /// The next or the one before of a choice; the other of a flag. Whether there is one.
    pub fn turn(&mut self, by: isize) -> bool {
        let Some(field) = self.fields.get(self.at) else { return false };
        let options = match &field.kind {
            Kind::Choice(options) => options.clone(),
            Kind::Flag => vec!["false".to_owned(), "true".to_owned()],
            Kind::Number { .. } | Kind::Text => return false,
        };
        let at = options.iter().position(|option| option == self.value(field)).unwrap_or(0) as isize;
        let next = options[(at + by).rem_euclid(options.len() as isize) as usize].clone();
        self.put(&next);
        true
    }

    /// What sends it. An error when a path makes no sense.
    pub fn send(&self, unique: u64) -> Result<Ask, Trouble> {
        let own = |id: &str| self.set.get(&(String::new(), id.to_owned())).cloned();
        let output = match own(OUTPUT) {
            Some(text) => Some(full(&text)?),
            None => None,
        };
        let class = own(CLASS).and_then(|name| CLASSES.iter().find(|(known, _)| *known == name));
        let class = class.map_or(Class::Interactive, |(_, class)| *class);
        let form = self.number;
        Ok(match &self.purpose {
            Purpose::Fire { paths } => {
                let several = paths.len() > 1;
                let output = output.map(|path| if several && !path.ends_with('/') { path + "/" } else { path });
                let job = |(n, path): (usize, &String)| SubmitParams {
                    source: SourceParams { path: Some(path.clone()), ..SourceParams::default() },
                    against: None,
                    recipe: self.recipe(),
                    set: self.settings(),
                    output: output.clone(),
                    class,
                    client: Some(CLIENT.to_owned()),
                    idempotency_key: Some(format!("{CLIENT}:{}:{unique}:{form}:{n}", std::process::id())),
                };
                Ask::Submit { form, jobs: paths.iter().enumerate().map(job).collect() }
            }
            Purpose::Refire { id, .. } => {
                let asset = AssetRef { id: Some(*id), path: None };
                let (set, client) = (self.settings(), Some(CLIENT.to_owned()));
                Ask::Refire { form, params: RefireParams { asset, set, output, class, client } }
            }
            Purpose::Watch { folder } => {
                let recursive = own(RECURSIVE).as_deref() == Some("true");
                let params = WatchAddParams { path: folder.clone(), recipe: self.recipe(), out: output, recursive };
                Ask::AddWatch { form, params }
            }
        })
    }
}

/// Absolute, and still a folder if it was written like one.
fn full(text: &str) -> Result<String, Trouble> {
    let trouble = || Trouble { message: format!("`{text}` is no path"), hint: "name a file or a folder".to_owned() };
    let path = paths::full(text).ok_or_else(trouble)?;
    Ok(if text.ends_with('/') && !path.ends_with('/') { path + "/" } else { path })
}

fn stage_fields(stage: &StageInfo, step: &Json) -> Vec<Field> {
    let mut fields = Vec::new();
    let engine = step["engine"].as_str().unwrap_or_default();
    if stage.engines.len() > 1 {
        let options = stage.engines.iter().map(|engine| engine.id.clone()).collect();
        let doc = stage.engines.iter().find(|known| known.id == engine).map_or(&stage.doc, |known| &known.doc);
        let (group, id) = (stage.id.clone(), ENGINE.to_owned());
        let kind = Kind::Choice(options);
        fields.push(Field { group, id, doc: doc.clone(), unit: String::new(), kind, value: engine.to_owned() });
    }
    let of_engine = stage.engines.iter().filter(|known| known.id == engine).flat_map(|known| &known.params);
    for param in stage.params.iter().chain(of_engine) {
        // What the plan does not name does not apply here.
        if let Some(value) = step["settings"].get(&param.id) {
            fields.push(param_field(&stage.id, param, value));
        }
    }
    fields
}

fn param_field(stage: &str, param: &ParamInfo, value: &Json) -> Field {
    let kind = match &param.kind {
        ParamKindInfo::Int { min, max } => Kind::Number { range: format!("{min} to {max}") },
        ParamKindInfo::Float { min, max } => Kind::Number { range: format!("{min} to {max}") },
        ParamKindInfo::Flag => Kind::Flag,
        ParamKindInfo::Choice { options } => Kind::Choice(options.clone()),
        ParamKindInfo::Text { .. } => Kind::Text,
    };
    let (group, id) = (stage.to_owned(), param.id.clone());
    Field { group, id, doc: param.doc.clone(), unit: param.unit.clone(), kind, value: word(value) }
}

/// As it is typed.
pub fn word(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn form() -> Form {
        let purpose = Purpose::Fire { paths: vec!["/a/lamp.png".into(), "/a/vase.png".into()] };
        let mut form = Form::new(1, purpose, &samples::recipes());
        form.planned(&samples::plan(), &samples::stages());
        form
    }

    fn go_to(form: &mut Form, group: &str, id: &str) {
        form.at = form.fields.iter().position(|field| field.group == group && field.id == id).unwrap();
    }

    #[test]
    fn fields_are_those_of_the_plan_with_the_engines_own() {
        let form = form();
        let ids: Vec<String> = form.fields.iter().map(|field| format!("{}.{}", field.group, field.id)).collect();
        assert_eq!(
            ids,
            [".recipe", ".output", ".priority", "shape.engine", "shape.thickness", "shape.smooth", "count.triangles"]
        );
    }

    #[test]
    fn only_what_was_changed_is_sent_engines_first() {
        let mut form = form();
        go_to(&mut form, "count", "triangles");
        form.put("2000");
        go_to(&mut form, "shape", "smooth");
        assert!(form.turn(1));
        go_to(&mut form, "shape", "engine");
        assert!(form.turn(1));
        assert_eq!(form.settings(), ["shape.engine=net", "count.triangles=2000", "shape.smooth=true"]);
        form.put("");
        assert_eq!(form.settings().len(), 2, "an emptied field is as in the recipe");

        go_to(&mut form, "", OUTPUT);
        form.put("/out");
        go_to(&mut form, "", RECIPE);
        form.turn(1);
        let Ok(Ask::Submit { jobs, .. }) = form.send(7) else { panic!("not submitted") };
        assert_eq!(jobs.len(), 2);
        assert_eq!(jobs[0].output.as_deref(), Some("/out/"), "several files go into a folder");
        assert_eq!(jobs[0].recipe.as_deref(), Some("prop"));
        assert_ne!(jobs[0].idempotency_key, jobs[1].idempotency_key);
    }

    #[test]
    fn a_field_is_found_by_a_part_of_its_name_or_by_what_it_does() {
        let mut form = form();
        form.find("triang", 0);
        assert_eq!(form.fields[form.at].id, "triangles");
        form.find("widest", 0);
        assert_eq!(form.fields[form.at].id, "thickness");
        form.find("nothing like it", 0);
        assert_eq!(form.fields[form.at].id, "thickness", "it stays where it is");
    }

    #[test]
    fn the_cursor_stays_on_its_field_when_the_plan_changes() {
        let mut form = form();
        go_to(&mut form, "count", "triangles");
        let mut plan = samples::plan();
        plan["steps"].as_array_mut().unwrap().remove(0);
        form.planned(&plan, &samples::stages());
        assert_eq!(form.fields[form.at].id, "triangles");
        assert_eq!(form.at, 3);
    }
}
