//! Whole recipes over real pictures, stage by stage as they are declared.
//!
//! Finished files and previews are left in `target/tmp/assets`, for
//! `tests/validate/run target/tmp/assets` and for looking at.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use meshkiln_models::{
    StageErrorKind,
    cx::CancelToken,
    export::{glb, ownership, provenance::provenance},
    recipe::Recipe,
    run::{RunError, run_plan},
    slot::{Asset, Slot, Value, sha256_hex},
};
use serde_json::json;

/// Pictures under `folders` of the test data, in order. Empty, and loud about it,
/// when the data is not there.
fn pictures(folders: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/images"));
    if !root.exists() {
        println!("skipped: ../shared/data is absent");
        return Vec::new();
    }
    let mut files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).expect("folder of pictures"))
        .map(|entry| entry.expect("picture").path())
        .collect();
    files.sort();
    files
}

fn fire(recipe: &str, picture: &Path) -> Result<Asset, RunError> {
    let source = std::fs::read(picture).expect("picture");
    let name = picture.file_stem().expect("name").to_string_lossy().into_owned();
    let mut recipe = Recipe::built_in(recipe).expect("recipe");
    // The gate has its way in `draft` too; `cutout` has no gate to set.
    let _ = recipe.set("check", "on-fail", &json!("fail"));
    let plan = recipe.plan(&|_| false).expect("plan");
    let record = provenance("meshkilnd 0.1.0", &name, &sha256_hex(&source), &plan);
    let mut asset = Asset::default();
    asset.set(Slot::Source, Value::Bytes(source.into()));
    asset.set(Slot::Provenance, Value::Json(Arc::new(record)));
    run_plan(&plan, &mut asset, &CancelToken::default(), &|_, _| {})?;
    Ok(asset)
}

fn keep(folder: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    std::fs::create_dir_all(&folder).expect("target is writable");
    std::fs::write(folder.join(name), bytes).expect("target is writable");
}

/// Fires all of them and says how each ended. A panic, a file that is not as
/// promised, or a reason that is not `fair` fails the test, after the last picture.
fn fire_all(recipe: &str, files: &[PathBuf], kept_in: &str, fair: fn(&RunError) -> bool) -> usize {
    // What an earlier run left would be validated again.
    let _ = std::fs::remove_dir_all(Path::new(env!("CARGO_TARGET_TMPDIR")).join(kept_in));
    let mut n_assets = 0;
    let mut wrong = Vec::new();
    for file in files {
        let folder = file.parent().and_then(Path::file_name).expect("folder").to_string_lossy();
        let name = format!("{folder}-{}", file.file_name().expect("name").to_string_lossy());
        let mut problem = |what: String| wrong.push(format!("{name}: {what}"));
        match std::panic::catch_unwind(|| fire(recipe, file)) {
            Err(_) => problem("panicked".to_owned()),
            Ok(Err(error)) if fair(&error) => println!("{name}: {error}"),
            Ok(Err(error)) => problem(error.to_string()),
            Ok(Ok(asset)) => {
                n_assets += 1;
                let report = asset.json(Slot::Report).expect("report");
                let bytes = asset.bytes(Slot::Asset).expect("asset");
                let (triangles, iou) = (&report["triangles"], &report["silhouette_iou"]);
                println!("{name}: {triangles} triangles, IoU {iou}, {} bytes", bytes.len());
                if report["passed"] != json!(true) {
                    problem(format!("gate: {}", report["gate"]));
                }
                if let Err(what) = check_file(&bytes, &file.file_stem().expect("name").to_string_lossy()) {
                    problem(what);
                }
                keep(kept_in, &format!("{name}.glb"), &bytes);
                keep(kept_in, &format!("{name}.png"), &asset.bytes(Slot::Preview).expect("preview"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    n_assets
}

/// Is it about the picture?
fn unusable(error: &RunError) -> bool {
    use StageErrorKind::{InvalidInput, NoObject, TooLarge, Truncated, Unsupported};
    match error.stage {
        "decode" => matches!(error.source.kind, InvalidInput | Truncated | Unsupported | TooLarge),
        "cutout" | "reconstruct" => error.source.kind == NoObject,
        _ => false,
    }
}

fn unusable_or_refused(error: &RunError) -> bool {
    unusable(error) || error.source.kind == StageErrorKind::GateFailed
}

fn check_file(bytes: &[u8], name: &str) -> Result<(), String> {
    let content = glb::read(bytes).map_err(|e| e.to_string())?;
    let (low, high) = content.mesh.bounds().ok_or("no vertices")?;
    let centred = (low.x + high.x).abs() < 1e-6 && (low.z + high.z).abs() < 1e-6;
    match () {
        () if !ownership::is_ours(bytes) => Err("not recognised as ours".to_owned()),
        () if low.y != 0.0 || !centred => Err(format!("stands at {low} to {high}")),
        () if content.name != name => Err(format!("is called {}", content.name)),
        () => Ok(()),
    }
}

/// Depth and normal maps of an object are no pictures of it.
fn is_map(file: &Path) -> bool {
    let name = file.file_stem().expect("name").to_string_lossy();
    name.ends_with("_depth") || name.ends_with("_normal")
}

#[test]
fn every_picture_of_an_object_becomes_a_sound_asset() {
    let mut files = pictures(&["object", "depth_normal"]);
    files.retain(|file| !is_map(file));
    let n_assets = fire_all("prop", &files, "assets", unusable);
    assert_eq!(n_assets, files.len(), "all of them show one object");
}

#[test]
fn every_other_file_ends_as_an_asset_or_with_a_reason() {
    let mut files = pictures(&["depth_normal", "hdr", "matte", "odd", "photo", "saliency"]);
    files.retain(|file| is_map(file) || !file.to_string_lossy().contains("depth_normal"));
    fire_all("draft", &files, "assets-of-others", unusable_or_refused);
}

#[test]
fn a_picture_of_the_object_alone_is_ours_and_has_the_size_of_the_picture() {
    for file in pictures(&["object"]).iter().take(3) {
        let asset = fire("cutout", file).expect("cutout");
        let bytes = asset.bytes(Slot::Asset).expect("asset");
        assert!(ownership::is_ours(&bytes));
        let picture = image::load_from_memory(&bytes).expect("png");
        let cutout = asset.image(Slot::Cutout).expect("cutout");
        assert_eq!((picture.width(), picture.height()), cutout.dimensions());
    }
}

#[test]
fn equal_pictures_give_equal_bytes_on_any_number_of_threads() {
    let Some(file) = pictures(&["object"]).into_iter().find(|file| file.ends_with("robot.png")) else { return };
    let on_threads = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads");
        pool.install(|| fire("draft", &file).expect("asset").bytes(Slot::Asset).expect("asset"))
    };
    assert!(on_threads(1) == on_threads(3), "bytes depend on the number of threads");
}
