//! Pictures that clients point at: answered at once where the net is warm, and whatever happens.

use expect_test::expect;

use crate::state::net_scripts::check;

#[test]
fn a_picture_is_looked_at_once_and_each_click_is_one_answer() {
    check(
        "device 10G | a 4G cutout
         0s auto 0.1s
         0s open p a
         2s click p
         3s click p
         4s nets
         5s close p
         5s click p
         5s close p
         6s loads",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s gpu look at picture p with a
            1.1s answered for 1, looked at for it
            2s gpu ask about picture p with a
            2.1s answered for 1
            3s gpu ask about picture p with a
            3.1s answered for 1
            4s a warm for 899 s
            5s refused NotFound: there is no open picture 1
            5s refused NotFound: there is no open picture 1
            6s 1 loads
        "#]],
    );
}

#[test]
fn clicks_go_before_jobs_but_not_into_a_stage() {
    check(
        "device 10G | a 4G cutout
         0s auto 0.1s
         0s open p a
         2s manual
         2s submit j cutout
         2s submit k cutout
         3s click p
         4s done
         4s done
         5s done",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s gpu look at picture p with a
            1.1s answered for 1, looked at for it
            2s j running
            2s gpu run decode
            4s gpu ask about picture p with a
            4s answered for 1
            4s gpu run cutout
            5s gpu run export-image
        "#]],
    );
}

#[test]
fn of_clicks_that_wait_the_last_is_answered() {
    check(
        "device 10G | a 4G cutout
         0s open p a
         1s done
         2s click p
         2s click p
         2s click p
         3s done
         4s done
         5s close p",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s gpu look at picture p with a
            1s answered for 1, looked at for it
            2s gpu ask about picture p with a
            2s refused Busy: a later click took the place of this one
            3s answered for 1
            3s gpu ask about picture p with a
            4s answered for 1
        "#]],
    );
}

#[test]
fn a_worker_that_dies_is_asked_once_more_and_looks_again() {
    check(
        "device 10G | a 4G cutout
         0s open p a
         1s done
         2s click p
         3s gone
         6s done
         7s click p
         8s gone
         11s gone
         15s click p
         20s done",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s gpu look at picture p with a
            1s answered for 1, looked at for it
            2s gpu ask about picture p with a
            3s gpu spawn
            3s gpu load a
            4s gpu ask about picture p with a
            6s answered for 1, looked at for it
            7s gpu ask about picture p with a
            8s gpu spawn
            8s gpu load a
            9s gpu ask about picture p with a
            11s refused WorkerLost: the worker was lost while it looked at the picture: it was ended by signal 11
            11s gpu spawn
            15s gpu load a
            16s gpu ask about picture p with a
            20s answered for 1, looked at for it
        "#]],
    );
}

#[test]
fn a_net_that_was_let_go_is_loaded_for_a_click() {
    check(
        "device 10G | a 4G cutout | b 7G export-image
         0s auto 0.1s
         0s open p a
         2s submit j cutout
         9s click p
         12s stop a
         13s click p
         15s loads",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s gpu look at picture p with a
            1.1s answered for 1, looked at for it
            2s j running
            2s gpu run decode
            2.1s gpu run cutout
            2.2s gpu unload a
            2.2s gpu load b
            3.2s gpu run export-image
            3.3s j done
            9s gpu unload b
            9s gpu load a
            10s gpu ask about picture p with a
            10.1s answered for 1, looked at for it
            12s gpu unload a
            13s gpu load a
            14s gpu ask about picture p with a
            14.1s answered for 1, looked at for it
            15s 4 loads
        "#]],
    );
}

#[test]
fn who_gave_the_device_away_is_told_so() {
    check(
        "device 10G | a 4G cutout
         0s open p a
         1s done
         2s click p
         3s yield now
         4s click p
         4s open q a
         5s take-back
         7s click p
         8s done",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s gpu look at picture p with a
            1s answered for 1, looked at for it
            2s gpu ask about picture p with a
            3s gpu kill
            3s about to be given away
            3s refused Busy: `gpu` is given away until `meshkiln resume`, or until its time is up
            3s given away
            4s refused Busy: `gpu` is given away until `meshkiln resume`, or until its time is up
            4s refused Busy: `gpu` is given away until `meshkiln resume`, or until its time is up
            5s taken back
            5s gpu spawn
            5s gpu load a
            7s gpu ask about picture p with a
            8s answered for 1, looked at for it
        "#]],
    );
}

#[test]
fn a_net_that_does_not_come_is_told_to_who_waits() {
    check(
        "device 10G | a 4G cutout
         0s load-fails weights_damaged
         0s open p a
         2s click p
         3s others 8G
         4s open q a
         30s others 0G
         31s open r a
         32s fail out_of_memory
         34s fail no_object
         35s open s a
         35s fail input_lost",
        expect![[r#"
            0s gpu spawn
            0s gpu load a
            1s refused WeightsDamaged: WeightsDamaged
            2s refused NotFound: there is no open picture 1
            24s refused OutOfMemory: there is no room for `a` on `gpu` now
            31s gpu load a
            32s gpu look at picture r with a
            32s gpu unload a
            32s gpu load a
            33s gpu look at picture r with a
            34s refused NoObject: NoObject
            35s gpu look at picture s with a
            35s refused NotFound: the picture is no longer kept
        "#]],
    );
}

#[test]
fn unused_pictures_are_forgotten_and_only_so_many_are_open() {
    let open: Vec<String> = (1..=17).map(|n| format!("2s open p{n} a")).collect();
    check(
        &format!(
            "device 10G | a 4G cutout
             0s auto 0s
             {}
             3s click p1
             63s click p2
             63s open q a
             63s click p3
             64s open r a
             65s click p2
             700s click p2",
            open.join("\n")
        ),
        expect![[r#"
            0s gpu spawn
            2s gpu load a
            2s refused Busy: 16 pictures are open for cutouts already
            3s gpu look at picture p1 with a
            3s answered for 1, looked at for it
            3s gpu look at picture p2 with a
            3s answered for 2, looked at for it
            3s gpu look at picture p3 with a
            3s answered for 3, looked at for it
            3s gpu look at picture p4 with a
            3s answered for 4, looked at for it
            3s gpu look at picture p5 with a
            3s answered for 5, looked at for it
            3s gpu look at picture p6 with a
            3s answered for 6, looked at for it
            3s gpu look at picture p7 with a
            3s answered for 7, looked at for it
            3s gpu look at picture p8 with a
            3s answered for 8, looked at for it
            3s gpu look at picture p9 with a
            3s answered for 9, looked at for it
            3s gpu look at picture p10 with a
            3s answered for 10, looked at for it
            3s gpu look at picture p11 with a
            3s answered for 11, looked at for it
            3s gpu look at picture p12 with a
            3s answered for 12, looked at for it
            3s gpu look at picture p13 with a
            3s answered for 13, looked at for it
            3s gpu look at picture p14 with a
            3s answered for 14, looked at for it
            3s gpu look at picture p15 with a
            3s answered for 15, looked at for it
            3s gpu look at picture p16 with a
            3s answered for 16, looked at for it
            3s gpu ask about picture p1 with a
            3s answered for 1
            63s gpu ask about picture p2 with a
            63s answered for 2
            63s gpu look at picture q with a
            63s answered for 17, looked at for it
            63s gpu ask about picture p3 with a
            63s answered for 3
            64s gpu look at picture r with a
            64s answered for 18, looked at for it
            65s gpu ask about picture p2 with a
            65s answered for 2
            700s refused NotFound: there is no open picture 2
        "#]],
    );
}
