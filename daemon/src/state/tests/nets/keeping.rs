//! Which nets stay warm and which go.

use expect_test::expect;

use crate::state::net_scripts::check;

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
