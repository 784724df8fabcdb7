//! `net.toml`: from text to what it says, or to what is wrong with it and where.

use std::{
    fs, io,
    path::{Component, Path},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Kind, MANIFEST, Own, Problem, signature};
use crate::{
    nets::torchscript,
    recipe::{RecipeError, expected, line_column, text_of, unknown},
    stage::{self, Engine},
    weights::catalogue::{NETS, Net, Runs},
};

const KEYS: [&str; 5] = ["kind", "doc", "license", "weights", "config"];
const TORCHSCRIPT_KEYS: [&str; 7] = ["kind", "doc", "license", "weights", "stage", "input", "output"];
/// Longest manifest, in bytes.
const MAX_BYTES: u64 = 64 << 10;

pub fn read(id: &str, folder: &Path) -> Result<Own, Problem> {
    let path = folder.join(MANIFEST);
    let text = fs::metadata(&path).and_then(|found| match found.len() {
        ..=MAX_BYTES => fs::read_to_string(&path),
        bytes => Err(io::Error::other(format!("it has {bytes} bytes, more than {MAX_BYTES}"))),
    });
    let problem = |message: String, hint: String| Problem { id: id.to_owned(), message, hint };
    let text = text.map_err(|e| {
        problem(format!("{} cannot be read: {e}", path.display()), "make it a text file you may read".to_owned())
    })?;
    parse(id, folder, &text).map_err(|e| problem(format!("{}: {e}", path.display()), e.hint))
}

fn parse(id: &str, folder: &Path, text: &str) -> Result<Own, RecipeError> {
    let place = |at: usize| Some(line_column(text, at));
    let table = DeTable::parse(text).map_err(|e| RecipeError {
        message: e.message().to_owned(),
        hint: "check the TOML syntax there".to_owned(),
        at: e.span().and_then(|span| place(span.start)),
    })?;
    let table = table.get_ref();
    let kind = required(table, "kind", "say what runs it: kind = \"triposr\", or kind = \"torchscript\"")?;
    let kind_name = one_of("kind", kind, &kinds()).map_err(|e| e.or_at(place(kind.span().start)))?;
    let keys: &[&str] = if kind_name == "torchscript" { &TORCHSCRIPT_KEYS } else { &KEYS };
    check_keys(table, keys, &place)?;

    let text_at = |key: &str| match table.get(key) {
        Some(value) => text_of(value).map(Some).map_err(|e| e.or_at(place(value.span().start))),
        None => Ok(None),
    };
    // A file that is named must be there; of those that are not named, the first that is there.
    let file = |key: &str, usual: &[&str]| -> Result<Option<String>, RecipeError> {
        match (text_at(key)?, table.get(key)) {
            (Some(name), Some(value)) => check_file(key, folder, name).map_err(|e| e.or_at(place(value.span().start))),
            _ => Ok(usual.iter().find(|name| folder.join(name).is_file()).map(|name| (*name).to_owned())),
        }
    };
    let usual: &[&str] = if kind_name == "torchscript" { &["model.pt"] } else { &["model.safetensors", "model.ckpt"] };
    let weights = file("weights", usual)?.ok_or_else(|| RecipeError {
        message: format!("there is no {} beside it", usual.join(" or ")),
        hint: "put the weights there, or name their file: weights = \"FILE\"".to_owned(),
        at: None,
    })?;
    let (kind, config) = match kind_name {
        "torchscript" => (Kind::TorchScript(signature::parse(table, &place)?), None),
        net => {
            let runs = open_nets().find_map(|(id, runs)| (id == net).then_some(runs));
            let runs = runs.ok_or_else(|| unknown("kind", net, kinds()))?;
            (Kind::BuiltIn { net, runs }, file("config", &["config.yaml"])?)
        }
    };
    Ok(Own {
        id: id.to_owned(),
        folder: folder.to_owned(),
        doc: text_at("doc")?.unwrap_or("A network of your own.").to_owned(),
        license: text_at("license")?.map(str::to_owned),
        kind,
        weights,
        config,
    })
}

/// Networks of the catalogue whose engine runs others of their architecture too, and modules.
fn kinds() -> Vec<&'static str> {
    open_nets().map(|(id, _)| id).chain([torchscript::ENGINE]).collect()
}

fn open_nets() -> impl Iterator<Item = (&'static str, Runs)> {
    let engine = |runs: &Runs| stage::find(runs.stage).and_then(|stage| stage.engine(runs.engine));
    let open = move |net: &&'static Net| {
        let runs = *net.engines.first()?;
        engine(&runs).is_some_and(Engine::takes_nets).then_some((net.id, runs))
    };
    NETS.iter().filter_map(open)
}

/// A name that stays below the folder, of a file that is there. A link is the user's own and is followed.
fn check_file(key: &str, folder: &Path, name: &str) -> Result<Option<String>, RecipeError> {
    let wrong = |message: String, hint: &str| Err(RecipeError { message, hint: hint.to_owned(), at: None });
    let is_below = |part: Component| matches!(part, Component::Normal(_));
    if name.is_empty() || name.contains('\\') || !Path::new(name).components().all(is_below) {
        return wrong(
            format!("`{key}` leads out of the folder: {name}"),
            "put the file, or a link to it, beside net.toml",
        );
    }
    let path = folder.join(name);
    if !path.is_file() {
        return wrong(format!("`{key}`: {} is not there", path.display()), "put the file there, or correct its name");
    }
    Ok(Some(name.to_owned()))
}

/// Line and column of a byte.
pub(super) type Place<'a> = &'a dyn Fn(usize) -> Option<(usize, usize)>;

/// No key that is not among `keys`.
pub(super) fn check_keys(table: &DeTable, keys: &[&str], place: Place) -> Result<(), RecipeError> {
    match table.keys().find(|key| !keys.contains(&key.get_ref().as_ref())) {
        Some(key) => Err(unknown("key", key.get_ref(), keys.iter().copied()).or_at(place(key.span().start))),
        None => Ok(()),
    }
}

pub(super) fn required<'a, 'i>(
    table: &'a DeTable<'i>,
    key: &str,
    hint: &str,
) -> Result<&'a Spanned<DeValue<'i>>, RecipeError> {
    let missing = || RecipeError { message: format!("`{key}` is missing"), hint: hint.to_owned(), at: None };
    table.get(key).ok_or_else(missing)
}

/// One of a list of words.
pub(super) fn one_of<'v>(key: &str, value: &Spanned<DeValue>, valid: &[&'v str]) -> Result<&'v str, RecipeError> {
    let given = text_of(value)?;
    valid.iter().find(|word| **word == given).copied().ok_or_else(|| unknown(key, given, valid.iter().copied()))
}

/// A list of numbers.
pub(super) fn numbers(value: &Spanned<DeValue>) -> Result<Vec<f64>, RecipeError> {
    let what = "a list of numbers";
    let list = value.get_ref().as_array().ok_or_else(|| expected(what, value))?;
    let number = |value: &Spanned<DeValue>| match value.get_ref() {
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n as f64),
        DeValue::Float(n) => n.as_str().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    };
    list.iter().map(|value| number(value).ok_or_else(|| expected("a number", value))).collect()
}
