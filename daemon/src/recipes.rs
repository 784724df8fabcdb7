//! Recipes by name: the user's (`CONFIG/recipes/*.toml`) over the built-in ones.
//!
//! Files are read at each question, so that a change applies at once. A broken
//! file is a problem of its own name and hides no other.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use meshkiln_models::recipe::{BUILT_IN, Networks, Plan, Recipe, RecipeError};
use meshkiln_protocol::recipe::{RecipeInfo, RecipeProblem, RecipeText, RecipeVerdict};

/// What is used when nobody says.
pub const DEFAULT: &str = "prop";
/// The same for meshes.
pub const MESH: &str = "optimize";
/// Longest recipe file, in bytes.
const MAX_BYTES: u64 = 256 << 10;

#[derive(Clone)]
pub struct Recipes {
    folder: PathBuf,
    nets: Nets,
}

/// Whether the weights of a network are here, so that `auto` may choose the engine that needs it,
/// and which engine runs one that is named.
pub type Nets = Arc<dyn Networks + Send + Sync>;

impl Recipes {
    /// `config` is the user's folder of settings.
    pub fn new(config: &Path, nets: Nets) -> Recipes {
        Recipes { folder: config.join("recipes"), nets }
    }

    /// Every engine chosen and every setting spelled out, with what is here.
    pub fn plan(&self, recipe: &Recipe) -> Result<Plan, RecipeError> {
        recipe.plan_with(&*self.nets)
    }

    pub fn nets(&self) -> &Nets {
        &self.nets
    }

    /// By name, sorted. One entry a name, the user's where there is one.
    pub fn list(&self) -> Vec<RecipeInfo> {
        let mut all: BTreeMap<String, RecipeInfo> = BTreeMap::new();
        for (name, _) in BUILT_IN {
            if let Some(recipe) = Recipe::built_in(name) {
                all.insert((*name).to_owned(), info(&recipe, None));
            }
        }
        for (name, path) in self.files() {
            let shown = Some(path.display().to_string());
            let entry = match self.read(&name, &path, &mut vec![name.clone()]) {
                Ok(recipe) => info(&recipe, shown),
                Err(e) => RecipeInfo {
                    name: name.clone(),
                    doc: String::new(),
                    path: shown,
                    stages: Vec::new(),
                    problem: Some(problem(e)),
                },
            };
            all.insert(name, entry);
        }
        all.into_values().collect()
    }

    pub fn find(&self, name: &str) -> Result<Recipe, RecipeError> {
        self.find_through(name, &mut Vec::new())
    }

    /// What `recipe = "NAME"` means in a file that is not one of these, such as
    /// `.meshkiln.toml`.
    pub fn base(&self, name: &str) -> Option<Recipe> {
        self.find(name).ok()
    }

    /// `set` are changes to it: `stage.param=value`.
    pub fn get(&self, name: &str, set: &[String]) -> Result<RecipeText, RecipeError> {
        let mut recipe = self.find(name)?;
        set.iter().try_for_each(|assignment| recipe.set_text(assignment))?;
        let plan = self.plan(&recipe)?;
        let text = match self.files().remove(name) {
            Some(path) => read_text(&path)?,
            None => BUILT_IN.iter().find(|(id, _)| *id == name).map(|(_, text)| (*text).to_owned()).unwrap_or_default(),
        };
        Ok(RecipeText { name: name.to_owned(), text, missing_nets: plan.missing_nets(), plan: plan.to_json() })
    }

    /// Checks a text as if it were the file of a recipe.
    pub fn validate(&self, text: &str) -> RecipeVerdict {
        let checked = Recipe::parse("recipe", text, &|name| self.base(name)).and_then(|recipe| self.plan(&recipe));
        match checked {
            Ok(plan) => RecipeVerdict { problem: None, plan: Some(plan.to_json()) },
            Err(e) => RecipeVerdict { problem: Some(problem(e)), plan: None },
        }
    }

    /// `through` are the names being read: a file that builds on its own name
    /// means the built-in recipe.
    fn find_through(&self, name: &str, through: &mut Vec<String>) -> Result<Recipe, RecipeError> {
        if !through.iter().any(|outer| outer == name)
            && let Some(path) = self.files().remove(name)
        {
            through.push(name.to_owned());
            let read = self.read(name, &path, through);
            through.pop();
            return read;
        }
        Recipe::built_in(name).ok_or_else(|| no_such_recipe(name, &self.names()))
    }

    fn read(&self, name: &str, path: &Path, through: &mut Vec<String>) -> Result<Recipe, RecipeError> {
        let text = read_text(path)?;
        let through = std::cell::RefCell::new(through);
        Recipe::parse(name, &text, &|base| self.find_through(base, &mut through.borrow_mut()).ok())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.files().into_keys().collect();
        names.extend(BUILT_IN.iter().map(|(name, _)| (*name).to_owned()));
        names.sort_unstable();
        names.dedup();
        names
    }

    fn files(&self) -> BTreeMap<String, PathBuf> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return BTreeMap::new() };
        entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let is_recipe = path.extension().is_some_and(|extension| extension == "toml") && path.is_file();
                let name = path.file_stem()?.to_str()?.to_owned();
                (is_recipe && !name.starts_with('.')).then_some((name, path))
            })
            .collect()
    }
}

fn info(recipe: &Recipe, path: Option<String>) -> RecipeInfo {
    RecipeInfo {
        name: recipe.name.clone(),
        doc: recipe.doc.clone(),
        path,
        stages: recipe.steps.iter().map(|step| step.stage.to_owned()).collect(),
        problem: None,
    }
}

fn problem(error: RecipeError) -> RecipeProblem {
    let (line, column) = error.at.unzip();
    RecipeProblem {
        message: error.message,
        hint: error.hint,
        line: line.map(|n| n as u64),
        column: column.map(|n| n as u64),
    }
}

fn read_text(path: &Path) -> Result<String, RecipeError> {
    let cannot = |message: String, hint: &str| RecipeError { message, hint: hint.to_owned(), at: None };
    let read = fs::metadata(path).and_then(|found| {
        if found.len() > MAX_BYTES {
            return Err(io::Error::other(format!("it has {} bytes, more than {MAX_BYTES}", found.len())));
        }
        fs::read_to_string(path)
    });
    read.map_err(|e| cannot(format!("{} cannot be read: {e}", path.display()), "make it a text file you may read"))
}

fn no_such_recipe(name: &str, names: &[String]) -> RecipeError {
    RecipeError {
        message: format!("there is no recipe `{name}`"),
        hint: format!("one of: {}", names.join(", ")),
        at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipes(files: &[(&str, &str)]) -> (tempfile::TempDir, Recipes) {
        let config = tempfile::tempdir().unwrap();
        fs::create_dir(config.path().join("recipes")).unwrap();
        for (name, text) in files {
            fs::write(config.path().join("recipes").join(name), text).unwrap();
        }
        let recipes = Recipes::new(config.path(), Arc::new(|_: &str| false));
        (config, recipes)
    }

    #[test]
    fn the_users_recipes_come_before_the_built_in_ones() {
        let (_config, recipes) = recipes(&[
            ("barrels.toml", "recipe = \"draft\"\n[set.simplify]\ntriangles = 2000\n"),
            ("prop.toml", "doc = \"ours\"\nrecipe = \"prop\"\n[set.simplify]\ntriangles = 777\n"),
        ]);
        let names: Vec<_> = recipes.list().into_iter().map(|r| (r.name, r.path.is_some())).collect();
        let mut expected: Vec<_> = BUILT_IN.iter().map(|(name, _)| (name.to_string(), *name == "prop")).collect();
        expected.push(("barrels".to_owned(), true));
        expected.sort();
        assert_eq!(names, expected);
        let ours = recipes.get("prop", &[]).unwrap();
        assert!(ours.text.contains("ours"));
        assert!(ours.plan.to_string().contains("777"));
        assert!(recipes.get("draft", &[]).unwrap().text.contains("[[stage]]"));
    }

    #[test]
    fn a_broken_file_hides_no_other() {
        let (_config, recipes) = recipes(&[
            ("bad.toml", "recipe = \"prop\"\n[set.simplify]\ntriangels = 5\n"),
            ("good.toml", "recipe = \"draft\"\n"),
            ("binary.toml", "\u{0}\u{1}"),
            ("draft.toml", "recipe ="),
            ("notes.txt", "not a recipe"),
        ]);
        let list = recipes.list();
        let problem = |name: &str| list.iter().find(|r| r.name == name).unwrap().problem.clone();
        let bad = problem("bad").unwrap();
        assert_eq!((bad.line, bad.column, bad.hint.as_str()), (Some(3), Some(1), "did you mean `triangles`?"));
        assert!(problem("binary").is_some() && problem("draft").is_some());
        assert_eq!(problem("prop"), None);
        assert!(list.iter().all(|r| r.name != "notes"));
        assert!(recipes.find("draft").is_err(), "a broken file of the user must not be passed over silently");
    }

    #[test]
    fn recipes_that_build_on_each_other_in_a_circle_are_problems() {
        let (_config, recipes) = recipes(&[("a.toml", "recipe = \"b\"\n"), ("b.toml", "recipe = \"a\"\n")]);
        assert!(recipes.find("a").is_err());
        assert!(recipes.list().iter().filter(|r| r.problem.is_some()).count() == 2);
    }

    #[test]
    fn a_missing_recipe_is_answered_with_those_there_are() {
        let (_config, recipes) = recipes(&[("barrels.toml", "recipe = \"draft\"\n")]);
        let error = recipes.find("../../etc/passwd").unwrap_err();
        assert_eq!(error.message, "there is no recipe `../../etc/passwd`");
        assert_eq!(
            error.hint,
            "one of: analyze, barrels, coin, compare, cutout, depth, draft, hero, mobile, optimize, prop, relief, terrain, upscale"
        );
    }

    #[test]
    fn validating_says_what_is_wrong_or_spells_everything_out() {
        let (_config, recipes) = recipes(&[]);
        let verdict = recipes.validate("recipe = \"prop\"\n");
        assert!(verdict.problem.is_none() && verdict.plan.is_some());
        let verdict = recipes.validate("[[stage]]\nid = \"cutuot\"\n");
        assert_eq!(verdict.problem.unwrap().line, Some(2));
    }
}
