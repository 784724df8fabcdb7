//! Nets in a real daemon with a real worker, on memory that the fake pretends to have.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use meshkiln_protocol::runtime::RuntimeFile;
use serde_json::{Value as Json, json};

use super::{call, start, submit, try_call, until};

/// Two nets of one recipe that do not fit together.
const TWO_NETS: &str = "device 10GiB\nnet matting 6GiB cutout 1GiB\nnet upscale 6GiB export-image\n";

fn say(home: &Path, nets: &str) {
    fs::write(home.join("nets"), nets).unwrap();
}

fn done(file: &RuntimeFile, job: &Json) -> Json {
    call(file, "job.wait", json!({"id": job["id"], "timeout_ms": 60_000}))
}

fn net(file: &RuntimeFile, id: &str) -> Json {
    let list = call(file, "net.list", json!({}));
    list["nets"].as_array().unwrap().iter().find(|net| net["id"] == id).unwrap().clone()
}

fn problems(file: &RuntimeFile) -> Json {
    call(file, "daemon.status", json!({}))["problems"].clone()
}

fn get(file: &RuntimeFile, path: &str, token: Option<&str>) -> String {
    let host = file.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_mass_drop_loads_each_net_a_few_times_and_every_picture_is_done() {
    let home = tempfile::tempdir().unwrap();
    say(home.path(), TWO_NETS);
    let (_process, file) = start(home.path());
    let jobs: Vec<Json> =
        (0..40).map(|n| submit(&file, home.path(), &format!("{n}.png"), &format!("# {n}\n"))).collect();
    for job in &jobs {
        assert_eq!(done(&file, job)["state"], "done");
    }
    let loads = ["matting", "upscale"].map(|id| net(&file, id)["loads"].as_u64().unwrap());
    println!("figure: 40 pictures through two nets that do not fit together: {loads:?} loads");
    assert!(loads.iter().all(|n| (1..=4).contains(n)), "{loads:?}");
    // Measured by the worker, not declared.
    assert_eq!(net(&file, "matting")["resident_bytes"], 6u64 << 30);
    assert_eq!(net(&file, "matting")["peak_bytes"], 7u64 << 30);

    let metrics = get(&file, "/metrics", Some(&file.token));
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains(&format!("meshkiln_net_loads_total{{net=\"matting\"}} {}", loads[0])), "{metrics}");
    assert!(metrics.contains("meshkiln_stage_runs_total{stage=\"cutout\",engine=\"classic\"} 40"), "{metrics}");
    assert!(get(&file, "/metrics", None).starts_with("HTTP/1.1 401"));
}

#[test]
fn a_measure_outlives_the_daemon() {
    let home = tempfile::tempdir().unwrap();
    say(home.path(), TWO_NETS);
    let (process, file) = start(home.path());
    call(&file, "net.warm", json!({"id": "matting"}));
    until("it is warm", || net(&file, "matting")["state"] == "warm");
    drop(process);
    let (_process, file) = start(home.path());
    let known = net(&file, "matting");
    assert_eq!((&known["state"], &known["resident_bytes"]), (&json!("cold"), &json!(6u64 << 30)));
}

#[test]
fn a_yield_frees_the_device_and_a_resume_warms_it_up_again() {
    let home = tempfile::tempdir().unwrap();
    say(home.path(), TWO_NETS);
    let (_process, file) = start(home.path());
    let job = submit(&file, home.path(), "a.png", "cutout hang\n");
    until("the stage uses the net", || net(&file, "matting")["in_use"] == true);
    let pid = call(&file, "daemon.status", json!({}))["workers"][0]["pid"].as_u64().unwrap();
    let begun = Instant::now();
    let status = call(&file, "daemon.yield", json!({"now": true}));
    assert_eq!(status["yielded"]["devices"], json!(["fake"]));
    until("the device is free", || call(&file, "daemon.status", json!({}))["yielded"]["freed"] == true);
    let elapsed = begun.elapsed();
    println!("figure: a yield freed the device within {elapsed:?}");
    assert!(elapsed < Duration::from_secs(2));
    #[cfg(target_os = "linux")]
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is still there");
    let _ = pid;
    let waiting = call(&file, "job.get", json!({"id": job["id"]}));
    assert_eq!((&waiting["state"], &waiting["crashes"]), (&json!("queued"), &json!(0)));
    assert!(waiting["waits_for"].as_str().unwrap().contains("given away"), "{waiting}");

    call(&file, "daemon.resume", json!({}));
    until("it goes on", || net(&file, "matting")["in_use"] == true);
    call(&file, "job.cancel", json!({"id": job["id"]}));
    let next = submit(&file, home.path(), "b.png", "# b\n");
    assert_eq!(done(&file, &next)["state"], "done");
    assert_eq!(problems(&file), json!([]));
}

#[test]
fn memory_that_runs_out_is_tried_once_more_and_then_a_typed_error() {
    let home = tempfile::tempdir().unwrap();
    say(home.path(), &format!("{TWO_NETS}load matting error out_of_memory once\n"));
    let (_process, file) = start(home.path());
    let job = submit(&file, home.path(), "a.png", "export-image error out_of_memory once\n");
    let job = done(&file, &job);
    assert_eq!((&job["state"], &job["crashes"], &job["attempt"]), (&json!("done"), &json!(0), &json!(1)), "{job}");

    let hopeless = done(&file, &submit(&file, home.path(), "b.png", "cutout error out_of_memory\n"));
    assert_eq!(
        (&hopeless["state"], &hopeless["error"]["kind"]),
        (&json!("failed"), &json!("out_of_memory")),
        "{hopeless}"
    );
    assert!(problems(&file)[0].as_str().unwrap().contains("ran out of memory"));
    say(home.path(), &format!("{TWO_NETS}load matting error out_of_memory\n"));
    let hopeless = done(&file, &submit(&file, home.path(), "c.png", "# c\n"));
    assert_eq!(
        (&hopeless["state"], &hopeless["error"]["kind"]),
        (&json!("failed"), &json!("out_of_memory")),
        "{hopeless}"
    );
    say(home.path(), TWO_NETS);
    assert_eq!(done(&file, &submit(&file, home.path(), "d.png", "# d\n"))["state"], "done");
    assert_eq!(problems(&file), json!([]), "health is ok again");
}

#[test]
fn weights_that_are_not_here_fail_the_job_by_name() {
    let home = tempfile::tempdir().unwrap();
    say(home.path(), &format!("{TWO_NETS}load upscale error weights_damaged\n"));
    let (_process, file) = start(home.path());
    let job = done(&file, &submit(&file, home.path(), "a.png", "# a\n"));
    let error = &job["error"];
    assert_eq!(
        (&error["kind"], &error["stage"], &job["crashes"]),
        (&json!("weights_damaged"), &json!("export-image"), &json!(0))
    );
    assert!(net(&file, "upscale")["problem"].is_string());
    let answer = try_call(&file, "net.warm", json!({"id": "none"}));
    assert_eq!(answer["error"]["data"]["kind"], "not_found");
}

#[test]
fn a_device_fault_ends_the_worker_at_once_and_no_job_is_lost() {
    let home = tempfile::tempdir().unwrap();
    say(home.path(), &format!("{TWO_NETS}load matting error device_fault\n"));
    let (_process, file) = start(home.path());
    let begun = Instant::now();
    let job = submit(&file, home.path(), "a.png", "# a\n");
    until("health is degraded", || problems(&file)[0].is_string());
    println!("figure: health told of a device fault after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(4));
    // The device is mended.
    say(home.path(), TWO_NETS);
    let job = done(&file, &job);
    assert_eq!((&job["state"], &job["crashes"]), (&json!("done"), &json!(0)), "{job}");
    until("health is ok", || problems(&file) == json!([]));
}
