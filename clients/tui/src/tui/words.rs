//! What the daemon says in data, in words: reports, times, logs.

use meshkiln_protocol::{
    event::EventBody,
    job::{Job, JobState},
    net::PullState,
};
use serde_json::Value as Json;

use super::{form::word, msg::Now};
use crate::show;

/// How a line of a report is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Title,
    Plain,
    Good,
    Bad,
    /// What to do.
    Hint,
}

/// A report in words: the verdict, what failed and what to do about it, what
/// passed, then every figure.
pub fn report(report: &Json) -> Vec<(Tone, String)> {
    let mut lines = Vec::new();
    let gate: Vec<&Json> = report["gate"].as_array().into_iter().flatten().collect();
    let (failed, passed): (Vec<&Json>, Vec<&Json>) = gate.iter().partition(|check| check["passed"] == false);
    match (report["passed"].as_bool(), failed.len()) {
        (Some(false), n) | (None, n @ 1..) => lines.push((Tone::Bad, format!("{n} of {} checks failed", gate.len()))),
        (Some(true), _) => lines.push((Tone::Good, format!("all {} checks passed", gate.len()))),
        (None, 0) => {}
    }
    for check in failed {
        lines.push((
            Tone::Bad,
            format!(
                "{} is {}, the limit is {}",
                name(&check["what"]),
                figure(&check["value"]),
                figure(&check["limit"])
            ),
        ));
        if let Some(hint) = check["hint"].as_str() {
            lines.push((Tone::Hint, hint.to_owned()));
        }
    }
    for net in report["missing_nets"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        lines.push((
            Tone::Hint,
            format!("made without the net {net}, whose weights are not here: pull it in Nets, then refire"),
        ));
    }
    for check in passed {
        lines.push((
            Tone::Good,
            format!("{} {} (limit {})", name(&check["what"]), figure(&check["value"]), figure(&check["limit"])),
        ));
    }
    let figures: Vec<(Tone, String)> = figures("", report, 0);
    if !figures.is_empty() {
        lines.push((Tone::Title, "figures".to_owned()));
        lines.extend(figures);
    }
    lines
}

/// Everything that is one figure, with its name.
fn figures(prefix: &str, value: &Json, depth: usize) -> Vec<(Tone, String)> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let mut lines = Vec::new();
    for (key, value) in object {
        if depth == 0 && ["gate", "passed", "missing_nets"].contains(&key.as_str()) {
            continue;
        }
        let full = if prefix.is_empty() {
            key.replace(['_', '-'], " ")
        } else {
            format!("{prefix} {}", key.replace(['_', '-'], " "))
        };
        match value {
            Json::Null => {}
            Json::Object(_) if depth < 3 => lines.extend(figures(&full, value, depth + 1)),
            Json::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
                let items: Vec<String> = items.iter().map(figure).collect();
                if !items.is_empty() {
                    lines.push((Tone::Plain, format!("{full}: {}", items.join(", "))));
                }
            }
            Json::Array(items) if depth < 3 => {
                for (n, item) in items.iter().enumerate() {
                    lines.extend(figures(&format!("{full} {}", n + 1), item, depth + 1));
                }
            }
            Json::Object(_) | Json::Array(_) => {}
            _ if key.ends_with("_bytes") => {
                lines.push((
                    Tone::Plain,
                    format!("{full}: {}", value.as_u64().map_or_else(|| figure(value), show::bytes)),
                ));
            }
            _ => lines.push((Tone::Plain, format!("{full}: {}", figure(value)))),
        }
    }
    lines
}

fn name(what: &Json) -> String {
    word(what).replace('_', " ")
}

/// A number as people write it.
fn figure(value: &Json) -> String {
    match value {
        Json::Bool(true) => "yes".to_owned(),
        Json::Bool(false) => "no".to_owned(),
        Json::Number(n) if n.is_u64() => n.as_u64().map(show::count).unwrap_or_default(),
        Json::Number(n) if n.is_f64() => {
            let n = n.as_f64().unwrap_or_default();
            let text = format!("{n:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        other => word(other),
    }
}

/// What became of a job, in a line.
pub fn outcome(job: &Job) -> String {
    match (job.state, &job.error, &job.report) {
        (_, Some(error), _) => error.message.clone(),
        (JobState::Done, _, Some(report)) => {
            let mut parts = Vec::new();
            if let Some(n) = report["triangles"].as_u64() {
                parts.push(format!("{} triangles", show::count(n)));
            }
            if let Some(n) = report["file_bytes"].as_u64() {
                parts.push(show::bytes(n));
            }
            if report["passed"] == false {
                parts.insert(0, "checks failed".to_owned());
            }
            parts.join(", ")
        }
        _ => String::new(),
    }
}

/// An event in a line; `None` for those that would only fill the log.
pub fn event(body: &EventBody) -> Option<String> {
    Some(match body {
        EventBody::Job { job } => {
            let why = job.error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
            format!("job {} {} {}{why}", job.id, job.name, job.state.id())
        }
        EventBody::Progress { .. } | EventBody::Queue { .. } => return None,
        EventBody::Watch { watch } => {
            let counts = &watch.counts;
            let problem = watch.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
            format!(
                "watch {}: {} files, {} fired, {} refused{problem}",
                watch.path, counts.files, counts.fired, counts.refused
            )
        }
        EventBody::WatchRemoved { watch } => format!("watch {} removed", watch.path),
        EventBody::Net { net } => {
            let problem = net.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
            format!("net {} {}{problem}", net.id, format!("{:?}", net.state).to_lowercase())
        }
        EventBody::Pull { pull } if pull.state == PullState::Fetching => return None,
        EventBody::Pull { pull } => {
            let problem = pull.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
            format!("pull {} {}{problem}", pull.net, format!("{:?}", pull.state).to_lowercase())
        }
        EventBody::Yield { yielded: Some(_) } => "the device is given away".to_owned(),
        EventBody::Yield { yielded: None } => "the device is ours again".to_owned(),
        EventBody::Stopping => "the daemon is stopping".to_owned(),
    })
}

/// Hours, minutes and seconds of the day, in UTC as the daemon's log has them.
pub fn clock(at: Now) -> String {
    let s = at / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_failed_comes_first_with_what_to_do() {
        let lines = report(&json!({
            "passed": false,
            "triangles": 12345,
            "file_bytes": 1_900_000,
            "scores": {"overall": 94.6},
            "missing_nets": ["one"],
            "gate": [
                {"what": "watertight", "value": true, "limit": true, "passed": true},
                {"what": "silhouette_iou", "value": 0.91, "limit": 0.97, "passed": false, "hint": "raise the budget"},
            ],
        }));
        let texts: Vec<(Tone, &str)> = lines.iter().map(|(tone, text)| (*tone, text.as_str())).collect();
        assert_eq!(
            texts,
            [
                (Tone::Bad, "1 of 2 checks failed"),
                (Tone::Bad, "silhouette iou is 0.91, the limit is 0.97"),
                (Tone::Hint, "raise the budget"),
                (Tone::Hint, "made without the net one, whose weights are not here: pull it in Nets, then refire"),
                (Tone::Good, "watertight yes (limit yes)"),
                (Tone::Title, "figures"),
                (Tone::Plain, "file bytes: 1.9 MB"),
                (Tone::Plain, "scores overall: 94.6"),
                (Tone::Plain, "triangles: 12,345"),
            ]
        );
    }

    #[test]
    fn a_report_of_another_shape_is_told_as_far_as_it_goes() {
        assert_eq!(report(&json!(null)), []);
        assert_eq!(report(&json!({"gate": 3, "x": [[1]], "y": {"z": null}})), []);
        assert_eq!(clock(3_661_000), "01:01:01");
    }
}
