//! Restarts, stops, a disk that fails, blobs that get lost.

use expect_test::expect;

use crate::state::scripts::{check, check_with};

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
            3s a put `asset from cutout from image from source of a + image from source of a` at /out/a
            3s w1 run export-image
            4s a put `asset from cutout from image from source of a + image from source of a` at /out/a
            4s a done
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
