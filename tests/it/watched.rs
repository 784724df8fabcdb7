//! A watched folder, from the picture dropped into it to the asset beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use meshkiln_models::{
    export::{glb, ownership},
    mesh::topology::topology,
};
use meshkiln_protocol::{
    api::{NoParams, WatchListAll},
    error::ErrorKind,
    job::{Job, JobState},
    watch::Watch,
};
use meshkiln_tests::{Daemon, Home, PATIENCE, example, pass, say, until};
use tempfile::TempDir;

/// Longer than it takes to notice a change, a file standing still, and a file gone.
const UNNOTICED: Duration = Duration::from_secs(4);
const RULES: &str = ".meshkiln.toml";

/// The art folder is outside of the daemon's home, as it is in life.
struct Studio {
    home: Home,
    daemon: Daemon,
    art: TempDir,
}

impl Studio {
    fn open(device: &'static str) -> Studio {
        let mut home = Home::new(device);
        let daemon = home.start();
        Studio { home, daemon, art: TempDir::new().unwrap() }
    }

    fn watch(&self, more: &[&str]) {
        let folder = self.art.path().to_str().unwrap();
        let output = self.home.cli(&[&["watch", "add", folder], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.art.path().join(name)
    }

    /// As a program saves: whole, under another name, then moved.
    fn save(&self, name: &str, bytes: &[u8]) {
        let temp = self.path(&format!(".{name}.saving"));
        fs::write(&temp, bytes).unwrap();
        fs::rename(temp, self.path(name)).unwrap();
    }

    /// Jobs of one picture, oldest first.
    fn jobs(&self, name: &str) -> Vec<Job> {
        let path = self.path(name).canonicalize().unwrap_or(self.path(name));
        let mut jobs = self.daemon.jobs(&[]);
        jobs.retain(|job| job.source_path.as_deref().is_some_and(|source| Path::new(source) == path));
        jobs.sort_by_key(|job| job.id);
        jobs
    }

    /// The job with this number, from 1, among those of the picture, once it has ended.
    fn ended(&self, name: &str, n: usize) -> Job {
        until(&format!("{name} is fired {n} times"), PATIENCE, || self.jobs(name).len() >= n);
        let job = self.daemon.wait(self.jobs(name)[n - 1].id);
        assert_eq!(self.jobs(name).len(), n, "{name} was fired more than {n} times");
        job
    }

    fn restart(&mut self) {
        self.home.kill();
        self.daemon = self.home.start();
    }

    fn listed(&self) -> Watch {
        self.daemon.call::<WatchListAll>(&NoParams {}).watches.remove(0)
    }
}

fn triangles(path: &Path) -> usize {
    glb::read(&fs::read(path).unwrap()).unwrap().mesh.triangles.len()
}

#[test]
fn a_picture_becomes_an_asset_beside_it_and_stays_in_step() {
    let mut studio = Studio::open("cpu");
    let picture = fs::read(example("lantern.png")).unwrap();
    studio.watch(&["--recipe", "draft"]);

    // Dropped.
    let begun = Instant::now();
    fs::copy(example("lantern.png"), studio.path("lantern.png")).unwrap();
    let first = studio.ended("lantern.png", 1);
    assert_eq!(first.state, JobState::Done, "{first:?}");
    assert_eq!(studio.listed().last_event.unwrap().what, "lantern.png fired");
    say(&format!("figure: dropped picture to finished asset, draft, cold: {:.1?}", begun.elapsed()));
    let asset = studio.path("lantern.glb");
    let bytes = fs::read(&asset).unwrap();
    let content = glb::read(&bytes).unwrap();
    assert_eq!(content.name, "lantern");
    assert!(ownership::is_ours(&bytes));
    let shape = topology(&content.mesh.positions, &content.mesh.triangles);
    assert!(shape.is_watertight() && shape.is_manifold());
    let (low, high) = content.mesh.bounds().unwrap();
    assert!(low.y.abs() < 1e-4 && (high.y - 1.0).abs() < 1e-3, "stands on the ground, 1 m high: {low} {high}");

    // Saved again without a change: no work, for the time it takes to notice.
    studio.save("lantern.png", &picture);
    pass(UNNOTICED);
    assert_eq!(studio.jobs("lantern.png").len(), 1, "equal bytes were fired again");

    // Repainted: the same file changes.
    let repainted = repaint(&picture);
    studio.save("lantern.png", &repainted);
    let second = studio.ended("lantern.png", 2);
    assert_eq!((second.state, &second.output), (JobState::Done, &first.output), "{second:?}");
    assert_ne!(fs::read(&asset).unwrap(), bytes);
    assert_ne!(second.asset_sha256, first.asset_sha256);

    // The folder's own settings apply at once, to what comes from now on.
    write_rules(&studio, 900);
    studio.save("lantern.png", &picture);
    let third = studio.ended("lantern.png", 3);
    assert_eq!(third.state, JobState::Done, "{third:?}");
    assert!(triangles(&asset) <= 900, "{} triangles", triangles(&asset));

    // Broken settings are said, and stop nobody; corrected ones apply.
    fs::write(studio.path(RULES), "recipe = \"draft\"\n\n[set.simplfy]\ntriangles = 3\n").unwrap();
    until("the problem is said", PATIENCE, || studio.listed().problem.is_some());
    let problem = studio.listed().problem.unwrap();
    assert!(problem.contains(RULES) && problem.contains("simplify"), "{problem}");
    write_rules(&studio, 600);
    until("the problem is gone", PATIENCE, || studio.listed().problem.is_none());

    // While nobody was looking.
    studio.home.kill();
    studio.save("lantern.png", &repainted);
    studio.save("second.png", &picture);
    studio.daemon = studio.home.start();
    for (name, n) in [("lantern.png", 4), ("second.png", 1)] {
        let job = studio.ended(name, n);
        assert_eq!(job.state, JobState::Done, "{job:?}");
    }
    assert!(triangles(&studio.path("second.glb")) <= 600);
    studio.restart();
    pass(UNNOTICED);
    assert_eq!((studio.jobs("lantern.png").len(), studio.jobs("second.png").len()), (4, 1), "fired again at a restart");

    // Sources are never touched, and nothing else is left in the folder.
    assert!(fs::read(studio.path("lantern.png")).unwrap() == repainted);
    assert!(fs::read(studio.path("second.png")).unwrap() == picture);
    let mut names: Vec<_> =
        fs::read_dir(studio.art.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [RULES, "lantern.glb", "lantern.png", "second.glb", "second.png"]);
    assert_eq!(studio.daemon.jobs(&[]).len(), 5);
    assert_eq!(studio.listed().counts.fired, 5);
}

#[test]
fn a_foreign_file_is_kept_and_a_vanished_picture_is_cancelled() {
    let studio = Studio::open("fake");
    studio.watch(&["--recipe", "draft"]);

    let foreign = studio.path("lantern2.glb");
    fs::write(&foreign, "somebody's work").unwrap();
    studio.save("lantern2.png", b"# for the fake device\n");
    let job = studio.ended("lantern2.png", 1);
    assert_eq!(job.state, JobState::Failed, "{job:?}");
    let error = job.error.unwrap();
    assert_eq!(error.kind, ErrorKind::OutputExists);
    assert!(error.message.contains("lantern2.glb"), "{}", error.message);
    assert_eq!(fs::read(&foreign).unwrap(), b"somebody's work");
    // Moved away, as the hint says: the next try delivers.
    fs::rename(&foreign, studio.path("kept.glb")).unwrap();
    studio.daemon.retry(job.id);
    assert_eq!(studio.daemon.wait(job.id).state, JobState::Done);
    assert!(ownership::is_ours(&fs::read(&foreign).unwrap()));

    // Deleted while it waits, and while it runs.
    studio.save("running.png", b"# for the fake device\ndecode hang\n");
    until("the first is running", PATIENCE, || {
        studio.jobs("running.png").first().is_some_and(|job| job.state == JobState::Running)
    });
    studio.save("waiting.png", b"# waits, for the fake device\n");
    until("the second waits", PATIENCE, || !studio.jobs("waiting.png").is_empty());
    let (running, waiting) = (studio.jobs("running.png")[0].id, studio.jobs("waiting.png")[0].id);
    assert_eq!(studio.daemon.job(waiting).state, JobState::Queued);
    fs::remove_file(studio.path("waiting.png")).unwrap();
    studio.daemon.until_state(waiting, JobState::Cancelled);
    assert_eq!(studio.daemon.job(running).state, JobState::Running);
    fs::remove_file(studio.path("running.png")).unwrap();
    studio.daemon.until_state(running, JobState::Cancelled);
    assert_eq!(studio.listed().last_event.unwrap().what, "running.png is gone");
    // It comes back: new work.
    studio.save("waiting.png", b"# waits, for the fake device\n");
    assert_eq!(studio.ended("waiting.png", 2).state, JobState::Done);
}

/// In one step: half a file would be read as broken settings.
fn write_rules(studio: &Studio, triangles: u32) {
    let text = format!("recipe = \"draft\"\n\n[set.simplify]\ntriangles = {triangles}\n");
    studio.save(RULES, text.as_bytes());
}

/// The same picture in other colours.
fn repaint(picture: &[u8]) -> Vec<u8> {
    let mut image = image::load_from_memory(picture).unwrap().to_rgba8();
    image.pixels_mut().for_each(|pixel| pixel.0.swap(0, 2));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
