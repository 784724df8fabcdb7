//! Submitting, refiring and waiting, as clients see them.

use std::fs;

use meshkiln_models::slot::sha256_hex;
use meshkiln_protocol::{asset::Asset, job::JobState};
use serde_json::{Value as Json, json};

use crate::support::TestServer;

struct Pictures {
    server: TestServer,
    dir: tempfile::TempDir,
}

impl Pictures {
    fn new() -> Pictures {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lantern.png"), "a lantern").unwrap();
        Pictures { server: TestServer::start(), dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn submit(&self, params: Json) -> Result<Json, Json> {
        self.server.call("job.submit", params)
    }

    fn refusal(&self, params: Json) -> (String, String) {
        let error = self.submit(params.clone()).expect_err(&params.to_string());
        (error["data"]["kind"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    }
}

#[test]
fn a_picture_by_path_is_copied_and_its_asset_goes_beside_it() {
    let pictures = Pictures::new();
    let job = pictures.submit(json!({"source": {"path": pictures.path("lantern.png")}, "client": "cli\u{7}"})).unwrap();
    assert_eq!(job["name"], "lantern");
    assert_eq!(job["recipe"], "prop");
    assert_eq!(job["output"], pictures.path("lantern.glb"));
    assert_eq!(job["source_sha256"], sha256_hex(b"a lantern"));
    assert_eq!(job["client"], "cli");
    let digest = sha256_hex(b"a lantern").parse().unwrap();
    assert_eq!(pictures.server.daemon.blobs.get(digest).unwrap(), b"a lantern");

    let job = pictures.submit(json!({"source": {"path": pictures.path("lantern.png")}, "recipe": "cutout"})).unwrap();
    assert_eq!(job["output"], pictures.path("lantern.cutout.png"));
    let elsewhere = pictures.path("other.GLB");
    let params = json!({"source": {"path": pictures.path("lantern.png"), "name": "Lamp"}, "output": elsewhere});
    let job = pictures.submit(params).unwrap();
    assert_eq!((&job["name"], &job["output"]), (&json!("Lamp"), &json!(elsewhere)));
    let into = pictures.path("");
    let params = json!({"source": {"path": pictures.path("lantern.png"), "name": "Lamp"}, "output": into});
    assert_eq!(pictures.submit(params).unwrap()["output"], pictures.path("Lamp.glb"), "into a folder");
}

#[test]
fn an_uploaded_picture_needs_no_path() {
    let pictures = Pictures::new();
    let digest = sha256_hex(b"uploaded");
    let params = json!({"source": {"blob": digest}, "set": ["simplify.triangles=1234"], "idempotency_key": "k"});
    assert_eq!(pictures.refusal(params.clone()).0, "not_found");
    assert_eq!(pictures.server.good("PUT", &format!("/blob/{digest}"), &[], b"uploaded").status, 201);
    let job = pictures.submit(params).unwrap();
    assert_eq!((&job["name"], job.get("output"), job.get("source_path")), (&json!("asset"), None, None));
    let jobs = pictures.server.queue.jobs.lock().unwrap();
    let (_, submission) = jobs.values().next().unwrap();
    let submission = submission.as_ref().unwrap();
    assert!(submission.plan.to_json().to_string().contains("1234"));
    assert_eq!(submission.idempotency_key.as_deref(), Some("k"));
}

#[test]
fn what_cannot_be_fired_is_refused_with_a_reason() {
    let pictures = Pictures::new();
    let here = pictures.path("lantern.png");
    let by_path = |path: &str| json!({"source": {"path": path}});
    fs::write(pictures.dir.path().join("empty.png"), "").unwrap();
    let cases = [
        (json!({"source": {}}), "invalid_input", "exactly one of `path` and `blob`"),
        (json!({"source": {"path": here, "blob": "0".repeat(64)}}), "invalid_input", "exactly one"),
        (json!({"source": {"blob": "0".repeat(63)}}), "invalid_input", "not a SHA-256"),
        (json!({"source": {"blob": "../../etc/passwd"}}), "invalid_input", "not a SHA-256"),
        (by_path("lantern.png"), "invalid_input", "must be an absolute path, not `lantern.png`"),
        (by_path("//host/share/a.png"), "invalid_input", "network and device paths"),
        (by_path("\\\\host\\share\\a.png"), "invalid_input", "network and device paths"),
        (by_path("\\\\?\\C:\\a.png"), "invalid_input", "network and device paths"),
        (by_path("\\\\.\\pipe\\x"), "invalid_input", "network and device paths"),
        (by_path("/a\u{0}b.png"), "invalid_input", "is not a path"),
        (by_path(&pictures.path("none.png")), "not_found", "is not there"),
        (by_path(&pictures.path("empty.png")), "invalid_input", "is empty"),
        (by_path(pictures.dir.path().to_str().unwrap()), "invalid_input", "is a folder"),
        (json!({"source": {"path": here}, "recipe": "porp"}), "invalid_input", "there is no recipe `porp`"),
        (json!({"source": {"path": here}, "set": ["simplify.triangels=5"]}), "invalid_input", "`triangels`"),
        (
            json!({"source": {"path": here}, "set": ["simplify.triangles=lots"]}),
            "invalid_input",
            "must be a whole number",
        ),
        (json!({"source": {"path": here}, "set": ["simplify"]}), "invalid_input", "is not a setting"),
        (json!({"source": {"path": here}, "output": "x.glb"}), "invalid_input", "absolute"),
        (json!({"source": {"path": here}, "output": pictures.path("x.obj")}), "invalid_input", "makes .glb files"),
        (json!({"source": {"path": here}, "output": "\\\\host\\x.glb"}), "invalid_input", "network"),
        (json!({"source": {"path": here, "name": "a/b"}}), "invalid_input", "not a name"),
        (json!({"source": {"path": here}, "recipe": "cutout", "output": here}), "invalid_input", "the source itself"),
        (json!({"source": {"path": here}, "idempotency_key": ""}), "invalid_input", "idempotency_key"),
        (json!({"source": {"path": here}, "class": "urgent"}), "invalid_input", "unknown variant `urgent`"),
    ];
    for (params, kind, part) in cases {
        let (found, message) = pictures.refusal(params.clone());
        assert_eq!(found, kind, "{params}: {message}");
        assert!(message.contains(part), "{params}: {message}");
    }
    assert!(pictures.server.queue.jobs.lock().unwrap().is_empty(), "something refused was queued");
    #[cfg(unix)]
    for device in ["/dev/zero", "/dev/stdin", "/dev/tty"] {
        let (kind, message) = pictures.refusal(by_path(device));
        assert!(kind == "invalid_input" || kind == "not_found", "{device}: {message}");
    }
}

#[test]
fn waiting_ends_with_the_job_or_the_time() {
    let pictures = Pictures::new();
    let server = &pictures.server;
    let id = server.queue.add(None);
    let job = server.call("job.wait", json!({"id": id, "timeout_ms": 20})).unwrap();
    assert_eq!(job["state"], "queued", "time was over");
    let mut socket = server.web_socket();
    socket.send_call(1, "job.wait", json!({"id": id}));
    server.queue.set_state(id, JobState::Running);
    server.queue.progress(id.0, 50);
    server.queue.set_state(id, JobState::Done);
    assert_eq!(socket.receive_json()["result"]["state"], "done");
    let job = server.call("job.wait", json!({"id": id, "timeout_ms": 60_000})).unwrap();
    assert_eq!(job["state"], "done", "an ended job is answered at once");
    assert_eq!(server.call("job.wait", json!({"id": 99})).unwrap_err()["code"], 1002);
}

#[test]
fn changes_answer_with_the_job_after_them() {
    let pictures = Pictures::new();
    let server = &pictures.server;
    let id = server.queue.add(None);
    for (method, state) in
        [("job.pause", "paused"), ("job.resume", "queued"), ("job.cancel", "cancelled"), ("job.retry", "queued")]
    {
        assert_eq!(server.call(method, json!({"id": id})).unwrap()["state"], state, "{method}");
        assert_eq!(server.call(method, json!({"id": 99})).unwrap_err()["code"], 1002, "{method}");
    }
    assert_eq!(server.call("queue.pause", json!({})).unwrap()["queue"]["paused"], true);
    assert_eq!(server.call("daemon.status", json!({})).unwrap()["queue"]["paused"], true);
    assert_eq!(server.call("queue.resume", json!({})).unwrap()["queue"]["paused"], false);
    assert_eq!(server.call("job.clear", json!({"states": ["running"]})).unwrap_err()["code"], 1001);
    assert_eq!(server.call("job.clear", json!({})).unwrap()["cleared"], 0);
    for limit in [0, 501] {
        assert_eq!(server.call("job.list", json!({"limit": limit})).unwrap_err()["code"], -32602);
    }
    let checks = server.call("daemon.doctor", json!({})).unwrap();
    let checks = checks["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["what"] == "database" && check["verdict"] == "ok"), "{checks:?}");
    assert!(checks.iter().all(|check| check["verdict"] == "ok" || check["fix"].is_string()), "{checks:?}");
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_the_fix() {
    let pictures = Pictures::new();
    let folders = &pictures.server.daemon.folders;
    let check = |what: &str| {
        let report = pictures.server.call("daemon.doctor", json!({})).unwrap();
        report["checks"].as_array().unwrap().iter().find(|check| check["what"] == what).unwrap().clone()
    };
    assert_eq!(check("recipes")["verdict"], "ok");
    fs::create_dir(folders.config.join("recipes")).unwrap();
    fs::write(folders.config.join("recipes").join("bad.toml"), "recipe = \"prop\"\n[set.simplify]\ntriangels = 5\n")
        .unwrap();
    let found = check("recipe");
    assert!(found["found"].as_str().unwrap().contains("bad.toml: line 3:"), "{found}");
    assert_eq!((&found["verdict"], &found["fix"]), (&json!("warning"), &json!("did you mean `triangles`?")));

    assert_eq!(check("runtime file")["verdict"], "error", "it is missing");
    let file = |pid: u32| json!({"url": "", "token": "", "pid": pid, "version": ""}).to_string();
    fs::write(folders.runtime_file(), file(1)).unwrap();
    assert!(check("runtime file")["found"].as_str().unwrap().contains("that of process 1"));
    fs::write(folders.runtime_file(), file(std::process::id())).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert!(check("runtime file")["found"].as_str().unwrap().ends_with("may be read by others"));
        fs::set_permissions(folders.runtime_file(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(check("runtime file")["verdict"], "ok");
    pictures.server.call("queue.pause", json!({})).unwrap();
    assert_eq!(check("queue")["fix"], "`meshkiln resume` starts jobs again");
}

#[test]
fn an_asset_is_refired_by_any_name_it_has() {
    let pictures = Pictures::new();
    let server = &pictures.server;
    let first = pictures.submit(json!({"source": {"path": pictures.path("lantern.png")}, "recipe": "draft"})).unwrap();
    server.queue.assets.lock().unwrap().push(asset_of(&first));
    let names = [
        json!({"id": first["id"]}),
        json!({"path": pictures.path("lantern.glb")}),
        json!({"path": pictures.path("lantern.png")}),
    ];
    for asset in names {
        let job = server.call("job.refire", json!({"asset": asset, "set": ["simplify.triangles=777"]})).unwrap();
        assert_eq!((&job["recipe"], &job["output"]), (&json!("draft"), &first["output"]), "{asset}");
        assert_eq!(job["source_sha256"], first["source_sha256"]);
    }
    let last = server.queue.jobs.lock().unwrap().values().last().unwrap().1.clone().unwrap();
    assert!(last.plan.to_json().to_string().contains("777"));

    let refused = |asset: Json| server.call("job.refire", json!({"asset": asset})).unwrap_err()["code"].clone();
    assert_eq!(refused(json!({"id": 99})), 1002);
    assert_eq!(refused(json!({"path": pictures.path("none.glb")})), 1002);
    assert_eq!(refused(json!({"path": "lantern.glb"})), 1001);
    assert_eq!(refused(json!({})), -32602);
    assert_eq!(refused(json!({"id": 1, "path": "/x"})), -32602);
}

#[test]
fn a_source_that_was_collected_is_found_again_or_missed() {
    let pictures = Pictures::new();
    let server = &pictures.server;
    let first = pictures.submit(json!({"source": {"path": pictures.path("lantern.png")}})).unwrap();
    let digest = sha256_hex(b"a lantern").parse().unwrap();
    server.daemon.blobs.remove(digest).unwrap();
    assert!(server.call("job.refire", json!({"asset": {"id": first["id"]}})).is_ok(), "the picture is still there");
    assert!(server.daemon.blobs.contains(digest));
    server.daemon.blobs.remove(digest).unwrap();
    fs::write(pictures.path("lantern.png"), "another lantern").unwrap();
    let error = server.call("job.refire", json!({"asset": {"id": first["id"]}})).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("has changed"), "{error}");
}

#[test]
fn a_file_alone_says_how_to_make_it_again() {
    let pictures = Pictures::new();
    let server = &pictures.server;
    let plan = server.call("recipe.get", json!({"name": "draft"})).unwrap()["plan"].clone();
    let provenance = json!({"name": "lantern", "source_sha256": sha256_hex(b"a lantern"), "plan": plan});
    let gltf = json!({"asset": {"version": "2.0", "extras": {"meshkiln": provenance}}}).to_string();
    let mut glb = Vec::new();
    for word in [0x4654_6c67, 2, gltf.len() as u32 + 20, gltf.len() as u32, 0x4e4f_534a] {
        glb.extend(u32::to_le_bytes(word));
    }
    glb.extend(gltf.as_bytes());
    fs::write(pictures.path("lantern.glb"), &glb).unwrap();
    let params = json!({"asset": {"path": pictures.path("lantern.glb")}, "set": ["simplify.triangles=777"]});
    let job = server.call("job.refire", params.clone()).unwrap();
    assert_eq!((&job["name"], &job["recipe"]), (&json!("lantern"), &json!("draft")));
    assert_eq!(job["output"], pictures.path("lantern.glb"));
    assert_eq!(job["source_path"], pictures.path("lantern.png"), "the picture of the same name was not found");
}

fn asset_of(job: &Json) -> Asset {
    serde_json::from_value(json!({
        "id": job["id"], "name": job["name"], "recipe": job["recipe"], "source_path": job["source_path"],
        "source_sha256": job["source_sha256"], "path": job["output"], "sha256": "0".repeat(64), "bytes": 1, "created_ms": 1
    }))
    .unwrap()
}
