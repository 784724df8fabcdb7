//! Which nets are warm, which go, and in what order jobs use them.

use std::{collections::BTreeMap, time::Duration};

use expect_test::expect;
use meshkiln_protocol::{
    error::ErrorKind,
    job::{Class, JobId, JobState},
};

use crate::{
    catalogue::NetId,
    main_loop::{Call, Submission},
    state::{
        net_scripts::{check, policy},
        policy::Devices,
        scripts::submission,
        world::{GB, Spec, World},
    },
    worker::frames::FailureKind,
};

#[test]
fn a_step_that_needs_a_net_waits_until_it_is_loaded_and_finds_it_warm_the_next_time() {
    check(
        "device 10G | a 4G cutout
         0s submit j cutout
         1s done
         2.5s done
         3s done
         4s submit k cutout
         4s done
         5s done",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            1s gpu load a
            2s gpu run cutout
            2.5s gpu run export-image
            3s j done
            4s k running
            4s gpu run decode
            4s gpu run cutout
            5s gpu run export-image
        "#]],
    );
}

#[test]
fn drops_the_longest_idle_net_to_make_room() {
    check(
        "device 10G | a 2G cutout | b 5G reconstruct | c 4G preview
         0s auto 1s
         0s submit j draft
         60s nets
         60s submit k cutout
         70s nets",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            1s gpu load a
            2s gpu run cutout
            3s gpu load b
            4s gpu run reconstruct
            5s gpu run surface
            6s gpu run clean
            7s gpu run simplify
            8s gpu run unwrap
            9s gpu run bake
            10s gpu run export
            11s gpu run check
            12s gpu unload a
            12s gpu load c
            13s gpu run preview
            14s j done
            60s a cold
            60s b warm for 845 s
            60s c warm for 854 s
            60s k running
            60s gpu run decode
            61s gpu unload b
            61s gpu load a
            62s gpu run cutout
            63s gpu run export-image
            64s k done
            70s a warm for 893 s
            70s b cold
            70s c warm for 844 s
        "#]],
    );
}

#[test]
fn only_as_many_nets_go_as_are_in_the_way() {
    check(
        "device 10G | a 2G cutout | b 3G reconstruct | c 6G preview
         0s auto 1s
         0s submit j draft
         60s nets",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            1s gpu load a
            2s gpu run cutout
            3s gpu load b
            4s gpu run reconstruct
            5s gpu run surface
            6s gpu run clean
            7s gpu run simplify
            8s gpu run unwrap
            9s gpu run bake
            10s gpu run export
            11s gpu run check
            12s gpu unload a
            12s gpu load c
            13s gpu run preview
            14s j done
            60s a cold
            60s b warm for 845 s
            60s c warm for 854 s
        "#]],
    );
}

#[test]
fn an_idle_net_goes_when_its_time_is_up() {
    check(
        "device 10G | a 2G cutout | b 2G export-image
         0s auto 1s
         0s warm b keep 60s
         0s submit j cutout
         10s nets
         1000s nets",
        expect![[r#"
            0s gpu spawn
            0s gpu load b
            1s j running
            1s gpu run decode
            2s gpu load a
            3s gpu run cutout
            4s gpu run export-image
            5s j done
            10s a warm for 894 s
            10s b warm for 55 s
            65s gpu unload b
            904s gpu unload a
            1000s a cold
            1000s b cold
        "#]],
    );
}

#[test]
fn a_net_that_is_not_to_stay_goes_at_once_but_not_while_jobs_need_it() {
    check(
        "device 10G | a 2G cutout
         0s warm a keep 0s
         2s submit j cutout x 2
         2s done
         4s done
         4s done
         4s done
         5s done
         6s loads",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s gpu unload a
            2s j1 running
            2s gpu run decode
            2s gpu load a
            3s gpu run cutout
            4s gpu run export-image
            4s j1 done
            4s j2 running
            4s gpu run decode
            4s gpu run cutout
            5s gpu unload a
            5s gpu run export-image
            6s 2 loads
        "#]],
    );
}

#[test]
fn a_pinned_net_stays_and_comes_back() {
    check(
        "device 10G | a 2G cutout | b 8G reconstruct
         0s auto 1s
         0s warm a pin
         2s submit j draft
         30s nets
         40s gone
         60s nets
         60s stop a
         61s nets
         61s submit k draft
         90s nets",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            2s j running
            2s gpu run decode
            3s gpu run cutout
            4s j failed: OutOfMemory: `b` needs 8.0 GB, and `gpu` has 7.0 GB for nets
            30s a warm pinned
            30s b cold: `b` needs 8.0 GB, and `gpu` has 7.0 GB for nets
            40.5s gpu spawn
            40.5s gpu load a
            60s a warm pinned
            60s b cold: `b` needs 8.0 GB, and `gpu` has 7.0 GB for nets
            60s gpu unload a
            61s a cold
            61s b cold: `b` needs 8.0 GB, and `gpu` has 7.0 GB for nets
            61s k running
            61s gpu run decode
            62s gpu load a
            63s gpu run cutout
            64s gpu unload a
            64s gpu load b
            65s gpu run reconstruct
            66s gpu run surface
            67s gpu run clean
            68s gpu run simplify
            69s gpu run unwrap
            70s gpu run bake
            71s gpu run export
            72s gpu run check
            73s gpu run preview
            74s k done
            90s a cold
            90s b warm for 876 s
        "#]],
    );
}

#[test]
fn a_net_that_can_never_fit_is_an_error_at_once() {
    check(
        "device 10G | a 9.5G cutout
         0s submit j cutout
         1s done
         2s health",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            1s j failed: OutOfMemory: `a` needs 9.5 GB, and `gpu` has 9.0 GB for nets
            2s health ok
        "#]],
    );
}

#[test]
fn what_was_measured_counts_more_than_what_was_declared() {
    // Declared with its work: 8 GB; alone it was measured at 3 GB idle, so both fit.
    check(
        "device 10G | a 3G+5G cutout | b 3G reconstruct
         0s auto 1s
         0s submit j draft
         60s nets
         60s submit k draft
         90s loads",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            1s gpu load a
            2s gpu run cutout
            3s gpu load b
            4s gpu run reconstruct
            5s gpu run surface
            6s gpu run clean
            7s gpu run simplify
            8s gpu run unwrap
            9s gpu run bake
            10s gpu run export
            11s gpu run check
            12s gpu run preview
            13s j done
            60s a warm for 843 s
            60s b warm for 845 s
            60s k running
            60s gpu run decode
            61s gpu unload b
            61s gpu run cutout
            62s gpu load b
            63s gpu run reconstruct
            64s gpu run bake
            65s gpu run export
            66s gpu run check
            67s gpu run preview
            68s k done
            90s 3 loads
        "#]],
    );
}

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
fn memory_that_runs_out_at_a_load_lets_everything_go_and_is_tried_once_more() {
    check(
        "device 10G | a 2G cutout | b 2G reconstruct
         0s auto 1s
         0s warm b
         2s load-fails out_of_memory
         2s submit j cutout
         10s nets
         10s stop a
         11s load-fails out_of_memory
         11s load-fails out_of_memory
         11s submit k cutout
         20s health
         20s submit l cutout
         30s health",
        expect![[r#"
            0s gpu spawn
            0s gpu load b
            2s j running
            2s gpu run decode
            3s gpu load a
            4s gpu unload b
            4s gpu load a
            5s gpu run cutout
            6s gpu run export-image
            7s j done
            10s a warm for 896 s
            10s b cold
            10s gpu unload a
            11s k running
            11s gpu run decode
            12s gpu load a
            13s gpu load a
            14s k failed: OutOfMemory: OutOfMemory
            20s worker `gpu`: `a` could not be loaded: OutOfMemory
            20s l running
            20s gpu run decode
            21s gpu load a
            22s gpu run cutout
            23s gpu run export-image
            24s l done
            30s health ok
        "#]],
    );
}

#[test]
fn memory_that_runs_out_in_a_stage_lets_everything_go_and_it_runs_once_more() {
    check(
        "device 10G | a 2G cutout | b 2G reconstruct
         0s warm b
         2s submit j cutout
         2s done
         3s fail out_of_memory
         5s done
         5s done
         6s submit k cutout
         6s done
         6s fail out_of_memory
         8s fail out_of_memory
         9s health
         9s submit l cutout
         9s done
         11s done
         11s health",
        expect![[r#"
            0s gpu spawn
            0s gpu load b
            2s j running
            2s gpu run decode
            2s gpu load a
            3s gpu run cutout
            3s gpu unload a
            3s gpu unload b
            3s gpu load a
            4s gpu run cutout
            5s gpu run export-image
            5s j done
            6s k running
            6s gpu run decode
            6s gpu run cutout
            6s gpu unload a
            6s gpu load a
            7s gpu run cutout
            8s k failed: OutOfMemory: OutOfMemory
            8s gpu unload a
            9s worker `gpu`: cutout ran out of memory: OutOfMemory
            9s l running
            9s gpu run decode
            9s gpu load a
            10s gpu run cutout
            11s gpu run export-image
            11s health ok
        "#]],
    );
}

#[test]
fn nets_give_way_when_somebody_else_needs_the_memory() {
    check(
        "device 10G | a 3G cutout | b 3G reconstruct
         0s auto 1s
         0s submit j draft
         30s nets
         30s others 4G
         32s nets
         32s others 8G
         35s nets
         35s submit k cutout
         40s why k
         60s others 0G
         70s nets",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            1s gpu load a
            2s gpu run cutout
            3s gpu load b
            4s gpu run reconstruct
            5s gpu run surface
            6s gpu run clean
            7s gpu run simplify
            8s gpu run unwrap
            9s gpu run bake
            10s gpu run export
            11s gpu run check
            12s gpu run preview
            13s j done
            30s a warm for 873 s
            30s b warm for 875 s
            31s gpu unload a
            32s a cold
            32s b warm for 873 s
            33s gpu unload b
            35s a cold
            35s b cold
            35s k running
            35s gpu run decode
            40s k waits: `a` waits for memory on `gpu`
            61s gpu load a
            62s gpu run cutout
            63s gpu run export-image
            64s k done
            70s a warm for 893 s
            70s b cold
        "#]],
    );
}

#[test]
fn memory_that_others_use_is_not_waited_for_for_ever() {
    check(
        "device 10G | a 3G cutout
         0s others 8G
         1s submit j cutout
         2s done
         3s why j
         500s submit k one
         500s done
         700s nets",
        expect![[r#"
            0s gpu spawn
            1s j running
            1s gpu run decode
            3s j waits: `a` waits for memory on `gpu`
            500s k running
            500s gpu run decode
            500s k done
            602s j failed: OutOfMemory: `a` needs 3.0 GB on `gpu`, and others use 8.0 GB of 10.0 GB
            700s a cold
        "#]],
    );
}

#[test]
fn late_readings_do_not_cost_a_second_net() {
    check(
        "device 10G | a 4G cutout | b 4G export-image | c 4G reconstruct
         0s auto 1s
         0s submit j cutout
         10s late 3s
         20s warm c
         30s nets",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            1s gpu load a
            2s gpu run cutout
            3s gpu load b
            4s gpu run export-image
            5s j done
            20s gpu unload a
            23s gpu load c
            30s a cold
            30s b warm for 875 s
            30s c warm for 894 s
        "#]],
    );
}

#[test]
fn a_worker_whose_memory_does_not_come_back_is_started_afresh() {
    check(
        "device 10G | a 6G cutout | b 6G reconstruct
         0s auto 1s
         0s warm a
         5s leak 5G
         5s warm b
         20s nets",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            5s gpu unload a
            10s gpu exit
            10s gpu spawn
            10s gpu load b
            20s a cold
            20s b warm for 891 s
        "#]],
    );
}

#[test]
fn a_mass_drop_goes_stage_by_stage() {
    check(
        "device 10G | a 6G cutout | b 6G export-image
         0s auto 1s
         0s submit j cutout class watch x 5
         60s loads",
        expect![[r#"
            0s gpu spawn
            0s j1 running
            0s gpu run decode
            1s gpu load a
            2s gpu run cutout
            3s j2 running
            3s gpu run decode
            4s gpu run cutout
            5s j3 running
            5s gpu run decode
            6s gpu run cutout
            7s j4 running
            7s gpu run decode
            8s gpu run cutout
            9s j5 running
            9s gpu run decode
            10s gpu run cutout
            11s gpu unload a
            11s gpu load b
            12s gpu run export-image
            13s j1 done
            13s gpu run export-image
            14s j2 done
            14s gpu run export-image
            15s j3 done
            15s gpu run export-image
            16s j4 done
            16s gpu run export-image
            17s j5 done
            60s 2 loads
        "#]],
    );
}

/// A hundred pictures at once through two nets that do not fit together: each net is loaded once a
/// batch of `open_jobs`, on one device for everything and on one for nets alone.
#[test]
fn a_hundred_pictures_take_a_few_loads() {
    for devices in [Devices::only("gpu"), Devices { built_in: "cpu".to_owned(), nets: "gpu".to_owned() }] {
        let nets = [("a", "cutout"), ("b", "export-image")].map(|(id, stage)| {
            let spec = Spec { bytes: 6 * GB, working: 0, stage };
            (NetId::from(id), spec)
        });
        let mut world = World::new(policy(), devices.clone(), nets.into(), 10 * GB);
        // Quick enough that no batch is broken off for having waited too long.
        world.run_time = Some(Duration::from_millis(300));
        let submissions = (0..100).map(|n| Submission { class: Class::Watch, ..submission(&n.to_string(), "cutout") });
        world.call(Call::Submit(submissions.collect()));
        let start = world.now;
        while world.memory.jobs.values().any(|job| job.state != JobState::Done) {
            let next = world.next_moment().unwrap();
            assert!(next < start + Duration::from_secs(3600), "it never ends");
            world.moment(next);
        }
        let took = world.now.duration_since(start);
        println!("figure: 100 pictures, {devices:?}: {} loads in {took:?}", world.n_loads);
        assert!(world.n_loads <= 6, "{} loads", world.n_loads);
    }
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

#[test]
fn a_net_in_use_is_not_released_and_stops_after_the_stage() {
    check(
        "device 10G | a 2G cutout
         0s submit j cutout
         0s done
         2s release a
         2s stop a
         2s nets
         3s done
         3s nets
         3s release a
         3s release b",
        expect![[r#"
            0s gpu spawn
            0s j running
            0s gpu run decode
            0s gpu load a
            1s gpu run cutout
            2s refused WrongState: `a` is in use
            2s a in use
            3s gpu unload a
            3s gpu run export-image
            3s a cold
            3s refused NotFound: there is no net `b`
        "#]],
    );
}

#[test]
fn a_device_of_its_own_lets_other_stages_go_on_beside_it() {
    check(
        "device 10G beside cpu | a 4G cutout
         0s submit j cutout
         0s submit k cutout
         1s done cpu
         1s done cpu
         2s done gpu
         3s done cpu
         3s done gpu",
        expect![[r#"
            0s cpu spawn
            0s gpu spawn
            0s j running
            0s cpu run decode
            1s k running
            1s cpu run decode
            1s gpu load a
            2s gpu run cutout
            2s cpu run export-image
            2s gpu run cutout
            3s j done
            3s cpu run export-image
        "#]],
    );
}

/// Fifty times at a load and fifty times in a stage: one more try with everything let go, then a
/// typed error; the next job succeeds each time, and health is not ok before it has.
#[test]
fn a_hundred_times_out_of_memory() {
    let gpu = "gpu".to_owned();
    let spec = Spec { bytes: 4 * GB, working: GB, stage: "decode" };
    let nets = BTreeMap::from([(NetId::from("a"), spec)]);
    let mut world = World::new(policy(), Devices::only(&gpu), nets, 10 * GB);
    world.run_time = Some(Duration::from_secs(1));
    let fire = |world: &mut World, name: String| {
        let id = JobId(world.state.next_job());
        world.call(Call::Submit(vec![submission(&name, "one")]));
        let now = world.now;
        world.advance(now + Duration::from_secs(60));
        world.memory.jobs[&id].clone()
    };
    let mut ends = [0; 2];
    for n in 0..100 {
        let (at_load, is_hopeless) = (n < 50, n % 2 == 0);
        world.call(Call::StopNet("a".to_owned()));
        let card = world.cards.get_mut(&gpu).unwrap();
        let failures = if at_load { &mut card.load_failures } else { &mut card.run_failures };
        failures.extend(vec![FailureKind::OutOfMemory; if is_hopeless { 2 } else { 1 }]);
        let job = fire(&mut world, format!("job {n}"));
        let problems = world.state.view(world.now).problems;
        match is_hopeless {
            true => {
                assert_eq!(job.error.map(|error| error.kind), Some(ErrorKind::OutOfMemory), "round {n}");
                assert!(!problems.is_empty(), "round {n}: health is ok while it fails");
            }
            false => assert_eq!((job.state, problems.len()), (JobState::Done, 0), "round {n}"),
        }
        assert_eq!((job.crashes, job.attempt), (0, 1), "round {n}");
        ends[usize::from(is_hopeless)] += 1;
        assert_eq!(fire(&mut world, format!("next {n}")).state, JobState::Done, "round {n}");
        assert!(world.state.view(world.now).problems.is_empty(), "round {n}");
    }
    assert_eq!(ends, [50, 50]);
}
