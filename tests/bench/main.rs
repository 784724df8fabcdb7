//! Figures of the whole system, measured on this machine, printed.
//!
//! `cargo build --release && cargo run --release -p meshkiln-tests --bin bench`
//!
//! Nothing here fails: machines are noisy. Daemon, worker and clients are real.

// A measurement that cannot go on should say where.
#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod terminal;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use meshkiln_protocol::{
    api::{JobGet, JobList, JobLogGet, NoParams, QueuePause, Refire, Submit},
    job::{AssetRef, Class, JobGetParams, JobListParams, RefireParams},
};
use meshkiln_tests::{Daemon, Home, processes_mentioning, submit};

fn main() {
    // Alone, with the name of the one.
    #[cfg(target_os = "linux")]
    if std::env::args().nth(1).is_none_or(|only| only == "terminal") {
        terminal::measure();
    }
    if std::env::args().nth(1).is_some() {
        return;
    }
    ready();
    warm_fire();
    idle();
    queue();
}

struct Figures(Vec<f64>);

impl Figures {
    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * share).round() as usize]
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn ready() {
    let mut home = Home::new("cpu");
    let times = Figures(
        (0..20)
            .map(|_| {
                let start = Instant::now();
                home.start();
                let time = milliseconds(start);
                home.kill();
                time
            })
            .collect(),
    );
    println!("start to serving: p50 {:.0} ms, worst {:.0} ms (20 starts after a kill)", times.at(0.5), times.at(1.0));
}

/// The lantern with one pixel changed, so that nothing is found in the cache.
fn varied(folder: &Path, i: u8) -> std::path::PathBuf {
    let lantern = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/lantern.png");
    let mut image = image::open(lantern).unwrap().into_rgba8();
    let (x, y) = (256, 300);
    image.get_pixel_mut(x, y).0[0] = i;
    let path = folder.join(format!("lantern{i}.png"));
    image.save(&path).unwrap();
    path
}

fn warm_fire() {
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let (mut whole, mut around) = (Vec::new(), Vec::new());
    let mut last = None;
    for i in 0..25 {
        let source = varied(home.dir.path(), i);
        let mut params = submit(&source, None);
        params.recipe = Some("draft".to_owned());
        let (start, asked_ms) = (Instant::now(), unix_ms());
        let id = daemon.call::<Submit>(&params).id;
        let job = daemon.wait(id);
        let (time, answered_ms) = (milliseconds(start), unix_ms());
        assert!(job.error.is_none(), "{job:?}");
        // The first ones warm the worker.
        if i >= 5 {
            let lines = daemon.call::<JobLogGet>(&JobGetParams { id }).lines;
            let at = |text: &str| lines.iter().find(|line| line.text.starts_with(text)).unwrap().time_ms;
            whole.push(time);
            around.push((at("attempt 1 started") - asked_ms + answered_ms - at("preview:")) as f64);
        }
        last = Some(job);
    }
    let (whole, around) = (Figures(whole), Figures(around));
    println!("draft of a 512x512 picture, warm: p50 {:.0} ms, p95 {:.0} ms", whole.at(0.5), whole.at(0.95));
    println!("  of that before the first stage and after the last: p50 {:.0} ms", around.at(0.5));

    let job = last.unwrap();
    let mut refired = Vec::new();
    for triangles in 1000..1010 {
        let start = Instant::now();
        let params = RefireParams {
            asset: AssetRef { id: Some(job.id), path: None },
            set: vec![format!("simplify.triangles={triangles}")],
            output: None,
            class: Class::Interactive,
            client: None,
        };
        let id = daemon.call::<Refire>(&params).id;
        daemon.wait(id);
        refired.push(milliseconds(start));
    }
    println!("refire with another budget: p50 {:.0} ms", Figures(refired).at(0.5));
}

/// CPU time and memory of daemon and worker with nothing to do.
fn idle() {
    let mut home = Home::new("cpu");
    let daemon = home.start();
    let source = varied(home.dir.path(), 200);
    let id = daemon.fire(&source, None).id;
    daemon.wait(id);
    let mut pids = processes_mentioning(home.dir.path().to_str().unwrap());
    pids.push(daemon.runtime.pid);
    pids.sort_unstable();
    pids.dedup();
    // The worker is told to give memory back after a while of nothing.
    pause(Duration::from_secs(20));
    let before = cpu_seconds(&pids);
    let start = Instant::now();
    pause(Duration::from_secs(30));
    let used = cpu_seconds(&pids) - before;
    println!(
        "idle daemon and one warm worker: {:.2} % of a core, {:.0} MB resident ({} processes)",
        100.0 * used / start.elapsed().as_secs_f64(),
        pids.iter().map(|&pid| resident_mb(pid)).sum::<f64>(),
        pids.len()
    );
}

fn pause(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::park_timeout(end - Instant::now());
    }
}

fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields.get(11..13).map_or(0.0, |f| f.iter().filter_map(|n| n.parse::<f64>().ok()).sum())
    };
    pids.iter().map(ticks).sum::<f64>() / 100.0
}

fn resident_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1000.0
}

fn queue() {
    const N: usize = 10_000;
    let mut home = Home::new("fake");
    let daemon = home.start();
    daemon.call::<QueuePause>(&NoParams {});
    let source = home.path("source.png");
    fs::write(&source, "# nothing\n").unwrap();
    let mut submits = Vec::with_capacity(N);
    for i in 0..N {
        let mut params = submit(&source, Some(&format!("bench-{i}")));
        params.output = Some(home.path(&format!("{i}.glb")).to_str().unwrap().to_owned());
        let start = Instant::now();
        daemon.call::<Submit>(&params);
        submits.push(milliseconds(start));
    }
    let submits = Figures(submits);
    println!("submit, up to {N} queued: p50 {:.1} ms, p99 {:.1} ms", submits.at(0.5), submits.at(0.99));
    let list = |daemon: &Daemon, before| {
        let start = Instant::now();
        daemon.call::<JobList>(&JobListParams { states: vec![], before, limit: Some(50) });
        milliseconds(start)
    };
    let last = daemon.call::<JobList>(&JobListParams { limit: Some(1), ..JobListParams::default() }).jobs[0].id;
    let pages =
        Figures((0..100).map(|i| list(&daemon, Some(meshkiln_protocol::job::JobId(last.0 - i * 50)))).collect());
    println!("job.list, a page of 50 of {N} queued: p50 {:.1} ms, p99 {:.1} ms", pages.at(0.5), pages.at(0.99));
    let start = Instant::now();
    daemon.call::<JobGet>(&JobGetParams { id: last });
    println!("job.get of the last one: {:.1} ms", milliseconds(start));
}
