//! What runs when, and what is shared.

use std::time::Instant;

use expect_test::expect;
use meshkiln_protocol::job::JobState;

use crate::{
    main_loop::{Call, CallId, Effect, Event, WorkerId},
    state::{
        Counters, Loaded, Outputs, State, Time,
        scripts::{Memory, WALL, check, check_with, done, setup, submission},
    },
    worker::frames::{Output, Report},
};

#[test]
fn a_job_runs_its_plan_step_by_step() {
    check(
        "0s submit a cutout out
         1s done
         2s done
         3s done
         3.1s deliver ok",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s w1 run cutout
            2s w1 run export-image
            3s a put `asset from cutout from image from source of a + image from source of a` at /out/a
            3.1s a done
        "#]],
    );
}

#[test]
fn a_recipe_without_an_output_ends_with_its_last_stage() {
    check(
        "0s submit a one
         1s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s a done
        "#]],
    );
}

#[test]
fn a_waiting_job_moves_to_another_class_and_no_other() {
    check(
        "0s submit a one
         0s submit b one source b
         0s submit c one source c
         0s submit d one source d
         0.1s reclass b batch
         0.2s pause c
         0.2s reclass c watch
         0.3s reclass a batch
         1s done
         2s done
         2s resume c
         3s done
         4s done
         4s reclass c batch",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s b queued
            0s reply b
            0s c queued
            0s reply c
            0s d queued
            0s reply d
            0.1s b queued
            0.2s c paused
            0.2s c paused
            0.3s refused WrongState: job 1 is running
            1s a done
            1s d running
            1s w1 run decode
            2s d done
            2s b running
            2s w1 run decode
            2s c queued
            3s b done
            3s c running
            3s w1 run decode
            4s c done
            4s refused WrongState: job 3 is done
        "#]],
    );
}

#[test]
fn better_classes_go_first_but_a_stage_is_never_interrupted() {
    check(
        "0s submit a cutout class batch
         0s submit b cutout class watch
         0.5s submit c cutout
         1s done
         2s done
         3s done
         4s done
         5s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s b queued
            0s reply b
            0.5s c queued
            0.5s reply c
            1s c running
            1s w1 run decode
            2s w1 run cutout
            3s w1 run export-image
            4s c done
            4s b running
            4s w1 run decode
            5s w1 run cutout
        "#]],
    );
}

#[test]
fn clients_take_turns_within_a_class() {
    check(
        "0s submit a one from hungry
         0s submit b one from hungry
         0s submit c one from hungry
         0s submit d one from modest
         1s done
         2s done
         3s done
         4s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s b queued
            0s reply b
            0s c queued
            0s reply c
            0s d queued
            0s reply d
            1s a done
            1s d running
            1s w1 run decode
            2s d done
            2s b running
            2s w1 run decode
            3s b done
            3s c running
            3s w1 run decode
            4s c done
        "#]],
    );
}

#[test]
fn finished_stages_are_not_run_again() {
    check_with(
        &["log"],
        "0s submit a cutout
         1s done
         2s done
         3s done
         4s submit b cutout source a",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s a log: attempt 1 started
            0s w1 run decode
            1s a log: decode: 1000 ms
            1s w1 run cutout
            2s a log: cutout: 1000 ms
            2s w1 run export-image
            3s a log: export-image: 1000 ms
            3s a done
            3s a log: done
            4s b queued
            4s reply b
            4s b running
            4s b log: attempt 1 started
            4s b log: decode, cutout, export-image: from the cache
            4s b done
            4s b log: done
        "#]],
    );
}

#[test]
fn a_stage_that_two_jobs_need_at_once_runs_once() {
    check_with(
        &["log"],
        "0s submit a one
         0.5s submit b one source a
         1s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s a log: attempt 1 started
            0s w1 run decode
            0.5s b queued
            0.5s b running
            0.5s b log: attempt 1 started
            0.5s b log: decode: shared with job 1
            0.5s reply b
            1s a log: decode: 1000 ms
            1s b log: decode: 1000 ms
            1s a done
            1s a log: done
            1s b done
            1s b log: done
        "#]],
    );
}

#[test]
fn cancelling_one_of_two_lets_the_shared_stage_go_on() {
    check(
        "0s submit a one
         0.5s submit b one source a
         0.6s cancel a
         1s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0.5s b queued
            0.5s b running
            0.5s reply b
            0.6s a cancelled
            1s b done
        "#]],
    );
}

#[test]
fn batch_work_passed_over_for_ten_minutes_gets_a_turn() {
    check(
        "0s submit a one
         0s submit first one class batch
         0s submit second one class batch
         50s progress 1/20
         100s progress 2/20
         150s progress 3/20
         200s progress 4/20
         250s progress 5/20
         300s progress 6/20
         350s progress 7/20
         400s progress 8/20
         450s progress 9/20
         500s progress 10/20
         550s progress 11/20
         598s submit b one
         598s submit c one
         599s done
         601s done
         602s submit d one
         603s done
         604s done
         605s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s first queued
            0s reply first
            0s second queued
            0s reply second
            598s b queued
            598s reply b
            598s c queued
            598s reply c
            599s a done
            599s b running
            599s w1 run decode
            601s b done
            601s first running
            601s w1 run decode
            602s d queued
            602s reply d
            603s first done
            603s c running
            603s w1 run decode
            604s c done
            604s d running
            604s w1 run decode
            605s d done
            605s second running
            605s w1 run decode
        "#]],
    );
}

#[test]
fn a_paused_job_waits_until_it_is_resumed() {
    check(
        "0s submit a one
         0s submit b one
         0s submit c one
         0s pause b
         0s pause a
         1s done
         2s done
         3s resume b
         4s done
         5s resume b",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s b queued
            0s reply b
            0s c queued
            0s reply c
            0s b paused
            0s refused WrongState: job 1 is running
            1s a done
            1s c running
            1s w1 run decode
            2s c done
            3s b queued
            3s b running
            3s w1 run decode
            4s b done
            5s refused WrongState: job 2 is done
        "#]],
    );
}

#[test]
fn a_paused_queue_finishes_running_stages_and_starts_none() {
    check_with(
        &["queue"],
        "0s submit a cutout
         0s pause-queue
         1s done
         2s submit b one
         3s resume-queue",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s QueueStatus { paused: false, queued: 0, running: 1, paused_jobs: 0 }
            0s QueueStatus { paused: true, queued: 0, running: 1, paused_jobs: 0 }
            2s b queued
            2s reply b
            2s QueueStatus { paused: true, queued: 1, running: 1, paused_jobs: 0 }
            3s w1 run cutout
            3s QueueStatus { paused: false, queued: 1, running: 1, paused_jobs: 0 }
        "#]],
    );
}

#[test]
fn a_repeated_submit_answers_with_the_first_job() {
    check(
        "0s submit a one key k
         0s submit b one key k
         1s done
         2s submit c one key k
         3s restart
         4s submit d one key k",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s reply a
            1s a done
            2s reply a
            3s -- restart --
            3s spawn cpu w2
            4s reply a
        "#]],
    );
}

#[test]
fn progress_is_counted_work_weighted_by_usual_times() {
    check_with(
        &["progress"],
        "0s submit a cutout
         1s done 1000
         2s progress 1/4
         2.05s progress 2/4
         2.2s progress 3/4
         9s done 8000
         10s done 1000
         11s submit b cutout
         12s done 1000
         13s progress 1/4
         14s done 8000",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s a decode 0/0 0.00 eta ?
            1s w1 run cutout
            1s a cutout 0/0 0.33 eta ?
            2s a cutout 1/4 0.42 eta ?
            2.2s a cutout 3/4 0.58 eta ?
            9s w1 run export-image
            9s a export-image 0/0 0.67 eta ?
            10s a done
            11s b queued
            11s reply b
            11s b running
            11s w1 run decode
            11s b decode 0/0 0.00 eta 10000
            12s w1 run cutout
            12s b cutout 0/0 0.10 eta 9000
            13s b cutout 1/4 0.30 eta 4000
            14s w1 run export-image
            14s b export-image 0/0 0.90 eta 1000
        "#]],
    );
}

#[test]
fn a_full_queue_is_busy_and_a_refusal_changes_nothing() {
    let mut setup = setup();
    setup.policy.live_jobs = 2;
    let time = Time { now: Instant::now(), wall: WALL };
    let counters = Counters { next_run: 1, next_worker: 1 };
    let mut state = State::new(setup, Loaded::default(), counters, time);
    let mut submit = |names: &[&str]| {
        let call = Call::Submit(names.iter().map(|name| submission(name, "one")).collect());
        let effects = state.handle(Event::Call { id: CallId(1), call }, time, &Memory::default());
        let live = state.queue().queued;
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Reply { answer, .. } => Some(answer),
            _ => None,
        });
        format!("{live} {:?}", answer.unwrap())
    };
    expect!["1 Jobs([JobId(1)])"].assert_eq(&submit(&["a"]));
    expect![[r#"1 Refused(Refusal { kind: Busy, message: "1 jobs wait already, and 2 more would exceed the limit of 2", hint: "try again when some have ended" })"#]].assert_eq(&submit(&["b", "c"]));
    expect!["2 Jobs([JobId(2)])"].assert_eq(&submit(&["d"]));
}

#[test]
fn ten_thousand_cached_jobs_do_not_hold_the_loop_up() {
    let time = Time { now: Instant::now(), wall: WALL };
    let counters = Counters { next_run: 1, next_worker: 1 };
    let mut state = State::new(setup(), Loaded::default(), counters, time);
    let mut memory = Memory::default();
    let worker = WorkerId(1);
    state.handle(Event::Tick, time, &memory);
    state.handle(
        Event::Worker { worker, report: Report::Ready { pid: 1, version: String::new(), memory: None } },
        time,
        &memory,
    );
    let same = |n: usize| Call::Submit((0..n).map(|_| submission("a", "one")).collect());
    state.handle(Event::Call { id: CallId(1), call: same(1) }, time, &memory);
    memory.commit(&mut state);
    let outputs = Outputs::from([("image".to_owned(), Output { sha256: "x".to_owned(), bytes: 1 })]);
    let done = done(1, outputs, 1);
    state.handle(Event::Worker { worker, report: done }, time, &memory);
    memory.commit(&mut state);

    state.handle(Event::Call { id: CallId(2), call: same(10_000) }, time, &memory);
    memory.commit(&mut state);
    let mut turns = 1;
    while state.queue().queued > 0 {
        assert!(state.next_deadline().is_some_and(|at| at <= time.now), "more to do, but nobody is woken");
        let effects = state.handle(Event::Tick, time, &memory);
        assert!(effects.len() <= 32 * 6 + 1, "{} effects in one turn", effects.len());
        memory.commit(&mut state);
        turns += 1;
    }
    assert_eq!(turns, 10_000_usize.div_ceil(32));
    assert_eq!(memory.jobs.values().filter(|job| job.state == JobState::Done).count(), 10_001);
}
