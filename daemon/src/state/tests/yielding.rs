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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
    );
}
