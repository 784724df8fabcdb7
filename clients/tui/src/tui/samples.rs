//! What a daemon might have told, for tests: names that are long or wide, and one
//! of every state.

use image::{Rgba, RgbaImage};
use meshkiln_protocol::{
    asset::Asset,
    daemon::{HelloResult, QueueStatus},
    error::{ErrorKind, JobError},
    job::{Class, Job, JobId, JobLog, JobState, LogLine, Progress, StageRun, StageState},
    net::{Net, NetList, NetState},
    recipe::{EngineInfo, ParamInfo, ParamKindInfo, RecipeInfo, StageInfo},
    watch::{Watch, WatchCounts, WatchId, WatchMode},
};
use serde_json::{Value as Json, json};

use super::{
    look::{Depth, Look},
    model::{Link, Model},
    msg::Msg,
    pictures::{Pictures, Which},
    update::update,
};

pub const NOW: u64 = 1_790_000_100_000;
pub const LOOK: Look = Look { ascii: false, colour: Depth::Full, light: false };

const WIDE: &str = "灯籠の絵と古い提灯のとても長い名前";
const LONG: &str = "a-lantern-with-a-name-that-no-list-of-any-width-has-room-for-because-it-goes-on-and-on-and-on";

pub fn job(id: u64, state: JobState) -> Job {
    let stages = ["decode", "cutout", "reconstruct", "check"];
    let at = match state {
        JobState::Queued | JobState::Paused => 0,
        JobState::Running | JobState::Failed | JobState::Dead | JobState::Cancelled => 2,
        JobState::Done => 4,
    };
    let run = |(n, stage): (usize, &str)| StageRun {
        stage: stage.to_owned(),
        engine: "standard".to_owned(),
        state: match state {
            _ if n < at => StageState::Done,
            JobState::Running if n == at => StageState::Running,
            JobState::Failed | JobState::Dead if n == at => StageState::Failed,
            _ => StageState::Pending,
        },
        elapsed_ms: (n < at).then_some(40 * n as u64),
        picture_sha256: None,
    };
    let error = matches!(state, JobState::Failed | JobState::Dead).then(|| JobError {
        kind: ErrorKind::NoObject,
        stage: Some("cutout".to_owned()),
        message: "no clear object: 3 things of the same size".to_owned(),
        hint: "give a picture with alpha or a plain background".to_owned(),
        retryable: false,
    });
    Job {
        id: JobId(id),
        state,
        class: Class::Interactive,
        name: format!("lantern-{id}"),
        source_path: Some(format!("/home/ada/props/lantern-{id}.png")),
        source_sha256: "9f86d081".to_owned(),
        recipe: "prop".to_owned(),
        output: Some(format!("/home/ada/props/lantern-{id}.glb")),
        client: Some("tui".to_owned()),
        submitted_ms: NOW - 90_000,
        started_ms: (at > 0).then_some(NOW - 60_000),
        finished_ms: state.is_final().then_some(NOW - 56_400),
        attempt: 1,
        crashes: 0,
        stages: stages.into_iter().enumerate().map(run).collect(),
        progress: None,
        position: None,
        waits_for: None,
        error,
        asset_sha256: (state == JobState::Done).then(|| "60303ae2".to_owned()),
        report: (state == JobState::Done).then(report),
    }
}

pub fn report() -> Json {
    json!({
        "triangles": 9998, "file_bytes": 1_922_072, "passed": false, "missing_nets": ["triposr"],
        "scores": {"overall": 94.6},
        "gate": [
            {"what": "watertight", "value": true, "limit": true, "passed": true},
            {"what": "silhouette_iou", "value": 0.91, "limit": 0.97, "passed": false,
             "hint": "raise simplify.triangles or set check.on-fail=warn"},
        ],
    })
}

pub fn asset(id: u64, name: &str) -> Asset {
    Asset {
        id: JobId(id),
        name: name.to_owned(),
        recipe: "prop".to_owned(),
        source_path: Some(format!("/home/ada/props/{name}.png")),
        source_sha256: "9f86d081".to_owned(),
        path: Some(format!("/home/ada/props/{name}.glb")),
        sha256: "60303ae2".to_owned(),
        bytes: 1_922_072,
        preview_sha256: Some("9e53156a".to_owned()),
        report: Some(report()),
        plan: None,
        created_ms: NOW - 300_000,
    }
}

pub fn hello(seq: u64) -> HelloResult {
    HelloResult {
        version: "0.1.0".to_owned(),
        protocol_version: meshkiln_protocol::PROTOCOL_VERSION,
        methods: meshkiln_protocol::api::METHODS.iter().map(|method| method.name.to_owned()).collect(),
        limits: serde_json::from_value(json!({
            "request_bytes": 1, "blob_bytes": 1, "batch_calls": 1, "calls_in_flight": 1, "connections": 1, "queued_jobs": 1,
        }))
        .unwrap(),
        seq,
    }
}

pub fn recipes() -> Vec<RecipeInfo> {
    let recipe = |name: &str, doc: &str| RecipeInfo {
        name: name.to_owned(),
        doc: doc.to_owned(),
        path: None,
        stages: vec!["shape".to_owned()],
        problem: None,
    };
    vec![recipe("prop", "A game-ready prop."), recipe("draft", "Quick and rough.")]
}

pub fn stages() -> Vec<StageInfo> {
    let param = |id: &str, doc: &str, unit: &str, default: Json, kind| ParamInfo {
        id: id.to_owned(),
        doc: doc.to_owned(),
        unit: unit.to_owned(),
        default,
        kind,
    };
    let engine = |id: &str, doc: &str, params| EngineInfo { id: id.to_owned(), doc: doc.to_owned(), net: None, params };
    let stage = |id: &str, doc: &str, engines, params| StageInfo {
        id: id.to_owned(),
        doc: doc.to_owned(),
        reads: vec![],
        may_read: vec![],
        writes: vec![],
        may_write: vec![],
        engines,
        params,
    };
    let thickness = param(
        "thickness",
        "How thick it is at its widest.",
        "m",
        json!(0.6),
        ParamKindInfo::Float { min: 0.0, max: 2.0 },
    );
    let smooth = param("smooth", "Rounds edges off.", "", json!(false), ParamKindInfo::Flag);
    let triangles =
        param("triangles", "At most so many.", "", json!(10000), ParamKindInfo::Int { min: 4, max: 2_000_000 });
    vec![
        stage(
            "shape",
            "Makes a surface of the picture.",
            vec![
                engine("plain", "Without a net.", vec![smooth.clone()]),
                engine(
                    "net",
                    "With one.",
                    vec![param("steps", "More is finer.", "", json!(4), ParamKindInfo::Int { min: 1, max: 9 })],
                ),
            ],
            vec![thickness],
        ),
        stage("count", "Fewer triangles.", vec![engine("standard", "The only one.", vec![])], vec![triangles]),
    ]
}

pub fn plan() -> Json {
    json!({"recipe": "prop", "steps": [
        {"stage": "shape", "engine": "plain", "settings": {"thickness": 0.6, "smooth": false}},
        {"stage": "count", "engine": "standard", "settings": {"triangles": 10000}},
    ]})
}

/// The wire's own sample, and one that is fetched.
fn nets() -> Vec<Net> {
    let text = include_str!("../../../../protocol/snapshots/net.list.result.json");
    let mut nets = serde_json::from_str::<NetList>(text).unwrap().nets;
    let mut fetched = nets[0].clone();
    (fetched.id, fetched.state, fetched.device) =
        ("birefnet-with-a-long-name-of-its-own".to_owned(), NetState::Absent, None);
    fetched.pull = nets[1].pull.take();
    nets.push(fetched);
    nets
}

fn watch(id: u64, path: &str, mode: WatchMode, problem: Option<&str>) -> Watch {
    Watch {
        id: WatchId(id),
        path: path.to_owned(),
        recipe: "prop".to_owned(),
        out: None,
        recursive: id == 1,
        mode,
        counts: WatchCounts { files: 1234, waiting: 2, fired: 1200, refused: 3 },
        last_scan_ms: Some(NOW - 4_000),
        problem: problem.map(str::to_owned),
        last_event: None,
    }
}

/// Twice as high as wide: red, green and blue stripes with a hole.
pub fn picture() -> RgbaImage {
    RgbaImage::from_fn(32, 64, |x, y| {
        let hole = (10..22).contains(&x) && (24..40).contains(&y);
        let mut pixel = Rgba([40, 40, 40, if hole { 0 } else { 255 }]);
        pixel[(y as usize / 16) % 3] = 220;
        pixel
    })
}

/// A model that has been told all of this.
pub fn model(look: Look) -> Model {
    let mut model = Model::new(look, Pictures::new(look, None));
    model.now = NOW;
    update(&mut model, Msg::Connected { hello: Box::new(hello(100)), afresh: true });
    let status = include_str!("../../../../protocol/snapshots/daemon.status.result.json");
    let mut status: meshkiln_protocol::daemon::Status = serde_json::from_str(status).unwrap();
    status.queue = QueueStatus { paused: false, queued: 2, running: 1, paused_jobs: 1 };
    status.problems.clear();
    status.yielded = None;
    update(&mut model, Msg::Status(Box::new(status)));
    let progress = Progress { stage: "reconstruct".into(), done: 3, total: 8, fraction: 0.63, eta_ms: Some(4200) };
    let jobs = vec![
        Job { progress: Some(progress), name: WIDE.to_owned(), ..job(9, JobState::Running) },
        job(8, JobState::Queued),
        Job { class: Class::Batch, name: LONG.to_owned(), client: None, ..job(7, JobState::Queued) },
        job(6, JobState::Paused),
        job(5, JobState::Failed),
        Job { name: LONG.to_owned(), ..job(4, JobState::Done) },
        Job { name: WIDE.to_owned(), ..job(3, JobState::Cancelled) },
        Job { attempt: 3, crashes: 3, ..job(2, JobState::Dead) },
    ];
    update(&mut model, Msg::Jobs(meshkiln_protocol::job::JobPage { jobs, next: None }));
    let assets = vec![asset(4, LONG), asset(1, WIDE)];
    update(&mut model, Msg::Assets { page: meshkiln_protocol::asset::AssetPage { assets, next: None }, more: true });
    update(&mut model, Msg::Nets(nets()));
    update(
        &mut model,
        Msg::Watches(vec![
            watch(1, "/home/ada/Bilder/灯籠/props", WatchMode::Events, None),
            watch(
                2,
                &format!("/mnt/share/{LONG}"),
                WatchMode::Missing,
                Some("the folder is not there: plug the drive in"),
            ),
        ]),
    );
    update(&mut model, Msg::Recipes(recipes()));
    update(&mut model, Msg::Stages(stages()));
    let lines = (0..60).map(|n| format!("2026-01-01T10:00:{n:02}Z  INFO job {n}: {LONG}"));
    let lines = lines.chain(["2026-01-01T10:01:00Z  WARN the disk is nearly full".to_owned()]).collect();
    update(&mut model, Msg::LogLines(lines));
    let log = ["queued", "decode: 0.0 s", "cutout failed: no clear object"];
    let lines =
        log.iter().enumerate().map(|(n, text)| LogLine { time_ms: NOW + 40 * n as u64, text: (*text).to_owned() });
    update(&mut model, Msg::JobLog(JobLog { id: JobId(5), lines: lines.collect() }));
    for which in [Which::Source(JobId(4)), Which::Preview(JobId(4)), Which::Mesh(JobId(4))] {
        model.pictures.ask(which);
        model.pictures.put(which, Ok(picture()));
    }
    model.asks.clear();
    assert_eq!(model.link, Link::Up);
    model
}
