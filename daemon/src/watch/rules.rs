//! What applies to a file in a watched folder: the recipe and where the asset goes.
//!
//! The nearest `.meshkiln.toml` between the file and the watched folder decides;
//! without one, the recipe named when the watch was added.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use meshkiln_models::recipe::Recipe;

use super::{
    names::FOLDER_RULES,
    scan::{Scope, Stat, open_beneath},
};

/// A settings file longer than this is a mistake.
const MAX_RULES_BYTES: u64 = 256 << 10;

/// Finds a recipe by name: the user's, else a built-in one.
pub type FindRecipe = Box<dyn Fn(&str) -> Option<Recipe> + Send>;

/// Settings files of one watched tree, read again when they change.
#[derive(Default)]
pub struct Rules {
    by_folder: BTreeMap<PathBuf, (Stat, Result<Recipe, String>)>,
}

impl Rules {
    /// `found` is every settings file within `scope`. Says whether anything changed.
    pub fn listed(&mut self, root: &Path, scope: &Scope, found: &BTreeMap<PathBuf, Stat>, find: &FindRecipe) -> bool {
        let before = self.by_folder.len();
        // A folder belongs to a scope as a file in it would.
        self.by_folder.retain(|folder, _| !scope.contains(&folder.join(FOLDER_RULES)) || found.contains_key(folder));
        let mut changed = self.by_folder.len() != before;
        for (folder, &stat) in found {
            if self.by_folder.get(folder).is_some_and(|(known, _)| *known == stat) {
                continue;
            }
            self.by_folder.insert(folder.clone(), (stat, read(root, folder, find)));
            changed = true;
        }
        changed
    }

    /// The recipe for a file, or the name of the settings file that is broken.
    pub fn recipe_for(&self, rel: &Path, default: &str, find: &FindRecipe) -> Result<Recipe, String> {
        for folder in rel.ancestors().skip(1) {
            if let Some((_, recipe)) = self.by_folder.get(folder) {
                return recipe.clone();
            }
        }
        find(default).ok_or_else(|| {
            format!(
                "there is no recipe `{default}` any more; add it again, or remove the watch and add it with another"
            )
        })
    }

    /// The first broken settings file, in words.
    pub fn problem(&self) -> Option<&str> {
        self.by_folder.values().find_map(|(_, recipe)| recipe.as_ref().err()).map(String::as_str)
    }
}

fn read(root: &Path, folder: &Path, find: &FindRecipe) -> Result<Recipe, String> {
    let rel = folder.join(FOLDER_RULES);
    let mut text = String::new();
    let (file, stat) = open_beneath(root, &rel).map_err(|e| format!("{} cannot be read: {e}", rel.display()))?;
    if stat.bytes > MAX_RULES_BYTES {
        return Err(format!("{} has {} bytes, more than {MAX_RULES_BYTES}", rel.display(), stat.bytes));
    }
    file.take(MAX_RULES_BYTES)
        .read_to_string(&mut text)
        .map_err(|e| format!("{} cannot be read: {e}", rel.display()))?;
    Recipe::parse("folder", &text, &|name| find(name)).map_err(|e| format!("{}: {e}; {}", rel.display(), e.hint))
}

/// Where the asset of `rel` goes: beside it or, with the same sub-folders, under
/// `out`. `taken` says whether another picture's asset is there already: then
/// the picture's own extension is kept in the name (`lamp.jpg.glb`).
pub fn output_for(
    root: &Path,
    out: Option<&Path>,
    rel: &Path,
    extension: &str,
    taken: &dyn Fn(&Path) -> bool,
) -> PathBuf {
    let folder = out.unwrap_or(root).join(rel.parent().unwrap_or(Path::new("")));
    let named = |name: &std::ffi::OsStr| {
        let mut file = name.to_owned();
        file.push(extension);
        folder.join(file)
    };
    let short = named(rel.file_stem().unwrap_or(rel.as_os_str()));
    if taken(&short) { named(rel.file_name().unwrap_or(rel.as_os_str())) } else { short }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::scan::list, *};

    #[test]
    fn the_nearest_rules_decide_and_broken_ones_say_where() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(root.join("c")).unwrap();
        fs::write(root.join("a/.meshkiln.toml"), "recipe = \"draft\"").unwrap();
        fs::write(root.join("c/.meshkiln.toml"), "recipe = \"prop\"\n[set.simplfy]\ntriangles = 1").unwrap();
        let find: FindRecipe = Box::new(Recipe::built_in);
        let scope = Scope { folder: PathBuf::new(), recursive: true };
        let mut rules = Rules::default();
        assert!(rules.listed(root, &scope, &list(root, &scope).unwrap().rules, &find));
        assert!(!rules.listed(root, &scope, &list(root, &scope).unwrap().rules, &find));

        let draft = Recipe::built_in("draft").unwrap();
        assert_eq!(rules.recipe_for(Path::new("a/b/x.png"), "prop", &find).unwrap().steps, draft.steps);
        assert_eq!(rules.recipe_for(Path::new("x.png"), "prop", &find).unwrap().name, "prop");
        let problem = rules.recipe_for(Path::new("c/x.png"), "prop", &find).unwrap_err();
        assert!(problem.contains("line 3") && problem.contains("simplify"), "{problem}");
        assert_eq!(rules.problem(), Some(problem.as_str()));

        fs::remove_file(root.join("c/.meshkiln.toml")).unwrap();
        assert!(rules.listed(root, &scope, &list(root, &scope).unwrap().rules, &find));
        assert_eq!(rules.problem(), None);
    }

    #[test]
    fn assets_keep_their_sub_folders_and_never_share_a_name() {
        let place = |out: Option<&str>, rel: &str, taken: bool| {
            output_for(Path::new("/in"), out.map(Path::new), Path::new(rel), ".glb", &|_| taken)
        };
        assert_eq!(place(None, "a/lamp.png", false), Path::new("/in/a/lamp.glb"));
        assert_eq!(place(Some("/out"), "a/lamp.png", false), Path::new("/out/a/lamp.glb"));
        assert_eq!(place(None, "lamp.jpg", true), Path::new("/in/lamp.jpg.glb"));
    }
}
