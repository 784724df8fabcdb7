//! Which nets are in memory, with real ones: a budget, least recently used first, pins, times to
//! live, and the device given away.

use std::{fs, time::Duration};

use meshkiln_protocol::{
    api::{NetStop, NetWarm, NoParams, TakeBack, Yield},
    error::ErrorKind,
    event::EventBody,
    job::{JobState, SubmitParams},
    net::{KeepAlive, NetIdParams, NetState, NetWarmParams, YieldParams},
};
use meshkiln_tests::{
    Daemon, Home, PATIENCE,
    nets::{Sizes, put},
    say, until,
};

use super::{done, events, last_event, order, picture};

/// Through both nets and to a report: no file, to be quick.
const TWO_NETS: &str = r#"
doc = "Two nets, one after the other."
[[stage]]
id = "decode"
[[stage]]
id = "cutout"
[[stage]]
id = "reconstruct"
net = "red"
[[stage]]
id = "reconstruct"
net = "blue"
[[stage]]
id = "surface"
resolution = 32
[[stage]]
id = "analyze"
"#;

fn warm(daemon: &Daemon, id: &str, keep_alive: Option<KeepAlive>, pin: Option<bool>) {
    daemon.call::<NetWarm>(&NetWarmParams { id: id.to_owned(), keep_alive, pin });
}

fn stop(daemon: &Daemon, id: &str) {
    daemon.call::<NetStop>(&NetIdParams { id: id.to_owned() });
}

fn loads(daemon: &Daemon) -> [u64; 2] {
    ["red", "blue"].map(|id| daemon.net(id).loads)
}

/// A daemon with two nets, of which one at a time fits into what nets may take.
fn with_room_for_one(home: &mut Home) -> Daemon {
    put(home, "red", 3, Sizes::SMALL);
    put(home, "blue", 4, Sizes::SMALL);
    let daemon = home.start();
    // What they take is measured, not assumed, and known to the next daemon.
    for (n, id) in ["red", "blue"].into_iter().enumerate() {
        daemon.until_net(id, NetState::Cold);
        done(&daemon, &order(&picture(home, 100 + n as u32), id));
    }
    let peak = ["red", "blue"].map(|id| daemon.net(id).peak_bytes.unwrap()).into_iter().max().unwrap();
    let held = ["red", "blue"].map(|id| daemon.net(id).resident_bytes.unwrap());
    let budget_mib = (peak * 13 / 10) >> 20;
    say(&format!("figure: two nets that hold {held:?} bytes and need {peak} at most get {budget_mib} MiB"));
    home.kill();
    fs::create_dir_all(home.path("config/recipes")).unwrap();
    fs::write(home.path("config/daemon.toml"), format!("net_memory_mib = {budget_mib}\n")).unwrap();
    fs::write(home.path("config/recipes/two.toml"), TWO_NETS).unwrap();
    home.start()
}

#[test]
fn a_budget_for_one_net_swaps_them_and_a_mass_drop_goes_net_by_net() {
    let mut home = Home::new("cpu");
    let daemon = with_room_for_one(&mut home);
    done(&daemon, &order(&picture(&home, 0), "red"));
    assert_eq!((loads(&daemon), daemon.net("red").state), ([1, 0], NetState::Warm));
    done(&daemon, &order(&picture(&home, 1), "blue"));
    assert_eq!((loads(&daemon), daemon.net("red").state), ([1, 1], NetState::Cold), "both are in memory");
    done(&daemon, &order(&picture(&home, 2), "red"));
    assert_eq!((loads(&daemon), daemon.net("blue").state), ([2, 1], NetState::Cold));

    // Twelve pictures through both: each net comes for all of them, not for each.
    const PICTURES: u32 = 12;
    daemon.pause_queue();
    let jobs: Vec<_> = (0..PICTURES)
        .map(|n| {
            let params =
                SubmitParams { recipe: Some("two".to_owned()), set: vec![], ..order(&picture(&home, 10 + n), "red") };
            daemon.submit(&params).id
        })
        .collect();
    daemon.resume_queue();
    for id in jobs {
        let job = daemon.wait(id);
        assert_eq!(job.state, JobState::Done, "{job:?}");
    }
    let [red, blue] = loads(&daemon);
    say(&format!("figure: {PICTURES} pictures through two nets of which one fits: {} and {} loads", red - 2, blue - 1));
    assert!(red - 2 <= 1 && blue - 1 <= 2, "{red} and {blue} loads in all");
}

#[test]
fn pins_times_to_live_and_stops_are_kept_and_memory_comes_back() {
    let mut home = Home::new("cpu");
    let daemon = with_room_for_one(&mut home);

    warm(&daemon, "red", None, Some(true));
    daemon.until_net("red", NetState::Warm);
    // There is no room beside what is pinned, and that is said at once.
    let refused = daemon.submit(&order(&picture(&home, 0), "blue"));
    let refused = daemon.wait(refused.id);
    let error = refused.error.unwrap();
    assert_eq!((refused.state, error.kind), (JobState::Failed, ErrorKind::OutOfMemory), "{error:?}");
    assert!(error.message.contains("`blue` needs"), "{}", error.message);
    assert_eq!(daemon.net("red").state, NetState::Warm, "a pinned net was let go");
    warm(&daemon, "red", None, Some(false));
    done(&daemon, &order(&picture(&home, 0), "blue"));
    assert_eq!((daemon.net("red").state, daemon.net("blue").state), (NetState::Cold, NetState::Warm));

    // Let go by itself after its last use.
    let since = last_event(&daemon);
    warm(&daemon, "blue", Some(KeepAlive::Ms(400)), None);
    daemon.until_net("blue", NetState::Cold);
    let unloading = events(&daemon, since, None).into_iter().filter(
        |event| matches!(&event.body, EventBody::Net { net } if net.id == "blue" && net.state == NetState::Unloading),
    );
    assert_eq!(unloading.count(), 1);

    // The worker gives the memory back, as the system counts it.
    let used = |daemon: &Daemon| daemon.status().devices[0].memory.unwrap().used_bytes;
    warm(&daemon, "red", Some(KeepAlive::Forever), None);
    let held = daemon.until_net("red", NetState::Warm).resident_bytes.unwrap();
    // Of a reading after the load.
    until("it is in memory", PATIENCE, || used(&daemon) > held);
    let with_it = used(&daemon);
    stop(&daemon, "red");
    daemon.until_net("red", NetState::Cold);
    until("its memory is back", Duration::from_secs(20), || used(&daemon) + held / 4 * 3 <= with_it);
    say(&format!("figure: a net of {held} bytes went: {} bytes less in the worker", with_it - used(&daemon)));
    assert_eq!(daemon.status().devices[0].recycles, 0, "the worker was started afresh for it");
}

#[test]
fn a_device_is_given_away_and_taken_back_with_real_nets() {
    let mut home = Home::new("cpu");
    put(&home, "slow", 5, Sizes::SLOW);
    let daemon = home.start();
    daemon.until_net("slow", NetState::Cold);
    let job = daemon.submit(&order(&picture(&home, 0), "slow"));
    until("the net is in use", PATIENCE, || daemon.net("slow").in_use);
    let pid = daemon.worker_pid().unwrap();
    let status = daemon.call::<Yield>(&YieldParams { for_ms: None, now: true });
    assert_eq!(status.yielded.unwrap().devices, ["cpu"]);
    until("the device is free", PATIENCE, || daemon.status().yielded.is_some_and(|yielded| yielded.freed));
    assert!(!home.workers().contains(&pid), "the worker holds the net still");
    let waiting = daemon.job(job.id);
    assert_eq!((waiting.state, waiting.crashes), (JobState::Queued, 0), "{waiting:?}");
    assert_eq!(daemon.net("slow").state, NetState::Cold);

    daemon.call::<TakeBack>(&NoParams {});
    until("it goes on", PATIENCE, || daemon.net("slow").in_use);
    assert_eq!(daemon.net("slow").loads, 2);
    daemon.cancel(job.id);
    until("the net is at rest", PATIENCE, || !daemon.net("slow").in_use);
}
