//! `analyze` and `compare`: jobs that end in a report.

use std::path::Path;

use meshkiln_protocol::{
    api::Submit,
    job::{Class, JobState, SourceParams, SubmitParams},
};
use serde_json::{Value as Json, json};

use super::{fire, follow};
use crate::{
    Outcome,
    args::{Analyze, Compare},
    client::Client,
    error::Failure,
    show,
};

pub fn analyze(args: Analyze, json: bool) -> Outcome {
    let source = source(&args.mesh)?;
    run("analyze", source, None, args.set, json)
}

pub fn compare(args: Compare, json: bool) -> Outcome {
    let (mesh, against) = (source(&args.mesh)?, source(&args.against)?);
    run("compare", mesh, Some(against), args.set, json)
}

fn source(mesh: &Path) -> Result<SourceParams, Failure> {
    let path = fire::readable(mesh)?;
    Ok(SourceParams { path: Some(fire::full_text(&path)?), ..SourceParams::default() })
}

fn run(recipe: &str, source: SourceParams, against: Option<SourceParams>, set: Vec<String>, json: bool) -> Outcome {
    let client = Client::connect()?;
    let seq = client.hello()?.seq;
    let job = client.call::<Submit>(&SubmitParams {
        source,
        against,
        recipe: Some(recipe.to_owned()),
        set,
        output: None,
        class: Class::Interactive,
        client: Some(fire::CLIENT.to_owned()),
        idempotency_key: None,
    })?;
    let jobs = follow::until_ended(&client, vec![job], seq, json)?;
    for job in &jobs {
        match &job.report {
            Some(report) if job.state == JobState::Done => {
                if json {
                    show::json(&json!({ "report": report }))?;
                } else {
                    lines("", report)?;
                }
            }
            _ => {
                follow::print_end(job)?;
                return Err(Failure::JobsFailed);
            }
        }
    }
    Ok(())
}

/// A report as `name  value` lines, with what lies within something indented.
fn lines(indent: &str, report: &Json) -> Outcome {
    let Some(members) = report.as_object() else { return Ok(()) };
    let width = members.keys().map(|key| key.chars().count()).max().unwrap_or_default();
    for (key, value) in members {
        let name = key.replace('_', " ");
        match value {
            Json::Object(_) => {
                show::line(format!("{indent}{name}"))?;
                lines(&format!("{indent}  "), value)?;
            }
            _ => show::line(format!("{indent}{name:width$}  {}", words(value)))?,
        }
    }
    Ok(())
}

fn words(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Json::String(text) => text.clone(),
        Json::Number(number) => number.as_u64().map_or_else(|| number.to_string(), show::count),
        Json::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(", "),
        Json::Object(members) => members.iter().map(|(k, v)| format!("{k} {}", words(v))).collect::<Vec<_>>().join(" "),
    }
}
