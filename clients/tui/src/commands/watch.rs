//! `watch add`, `list`, `remove` and `rescan`.

use std::path::Path;

use meshkiln_protocol::{
    api::{NoParams, WatchAdd, WatchListAll, WatchRemove, WatchRescan},
    watch::{Watch as Folder, WatchAddParams, WatchId, WatchIdParams, WatchMode},
};
use serde_json::json;

use super::fire::full_text;
use crate::{Outcome, args::Watch, client::Client, error::Failure, show};

pub fn run(args: Watch, json: bool) -> Outcome {
    let client = Client::connect()?;
    match args {
        Watch::Add { folder, recipe, out, recursive } => {
            let watch = client.call::<WatchAdd>(&WatchAddParams {
                path: full_text(&folder)?,
                recipe,
                out: out.as_ref().map(|out| full_text(out)).transpose()?,
                recursive,
            })?;
            told(json, "watching", watch)
        }
        Watch::Remove { watch } => told(json, "no longer watching", client.call::<WatchRemove>(&id_params(&watch)?)?),
        Watch::Rescan { watch } => {
            let params = watch.map(|w| id_params(&w)).transpose()?.unwrap_or_default();
            let result = client.call::<WatchRescan>(&params)?;
            if json { show::json(&result) } else { table(&result.watches) }
        }
        Watch::List => {
            let list = client.call::<WatchListAll>(&NoParams {})?;
            match (json, list.watches.is_empty()) {
                (true, _) => show::json(&list),
                (false, true) => show::line("no folders are watched; `meshkiln watch add FOLDER` adds one"),
                (false, false) => table(&list.watches),
            }
        }
    }
}

fn told(json: bool, what: &str, watch: Folder) -> Outcome {
    if json {
        return show::json(&json!({ "watch": watch }));
    }
    show::line(format!("{what} {} with recipe {}", watch.path, watch.recipe))?;
    watch.problem.iter().for_each(|problem| eprintln!("  {problem}"));
    Ok(())
}

fn id_params(text: &str) -> Result<WatchIdParams, Failure> {
    match text.parse::<u64>() {
        Ok(id) if !Path::new(text).exists() => Ok(WatchIdParams { id: Some(WatchId(id)), path: None }),
        _ => Ok(WatchIdParams { id: None, path: Some(full_text(Path::new(text))?) }),
    }
}

fn table(watches: &[Folder]) -> Outcome {
    let mode = |mode| match mode {
        WatchMode::Events => "watching",
        WatchMode::Polling => "polling",
        WatchMode::Missing => "missing",
    };
    let rows: Vec<Vec<String>> = watches
        .iter()
        .map(|w| {
            vec![
                w.id.to_string(),
                mode(w.mode).to_owned(),
                w.recipe.clone(),
                show::count(w.counts.files),
                show::count(w.counts.waiting),
                show::count(w.counts.fired),
                show::count(w.counts.refused),
                if w.recursive { format!("{}/**", w.path) } else { w.path.clone() },
            ]
        })
        .collect();
    show::table(&["ID", "MODE", "RECIPE", "FILES", "WAITING", "FIRED", "REFUSED", "FOLDER"], &rows)?;
    for watch in watches {
        watch.problem.iter().try_for_each(|problem| show::line(format!("  {}: {problem}", watch.path)))?;
    }
    Ok(())
}
