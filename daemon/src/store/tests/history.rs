//! Events, logs and results, and how they are forgotten.

use super::*;

#[test]
fn event_numbers_rise_over_restarts_and_gaps_are_told() {
    let mut bench = Bench::new();
    let job = bench.job(1);
    let told = Event { seq: 2, time_ms: 2, body: EventBody::Job { job: Box::new(job.wire()) } };
    let progress = Progress { stage: "decode".to_owned(), done: 1, total: 2, fraction: 0.5, eta_ms: None };
    let fleeting = Event { seq: 3, time_ms: 3, body: EventBody::Progress { id: JobId(1), progress } };
    let events = [queue_event(1), told.clone(), fleeting, queue_event(4)];
    let changes = Changes { new_jobs: [JobId(1)].into(), ..Changes::default() };
    bench.write(changes, &[&job], &events, &[]).unwrap();

    let reader = bench.store.reader();
    let seqs = |since, limit, job: Option<u64>| {
        let page = reader.events(since, limit, job.map(JobId)).unwrap();
        (page.events.iter().map(|e| e.seq).collect::<Vec<_>>(), page.next, page.lost)
    };
    assert_eq!(seqs(0, 10, None), (vec![1, 2, 4], 4, false));
    assert_eq!(seqs(0, 2, None), (vec![1, 2], 2, false));
    assert_eq!(seqs(0, 10, Some(1)), (vec![2], 2, false));
    assert_eq!(seqs(7, 10, None), (vec![], 7, false));
    assert_eq!(reader.events(1, 1, None).unwrap().events, [told]);

    assert_eq!(bench.store.trim_events(1, 1).unwrap(), 1);
    assert_eq!(seqs(0, 10, None), (vec![2, 4], 4, true));
    assert_eq!(seqs(1, 10, None), (vec![2, 4], 4, false));
    assert_eq!(bench.store.trim_events(1, 5).unwrap(), 1);
    assert_eq!(bench.store.trim_events(1, 5).unwrap(), 0);

    // Killed: numbers that may have been told are not told again.
    let mut bench = bench.reopen();
    assert!(bench.store.was_unclean());
    let after_crash = bench.store.last_seq();
    assert!(after_crash >= 4);
    bench.write(Changes::default(), &[], &[queue_event(after_crash + 1)], &[]).unwrap();
    let Bench { folder, store, .. } = bench;
    store.stop(after_crash + 1).unwrap();
    let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
    let store = Store::open(&folder.path().join("queue.db"), blobs).unwrap();
    assert!(!store.was_unclean());
    assert_eq!(store.last_seq(), after_crash + 1, "a clean stop wastes no number");
}

#[test]
fn a_log_keeps_its_last_lines_and_goes_with_its_job() {
    let mut bench = Bench::new();
    let done = bench.done(1);
    bench.insert(&[&done, &bench.job(2)]).unwrap();
    let lines: Vec<_> = (0..250).map(|n| (JobId(1), format!("line {n}"))).collect();
    bench.write(Changes::default(), &[], &[], &lines).unwrap();
    bench.write(Changes::default(), &[], &[], &[(JobId(9), "no such job".to_owned())]).unwrap();
    let log = bench.store.reader().log(JobId(1)).unwrap().unwrap();
    assert_eq!(log.lines.len(), 200);
    assert_eq!((log.lines[0].text.as_str(), log.lines[199].text.as_str()), ("line 50", "line 249"));
    assert_eq!(bench.store.reader().log(JobId(2)).unwrap().unwrap().lines, []);

    let changes = Changes { clear: vec![JobState::Done, JobState::Failed], ..Changes::default() };
    assert_eq!(bench.store.count(&changes.clear, &BTreeSet::new()), 1);
    assert_eq!(bench.store.count(&changes.clear, &[JobId(1)].into()), 0);
    bench.write(changes, &[], &[], &[]).unwrap();
    assert_eq!(bench.store.reader().log(JobId(1)).unwrap(), None);
    let left: i64 = bench.store.conn.query_row("SELECT count(*) FROM logs", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    assert!(bench.store.job(JobId(2)).is_some());
}

#[test]
fn results_are_kept_replaced_and_forgotten() {
    let mut bench = Bench::new();
    bench.result("k", &[("image", "a", 5), ("mesh", "b", 6)], 1);
    bench.result("k", &[("image", "c", 7)], 2);
    let outputs = Outputs::from([("image".to_owned(), Output { sha256: "c".to_owned(), bytes: 7 })]);
    assert_eq!(Stored::result(&bench.store, "k"), Some(outputs));
    assert!(!bench.store.refers_to("a").unwrap());
    let changes = Changes { forgotten: ["k".to_owned()].into(), ..Changes::default() };
    bench.write(changes, &[], &[], &[]).unwrap();
    assert_eq!(Stored::result(&bench.store, "k"), None);

    bench.usual.learn("decode", "built-in", 100);
    bench.usual.learn("decode", "built-in", 200);
    let usual = [("decode".to_owned(), "built-in".to_owned())].into();
    bench.write(Changes { usual, queue_paused: Some(true), ..Changes::default() }, &[], &[], &[]).unwrap();
    let loaded = bench.store.load(false).unwrap();
    assert_eq!(loaded.usual.of("decode", "built-in"), Some(120.0));
    assert!(loaded.queue_paused);
}

#[test]
fn the_least_recently_used_results_go_first_down_to_nine_tenths() {
    let mut bench = Bench::new();
    for n in 0..10 {
        bench.result(&format!("k{n}"), &[("image", &format!("b{n}"), 10)], n);
    }
    let touched = Changes { touched: ["k0".to_owned()].into(), ..Changes::default() };
    bench.write(touched, &[], &[], &[]).unwrap();
    assert_eq!(bench.store.evict_results(100, 50).unwrap(), Vec::<String>::new());
    assert_eq!(bench.store.evict_results(99, 1).unwrap(), ["b1"]);
    assert_eq!(bench.store.evict_results(99, 50).unwrap(), ["b2"]);
    assert_eq!(bench.store.evict_results(99, 50).unwrap(), Vec::<String>::new());
    assert_eq!(bench.store.result_bytes(), 80);
    bench.store.recount_results().unwrap();
    assert_eq!(bench.store.result_bytes(), 80);
    assert!(Stored::result(&bench.store, "k0").is_some());
}

#[test]
fn old_jobs_are_forgotten_by_age_and_by_number_and_their_plans_with_them() {
    let mut bench = Bench::new();
    let done: Vec<Job> = (1..=6).map(|id| bench.done(id)).collect();
    bench.insert(&done.iter().chain([&bench.job(7)]).collect::<Vec<_>>()).unwrap();
    assert_eq!(bench.store.forget_jobs(100, 3003, 1).unwrap(), 1);
    assert_eq!(bench.store.forget_jobs(100, 3003, 10).unwrap(), 1);
    assert_eq!(bench.store.forget_jobs(100, 3003, 10).unwrap(), 0);
    assert_eq!(bench.store.forget_jobs(1, 0, 2).unwrap(), 2);
    assert_eq!(bench.store.forget_jobs(1, 0, 9).unwrap(), 1);
    assert_eq!(bench.ids(JobListParams::default()).0, [7, 6]);

    let plans = |bench: &Bench| -> i64 {
        bench.store.conn.query_row("SELECT count(*) FROM plans", [], |row| row.get(0)).unwrap()
    };
    bench.store.forget_plans().unwrap();
    assert_eq!(plans(&bench), 1);
    bench.store.conn.execute("DELETE FROM jobs", []).unwrap();
    bench.store.forget_plans().unwrap();
    assert_eq!(plans(&bench), 0);
}
