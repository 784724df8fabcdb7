//! The wire as committed: one sample of every message in `snapshots/`, and the
//! OpenRPC description. Clients in other languages test against the same files.
//!
//! `UPDATE_EXPECT=1 cargo test` writes `openrpc.json` anew.

#![allow(clippy::unwrap_used)] // all of it is test

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use meshkiln_protocol::{
    api::METHODS,
    error::{CallError, ErrorKind},
    event::{Event, EventBody, SubscribeParams, SubscriptionEnd},
    openrpc,
    runtime::RuntimeFile,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

#[test]
fn every_method_has_samples_that_survive_both_ways() {
    for method in METHODS {
        check(&format!("{}.params", method.name), method.read_params);
        check(&format!("{}.result", method.name), method.read_result);
    }
    check("events.subscribe.params", read_again::<SubscribeParams>);
    check("events.subscribe.end", read_again::<SubscriptionEnd>);
    check("runtime", read_again::<RuntimeFile>);
}

#[test]
fn every_event_has_a_sample() {
    for name in EVENTS {
        let event: Event = serde_json::from_value(check(&format!("event.{name}"), read_again::<Event>)).unwrap();
        assert_eq!(event_name(&event.body), *name);
    }
}

#[test]
fn every_kind_of_error_has_a_sample() {
    for kind in ErrorKind::ALL {
        let name = serde_json::to_value(kind).unwrap();
        let sample = check(&format!("error.{}", name.as_str().unwrap()), read_again::<CallError>);
        let error: CallError = serde_json::from_value(sample).unwrap();
        assert_eq!((error.data.kind, error.code), (*kind, kind.code()));
        assert_eq!(error.data.retryable, kind.retryable());
    }
}

#[test]
fn there_are_no_samples_of_messages_that_do_not_exist() {
    let mut known: BTreeSet<String> =
        ["events.subscribe.params", "events.subscribe.end", "runtime"].map(str::to_owned).into();
    known.extend(METHODS.iter().flat_map(|m| [format!("{}.params", m.name), format!("{}.result", m.name)]));
    known.extend(EVENTS.iter().map(|name| format!("event.{name}")));
    known.extend(
        ErrorKind::ALL.iter().map(|kind| format!("error.{}", serde_json::to_value(kind).unwrap().as_str().unwrap())),
    );
    let found: BTreeSet<String> = fs::read_dir(folder().join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, known);
}

#[test]
fn unknown_and_mistyped_parameters_are_refused() {
    for method in METHODS {
        let sample = read(&format!("{}.params", method.name));
        let mut strange = sample.clone();
        strange["no_such_parameter"] = true.into();
        assert!((method.read_params)(strange).is_err(), "{} takes a parameter it does not know", method.name);
        for key in sample.as_object().unwrap().keys() {
            let mut mistyped = sample.clone();
            mistyped[key] = serde_json::json!([[]]);
            assert!((method.read_params)(mistyped).is_err(), "{}: `{key}` may be anything", method.name);
        }
    }
}

#[test]
fn the_description_is_the_committed_one() {
    let path = folder().join("openrpc.json");
    let mut now = serde_json::to_string_pretty(&openrpc::document(env!("CARGO_PKG_VERSION"))).unwrap();
    now.push('\n');
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(committed == now, "protocol/openrpc.json is stale: run the tests with UPDATE_EXPECT=1 and read the change");
}

#[test]
fn the_description_refers_to_nothing_that_is_missing() {
    let document = openrpc::document("0");
    let mut names = BTreeSet::new();
    references(&document, &mut names);
    assert!(names.len() > 20);
    for name in names {
        let pointer = name.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{name} is missing");
    }
}

/// The names of all events; `event_name` does not compile when one is added.
const EVENTS: &[&str] = &["job", "progress", "watch", "watch_removed", "queue", "net", "pull", "yield", "stopping"];

fn event_name(body: &EventBody) -> &'static str {
    match body {
        EventBody::Job { .. } => "job",
        EventBody::Progress { .. } => "progress",
        EventBody::Watch { .. } => "watch",
        EventBody::WatchRemoved { .. } => "watch_removed",
        EventBody::Queue { .. } => "queue",
        EventBody::Net { .. } => "net",
        EventBody::Pull { .. } => "pull",
        EventBody::Yield { .. } => "yield",
        EventBody::Stopping => "stopping",
    }
}

fn check(name: &str, read_again: fn(Json) -> serde_json::Result<Json>) -> Json {
    let sample = read(name);
    let again = read_again(sample.clone()).unwrap_or_else(|e| panic!("snapshots/{name}.json: {e}"));
    assert_eq!(again, sample, "snapshots/{name}.json reads back as another message");
    sample
}

fn read(name: &str) -> Json {
    let path = folder().join("snapshots").join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("a sample is missing: {}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn read_again<T: Serialize + DeserializeOwned>(json: Json) -> serde_json::Result<Json> {
    serde_json::to_value(serde_json::from_value::<T>(json)?)
}

fn references(json: &Json, into: &mut BTreeSet<String>) {
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(target) if key == "$ref" => _ = into.insert(target.to_owned()),
                    _ => references(value, into),
                }
            }
        }
        Json::Array(list) => list.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
