//! Jobs and assets, written and read.

use super::*;

#[test]
fn a_job_comes_back_as_it_was() {
    let mut bench = Bench::new();
    let mut odd = bench.job(3);
    odd.class = Class::Batch;
    odd.client = None;
    odd.source_path = Some(odd_path());
    odd.idempotency_key = Some("k".to_owned());
    odd.start(9);
    odd.requeue(Some(99));
    odd.crashes = 1;
    odd.errors = 2;
    odd.daemon_deaths = 2;
    let mut running = bench.job(2);
    running.start(8);
    running.stages[0].state = StageState::Cached;
    bench.insert(&[&bench.done(1), &running, &odd]).unwrap();

    let loaded = bench.store.load(true).unwrap();
    assert_eq!(loaded.jobs, [running, odd]);
    assert!(Arc::ptr_eq(&loaded.jobs[0].plan, &loaded.jobs[1].plan), "plans are kept once");
    assert_eq!((loaded.next_job, loaded.unclean), (4, true));
    assert_eq!(bench.store.job(JobId(1)), Some(bench.done(1)));
    let wire = bench.store.reader().job(JobId(1), &View::default()).unwrap().unwrap();
    assert_eq!(wire, bench.done(1).wire());
    assert_eq!(bench.store.reader().job(JobId(9), &View::default()).unwrap(), None);
}

#[test]
fn an_ended_job_is_fenced_off_from_late_writes() {
    let mut bench = Bench::new();
    let done = bench.done(1);
    bench.insert(&[&done]).unwrap();

    let mut late = bench.job(1);
    late.start(0);
    late.cancel(1);
    assert!(matches!(bench.update(&late), Err(StoreError::Fenced { job: JobId(1), attempt: 1 })));
    assert_eq!(bench.store.job(JobId(1)), Some(done));

    // An earlier attempt is stale even while the job is live.
    let mut second = bench.job(2);
    second.start(0);
    second.requeue(None);
    second.start(1);
    bench.insert(&[&second]).unwrap();
    let mut stale = bench.job(2);
    stale.start(0);
    assert!(matches!(bench.update(&stale), Err(StoreError::Fenced { .. })));

    // What else was in the turn has not happened either.
    let new = bench.job(3);
    let changes = Changes { new_jobs: [JobId(3)].into(), ..Changes::default() };
    assert!(bench.write(changes, &[&new, &stale], &[], &[]).is_err());
    assert_eq!(bench.store.job(JobId(3)), None);
}

#[test]
fn only_a_retry_leaves_a_final_state() {
    let mut bench = Bench::new();
    let mut job = bench.job(1);
    job.start(0);
    job.cancel(1);
    bench.insert(&[&job]).unwrap();
    job.retry();
    assert!(bench.update(&job).is_err());
    let changes = Changes { retried: [JobId(1)].into(), ..Changes::default() };
    bench.write(changes, &[&job], &[], &[]).unwrap();
    assert_eq!(bench.store.job(JobId(1)).unwrap().state, JobState::Queued);
}

#[test]
fn an_idempotency_key_belongs_to_one_job() {
    let mut bench = Bench::new();
    let mut first = bench.job(1);
    first.idempotency_key = Some("k".to_owned());
    bench.insert(&[&first]).unwrap();
    assert_eq!(bench.store.job_with_key("k"), Some(JobId(1)));
    assert_eq!(bench.store.job_with_key("other"), None);

    let mut second = bench.job(2);
    second.idempotency_key = Some("k".to_owned());
    assert!(bench.insert(&[&second]).is_err());
    assert_eq!(bench.store.job(JobId(2)), None);
}

#[test]
fn pages_cover_every_job_once_also_when_filtered() {
    let mut bench = Bench::new();
    let mut jobs: Vec<Job> = (1..=7).map(|id| bench.job(id)).collect();
    jobs[2].start(0);
    jobs[2].cancel(0);
    jobs[5].start(0);
    jobs.push(bench.done(8));
    bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap();

    let page = |before: Option<u64>, states: &[JobState]| {
        let before = before.map(JobId);
        bench.ids(JobListParams { states: states.to_vec(), before, limit: Some(3) })
    };
    assert_eq!(page(None, &[]), (vec![8, 7, 6], Some(6)));
    assert_eq!(page(Some(6), &[]), (vec![5, 4, 3], Some(3)));
    assert_eq!(page(Some(3), &[]), (vec![2, 1], None));
    assert_eq!(page(None, &[JobState::Queued]), (vec![7, 5, 4], Some(4)));
    assert_eq!(page(Some(4), &[JobState::Queued]), (vec![2, 1], None));
    let some = [JobState::Cancelled, JobState::Done, JobState::Running, JobState::Done];
    assert_eq!(page(None, &some), (vec![8, 6, 3], None));
    assert_eq!(bench.ids(JobListParams { limit: Some(0), ..JobListParams::default() }).0, [8]);
}

#[test]
fn queued_jobs_know_their_position_and_running_ones_their_progress() {
    let mut bench = Bench::new();
    let mut jobs: Vec<Job> = (1..=6).map(|id| bench.job(id)).collect();
    jobs[0].start(0);
    jobs[1].class = Class::Batch;
    jobs[3].class = Class::Watch;
    jobs[5].class = Class::Watch;
    bench.insert(&jobs.iter().collect::<Vec<_>>()).unwrap();
    let progress = Progress { stage: "decode".to_owned(), done: 1, total: 2, fraction: 0.5, eta_ms: None };
    let view = View { progress: [(JobId(1), progress.clone())].into(), ..View::default() };

    let reader = bench.store.reader();
    let page = reader.jobs(&JobListParams::default(), &view).unwrap();
    let positions: Vec<_> = page.jobs.iter().map(|job| (job.id.0, job.position)).collect();
    // Interactive 3, 5, then watch 4, 6, then batch 2.
    let expected = [(6, Some(3)), (5, Some(1)), (4, Some(2)), (3, Some(0)), (2, Some(4)), (1, None)];
    assert_eq!(positions, expected);
    assert_eq!(page.jobs[5].progress, Some(progress));
    for (id, position) in expected {
        assert_eq!(reader.job(JobId(id), &view).unwrap().unwrap().position, position);
    }
}

#[test]
fn an_asset_is_found_by_id_output_and_source_newest_first() {
    let mut bench = Bench::new();
    let mut again = bench.done(2);
    again.output = Some("/out/1.png".into());
    let mut swapped = bench.done(3);
    swapped.source_path = Some("/out/1.png".into());
    let (first, other) = (bench.done(1), bench.job(4));
    bench.insert(&[&first, &again, &swapped, &other]).unwrap();

    let reader = bench.store.reader();
    let by_path = |path: &str| {
        let asset = AssetRef { id: None, path: Some(path.to_owned()) };
        reader.asset(&asset).unwrap().map(|asset| asset.id.0)
    };
    assert_eq!(by_path("/out/1.png"), Some(3));
    assert_eq!(by_path("/in/1.png"), Some(1));
    assert_eq!(by_path("/in/4.png"), None, "job 4 is not done");
    let by_id = |id| reader.asset(&AssetRef { id: Some(JobId(id)), path: None }).unwrap();
    assert_eq!(by_id(4), None);
    let asset = by_id(1).unwrap();
    assert_eq!((asset.sha256.as_str(), asset.bytes, asset.path.as_deref()), ("asset 1", 7, Some("/out/1.png")));

    let page = reader.assets(&AssetListParams { before: None, limit: Some(2) }).unwrap();
    assert_eq!((page.assets.iter().map(|a| a.id.0).collect::<Vec<_>>(), page.next), (vec![3, 2], Some(JobId(2))));
    assert_eq!(reader.submission(JobId(1)).unwrap().unwrap().plan, bench.plan.plan);
}
