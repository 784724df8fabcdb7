//! Many jobs at once: in what order they use nets and devices.

use std::time::Duration;

use expect_test::expect;
use meshkiln_protocol::job::{Class, JobState};

use crate::{
    catalogue::NetId,
    main_loop::{Call, Submission},
    state::{
        net_scripts::{check, policy},
        policy::Devices,
        scripts::submission,
        world::{GB, Spec, World},
    },
};

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
