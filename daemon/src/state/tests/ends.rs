//! How jobs end: cancelled, failed, dead, or tried again.

use std::time::Instant;

use expect_test::expect;
use meshkiln_protocol::job::JobId;

use crate::{
    main_loop::{Call, CallId, Event, WorkerId},
    state::{
        Counters, Loaded, Setup, State, Time,
        policy::Policy,
        scripts::{Memory, WALL, check, check_with, setup, submission},
    },
    worker::frames::{Failure, FailureKind, Report},
};

#[test]
fn a_queued_job_is_cancelled_at_once_and_only_once() {
    check(
        "0s submit a cutout
         0s submit b cutout
         1s cancel b
         2s cancel b
         3s retry b
         4s pause b
         5s cancel b",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s b queued
            0s reply b
            1s b cancelled
            3s b queued
            4s b paused
            5s b cancelled
        "#]],
    );
}

#[test]
fn a_running_job_is_cancelled_at_once_and_its_worker_is_free_for_the_next() {
    check(
        "0s submit a cutout
         0s submit b one
         1s cancel a",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s b queued
            0s reply b
            1s w1 Cancel { run: 1 }
            1s a cancelled
            1s b running
            1s w1 run decode
        "#]],
    );
}

#[test]
fn a_worker_that_does_not_stop_is_killed() {
    check(
        "0s submit a cutout
         0s submit b one
         1s hang
         1s cancel a
         9s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s b queued
            0s reply b
            1s w1 Cancel { run: 1 }
            1s a cancelled
            4s w1 kill
            4s spawn cpu w2
            4s b running
            4s w2 run decode
            9s b done
        "#]],
    );
}

#[test]
fn three_crashes_are_the_end_and_cost_others_nothing() {
    check_with(
        &["log"],
        "0s submit poison one
         1s gone
         1s submit good one
         1.5s done
         3s gone
         6s gone
         7s submit better one
         8s done",
        expect![[r#"
            0s spawn cpu w1
            0s poison queued
            0s reply poison
            0s poison running
            0s poison log: attempt 1 started
            0s w1 run decode
            1s poison log: decode: crash 1: it was ended by signal 11
            1s poison queued
            1s spawn cpu w2
            1s good queued
            1s reply good
            1s good running
            1s good log: attempt 1 started
            1s w2 run decode
            1.5s good log: decode: 1000 ms
            1.5s good done
            1.5s good log: done
            2s poison running
            2s poison log: attempt 2 started
            2s w2 run decode
            3s poison log: decode: crash 2: it was ended by signal 11
            3s poison queued
            3s spawn cpu w3
            5s poison running
            5s poison log: attempt 3 started
            5s w3 run decode
            6s poison log: decode: crash 3: it was ended by signal 11
            6s poison dead: WorkerLost: the worker was lost 3 times, the last time: it was ended by signal 11
            6s spawn cpu w4
            7s better queued
            7s reply better
            7s better running
            7s better log: attempt 1 started
            7s w4 run decode
            8s better log: decode: 1000 ms
            8s better done
            8s better log: done
        "#]],
    );
}

#[test]
fn a_panic_counts_as_a_crash_but_the_worker_stays() {
    check(
        "0s submit a one
         1s fail panicked
         3s fail panicked
         6s fail panicked",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s a queued
            2s a running
            2s w1 run decode
            3s a queued
            5s a running
            5s w1 run decode
            6s a dead: WorkerLost: the worker was lost 3 times, the last time: panicked
        "#]],
    );
}

#[test]
fn an_error_of_the_picture_is_final() {
    check(
        "0s submit a cutout
         1s done
         2s fail no_object
         3s retry a
         4s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s w1 run cutout
            2s a failed: NoObject: no_object
            3s a queued
            3s a running
            3s w1 run cutout
            4s w1 run export-image
        "#]],
    );
}

#[test]
fn an_error_that_may_pass_is_tried_again_further_and_further_apart() {
    check_with(
        &["log"],
        "0s submit a one
         0s fail storage
         5s fail out_of_memory
         35s fail storage
         155s fail storage
         200s retry a
         201s fail storage
         207s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s a log: attempt 1 started
            0s w1 run decode
            0s a log: storage; trying again in 5 s
            0s a queued
            5s a running
            5s a log: attempt 2 started
            5s w1 run decode
            5s a log: out_of_memory; trying again in 30 s
            5s a queued
            20s w1 Trim
            35s a running
            35s a log: attempt 3 started
            35s w1 run decode
            35s a log: storage; trying again in 120 s
            35s a queued
            50s w1 Trim
            155s a running
            155s a log: attempt 4 started
            155s w1 run decode
            155s a failed: Storage: storage
            155s a log: failed in decode: storage
            170s w1 Trim
            200s a queued
            200s a log: queued again on request
            200s a running
            200s a log: attempt 5 started
            200s w1 run decode
            201s a log: storage; trying again in 5 s
            201s a queued
            206s a running
            206s a log: attempt 6 started
            206s w1 run decode
            207s a log: decode: 1000 ms
            207s a done
            207s a log: done
        "#]],
    );
}

#[test]
fn crashes_and_errors_are_counted_apart() {
    check(
        "0s submit a one
         0s fail storage
         5s gone
         6s fail storage
         36s gone
         38s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s a queued
            5s a running
            5s w1 run decode
            5s a queued
            5s spawn cpu w2
            6s a running
            6s w2 run decode
            6s a queued
            21s w2 Trim
            36s a running
            36s w2 run decode
            36s a queued
            36s spawn cpu w3
            38s a running
            38s w3 run decode
            38s a done
        "#]],
    );
}

#[test]
fn what_was_cancelled_while_stopping_is_run_anew_for_the_next() {
    check(
        "0s submit a one
         1s hang
         1s cancel a
         2s submit b one source a
         5s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s w1 Cancel { run: 1 }
            1s a cancelled
            2s b queued
            2s reply b
            4s w1 kill
            4s spawn cpu w2
            4s b running
            4s w2 run decode
            5s b done
        "#]],
    );
}

#[test]
fn a_silent_worker_is_killed() {
    check_with(
        &["log"],
        "0s submit a one
         3s silent
         30s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s a log: attempt 1 started
            0s w1 run decode
            13s w1 kill
            13s a log: decode: crash 1: it gave no sign of life for 10 s
            13s a queued
            13s spawn cpu w2
            14s a running
            14s a log: attempt 2 started
            14s w2 run decode
            30s a log: decode: 1000 ms
            30s a done
            30s a log: done
        "#]],
    );
}

#[test]
fn a_stage_without_progress_is_killed_after_five_times_its_usual_time() {
    check_with(
        &["log"],
        "0s submit a one
         0s progress 1/2
         50s progress 2/2
         100s done 20000
         100s submit b one
         250s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s a log: attempt 1 started
            0s w1 run decode
            100s a log: decode: 20000 ms
            100s a done
            100s a log: done
            100s b queued
            100s reply b
            100s b running
            100s b log: attempt 1 started
            100s w1 run decode
            200s w1 kill
            200s b log: decode: crash 1: `decode` made no progress for 100 s
            200s b queued
            200s spawn cpu w2
            201s b running
            201s b log: attempt 2 started
            201s w2 run decode
            250s b log: decode: 1000 ms
            250s b done
            250s b log: done
        "#]],
    );
}

#[test]
fn a_worker_that_does_not_start_is_tried_later_and_health_says_so() {
    check(
        "0s not-started
         0s restart
         0s submit a one
         2s view
         20s starts
         32s done
         33s view",
        expect![[r#"
            0s spawn cpu w1
            0s -- restart --
            0s spawn cpu w2
            0s a queued
            0s reply a
            0.5s spawn cpu w3
            1.5s spawn cpu w4
            2s QueueStatus { paused: false, queued: 1, running: 0, paused_jobs: 0 } [WorkerStatus { device: "cpu", state: Broken, pid: None, doing: None, restarts: 2, rss_bytes: None }] {} ["worker `cpu` did not start 3 times in a row, the last time: no such program"]
            31.5s spawn cpu w5
            31.5s a running
            31.5s w5 run decode
            32s a done
            33s QueueStatus { paused: false, queued: 0, running: 0, paused_jobs: 0 } [WorkerStatus { device: "cpu", state: Idle, pid: Some(105), doing: None, restarts: 3, rss_bytes: Some(1) }] {} []
        "#]],
    );
}

#[test]
fn a_foreign_file_in_the_way_fails_the_job_and_a_full_disk_delays_it() {
    check(
        "0s submit a cutout out
         1s done
         2s done
         3s done
         3s deliver exists
         4s submit b cutout source a out
         4s deliver storage
         9s deliver ok",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s w1 run cutout
            2s w1 run export-image
            3s a put `asset from cutout from image from source of a + image from source of a` at /out/a
            3s a failed: OutputExists: could not put it: OutputExists
            4s b queued
            4s reply b
            4s b running
            4s b put `asset from cutout from image from source of a + image from source of a` at /out/b
            4s b queued
            9s b running
            9s b put `asset from cutout from image from source of a + image from source of a` at /out/b
            9s b done
        "#]],
    );
}

#[test]
fn a_late_report_about_an_earlier_attempt_changes_nothing() {
    check(
        "0s submit a cutout out
         1s done
         2s done
         3s done
         3.5s cancel a
         3.6s retry a
         4s deliver-late
         5s deliver ok
         6s cancel a",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s w1 run cutout
            2s w1 run export-image
            3s a put `asset from cutout from image from source of a + image from source of a` at /out/a
            3.5s a cancelled
            3.6s a queued
            3.6s a running
            3.6s a put `asset from cutout from image from source of a + image from source of a` at /out/a
            5s a done
        "#]],
    );
}

#[test]
fn an_idle_worker_gives_memory_back_once() {
    check(
        "0s submit a one
         1s done
         200s submit b one
         201s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s a done
            16s w1 Trim
            200s b queued
            200s reply b
            200s b running
            200s w1 run decode
            201s b done
        "#]],
    );
}

#[test]
fn ended_jobs_are_cleared_and_live_ones_stay() {
    check(
        "0s submit a one
         0s submit b one
         0s submit c one
         0s cancel b
         1s done
         2s clear
         3s retry b
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
            0s b cancelled
            1s a done
            1s c running
            1s w1 run decode
            2s reply Cleared(2)
            3s refused NotFound: there is no job 2
            4s c done
        "#]],
    );
}

#[test]
fn retries_are_spread_by_a_fifth_at_most() {
    let mut seen = Vec::new();
    for seed in 0..200 {
        let setup = Setup { seed, policy: Policy::default(), ..setup() };
        let time = Time { now: Instant::now(), wall: WALL };
        let counters = Counters { next_run: 1, next_worker: 1 };
        let mut state = State::new(setup, Loaded::default(), counters, time);
        let memory = Memory::default();
        let worker = WorkerId(1);
        state.handle(Event::Tick, time, &memory);
        let ready = Report::Ready { pid: 1, version: String::new(), memory: None };
        state.handle(Event::Worker { worker, report: ready }, time, &memory);
        let call = Call::Submit(vec![submission("a", "one")]);
        state.handle(Event::Call { id: CallId(1), call }, time, &memory);
        let failure = Failure { kind: FailureKind::Storage, message: String::new(), hint: String::new() };
        state.handle(Event::Worker { worker, report: Report::Failed { run: 1, failure } }, time, &memory);
        let job = state.job(JobId(1)).unwrap();
        seen.push(job.not_before_ms.unwrap() - WALL);
    }
    assert!(seen.iter().all(|wait| (4000..=6000).contains(wait)), "{seen:?}");
    assert!(*seen.iter().min().unwrap() < 4200 && *seen.iter().max().unwrap() > 5800, "{seen:?}");
}
