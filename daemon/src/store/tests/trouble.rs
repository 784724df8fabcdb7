//! Full disks, crashes, damage, other versions.

use super::*;

#[test]
fn a_full_disk_refuses_the_turn_and_nothing_else() {
    let mut bench = Bench::new();
    bench.insert(&[&bench.done(1)]).unwrap();
    let pages: i64 = bench.store.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    bench.store.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();

    let jobs: Vec<Job> = (2..200).map(|id| bench.job(id)).collect();
    let error = bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap_err();
    assert!(matches!(&error, StoreError::Sqlite(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)));
    assert!(!error.is_fatal());
    assert!(bench.store.probe().is_err());
    assert_eq!(bench.ids(JobListParams::default()).0, [1], "reads go on, and nothing of the turn is there");

    bench.store.conn.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    bench.store.probe().unwrap();
    bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(bench.store.load(false).unwrap().jobs.len(), 198);
}

#[test]
fn only_a_disk_that_lies_ends_the_daemon() {
    let fatal = |code| {
        let error = ffi::Error::new(code);
        StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, None)).is_fatal()
    };
    assert!(fatal(ffi::SQLITE_IOERR_FSYNC));
    assert!(fatal(ffi::SQLITE_IOERR_DIR_FSYNC));
    assert!(fatal(ffi::SQLITE_IOERR_READ));
    assert!(fatal(ffi::SQLITE_CORRUPT));
    assert!(!fatal(ffi::SQLITE_FULL));
    assert!(!fatal(ffi::SQLITE_IOERR_WRITE));
    assert!(!fatal(ffi::SQLITE_IOERR_SHMSIZE));
    assert!(!fatal(ffi::SQLITE_BUSY));
    assert!(!fatal(ffi::SQLITE_READONLY));
}

#[test]
fn whatever_was_committed_is_there_after_a_crash_at_any_moment() {
    let mut bench = Bench::new();
    let copies = tempfile::tempdir().unwrap();
    for id in 1..=20 {
        bench.insert(&[&bench.job(id)]).unwrap();
        // As the disk would be found: main file and log, without the shared memory.
        let copy = copies.path().join(format!("{id}.db"));
        fs::copy(bench.path(), &copy).unwrap();
        fs::copy(with_suffix(&bench.path(), "-wal"), with_suffix(&copy, "-wal")).unwrap();
    }
    for id in 1..=20 {
        let blobs = BlobStore::open(copies.path().join("blobs")).unwrap();
        let path = copies.path().join(format!("{id}.db"));
        let store = Store::open(&path, blobs).unwrap();
        assert!(store.was_unclean());
        assert_eq!(store.load(true).unwrap().jobs.len(), id);
        assert_eq!(damage(&path), None);
    }
}

#[test]
fn a_torn_log_loses_only_what_was_not_committed() {
    let mut bench = Bench::new();
    bench.insert(&[&bench.job(1)]).unwrap();
    let durable = fs::metadata(with_suffix(&bench.path(), "-wal")).unwrap().len();
    bench.insert(&[&bench.job(2)]).unwrap();
    let copies = tempfile::tempdir().unwrap();
    let log = fs::read(with_suffix(&bench.path(), "-wal")).unwrap();
    for cut in [durable as usize + 1, (durable as usize + log.len()) / 2, log.len() - 1] {
        let copy = copies.path().join(format!("{cut}.db"));
        fs::copy(bench.path(), &copy).unwrap();
        fs::write(with_suffix(&copy, "-wal"), &log[..cut]).unwrap();
        let store = Store::open(&copy, BlobStore::open(copies.path().join("blobs")).unwrap()).unwrap();
        let jobs = store.load(true).unwrap().jobs;
        assert_eq!(jobs.iter().map(|job| job.id.0).collect::<Vec<_>>(), [1], "cut at {cut}");
    }
}

#[test]
fn damage_is_found() {
    let mut bench = Bench::new();
    let jobs: Vec<Job> = (1..2000).map(|id| bench.job(id)).collect();
    bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap();
    bench.store.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let path = bench.path();
    drop(bench.store);
    assert_eq!(damage(&path), None);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20_000].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    assert!(damage(&path).unwrap().contains("is damaged"));
}

#[test]
fn a_database_from_the_future_is_left_alone() {
    let bench = Bench::new();
    bench.store.conn.pragma_update(None, "user_version", 99).unwrap();
    let path = bench.path();
    drop(bench.store);
    let blobs = BlobStore::open(bench.folder.path().join("blobs")).unwrap();
    match Store::open(&path, blobs) {
        Err(StoreError::Newer { found: 99, known }) => assert!(known < 99),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn the_settings_are_those_that_survive_a_power_cut() {
    let bench = Bench::new();
    let text = |pragma| bench.store.conn.pragma_query_value(None, pragma, |row| row.get::<_, String>(0)).unwrap();
    let number = |pragma| bench.store.conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("journal_mode"), "wal");
    assert_eq!(number("synchronous"), 2, "FULL");
    assert_eq!(number("foreign_keys"), 1);
    assert_eq!(number("trusted_schema"), 0);
    assert_eq!(number("mmap_size"), 0);
    assert_eq!(number("journal_size_limit"), 64 << 20);
}

#[test]
fn a_plan_this_version_does_not_know_is_said_so() {
    let mut bench = Bench::new();
    bench.insert(&[&bench.job(1), &bench.done(2)]).unwrap();
    bench.store.conn.execute("UPDATE plans SET json = replace(json, 'cutout', 'cutuot')", []).unwrap();
    let loaded = bench.store.load(false).unwrap();
    assert_eq!(loaded.jobs.len(), 0);
    assert_eq!(loaded.unreadable[0].0.id, JobId(1));
    assert!(loaded.unreadable[0].1.message.contains("cutuot"), "{}", loaded.unreadable[0].1);
    // Still shown, still an asset.
    let wire = bench.store.reader().job(JobId(2), &View::default()).unwrap().unwrap();
    assert_eq!(wire.recipe, "cutout");
    let pending = StageRun {
        stage: "decode".to_owned(),
        engine: "built-in".to_owned(),
        state: StageState::Pending,
        elapsed_ms: None,
        picture_sha256: None,
    };
    assert_eq!(wire.stages[0], pending);
    assert!(matches!(bench.store.reader().submission(JobId(2)), Err(StoreError::Plan(_))));
}

#[test]
fn readers_do_not_wait_for_the_writer() {
    let mut bench = Bench::new();
    bench.insert(&[&bench.job(1)]).unwrap();
    let reader = bench.store.reader();
    let tx = Transaction::new(&mut bench.store.conn, TransactionBehavior::Immediate).unwrap();
    tx.execute("DELETE FROM jobs", []).unwrap();
    let start = std::time::Instant::now();
    assert!(reader.job(JobId(1), &View::default()).unwrap().is_some());
    assert!(start.elapsed() < Duration::from_secs(2));
    tx.commit().unwrap();
    assert!(reader.job(JobId(1), &View::default()).unwrap().is_none());
}
