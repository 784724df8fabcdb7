//! What happens when memory runs out, when others need it, and when it does not come back.

use std::{collections::BTreeMap, time::Duration};

use expect_test::expect;
use meshkiln_protocol::{
    error::ErrorKind,
    job::{JobId, JobState},
};

use crate::{
    catalogue::NetId,
    main_loop::Call,
    state::{
        net_scripts::{check, policy},
        policy::Devices,
        scripts::submission,
        world::{GB, Spec, World},
    },
    worker::frames::FailureKind,
};

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
