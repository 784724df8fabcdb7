use std::collections::BTreeSet;

use super::*;
use crate::{recipe::Recipe, stage::STAGES};

fn is_kebab(id: &str) -> bool {
    !id.is_empty()
        && id
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

fn is_hex(text: &str, n: usize) -> bool {
    text.len() == n && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_sentence(text: &str) -> bool {
    text.starts_with(|c: char| c.is_uppercase()) && text.ends_with('.') && !text.contains('\n')
}

/// Parts of a path that mean themselves on every system and in every address.
fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    })
}

#[test]
fn every_net_has_a_name_of_its_own_and_says_what_it_is() {
    let ids: BTreeSet<_> = NETS.iter().map(|net| net.id).collect();
    assert_eq!(ids.len(), NETS.len());
    for net in NETS {
        assert!(is_kebab(net.id), "{}", net.id);
        for text in [net.doc, net.license.says, net.speed, net.quality] {
            assert!(is_sentence(text), "{}: {text}", net.id);
        }
        assert!(!net.license.id.is_empty() && !net.serves.is_empty() && !net.engines.is_empty(), "{}", net.id);
        assert!(std::ptr::eq(find(net.id).unwrap(), *net));
    }
    assert!(find("nothing").is_none());
}

#[test]
fn every_file_can_be_fetched_and_verified() {
    for net in NETS {
        assert_eq!(net.repository.split('/').count(), 2, "{}", net.id);
        assert!(is_plain_path(net.repository), "{}", net.id);
        assert!(net.revision.is_none_or(|revision| is_hex(revision, 40)), "{}: revisions are commits", net.id);
        assert!(!net.files.is_empty(), "{}", net.id);
        let names: BTreeSet<_> = net.files.iter().flat_map(|file| [file.path.to_owned(), file.loaded_as()]).collect();
        let n_names = net.files.iter().map(|file| if file.role == Role::Checkpoint { 2 } else { 1 }).sum::<usize>();
        assert_eq!(names.len(), n_names, "{}: two files would have one name", net.id);
        for file in net.files {
            assert!(is_plain_path(file.path), "{}: {}", net.id, file.path);
            assert!(!file.path.starts_with("state.json") && !file.path.ends_with(".part"), "{}: {}", net.id, file.path);
            assert!(file.sha256.is_none_or(|sha256| is_hex(sha256, 64)), "{}: {}", net.id, file.path);
            assert!(file.bytes.is_none_or(|bytes| bytes > 0), "{}: {}", net.id, file.path);
        }
        assert!(net.files.iter().any(|file| file.role != Role::Config), "{} has no weights", net.id);
    }
}

#[test]
fn a_checkpoint_is_loaded_under_another_name() {
    let file = NetFile { path: "a/model.v1.ckpt", bytes: None, sha256: None, role: Role::Checkpoint };
    assert_eq!(file.loaded_as(), "a/model.v1.safetensors");
}

#[test]
fn every_need_has_a_name() {
    for need in Need::ALL {
        assert_eq!(Need::find(need.id()), Some(need));
        assert_eq!(guide(need).need, need);
    }
    assert_eq!(Need::find("music"), None);
}

#[test]
fn the_guide_names_every_tool_and_nothing_twice() {
    for tool in BUILT_IN {
        assert!(is_kebab(tool.id) && is_sentence(tool.doc) && is_sentence(tool.suits), "{}", tool.id);
        assert!(!tool.serves.is_empty(), "{}", tool.id);
        for need in tool.serves {
            assert_eq!(guide(*need).built_in.iter().filter(|other| other.id == tool.id).count(), 1, "{}", tool.id);
        }
    }
    for net in NETS {
        for need in net.serves {
            assert_eq!(guide(*need).nets.iter().filter(|other| other.id == net.id).count(), 1, "{}", net.id);
        }
    }
    for need in [Need::Image, Need::ThreeD, Need::Texture, Need::Optimize] {
        assert!(!guide(need).built_in.is_empty(), "nothing is always here for {}", need.id());
    }
}

#[test]
fn everything_is_run_by_something_that_exists() {
    let engine_of = |runs: &Runs| {
        let stage = STAGES.iter().find(|stage| stage.id == runs.stage);
        stage.and_then(|stage| stage.engines.iter().find(|engine| engine.id == runs.engine))
    };
    for net in NETS {
        for runs in net.engines {
            assert_eq!(engine_of(runs).and_then(|engine| engine.net), Some(net.id), "{runs:?}");
        }
    }
    for tool in BUILT_IN {
        match &tool.used_by {
            Used::Engine(runs) => assert!(engine_of(runs).is_some_and(|engine| engine.net.is_none()), "{runs:?}"),
            Used::Recipe(name) => assert!(Recipe::built_in(name).is_some(), "{name}"),
        }
    }
    // And the other way round: each net that an engine needs can be pulled.
    for engine in STAGES.iter().flat_map(|stage| stage.engines) {
        assert!(engine.net.is_none_or(|net| find(net).is_some()), "{}", engine.id);
    }
}

#[test]
fn memory_classes_grow() {
    let all = [
        MemoryClass::UpToGb2,
        MemoryClass::Gb2To4,
        MemoryClass::Gb4To8,
        MemoryClass::Gb8To16,
        MemoryClass::Gb16AndMore,
    ];
    assert!(all.is_sorted_by_key(|class| class.wants_bytes()));
    assert_eq!(MemoryClass::Gb4To8.label(), "4-8 GB");
}
