//! `fire` and `refire`.

use std::{
    path::{Path, PathBuf, absolute},
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use meshkiln_protocol::{
    api::{RecipeGet, Refire as RefireMethod, Submit},
    job::{AssetRef, Class, Job, JobId, RefireParams, SourceParams, SubmitParams},
    recipe::RecipeGetParams,
};
use serde_json::json;

use super::{follow, pull};
use crate::{
    Outcome,
    args::{Fire, How, Refire},
    client::Client,
    error::Failure,
    show,
};

pub const CLIENT: &str = "cli";

pub fn fire(args: Fire, json: bool) -> Outcome {
    let images = args.images.iter().map(|image| readable(image)).collect::<Result<Vec<_>, _>>()?;
    let client = Client::connect()?;
    if let Some(name) = &args.recipe {
        // Told before anything is queued, rather than once an image.
        client.call::<RecipeGet>(&RecipeGetParams { name: Some(name.clone()), set: Vec::new() })?;
    }
    if !json && !args.how.detach && !images.iter().all(|image| is_mesh(image)) {
        pull::offer(&client, RecipeGetParams { name: args.recipe.clone(), set: args.how.set.clone() })?;
    }
    let hello = client.hello()?;
    let several = images.len() > 1;
    let mut jobs = Vec::new();
    for image in &images {
        let output = args.out.as_ref().map(|out| output_for(out, several)).transpose()?;
        let params = SubmitParams {
            source: SourceParams { path: Some(text(image)?), ..SourceParams::default() },
            against: None,
            recipe: args.recipe.clone(),
            set: args.how.set.clone(),
            output,
            class: class(&args.how),
            client: Some(CLIENT.to_owned()),
            idempotency_key: Some(format!("{CLIENT}:{}:{}", unique(), jobs.len())),
        };
        jobs.push(submit(&client, &params)?);
    }
    finish(&client, jobs, hello.seq, &args.how, json)
}

/// Queues a job once, also when the daemon dies over it: the next one knows by the key whether it
/// has the job.
fn submit(client: &Client, params: &SubmitParams) -> Result<Job, Failure> {
    match client.call::<Submit>(params) {
        Err(Failure::Unreachable { .. }) => {
            eprintln!("{}", follow::GONE);
            client.revive()?;
            client.call::<Submit>(params)
        }
        answer => answer,
    }
}

/// Differs from what any other run of this program says.
fn unique() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}:{}", process::id(), since.as_nanos())
}

pub fn refire(args: Refire, json: bool) -> Outcome {
    let asset = asset_ref(&args.asset)?;
    let client = Client::connect()?;
    let hello = client.hello()?;
    let job = client.call::<RefireMethod>(&RefireParams {
        asset,
        set: args.how.set.clone(),
        output: args.out.as_ref().map(|out| full_text(out)).transpose()?,
        class: class(&args.how),
        client: Some(CLIENT.to_owned()),
    })?;
    finish(&client, vec![job], hello.seq, &args.how, json)
}

fn finish(client: &Client, jobs: Vec<Job>, seq: u64, how: &How, json: bool) -> Outcome {
    if how.detach {
        return if json {
            show::json(&json!({ "jobs": jobs }))
        } else {
            jobs.iter().try_for_each(|job| show::line(format!("job {} queued: {}", job.id, job.name)))
        };
    }
    follow::to_the_end(client, jobs, seq, json)
}

/// By its name; the daemon looks at the content.
fn is_mesh(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    matches!(&*extension, "glb" | "gltf" | "obj" | "ply" | "stl")
}

fn class(how: &How) -> Class {
    if how.batch { Class::Batch } else { Class::Interactive }
}

/// A job number, or a path on this machine.
pub fn asset_ref(text: &str) -> Result<AssetRef, Failure> {
    match text.parse::<u64>() {
        Ok(id) if !Path::new(text).exists() => Ok(AssetRef { id: Some(JobId(id)), path: None }),
        _ => Ok(AssetRef { id: None, path: Some(full_text(Path::new(text))?) }),
    }
}

/// Absolute, and there: a misspelt name is told before the daemon is started.
pub fn readable(image: &Path) -> Result<PathBuf, Failure> {
    let path = full(image)?;
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Err(Failure::usage(
            format!("{} is a folder", image.display()),
            "name image files, or watch the folder with `meshkiln watch add`",
        )),
        Ok(_) => Ok(path),
        Err(e) => Err(Failure::usage(format!("cannot read {}: {e}", image.display()), "check the name of the file")),
    }
}

/// `out` is the file for one image unless it is a folder or ends like one, and
/// the folder for several.
fn output_for(out: &Path, several: bool) -> Result<String, Failure> {
    let text = full_text(out)?;
    let is_folder = several || out.as_os_str().to_string_lossy().ends_with(['/', '\\']);
    Ok(if is_folder { format!("{}/", text.trim_end_matches(['/', '\\'])) } else { text })
}

fn full(path: &Path) -> Result<PathBuf, Failure> {
    absolute(path).map_err(|e| Failure::usage(format!("{} is no path: {e}", path.display()), "check the name"))
}

pub fn full_text(path: &Path) -> Result<String, Failure> {
    text(&full(path)?)
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!("the name {} is not UTF-8", path.display()), "rename the file, or watch its folder")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_is_a_file_for_one_image_and_a_folder_for_several() {
        assert_eq!(output_for(Path::new("/out/x.glb"), false).unwrap(), "/out/x.glb");
        assert_eq!(output_for(Path::new("/out/"), false).unwrap(), "/out/");
        assert_eq!(output_for(Path::new("/out"), true).unwrap(), "/out/");
    }

    #[test]
    fn a_number_is_a_job_and_anything_else_a_path() {
        assert_eq!(asset_ref("12").unwrap().id, Some(JobId(12)));
        assert!(asset_ref("lamp.glb").unwrap().path.unwrap().ends_with("lamp.glb"));
    }
}
