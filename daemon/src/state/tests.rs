//! The policy, rule by rule.

use std::time::Instant;

use expect_test::expect;
use meshkiln_protocol::job::{JobId, JobState};

use super::{
    Counters, Loaded, Outputs, Setup, State, Time,
    policy::Policy,
    scripts::{Memory, WALL, check, check_with, setup, submission},
};
use crate::{
    main_loop::{Call, CallId, Effect, Event, WorkerId},
    worker::frames::{Failure, FailureKind, Output, Report},
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
            3s a put `asset from cutout from image from source of a` at /out/a
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
            35s a running
            35s a log: attempt 3 started
            35s w1 run decode
            35s a log: storage; trying again in 120 s
            35s a queued
            95s w1 Trim
            155s a running
            155s a log: attempt 4 started
            155s w1 run decode
            155s a failed: Storage: storage
            155s a log: failed in decode: storage
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
fn nothing_is_started_or_accepted_while_nothing_can_be_written() {
    check(
        "0s submit a one
         0s submit b one
         0.5s disk-full
         1s done
         1s submit c one
         2s cancel b
         3s disk-works",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s b queued
            0s reply b
            1s a done
            1s refused Storage: the disk is full
            2s refused Storage: the disk is full
            3s b running
            3s w1 run decode
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
fn a_pause_of_the_queue_survives_a_restart() {
    check(
        "0s pause-queue
         0s submit a one
         1s restart
         2s resume-queue",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            1s -- restart --
            1s spawn cpu w2
            2s a running
            2s w2 run decode
        "#]],
    );
}

#[test]
fn after_a_restart_running_jobs_go_on_from_the_last_finished_stage() {
    check_with(
        &["log"],
        "0s submit a cutout
         0s submit b one
         1s done
         1.5s restart unclean
         2s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s a log: attempt 1 started
            0s w1 run decode
            0s b queued
            0s reply b
            1s a log: decode: 1000 ms
            1s w1 run cutout
            1.5s -- restart unclean --
            1.5s a queued
            1.5s a log: queued again: the daemon ended while this job was running
            1.5s spawn cpu w2
            1.5s a running
            1.5s a log: attempt 2 started
            1.5s a log: decode: from the cache
            1.5s w2 run cutout
            2s a log: cutout: 1000 ms
            2s w2 run export-image
        "#]],
    );
}

#[test]
fn a_job_that_ends_the_daemon_is_held_back() {
    check_with(
        &["log"],
        "0s submit a one
         1s restart unclean
         2s restart unclean
         3s restart unclean
         4s submit b one
         5s resume a
         6s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s a log: attempt 1 started
            0s w1 run decode
            1s -- restart unclean --
            1s a queued
            1s a log: queued again: the daemon ended while this job was running
            1s spawn cpu w2
            1s a running
            1s a log: attempt 2 started
            1s w2 run decode
            2s -- restart unclean --
            2s a queued
            2s a log: queued again: the daemon ended while this job was running
            2s spawn cpu w3
            2s a running
            2s a log: attempt 3 started
            2s w3 run decode
            3s -- restart unclean --
            3s a queued
            3s a paused
            3s a log: paused: the daemon ended 3 times in a row while this job was running; resume it to try again
            3s spawn cpu w4
            4s b queued
            4s reply b
            4s b running
            4s b log: attempt 1 started
            4s w4 run decode
            5s a queued
            5s a log: resumed
            6s b log: decode: 1000 ms
            6s b done
            6s b log: done
            6s a running
            6s a log: attempt 4 started
            6s w4 run decode
        "#]],
    );
}

#[test]
fn a_clean_stop_or_a_finished_stage_clears_the_suspicion() {
    check(
        "0s submit a cutout
         1s restart unclean
         2s restart unclean
         3s done
         4s restart unclean
         5s restart
         6s restart unclean
         7s restart unclean
         8s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s -- restart unclean --
            1s a queued
            1s spawn cpu w2
            1s a running
            1s w2 run decode
            2s -- restart unclean --
            2s a queued
            2s spawn cpu w3
            2s a running
            2s w3 run decode
            3s w3 run cutout
            4s -- restart unclean --
            4s a queued
            4s spawn cpu w4
            4s a running
            4s w4 run cutout
            5s -- restart --
            5s a queued
            5s spawn cpu w5
            5s a running
            5s w5 run cutout
            6s -- restart unclean --
            6s a queued
            6s spawn cpu w6
            6s a running
            6s w6 run cutout
            7s -- restart unclean --
            7s a queued
            7s spawn cpu w7
            7s a running
            7s w7 run cutout
            8s w7 run export-image
        "#]],
    );
}

#[test]
fn a_waiting_retry_survives_a_restart() {
    check(
        "0s submit a one
         0s fail storage
         2s restart
         10s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0s a queued
            2s -- restart --
            2s spawn cpu w2
            5s a running
            5s w2 run decode
            10s a done
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
fn a_source_that_is_not_here_is_refused() {
    check(
        "0s submit a one
         1s done
         1s lose source of b
         2s submit b one
         3s lose source of a
         3s cancel a
         4s submit c cutout source a",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s a done
            2s refused NotFound: blob source of b of `b` is not here
            4s refused NotFound: blob source of a of `a` is not here
        "#]],
    );
}

#[test]
fn what_is_lost_is_made_again() {
    check_with(
        &["log"],
        "0s submit a cutout
         1s done
         2s done
         2s lose image of a
         2s lose cutout of a
         3s fail input_lost
         4s done
         5s done
         6s done",
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
            3s a log: input_lost; making it again
            3s w1 run decode
            4s a log: decode: 1000 ms
            4s w1 run cutout
            5s a log: cutout: 1000 ms
            5s w1 run export-image
            6s a log: export-image: 1000 ms
            6s a done
            6s a log: done
        "#]],
    );
}

#[test]
fn an_asset_lost_before_it_was_put_is_made_again() {
    check(
        "0s submit a cutout out
         1s done
         2s done
         3s done
         3s lose asset of a
         3s deliver storage
         4s done
         4s deliver ok",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s w1 run cutout
            2s w1 run export-image
            3s a put `asset from cutout from image from source of a` at /out/a
            3s w1 run export-image
            4s a put `asset from cutout from image from source of a` at /out/a
            4s a done
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
            3s a put `asset from cutout from image from source of a` at /out/a
            3s a failed: OutputExists: could not put it: OutputExists
            4s b queued
            4s reply b
            4s b running
            4s b put `asset from cutout from image from source of a` at /out/b
            4s b queued
            9s b running
            9s b put `asset from cutout from image from source of a` at /out/b
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
         4s deliver ok",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            1s w1 run cutout
            2s w1 run export-image
            3s a put `asset from cutout from image from source of a` at /out/a
            3.5s a cancelled
        "#]],
    );
}

#[test]
fn shutdown_lets_the_running_stage_finish() {
    check(
        "0s submit a cutout
         0.5s shutdown
         0.6s submit b one
         1s done
         2s restart
         3s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0.5s stopping
            0.6s refused ShuttingDown: the daemon is stopping
            1s a queued
            1s w1 Exit
            1s stop
            2s -- restart --
            2s spawn cpu w2
            2s a running
            2s w2 run cutout
            3s w2 run export-image
        "#]],
    );
}

#[test]
fn shutdown_now_does_not_wait() {
    check(
        "0s submit a cutout
         0.5s shutdown now
         2s restart
         3s done",
        expect![[r#"
            0s spawn cpu w1
            0s a queued
            0s reply a
            0s a running
            0s w1 run decode
            0.5s stopping
            0.5s a queued
            0.5s w1 kill
            0.5s stop
            2s -- restart --
            2s spawn cpu w2
            2s a running
            2s w2 run decode
            3s w2 run cutout
        "#]],
    );
}

#[test]
fn shutdown_kills_a_worker_that_does_not_leave() {
    check(
        "0s hang
         1s shutdown
         9s restart",
        expect![[r#"
            0s spawn cpu w1
            1s stopping
            1s w1 Exit
            3s w1 kill
            3s stop
            9s -- restart --
            9s spawn cpu w2
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
            61s w1 Trim
            200s b queued
            200s reply b
            200s b running
            200s w1 run decode
            201s b done
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
            9s a export-image 0/0 0.90 eta ?
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
        let ready = Report::Ready { pid: 1, version: String::new() };
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

#[test]
fn ten_thousand_cached_jobs_do_not_hold_the_loop_up() {
    let time = Time { now: Instant::now(), wall: WALL };
    let counters = Counters { next_run: 1, next_worker: 1 };
    let mut state = State::new(setup(), Loaded::default(), counters, time);
    let mut memory = Memory::default();
    let worker = WorkerId(1);
    state.handle(Event::Tick, time, &memory);
    state.handle(Event::Worker { worker, report: Report::Ready { pid: 1, version: String::new() } }, time, &memory);
    let same = |n: usize| Call::Submit((0..n).map(|_| submission("a", "one")).collect());
    state.handle(Event::Call { id: CallId(1), call: same(1) }, time, &memory);
    memory.commit(&mut state);
    let outputs = Outputs::from([("image".to_owned(), Output { sha256: "x".to_owned(), bytes: 1 })]);
    let done = Report::Done { run: 1, outputs, elapsed_ms: 1, peak_rss_bytes: 1 };
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
