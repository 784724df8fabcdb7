//! Rules about the repository itself.

use std::{fs, path::Path};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Dependencies of a crate on other crates of this workspace.
fn arrows(manifest: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(manifest)).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let mut found = Vec::new();
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let mut tables: Vec<&toml::Table> = sections.iter().filter_map(|s| table.get(*s)?.as_table()).collect();
    if let Some(targets) = table.get("target").and_then(|t| t.as_table()) {
        for target in targets.values().filter_map(|t| t.as_table()) {
            tables.extend(sections.iter().filter_map(|s| target.get(*s)?.as_table()));
        }
    }
    for dependencies in tables {
        found.extend(dependencies.keys().filter(|name| name.starts_with("meshkiln")).cloned());
    }
    found.sort();
    found
}

#[test]
fn arrows_between_crates_are_as_designed() {
    let expected: [(&str, &[&str]); 6] = [
        ("protocol/Cargo.toml", &[]),
        ("models/Cargo.toml", &["meshkiln-ops"]),
        ("models/ops/Cargo.toml", &[]),
        ("daemon/Cargo.toml", &["meshkiln-models", "meshkiln-protocol"]),
        ("clients/tui/Cargo.toml", &["meshkiln-protocol"]),
        ("tests/Cargo.toml", &["meshkiln-models", "meshkiln-protocol", "meshkilnd"]),
    ];
    for (manifest, allowed) in expected {
        assert_eq!(arrows(manifest), allowed, "{manifest} has other arrows than the design");
    }
    let workspace: toml::Table = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    assert_eq!(members.len(), expected.len(), "a new crate needs its arrows written down here");
}

/// Rust sources under `folder`, with their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn models_know_no_clock_no_async_and_no_wire() {
    for (path, text) in sources("models/src") {
        for absent in ["std::time", "tokio", "jsonrpsee", "meshkiln_protocol", "std::net"] {
            assert!(!text.contains(absent), "{path} mentions {absent}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for folder in ["protocol/src", "models/src", "daemon/src", "clients/tui/src", "tests/it", "tests/harness"] {
        for (path, text) in sources(folder).into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
            assert!(text.starts_with("//!"), "{path} does not start with what it is for");
        }
    }
}
