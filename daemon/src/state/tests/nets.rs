//! Which nets are warm, which go, and in what order jobs use them.

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
        expect![[""]],
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
        expect![[""]],
    );
}

#[test]
fn only_as_many_nets_go_as_are_in_the_way() {
    check(
        "device 10G | a 2G cutout | b 3G reconstruct | c 6G preview
         0s auto 1s
         0s submit j draft
         60s nets",
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
    );
}

#[test]
fn a_net_that_can_never_fit_is_an_error_at_once() {
    check(
        "device 10G | a 9.5G cutout
         0s submit j cutout
         1s done
         2s health",
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
    );
}

#[test]
fn a_mass_drop_goes_stage_by_stage() {
    check(
        "device 10G | a 6G cutout | b 6G export-image
         0s pause-queue
         0s submit j cutout class watch x 100
         0s loads",
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
        expect![[""]],
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
