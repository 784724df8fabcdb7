//! Where an asset comes from: enough to make it again.

use serde_json::{Value as Json, json};

use crate::{recipe::Plan, stage};

/// What `asset.extras.meshkiln` says before the gate adds its report. Holds no
/// time and no path: equal work gives equal bytes. `generator` is name and
/// version of the daemon.
pub fn provenance(generator: &str, name: &str, source_sha256: &str, plan: &Plan) -> Json {
    let versions: serde_json::Map<String, Json> = plan
        .steps
        .iter()
        .filter_map(|step| stage::find(step.stage))
        .map(|stage| (stage.id.to_owned(), json!(stage.version)))
        .collect();
    json!({
        "generator": generator,
        "name": name,
        "source_sha256": source_sha256,
        "plan": plan.to_json(),
        "stage_versions": versions,
        // Networks that took part, with licence and sums of their weights, are added by whoever runs
        // them; built-in engines use none.
        "nets": [],
        // No built-in engine draws random numbers.
        "seed": 0,
    })
}
