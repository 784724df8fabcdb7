//! `job.refire`: an earlier asset again, with other settings. Stages that do not
//! change come from the cache.
//!
//! An asset is known by id, by its file or by its source image. One that this
//! daemon never made is known by itself: its provenance says source, recipe and
//! settings.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use meshkiln_models::recipe::{Plan, Recipe};
use meshkiln_protocol::{
    error::ErrorKind,
    job::{Job, JobId, RefireParams},
};
use serde_json::Value as Json;

use super::{
    Daemon, assets,
    convert::{self, CallError},
    jobs::no_such_job,
    methods::blocking,
    source, submit,
};
use crate::{main_loop::Submission, store::blobs::Digest};

/// Longest JSON part of a GLB that is read.
const MAX_JSON: u32 = 16 << 20;

pub async fn refire(daemon: Arc<Daemon>, params: RefireParams) -> Result<Job, CallError> {
    let here = daemon.clone();
    let submission = blocking(move || prepare(&here, params)).await?;
    submit::queue(daemon, submission).await
}

/// What an asset was made from, however it was found.
struct Origin {
    source: Digest,
    source_path: Option<PathBuf>,
    name: String,
    recipe: Recipe,
    output: Option<PathBuf>,
}

fn prepare(daemon: &Daemon, params: RefireParams) -> Result<Submission, CallError> {
    assets::check(&params.asset)?;
    let origin = match (params.asset.id, params.asset.path.as_deref()) {
        (Some(id), _) => by_job(daemon, id)?,
        (None, path) => match daemon.backend.asset(&params.asset)? {
            Some(asset) => by_job(daemon, asset.id)?,
            None => {
                by_itself(Path::new(path.unwrap_or_default()))?.ok_or_else(|| assets::no_such_asset(&params.asset))?
            }
        },
    };
    let plan = submit::plan(daemon, origin.recipe, &params.set)?;
    let output = match &params.output {
        Some(output) => Some(submit::check_output(output, &origin.name, origin.source_path.as_deref(), &plan)?),
        None => origin.output,
    };
    let source_path = find_source(daemon, origin.source, origin.source_path, output.as_deref(), &origin.name)?;
    Ok(Submission {
        source_sha256: origin.source.to_string(),
        source_path,
        name: origin.name,
        plan,
        output,
        class: params.class,
        client: params.client.map(|client| client.chars().filter(|c| !c.is_control()).take(64).collect()),
        idempotency_key: None,
        watch: None,
    })
}

fn by_job(daemon: &Daemon, id: JobId) -> Result<Origin, CallError> {
    let done = daemon.backend.submission(id)?.ok_or_else(|| no_such_job(id))?;
    Ok(Origin {
        source: parse_digest(&done.source_sha256)?,
        source_path: done.source_path,
        name: done.name,
        // Through its written form: settings this version does not know are errors.
        recipe: Plan::recipe_from_json(&done.plan.to_json())?,
        output: done.output,
    })
}

/// `None` when the file is no asset of ours.
fn by_itself(path: &Path) -> Result<Option<Origin>, CallError> {
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("glb")) || !path.is_file() {
        return Ok(None);
    }
    let Some(provenance) = read_provenance(path)? else {
        return Err(convert::invalid(
            format!("{} was not made by Meshkiln", path.display()),
            "fire its source image instead",
        ));
    };
    let recipe = Plan::recipe_from_json(&provenance["plan"])?;
    let name = source::check_name(provenance["name"].as_str().unwrap_or_default())?;
    let source = parse_digest(provenance["source_sha256"].as_str().unwrap_or_default())?;
    Ok(Some(Origin { source, source_path: None, name, recipe, output: Some(path.to_owned()) }))
}

/// Makes sure that the source is in the blob store; it may have been collected
/// since. Then a file whose bytes are still the same will do: the one it came
/// from, or a picture of the same name beside the asset.
fn find_source(
    daemon: &Daemon,
    digest: Digest,
    known: Option<PathBuf>,
    output: Option<&Path>,
    name: &str,
) -> Result<Option<PathBuf>, CallError> {
    if daemon.blobs.touch(digest).is_ok() {
        return Ok(known);
    }
    let candidates = known.clone().into_iter().chain(output.map(|asset| namesakes(asset, name)).unwrap_or_default());
    for path in candidates {
        if let Ok(blob) = source::snapshot(&daemon.blobs, &path)
            && blob.digest() == Ok(digest)
        {
            return Ok(Some(path));
        }
    }
    let from = known.map(|path| format!(" of {}", path.display())).unwrap_or_default();
    Err(convert::refused(
        ErrorKind::NotFound,
        format!("the source image {digest}{from} is no longer there, or has changed"),
        "put the picture back, upload it with PUT /blob/<sha256>, or fire the new one",
    ))
}

/// Pictures beside the asset that have its name.
fn namesakes(asset: &Path, name: &str) -> Vec<PathBuf> {
    const PICTURES: &[&str] = &["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif"];
    let Some(entries) = asset.parent().and_then(|folder| fs::read_dir(folder).ok()) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let extension = path.extension()?.to_str()?.to_ascii_lowercase();
            let is_namesake = path.file_stem()? == name && PICTURES.contains(&extension.as_str());
            is_namesake.then_some(path)
        })
        .collect();
    found.sort_unstable();
    found
}

/// `asset.extras.meshkiln` of a GLB, `None` when there is none. Every length is
/// checked against the file.
fn read_provenance(path: &Path) -> Result<Option<Json>, CallError> {
    const MAGIC: u32 = 0x4654_6c67; // "glTF"
    const JSON_CHUNK: u32 = 0x4e4f_534a; // "JSON"
    let mut file = source::open_any_size(path)?;
    let mut words = [0u32; 5];
    for word in &mut words {
        let mut bytes = [0; 4];
        if file.read_exact(&mut bytes).is_err() {
            return Ok(None);
        }
        *word = u32::from_le_bytes(bytes);
    }
    let [magic, version, _total, length, kind] = words;
    if magic != MAGIC || version != 2 || kind != JSON_CHUNK || length > MAX_JSON {
        return Ok(None);
    }
    let mut json = Vec::new();
    let read = file.take(length.into()).read_to_end(&mut json);
    if read.ok() != Some(length as usize) {
        return Ok(None);
    }
    let parsed: Option<Json> = serde_json::from_slice(&json).ok();
    let found = parsed.and_then(|gltf| gltf.pointer("/asset/extras/meshkiln").cloned());
    Ok(found.filter(Json::is_object))
}

fn parse_digest(text: &str) -> Result<Digest, CallError> {
    text.parse().map_err(|e| convert::invalid(format!("the asset's source: {e}"), "fire its source image instead"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn glb(gltf: &Json) -> Vec<u8> {
        let json = gltf.to_string().into_bytes();
        let mut bytes = Vec::new();
        for word in [0x4654_6c67, 2, json.len() as u32 + 20, json.len() as u32, 0x4e4f_534a] {
            bytes.extend_from_slice(&u32::to_le_bytes(word));
        }
        bytes.extend(json);
        bytes
    }

    #[test]
    fn provenance_is_read_from_the_file_and_nothing_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.glb");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read_provenance(&path).unwrap()
        };
        let ours = glb(&json!({"asset": {"version": "2.0", "extras": {"meshkiln": {"name": "a"}}}}));
        assert_eq!(read(&ours), Some(json!({"name": "a"})));
        assert_eq!(read(&glb(&json!({"asset": {"version": "2.0"}}))), None);
        assert_eq!(read(&glb(&json!([1]))), None);
        for cut in 1..ours.len() {
            assert_eq!(read(&ours[..cut]), None, "cut after {cut} bytes");
        }
        let mut liar = ours.clone();
        liar[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read(&liar), None);
    }

    #[test]
    fn namesakes_are_pictures_of_the_same_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "a.JPG", "a.txt", "b.png", "a.glb"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = namesakes(&dir.path().join("a.glb"), "a");
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.JPG", "a.png"]);
    }

    #[test]
    fn an_asset_repeats_its_recipe_from_its_plan() {
        let plan = Recipe::built_in("draft").unwrap().plan(&|_| false).unwrap();
        let again = Plan::recipe_from_json(&plan.to_json()).unwrap();
        assert_eq!(again.plan(&|_| false).unwrap(), plan);
    }
}
