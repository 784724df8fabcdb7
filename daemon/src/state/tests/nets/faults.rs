//! Loads, weights, workers and devices that fail.

use expect_test::expect;

use crate::state::net_scripts::check;

#[test]
fn one_load_at_a_time_and_a_cancelled_job_leaves_it_going_on() {
    check(
        "device 10G | a 2G cutout | b 2G reconstruct
         0s loads-take 5s
         0s submit j cutout
         0s done
         1s warm b
         2s cancel j
         2s nets
         12s nets",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            0s gpu load a
            2s j cancelled
            2s a loading
            2s b cold
            5s gpu load b
            12s a warm for 893 s
            12s b warm for 898 s
        "#]],
    );
}

#[test]
fn weights_that_are_missing_or_damaged_fail_the_jobs_that_need_them_and_no_others() {
    check(
        "device 10G | a 2G cutout
         0s submit j cutout
         0s submit k one
         1s load-fails weights_missing
         1s done
         2s done
         3s nets
         3s submit l cutout
         3s load-fails weights_damaged
         3s done
         5s nets
         5s submit m cutout
         5s done
         6s nets",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            1s gpu load a
            2s j failed: WeightsMissing: WeightsMissing
            2s k running
            2s gpu run decode
            2s k done
            3s a cold: WeightsMissing
            3s l running
            3s gpu run decode
            3s gpu load a
            4s l failed: WeightsDamaged: WeightsDamaged
            5s a cold: WeightsDamaged
            5s m running
            5s gpu run decode
            5s gpu load a
            6s gpu run cutout
            6s a in use
        "#]],
    );
}

#[test]
fn a_worker_that_dies_while_loading_blames_nobody_until_it_happens_thrice() {
    check(
        "device 10G | a 6G cutout
         0s loads-take 5s
         0s submit j cutout
         0s done
         1s gone
         3s gone
         3s why j
         5s gone
         6s health
         7s submit k cutout
         7s done
         40s submit l cutout
         40s done
         50s nets",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            0s gpu load a
            1s gpu spawn
            1s gpu load a
            3s gpu spawn
            3s gpu load a
            3s j waits: `a` is being loaded
            5s j failed: WorkerLost: loading `a` ended the worker 3 times, the last time: it was ended by signal 11
            5s gpu spawn
            6s worker `gpu`: loading `a` ended it: it was ended by signal 11
            7s k running
            7s gpu run decode
            7s k failed: WorkerLost: loading `a` ended the worker 3 times, the last time: it was ended by signal 11
            40s l running
            40s gpu run decode
            40s gpu load a
            45s gpu run cutout
            50s a in use
        "#]],
    );
}

#[test]
fn a_device_fault_ends_the_worker_and_a_device_that_fails_for_all_is_nobodys_crash() {
    check(
        "device 10G | a 2G cutout
         0s submit j cutout
         0s submit k cutout
         0s done
         2s fail device_fault
         2.5s health
         5s done
         7s fail device_fault
         10s fail device_fault
         12s health
         45s auto 1s
         70s health",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            0s gpu load a
            1s gpu run cutout
            2s gpu kill
            2s j queued
            2.5s gpu spawn
            2.5s k running
            2.5s gpu run decode
            2.5s worker `gpu`: the device failed: DeviceFault
            5s gpu load a
            6s gpu run cutout
            7s gpu kill
            7s k queued
            8s gpu spawn
            8s j running
            8s gpu load a
            9s gpu run cutout
            10s gpu kill
            10s j queued
            12s worker `gpu` failed 3 times in a row, the last time: the device failed: DeviceFault
            40s gpu spawn
            40s j running
            40s gpu load a
            41s gpu run cutout
            45s gpu run export-image
            46s j done
            46s k running
            46s gpu run cutout
            47s gpu run export-image
            48s k done
            70s health ok
        "#]],
    );
}

#[test]
fn a_wedged_worker_is_killed_and_says_so_until_it_works_again() {
    check(
        "device 10G | a 2G cutout
         0s submit j cutout
         0s done
         2s mute
         13s health
         16s auto 1s
         30s health",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            0s gpu load a
            1s gpu run cutout
            12s gpu kill
            12s j queued
            12s gpu spawn
            13s j running
            13s gpu load a
            13s worker `gpu`: it was killed: it gave no sign of life for 10 s
            14s gpu run cutout
            16s gpu run export-image
            17s j done
            30s health ok
        "#]],
    );
}
