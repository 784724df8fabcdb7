//! `recipes` and `stages`.

use meshkiln_protocol::{
    api::{NoParams, RecipeGet, RecipeListAll, StageListAll},
    recipe::{ParamInfo, ParamKindInfo, RecipeGetParams, StageInfo},
};

use crate::{Outcome, client::Client, error::Failure, show};

pub fn recipes(name: Option<String>, json: bool) -> Outcome {
    let client = Client::connect()?;
    if let Some(name) = name {
        let recipe = client.call::<RecipeGet>(&RecipeGetParams { name: Some(name), set: Vec::new() })?;
        return if json { show::json(&recipe) } else { show::line(recipe.text.trim_end()) };
    }
    let list = client.call::<RecipeListAll>(&NoParams {})?;
    if json {
        return show::json(&list);
    }
    let rows: Vec<Vec<String>> = list
        .recipes
        .iter()
        .map(|r| vec![r.name.clone(), r.path.clone().unwrap_or_else(|| "built in".to_owned()), r.doc.clone()])
        .collect();
    show::table(&["NAME", "FROM", ""], &rows)?;
    for recipe in &list.recipes {
        if let Some(problem) = &recipe.problem {
            let at = problem.line.zip(problem.column).map(|(l, c)| format!(":{l}:{c}")).unwrap_or_default();
            let place = recipe.path.as_deref().unwrap_or(&recipe.name);
            show::line(format!("{place}{at}: {}\n  hint: {}", problem.message, problem.hint))?;
        }
    }
    Ok(())
}

pub fn stages(id: Option<String>, json: bool) -> Outcome {
    let client = Client::connect()?;
    let mut list = client.call::<StageListAll>(&NoParams {})?;
    if let Some(id) = id {
        list.stages.retain(|stage| stage.id == id);
        if list.stages.is_empty() {
            return Err(Failure::usage(format!("there is no stage `{id}`"), "`meshkiln stages` lists them"));
        }
    }
    if json {
        return show::json(&list);
    }
    list.stages.iter().try_for_each(stage)
}

fn stage(stage: &StageInfo) -> Outcome {
    show::line(format!("{}  {}", stage.id, stage.doc))?;
    let may = stage.may_read.join(", ");
    let may = if may.is_empty() { may } else { format!(" (and {may} where there)") };
    show::line(format!("    reads {}{may}; writes {}", stage.reads.join(", "), stage.writes.join(", ")))?;
    params(&stage.params)?;
    for engine in &stage.engines {
        let net = engine.net.as_ref().map(|net| format!(" (needs {net})")).unwrap_or_default();
        show::line(format!("    engine {}{net}: {}", engine.id, engine.doc))?;
        params(&engine.params)?;
    }
    show::line("")
}

fn params(params: &[ParamInfo]) -> Outcome {
    params.iter().try_for_each(|param| {
        let range = match &param.kind {
            ParamKindInfo::Int { min, max } => format!("{min} to {max}"),
            ParamKindInfo::Float { min, max } => format!("{min} to {max}"),
            ParamKindInfo::Flag => "true or false".to_owned(),
            ParamKindInfo::Choice { options } => options.join(", "),
            ParamKindInfo::Text { form } => form.clone(),
        };
        let unit = if param.unit.is_empty() { String::new() } else { format!(" {}", param.unit) };
        show::line(format!("      {} = {}{unit} ({range}): {}", param.id, param.default, param.doc))
    })
}
