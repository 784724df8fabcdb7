//! Devices given away and taken back.

use expect_test::expect;

use crate::state::net_scripts::check;

#[test]
fn a_yield_waits_for_the_running_stage_and_frees_the_device() {
    check(
        "device 10G | a 4G cutout
         0s submit j cutout
         0s submit k cutout
         0s done
         2s yield
         2s why k
         3s done
         4s why j
         4s health
         60s take-back
         62s done
         62s nets",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            0s gpu load a
            1s gpu run cutout
            2s about to be given away
            2s k waits: `gpu` is given away until `meshkiln resume`, or until its time is up
            3s gpu exit
            3s given away
            4s j waits: `gpu` is given away until `meshkiln resume`, or until its time is up
            4s health ok
            60s taken back
            60s gpu spawn
            60s gpu run export-image
            62s j done
            62s k running
            62s gpu run decode
            62s a cold
        "#]],
    );
}

#[test]
fn a_yield_now_queues_the_job_again_without_blame() {
    check(
        "device 10G | a 4G cutout
         0s submit j cutout
         0s done
         2s yield now
         3s why j
         4s take-back
         6s done
         7s done
         7s loads",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            0s gpu load a
            1s gpu run cutout
            2s gpu kill
            2s j queued
            2s about to be given away
            2s given away
            3s j waits: `gpu` is given away until `meshkiln resume`, or until its time is up
            4s taken back
            4s gpu spawn
            4s j running
            4s gpu load a
            5s gpu run cutout
            6s gpu run export-image
            7s j done
            7s 2 loads
        "#]],
    );
}

#[test]
fn a_yield_for_a_time_ends_by_itself_and_warms_up_again() {
    check(
        "device 10G | a 4G cutout | b 2G export-image
         0s warm a
         0s warm b
         5s yield for 60s
         6s nets
         7s yield for 30s
         40s nets",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s gpu load b
            5s gpu exit
            5s about to be given away
            5s given away
            6s a cold
            6s b cold
            7s given away
            37s taken back
            37s gpu spawn
            37s gpu load a
            38s gpu load b
            40s a warm for 898 s
            40s b warm for 899 s
        "#]],
    );
}

#[test]
fn a_yield_interrupts_a_load() {
    check(
        "device 10G | a 4G cutout
         0s loads-take 10s
         0s submit j cutout
         0s done
         2s yield
         3s take-back
         20s nets
         20s done",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            0s gpu load a
            2s gpu kill
            2s about to be given away
            2s given away
            3s taken back
            3s gpu spawn
            3s gpu load a
            13s gpu run cutout
            20s a in use
            20s gpu run export-image
        "#]],
    );
}

#[test]
fn stages_without_a_net_go_on_beside_a_yielded_device() {
    check(
        "device 10G beside cpu | a 4G cutout
         0s yield
         1s submit j one
         1s submit k cutout
         2s done cpu
         2s done cpu
         3s why k
         4s take-back
         6s done gpu
         6s done cpu",
        expect![[r#"
            0s cpu spawn
            0s gpu spawn
            0s gpu exit
            0s about to be given away
            0s given away
            1s j running
            1s cpu run decode
            2s j done
            2s k running
            2s cpu run decode
            3s k waits: `gpu` is given away until `meshkiln resume`, or until its time is up
            4s taken back
            4s gpu spawn
            4s gpu load a
            5s gpu run cutout
            6s cpu run export-image
            6s k done
        "#]],
    );
}

#[test]
fn a_worker_that_does_not_leave_is_killed() {
    check(
        "device 10G | a 4G cutout
         0s warm a
         3s mute
         3s yield
         6s nets",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            3s gpu exit
            3s about to be given away
            5s gpu kill
            5s given away
            6s a cold
        "#]],
    );
}

#[test]
fn a_yield_and_a_pause_are_two_things() {
    check(
        "device 10G | a 4G cutout
         0s pause-queue
         0s yield
         1s submit j cutout
         1s why j
         2s take-back
         2s why j
         3s nets",
        expect![[r#"
            0s gpu spawn
            0s gpu exit
            0s about to be given away
            0s given away
            1s j waits: the queue is paused until `meshkiln resume`
            2s taken back
            2s gpu spawn
            2s j waits: the queue is paused until `meshkiln resume`
            3s a cold
        "#]],
    );
}
