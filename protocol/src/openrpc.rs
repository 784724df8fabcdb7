//! The OpenRPC description, generated from `METHODS` and the types.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};

use crate::{
    api::METHODS,
    error::{CallErrorData, ErrorKind},
    event::{Event, SubscribeParams, SubscriptionEnd},
};

/// OpenRPC 1.3 document: <https://spec.open-rpc.org>.
pub fn document(version: &str) -> Json {
    let mut generator = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut methods: Vec<Json> = METHODS
        .iter()
        .map(|method| {
            let params = (method.params)(&mut generator);
            let result = (method.result)(&mut generator);
            json!({
                "name": method.name,
                "summary": method.doc.trim(),
                "paramStructure": "by-name",
                "params": [{ "name": "params", "schema": params }],
                "result": { "name": "result", "schema": result },
            })
        })
        .collect();
    methods.push(json!({
        "name": "events.subscribe",
        "summary": "Sends every event as a notification `events.event`. WebSocket only; `events.unsubscribe` ends it.",
        "paramStructure": "by-name",
        "params": [{ "name": "params", "schema": generator.subschema_for::<SubscribeParams>() }],
        "result": { "name": "subscription", "schema": { "type": ["integer", "string"] } },
        "x-notification": {
            "method": "events.event",
            "result": generator.subschema_for::<Event>(),
            "error": generator.subschema_for::<SubscriptionEnd>(),
        },
    }));
    generator.subschema_for::<CallErrorData>();
    let errors: Map<String, Json> = ErrorKind::ALL
        .iter()
        .map(|kind| {
            let name = json!(kind).as_str().unwrap_or_default().to_owned();
            let error = json!({ "code": kind.code(), "message": name, "x-retryable": kind.retryable() });
            (name, error)
        })
        .collect();
    let schemas = generator.take_definitions(true);
    json!({
        "openrpc": "1.3.2",
        "info": { "title": "Meshkiln", "version": version },
        "methods": methods,
        "components": { "schemas": schemas, "errors": errors },
    })
}
