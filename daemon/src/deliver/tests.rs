use std::{
    sync::{Barrier, Mutex, mpsc::sync_channel},
    time::Instant,
};

use meshkiln_models::{export::glb, mesh::shapes};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::small_disk::SmallDisk;

struct Fixture {
    blobs: BlobStore,
    dir: TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    Fixture { blobs: BlobStore::open(dir.path().join("blobs")).unwrap(), dir }
}

impl Fixture {
    fn output(&self) -> PathBuf {
        self.dir.path().join("props/lantern.glb")
    }

    fn deliver(&self, asset: &[u8]) -> Result<(), JobError> {
        self.deliver_to(asset, &self.output())
    }

    fn deliver_to(&self, asset: &[u8], output: &Path) -> Result<(), JobError> {
        deliver_file(&self.blobs, &self.blobs.put(asset).unwrap().sha256, output, is_ours)
    }

    /// Names in the folder of the output.
    fn folder(&self) -> Vec<String> {
        names(self.output().parent().unwrap())
    }

    /// Tries to deliver and asserts that what stands there is left alone.
    fn refused(&self, asset: &[u8]) -> JobError {
        let before = self.folder();
        let error = self.deliver(asset).unwrap_err();
        assert_eq!(self.folder(), before);
        error
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A real asset; different numbers give different bytes.
fn asset(number: u32) -> Vec<u8> {
    glb::write(&shapes::cube(), &shapes::grey(), "lantern", &json!({ "number": number })).unwrap()
}

#[test]
fn an_asset_appears_in_a_folder_that_is_made_for_it_and_again_is_no_work() {
    let it = fixture();
    it.deliver(&asset(1)).unwrap();
    assert_eq!(fs::read(it.output()).unwrap(), asset(1));
    let written = fs::metadata(it.output()).unwrap().modified().unwrap();
    it.deliver(&asset(1)).unwrap();
    assert_eq!(fs::metadata(it.output()).unwrap().modified().unwrap(), written);
    assert_eq!(it.folder(), ["lantern.glb"]);
}

#[test]
fn our_own_file_is_replaced_and_keeps_its_permissions() {
    let it = fixture();
    it.deliver(&asset(1)).unwrap();
    #[cfg(unix)]
    fs::set_permissions(it.output(), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let before = fs::metadata(it.output()).unwrap().permissions();
    it.deliver(&asset(2)).unwrap();
    assert_eq!(fs::read(it.output()).unwrap(), asset(2));
    assert_eq!(fs::metadata(it.output()).unwrap().permissions(), before);
    assert_eq!(it.folder(), ["lantern.glb"]);
}

#[test]
fn files_of_others_are_kept_to_the_byte() {
    let it = fixture();
    fs::create_dir(it.output().parent().unwrap()).unwrap();
    let mut edited = asset(1);
    let last = edited.len() - 1;
    edited[last] ^= 1;
    for foreign in [b"modelled by hand".to_vec(), Vec::new(), edited] {
        fs::write(it.output(), &foreign).unwrap();
        let error = it.refused(&asset(2));
        assert_eq!(error.kind, ErrorKind::OutputExists, "{error:?}");
        assert!(error.message.contains("lantern.glb") && error.hint.contains("-o"), "{error:?}");
        assert_eq!(fs::read(it.output()).unwrap(), foreign);
    }
    // Moved away, as the hint says, the next try works.
    fs::rename(it.output(), it.dir.path().join("mine.glb")).unwrap();
    it.deliver(&asset(2)).unwrap();
}

#[test]
fn folders_and_links_at_the_target_are_neither_replaced_nor_followed() {
    let it = fixture();
    fs::create_dir_all(it.output()).unwrap();
    assert_eq!(it.refused(&asset(1)).kind, ErrorKind::OutputExists);
    fs::remove_dir(it.output()).unwrap();
    #[cfg(unix)]
    {
        let elsewhere = it.dir.path().join("elsewhere.glb");
        std::os::unix::fs::symlink(&elsewhere, it.output()).unwrap();
        assert_eq!(it.refused(&asset(1)).kind, ErrorKind::OutputExists);
        assert!(!elsewhere.exists());
        // Also when our own file is behind it.
        fs::write(&elsewhere, asset(1)).unwrap();
        assert_eq!(it.refused(&asset(2)).kind, ErrorKind::OutputExists);
        assert_eq!(fs::read(&elsewhere).unwrap(), asset(1));
    }
}

#[test]
fn a_file_that_appears_at_the_last_moment_is_kept() {
    let it = fixture();
    fs::create_dir(it.output().parent().unwrap()).unwrap();
    let sha256 = it.blobs.put(&asset(1)).unwrap().sha256;
    for _ in 0..100 {
        let start = Barrier::new(2);
        let (saved, delivered) = thread::scope(|scope| {
            let artist = scope.spawn(|| {
                start.wait();
                // As programs save: a whole file appears, unless one is there.
                fs::File::create_new(it.output()).and_then(|mut file| file.write_all(b"by hand")).is_ok()
            });
            start.wait();
            let delivered = deliver_file(&it.blobs, &sha256, &it.output(), is_ours);
            (artist.join().unwrap(), delivered)
        });
        assert_ne!(saved, delivered.is_ok(), "exactly one of them has the name");
        let expected = if saved { b"by hand".to_vec() } else { asset(1) };
        assert_eq!(fs::read(it.output()).unwrap(), expected);
        fs::remove_file(it.output()).unwrap();
    }
    assert_eq!(it.folder(), [""; 0]);
}

/// Where `ours_until_looked_at` saves a file of the artist's.
static SAVED_AT: Mutex<Option<PathBuf>> = Mutex::new(None);

fn ours_until_looked_at(bytes: &[u8]) -> bool {
    let ours = is_ours(bytes);
    if let Some(path) = SAVED_AT.lock().unwrap().take() {
        fs::write(path, b"edited by hand meanwhile").unwrap();
    }
    ours
}

#[test]
fn our_own_file_that_is_edited_at_the_last_moment_is_kept() {
    let it = fixture();
    it.deliver(&asset(1)).unwrap();
    *SAVED_AT.lock().unwrap() = Some(it.output());
    let sha256 = it.blobs.put(&asset(2)).unwrap().sha256;
    let error = deliver_file(&it.blobs, &sha256, &it.output(), ours_until_looked_at).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutputExists);
    assert_eq!(fs::read(it.output()).unwrap(), b"edited by hand meanwhile");
    assert_eq!(it.folder(), ["lantern.glb"]);
}

#[test]
fn a_full_or_closed_disk_is_a_typed_error_leaves_nothing_and_heals() {
    let it = fixture();
    let Some(disk) = SmallDisk::mount(it.dir.path()) else { return };
    let output = disk.path().join("props/lantern.glb");
    let filler = disk.path().join("filler");
    // `write` fills up what fits before it fails.
    assert!(fs::write(&filler, vec![0; 5 << 20]).is_err());
    let full = it.deliver_to(&asset(1), &output).unwrap_err();
    assert_eq!((full.kind, full.retryable), (ErrorKind::Storage, true));
    assert!(full.hint.contains("free some space"), "{full:?}");
    assert_eq!(fs::read_dir(disk.path().join("props")).map_or(0, Iterator::count), 0);

    fs::remove_file(&filler).unwrap();
    it.deliver_to(&asset(1), &output).unwrap();
    disk.make_read_only();
    let closed = it.deliver_to(&asset(2), &output).unwrap_err();
    assert_eq!(closed.kind, ErrorKind::Storage);
    assert!(closed.hint.contains("make the folder writable"), "{closed:?}");
    assert_eq!(fs::read(&output).unwrap(), asset(1));
}

#[test]
fn outputs_that_cannot_be_are_refused_with_a_reason() {
    let it = fixture();
    let file = it.dir.path().join("file");
    fs::write(&file, b"no folder").unwrap();
    let below_a_file = it.deliver_to(&asset(1), &file.join("lantern.glb")).unwrap_err();
    assert_eq!(below_a_file.kind, ErrorKind::Storage, "{below_a_file:?}");
    for output in ["lantern.glb", "/", ""] {
        assert_eq!(it.deliver_to(&asset(1), Path::new(output)).unwrap_err().kind, ErrorKind::InvalidInput);
    }
    let too_long = it.dir.path().join(format!("{}.glb", "é".repeat(200)));
    assert_eq!(it.deliver_to(&asset(1), &too_long).unwrap_err().kind, ErrorKind::Storage);
    let longest = it.dir.path().join(format!("{}.glb", "é".repeat(125)));
    it.deliver_to(&asset(1), &longest).unwrap();

    let lost = deliver_file(&it.blobs, &"0".repeat(64), &it.output(), is_ours).unwrap_err();
    assert_eq!(lost.kind, ErrorKind::Storage);
    assert_eq!(deliver_file(&it.blobs, "../x", &it.output(), is_ours).unwrap_err().kind, ErrorKind::Internal);
}

#[test]
fn what_a_dead_daemon_left_is_swept_and_what_a_living_one_writes_is_not() {
    let it = fixture();
    let folder = it.dir.path();
    let left = folder.join(".lantern.glb.meshkiln-abc.tmp");
    fs::write(&left, b"half a lan").unwrap();
    let others = [".lantern.glb.tmp", "lantern.glb.meshkiln-abc.tmp", ".lantern.glb.meshkiln-abc"];
    others.iter().for_each(|name| fs::write(folder.join(name), b"not ours").unwrap());
    let writing = create_temp(folder, "lantern.glb").unwrap();
    sweep(folder);
    assert!(!left.exists() && writing.path().exists());
    assert!(others.iter().all(|name| folder.join(name).exists()));
}

#[test]
fn the_thread_tells_how_it_went_and_keeps_the_order_within_a_folder() {
    let it = fixture();
    let (inbox, events) = sync_channel(100);
    let deliverer = Deliverer::new(it.blobs.clone(), inbox);
    let assets: Vec<Sha256> = (0..20).map(|n| it.blobs.put(&asset(n)).unwrap().sha256).collect();
    for (n, asset) in (0..).zip(&assets) {
        deliverer.deliver(JobId(n), 7, asset.clone(), it.output());
    }
    deliverer.deliver(JobId(99), 7, assets[0].clone(), PathBuf::from("lantern.glb"));
    let late = Instant::now() + Duration::from_secs(30);
    let mut good = Vec::new();
    for _ in 0..=assets.len() {
        match events.recv_timeout(late.saturating_duration_since(Instant::now())).unwrap() {
            Event::Delivered { job, attempt: 7, result: Ok(()) } => good.push(job.0),
            Event::Delivered { job: JobId(99), attempt: 7, result: Err(_) } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(good, (0..20).collect::<Vec<u64>>());
    assert_eq!(fs::read(it.output()).unwrap(), asset(19));
}
