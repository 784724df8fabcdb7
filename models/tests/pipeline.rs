//! Whole recipes over real pictures, in this process: what one run must promise.
//! All real pictures through the daemon: `tests/it/corpus.rs`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use meshkiln_models::{
    cx::CancelToken,
    export::{ownership, provenance::provenance},
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
