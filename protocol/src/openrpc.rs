//! The OpenRPC description, generated from `METHODS` and the types.

use schemars::generate::SchemaSettings;
use serde_json::{Value as Json, json};

use crate::api::METHODS;

/// OpenRPC 1.3 document: <https://spec.open-rpc.org>.
pub fn document(version: &str) -> Json {
    let mut generator = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let methods: Vec<Json> = METHODS
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
    let schemas = generator.take_definitions(true);
    json!({
        "openrpc": "1.3.2",
        "info": { "title": "Meshkiln", "version": version },
        "methods": methods,
        "components": { "schemas": schemas },
    })
}
