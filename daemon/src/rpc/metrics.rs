//! `GET /metrics`: the counters of `daemon.status` and `net.list` as Prometheus
//! reads them (text exposition format 0.0.4), behind the same gate as all else.

use std::fmt::Write;

use hyper::StatusCode;
use jsonrpsee::server::HttpBody;
use meshkiln_protocol::{daemon::StageUsage, net::NetState};

use super::reply::{self, Response};
use crate::state::{usage::NetCount, view::View};

pub fn answer(view: &View) -> Response {
    let mut response = reply::with_body(StatusCode::OK, HttpBody::from(text(view)));
    reply::set(&mut response, "content-type", "text/plain; version=0.0.4; charset=utf-8");
    response
}

/// Name, help, and its value.
type Counter<T> = (&'static str, &'static str, fn(&T) -> u64);

/// Every sample of one name stands together, as the format wants it.
pub fn text(view: &View) -> String {
    let mut page = Page::default();
    let queue = &view.queue;
    page.head("meshkiln_jobs", "gauge", "Jobs that have not ended, by state.");
    for (state, n) in [("queued", queue.queued), ("running", queue.running), ("paused", queue.paused_jobs)] {
        page.sample("meshkiln_jobs", &[("state", state)], n);
    }
    page.one("meshkiln_healthy", "gauge", "1 when nothing needs attention.", u64::from(view.problems.is_empty()));
    page.one("meshkiln_yielded", "gauge", "1 while the devices are given away.", u64::from(view.yielded.is_some()));
    page.one("meshkiln_blob_bytes", "gauge", "Bytes of kept results.", view.blob_bytes);

    let stages = view.usage.wire();
    let stage_counters: [Counter<StageUsage>; 4] = [
        ("meshkiln_stage_runs_total", "Runs that ended well.", |usage| usage.runs),
        ("meshkiln_stage_failures_total", "Runs that failed.", |usage| usage.failures),
        ("meshkiln_stage_cache_hits_total", "Results that were there already.", |usage| usage.cached),
        ("meshkiln_stage_run_milliseconds_total", "Time in the worker.", |usage| usage.run_ms),
    ];
    for (name, help, value) in stage_counters {
        page.head(name, "counter", help);
        for usage in &stages {
            page.sample(name, &[("stage", &usage.stage), ("engine", &usage.engine)], value(usage));
        }
    }
    let name = "meshkiln_stage_peak_bytes";
    page.head(name, "gauge", "Most memory one run took on top of what was there before.");
    for usage in &stages {
        page.sample(name, &[("stage", &usage.stage), ("engine", &usage.engine)], usage.peak_bytes);
    }

    let net_counters: [Counter<NetCount>; 4] = [
        ("meshkiln_net_loads_total", "Loads that ended well.", |count| count.loads),
        ("meshkiln_net_load_failures_total", "Loads that failed.", |count| count.load_failures),
        ("meshkiln_net_load_milliseconds_total", "Time spent loading.", |count| count.load_ms),
        ("meshkiln_net_unloads_total", "Times it was let go.", |count| count.unloads),
    ];
    for (name, help, value) in net_counters {
        page.head(name, "counter", help);
        for (net, count) in view.usage.nets() {
            page.sample(name, &[("net", net)], value(count));
        }
    }
    page.head("meshkiln_net_warm", "gauge", "1 while it is in memory.");
    for net in &view.nets {
        page.sample("meshkiln_net_warm", &[("net", &net.id)], u64::from(net.state == NetState::Warm));
    }
    for (name, help, value) in [
        ("meshkiln_net_resident_bytes", "What it was measured to hold when idle.", 0),
        ("meshkiln_net_peak_bytes", "What it was measured to need at its peak.", 1),
    ] {
        page.head(name, "gauge", help);
        for net in &view.nets {
            if let Some(bytes) = [net.resident_bytes, net.peak_bytes][value] {
                page.sample(name, &[("net", &net.id)], bytes);
            }
        }
    }

    page.head("meshkiln_device_memory_bytes", "gauge", "Memory of a device: used by its worker, free, total.");
    for device in &view.devices {
        let Some(memory) = device.memory else { continue };
        let kinds = [("used", memory.used_bytes), ("free", memory.free_bytes), ("total", memory.total_bytes)];
        for (kind, bytes) in kinds {
            page.sample("meshkiln_device_memory_bytes", &[("device", &device.device), ("kind", kind)], bytes);
        }
    }
    page.head("meshkiln_worker_restarts_total", "counter", "Times a worker had to be started again.");
    for worker in &view.workers {
        page.sample("meshkiln_worker_restarts_total", &[("device", &worker.device)], worker.restarts.into());
    }
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use meshkiln_protocol::net::{DeviceMemory, DeviceStatus, KeepAlive, Net};

    use super::*;

    #[test]
    fn samples_are_grouped_escaped_and_typed() {
        let memory = Some(DeviceMemory { used_bytes: 3, free_bytes: 4, total_bytes: 9 });
        let device = DeviceStatus {
            device: "cuda:0\"x\\".to_owned(),
            memory,
            reserve_bytes: 1,
            nets: vec![],
            yielded: false,
            recycles: 0,
        };
        let net = Net {
            id: "a".to_owned(),
            doc: String::new(),
            state: NetState::Warm,
            device: None,
            in_use: false,
            declared_bytes: 1,
            resident_bytes: Some(7),
            peak_bytes: None,
            keep_alive: KeepAlive::Forever,
            pinned: false,
            expires_in_ms: None,
            loads: 1,
            load_ms: None,
            problem: None,
            about: None,
            own: None,
            pull: None,
        };
        let mut view = View { devices: vec![device], nets: vec![net], ..View::default() };
        view.usage.stage("decode", "built-in").runs = 5;
        view.usage.net(&"a".into()).loads = 2;
        let text = text(&view);
        for line in [
            "meshkiln_jobs{state=\"queued\"} 0",
            "meshkiln_healthy 1",
            "meshkiln_stage_runs_total{stage=\"decode\",engine=\"built-in\"} 5",
            "meshkiln_net_loads_total{net=\"a\"} 2",
            "meshkiln_net_resident_bytes{net=\"a\"} 7",
            "meshkiln_device_memory_bytes{device=\"cuda:0\\\"x\\\\\",kind=\"free\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "`{line}` is missing in\n{text}");
        }
        let mut typed = BTreeSet::new();
        let mut current = "";
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                current = head.split(' ').next().unwrap();
                assert!(typed.insert(current), "{current} has two heads");
            } else if !line.starts_with('#') {
                assert_eq!(line.split(['{', ' ']).next(), Some(current), "a sample stands under another head");
            }
        }
    }
}
