use std::{collections::BTreeSet, fs::File, io::Write, sync::atomic::Ordering, thread, time::Instant};

use tempfile::TempDir;

use super::*;
use crate::small_disk::SmallDisk;

struct Fixture {
    store: BlobStore,
    dir: TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    Fixture { store: BlobStore::open(dir.path().join("blobs")).unwrap(), dir }
}

impl Fixture {
    fn files(&self) -> Vec<Entry> {
        self.store.iter().map(Result::unwrap).collect()
    }

    fn temps(&self) -> usize {
        fs::read_dir(self.store.tmp()).unwrap().count()
    }
}

fn digest(blob: &Blob) -> Digest {
    blob.digest().unwrap()
}

#[test]
fn equal_bytes_are_kept_once_whichever_way_they_came() {
    let it = fixture();
    let bytes = b"a lantern".to_vec();
    let path = it.dir.path().join("lantern.png");
    fs::write(&path, &bytes).unwrap();

    let blob = it.store.put(&bytes).unwrap();
    assert_eq!(blob.bytes, 9);
    assert_eq!(it.store.put(&bytes).unwrap(), blob);
    assert_eq!(it.store.put_many([bytes.clone(), bytes.clone()].into_iter()).unwrap(), [blob.clone(), blob.clone()]);
    assert_eq!(it.store.put_file(&File::open(&path).unwrap(), 9).unwrap(), blob);
    let mut upload = it.store.upload(digest(&blob), 9).unwrap();
    upload.write(b"a lan").unwrap();
    upload.write(b"tern").unwrap();
    assert_eq!(upload.finish().unwrap(), blob);

    assert_eq!(it.store.get(digest(&blob)).unwrap(), bytes);
    assert_eq!((it.files().len(), it.temps()), (1, 0));
    assert_eq!(it.store.len(digest(&blob)), Some(9));
}

#[test]
fn many_blobs_come_out_in_the_order_in_which_they_went_in() {
    let it = fixture();
    let contents: Vec<Vec<u8>> = (0..100u32).map(|n| n.to_string().into_bytes()).collect();
    let blobs = it.store.put_many(contents.clone().into_iter()).unwrap();
    let back: Vec<Vec<u8>> = blobs.iter().map(|blob| it.store.get(digest(blob)).unwrap()).collect();
    assert_eq!(back, contents);
    assert_eq!((it.files().len(), it.temps()), (100, 0));
}

#[test]
fn thousands_of_small_blobs_take_seconds_not_minutes() {
    let it = fixture();
    let started = Instant::now();
    let contents = (0..2_000u32).map(|n| n.to_le_bytes().repeat(256));
    let blobs = it.store.put_many(contents).unwrap();
    println!("2,000 blobs of 1 KiB: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!((blobs.len(), it.files().len(), it.temps()), (2_000, 2_000, 0));
}

#[test]
fn damage_is_noticed_set_aside_and_cured_by_the_next_put() {
    let it = fixture();
    let blob = it.store.put(b"a lantern").unwrap();
    let path = it.store.path(digest(&blob));
    let damage: [&dyn Fn(); 4] = [
        &|| fs::write(&path, b"a lanterm").unwrap(),
        &|| fs::write(&path, b"a lan").unwrap(),
        &|| fs::write(&path, b"").unwrap(),
        &|| {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        },
    ];
    for damage in damage {
        damage();
        assert_eq!(it.store.get(digest(&blob)).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(it.store.get(digest(&blob)).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(it.store.put(b"a lantern").unwrap(), blob);
        assert_eq!(it.store.get(digest(&blob)).unwrap(), b"a lantern");
    }
    // A folder that somebody removed comes back.
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    it.store.put(b"a lantern").unwrap();
    // A short file is cured even before anybody reads it.
    fs::write(&path, b"a lan").unwrap();
    it.store.put(b"a lantern").unwrap();
    assert_eq!(it.store.get(digest(&blob)).unwrap(), b"a lantern");
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_no_blobs_and_nothing_is_read_through_them() {
    let it = fixture();
    let secret = it.dir.path().join("secret");
    fs::write(&secret, b"a lantern").unwrap();
    let name = Digest::of(b"a lantern");
    fs::create_dir(it.store.folder(name)).unwrap();
    std::os::unix::fs::symlink(&secret, it.store.path(name)).unwrap();
    assert!(!it.store.contains(name));
    assert_eq!(it.store.open_blob(name).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(it.store.get(name).unwrap_err().kind(), io::ErrorKind::InvalidData);

    let pipe = Digest::of(b"pipe");
    fs::create_dir(it.store.folder(pipe)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, it.store.path(pipe), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    assert_eq!(it.store.open_blob(pipe).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(it.files(), []);
    assert_eq!(fs::read(&secret).unwrap(), b"a lantern");
}

#[test]
fn names_that_are_no_digests_name_nothing() {
    let good = "0123456789abcdef".repeat(4);
    assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
    let upper = good.to_uppercase();
    let long = format!("{good}0");
    let hostile = [
        "",
        "..",
        "../../../../etc/passwd",
        &good[1..],
        &long,
        &upper,
        &format!("{}\0", &good[1..]),
        &format!("/{}", &good[1..]),
        &format!("../{}", &good[3..]),
        &format!("%2e{}", &good[3..]),
        &format!("é{}", &good[2..]),
        &format!("C:\\{}", &good[3..]),
        &format!(" {} ", &good[2..]),
    ];
    for name in hostile {
        assert_eq!(name.parse::<Digest>(), Err(NotADigest), "{name:?}");
    }
}

#[test]
fn uploads_that_lie_about_digest_or_size_leave_nothing() {
    let it = fixture();
    let mut wrong = it.store.upload(Digest::of(b"a lantern"), 100).unwrap();
    wrong.write(b"a lanterm").unwrap();
    assert!(matches!(wrong.finish(), Err(PutError::WrongDigest { .. })));

    let mut long = it.store.upload(Digest::of(b"a lantern"), 5).unwrap();
    assert!(matches!(long.write(b"a lantern"), Err(PutError::TooLarge { bytes: 9, limit: 5 })));
    drop(long);
    drop(it.store.upload(Digest::of(b"never finished"), 100).unwrap());
    assert_eq!((it.files().len(), it.temps()), (0, 0));
}

#[test]
fn a_snapshot_refuses_what_is_too_large_no_file_or_still_being_written() {
    let it = fixture();
    let path = it.dir.path().join("lantern.png");
    fs::write(&path, b"a lantern").unwrap();
    let opened = || File::open(&path).unwrap();
    assert!(matches!(it.store.put_file(&opened(), 8), Err(PutError::TooLarge { bytes: 9, limit: 8 })));
    if cfg!(unix) {
        let folder = File::open(it.dir.path()).unwrap();
        assert!(matches!(it.store.put_file(&folder, 8), Err(PutError::NotAFile)));
    }

    // A growing file: the writer is another thread that never pauses.
    let growing = it.dir.path().join("growing.png");
    let mut writer = File::create(&growing).unwrap();
    writer.write_all(&vec![7; 32 << 20]).unwrap();
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                writer.write_all(b"more").unwrap();
            }
        });
        let outcome = it.store.put_file(&File::open(&growing).unwrap(), u64::MAX);
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap();
        assert!(matches!(outcome, Err(PutError::Changed)), "{outcome:?}");
    });
    assert_eq!((it.files().len(), it.temps()), (0, 0));
}

#[test]
fn putting_the_same_bytes_at_once_from_many_threads_gives_one_whole_blob() {
    let it = fixture();
    let bytes = vec![42; 1 << 20];
    for round in 0..10u8 {
        let bytes: Vec<u8> = bytes.iter().map(|b| b ^ round).collect();
        thread::scope(|scope| {
            let putting: Vec<_> = (0..8).map(|_| scope.spawn(|| it.store.put(&bytes).unwrap())).collect();
            let blobs: BTreeSet<String> = putting.into_iter().map(|put| put.join().unwrap().sha256).collect();
            assert_eq!(blobs.len(), 1);
        });
        assert_eq!(it.store.get(Digest::of(&bytes)).unwrap(), bytes);
    }
    assert_eq!((it.files().len(), it.temps()), (10, 0));
}

#[test]
fn collection_spares_what_was_used_since() {
    let it = fixture();
    let blob = it.store.put(b"a lantern").unwrap();
    let old = SystemTime::now() - Duration::from_secs(3600);
    let since = SystemTime::now() - Duration::from_secs(60);
    let age = || File::options().write(true).open(it.store.path(digest(&blob))).unwrap().set_modified(old).unwrap();

    age();
    assert_eq!(it.files()[0].used, old);
    it.store.touch(digest(&blob)).unwrap();
    assert!(!it.store.remove_unless_used_since(digest(&blob), since).unwrap());
    age();
    it.store.put(b"a lantern").unwrap();
    assert!(!it.store.remove_unless_used_since(digest(&blob), since).unwrap());
    assert_eq!(it.store.get(digest(&blob)).unwrap(), b"a lantern");
    age();
    assert!(it.store.remove_unless_used_since(digest(&blob), since).unwrap());
    assert!(it.store.remove_unless_used_since(digest(&blob), since).unwrap());
    assert_eq!(it.store.touch(digest(&blob)).unwrap_err().kind(), io::ErrorKind::NotFound);
    it.store.remove(digest(&blob)).unwrap();
    assert_eq!((it.files().len(), it.temps()), (0, 0));
}

#[test]
fn collecting_and_putting_at_once_never_loses_a_blob_that_was_put() {
    let it = fixture();
    let name = Digest::of(b"a lantern");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let since = SystemTime::now() - Duration::from_secs(60);
                it.store.remove_unless_used_since(name, since).unwrap();
            }
        });
        for _ in 0..100 {
            it.store.put(b"a lantern").unwrap();
            // Out of sight for a moment at most, and only while it was old.
            let late = Instant::now() + Duration::from_secs(5);
            let seen = loop {
                match it.store.get(name) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound && Instant::now() < late => {}
                    other => break other,
                }
            };
            assert_eq!(seen.unwrap(), b"a lantern");
            let old = SystemTime::now() - Duration::from_secs(3600);
            let aged = File::options().write(true).open(it.store.path(name)).and_then(|file| file.set_modified(old));
            if let Err(e) = aged {
                assert_eq!(e.kind(), io::ErrorKind::NotFound);
            }
        }
    });
}

/// Lets the other thread end also when this one panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_dead_writers_left_goes_and_what_living_ones_write_stays() {
    let it = fixture();
    let left = it.store.tmp().join("put-left-behind");
    fs::write(&left, b"half a lan").unwrap();
    let day = Duration::from_secs(86400);
    File::options().write(true).open(&left).unwrap().set_modified(SystemTime::now() - 2 * day).unwrap();
    let mut upload = it.store.upload(Digest::of(b"a lantern"), 100).unwrap();
    upload.write(b"a lantern").unwrap();
    assert_eq!(it.store.remove_stale_temps(day).unwrap(), 1);
    assert!(!left.exists());
    upload.finish().unwrap();
}

#[cfg(unix)]
#[test]
fn blobs_and_folders_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let it = fixture();
    let blob = it.store.put(b"a lantern").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = it.store.path(digest(&blob));
    assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(it.store.dir())), (0o600, 0o700, 0o700));
}

#[test]
fn a_full_disk_is_told_as_such_leaves_nothing_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let store = BlobStore::open(disk.path().join("blobs")).unwrap();
    let kept = store.put(&[1; 1 << 20]).unwrap();
    let big = vec![2; 8 << 20];

    let full = store.put(&big).unwrap_err();
    assert!(durable::is_full(&full), "{full:?}");
    let many = store.put_many((0..2000u32).map(|n| vec![n as u8; 4000 + n as usize])).unwrap_err();
    assert!(durable::is_full(&many), "{many:?}");
    let path = dir.path().join("big.png");
    fs::write(&path, &big).unwrap();
    let snapshot = store.put_file(&File::open(&path).unwrap(), u64::MAX);
    assert!(matches!(&snapshot, Err(PutError::Write(e)) if durable::is_full(e)), "{snapshot:?}");
    assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);

    assert_eq!(store.get(digest(&kept)).unwrap(), [1; 1 << 20]);
    store.remove(digest(&kept)).unwrap();
    store.put(&[3; 1 << 20]).unwrap();
}
