//! Networks: which there are (`nets`), in memory and the device they are on (`ps`,
//! `warm`, `stop`, `rm`, `yield`), and `resume`, which ends a pause too.

use std::{
    thread,
    time::{Duration, Instant},
};

use meshkiln_protocol::{
    api::{DaemonStatus, NetGuide, NetListAll, NetRemove, NetStop, NetWarm, NoParams, QueueResume, TakeBack, Yield},
    daemon::Status,
    net::{GuideParams, KeepAlive, Net, NetIdParams, NetState, NetWarmParams, OwnNet, YieldParams},
};
use serde_json::json;

use crate::{
    Outcome,
    args::{Resumed, Warm},
    client::Client,
    error::Failure,
    show,
};

/// A load takes seconds; a device that is busy for others may take long.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub fn list(need: Option<String>, json: bool) -> Outcome {
    let client = Client::connect()?;
    if let Some(need) = need {
        let guide = client.call::<NetGuide>(&GuideParams { need })?;
        if json {
            return show::json(&guide);
        }
        return guide.tools.iter().try_for_each(|tool| {
            let what = match (tool.is_net, tool.here) {
                (false, _) => "built in",
                (true, true) => "network, here",
                (true, false) => "network, not here",
            };
            show::line(format!("{}  ({what}; {})\n  {}\n  {}", tool.id, tool.used_by, tool.doc, tool.suits))
        });
    }
    let list = client.call::<NetListAll>(&NoParams {})?;
    if json {
        return show::json(&list);
    }
    list.nets.iter().try_for_each(print_about)
}

/// A paragraph on one net.
fn print_about(net: &Net) -> Outcome {
    let pulling = net.pull.as_ref().map(|pull| {
        let of = pull.total_bytes.map(|total| format!(" of {}", show::bytes(total))).unwrap_or_default();
        format!(", fetching: {}{of}", show::bytes(pull.done_bytes))
    });
    show::line(format!("{}  ({}{})", net.id, state(net), pulling.unwrap_or_default()))?;
    show::line(format!("  {}", net.doc))?;
    if let Some(own) = &net.own {
        print_own(net, own)?;
    }
    let Some(about) = &net.about else { return Ok(()) };
    let bytes: u64 = about.files.iter().filter_map(|file| file.bytes).sum();
    let unknown = about.files.iter().filter(|file| file.sha256.is_none()).count();
    let sums = match unknown {
        0 => "sums known".to_owned(),
        n => format!("sums of {n} files not known, recorded at the first download"),
    };
    let cpu = if about.cpu_viable { "also on a CPU" } else { "needs a GPU" };
    let fit = if about.recommended { ", fits this machine" } else { "" };
    show::line(format!(
        "  for {}; {} to fetch from {}, {sums}",
        about.serves.join(", "),
        show::bytes(bytes),
        about.repository
    ))?;
    show::line(format!("  memory {}, {cpu}{fit}; used by {}", about.memory_class, about.engines.join(", ")))?;
    show::line(format!("  {} {}", about.speed, about.quality))?;
    show::line(format!("  licence {}: {}", about.license, about.license_says))
}

fn print_own(net: &Net, own: &OwnNet) -> Outcome {
    let used_by = own.used_by.as_ref().map(|used_by| format!("; asked for with -s {used_by}")).unwrap_or_default();
    show::line(format!("  yours, in {}{used_by}", own.folder))?;
    if let Some(problem) = &net.problem {
        show::line(format!("  {problem}"))?;
    }
    match (&own.hint, &own.kind) {
        (Some(hint), _) => show::line(format!("  hint: {hint}")),
        (None, Some(kind)) => {
            show::line(format!("  run by {kind}; licence {}", own.license.as_deref().unwrap_or("not stated")))
        }
        (None, None) => Ok(()),
    }
}

pub fn ps(json: bool) -> Outcome {
    let client = Client::connect()?;
    let mut list = client.call::<NetListAll>(&NoParams {})?;
    let status = client.call::<DaemonStatus>(&NoParams {})?;
    list.nets.retain(|net| !matches!(net.state, NetState::Absent | NetState::Cold) || net.pinned);
    if json {
        return show::json(&json!({ "nets": list.nets, "devices": status.devices, "yielded": status.yielded }));
    }
    if list.nets.is_empty() {
        show::line("no network is in memory")?;
    } else {
        show::table(
            &["NET", "STATE", "DEVICE", "HOLDS", "PEAK", "STAYS"],
            &list.nets.iter().map(row).collect::<Vec<_>>(),
        )?;
    }
    print_devices(&status)
}

/// Memory of each device, and whether it is given away.
pub fn print_devices(status: &Status) -> Outcome {
    for device in &status.devices {
        if let Some(memory) = &device.memory {
            let others = memory.total_bytes.saturating_sub(memory.used_bytes + memory.free_bytes);
            show::line(format!(
                "memory {}: {} ours, {} others', {} free of {}",
                device.device,
                show::bytes(memory.used_bytes),
                show::bytes(others),
                show::bytes(memory.free_bytes),
                show::bytes(memory.total_bytes)
            ))?;
        }
    }
    match &status.yielded {
        Some(yielded) => {
            let until = match yielded.until_ms {
                Some(until) => format!("for {} more", show::duration(until.saturating_sub(show::now()))),
                None => "until `meshkiln resume`".to_owned(),
            };
            let freed = if yielded.freed { "" } else { ", as soon as the running stage ends" };
            show::line(format!("given away: {} {until}{freed}", yielded.devices.join(", ")))
        }
        None => Ok(()),
    }
}

pub fn warm(args: Warm, json: bool) -> Outcome {
    let client = Client::connect()?;
    let pin = (args.pin || args.unpin).then_some(args.pin);
    let params = NetWarmParams { id: args.net.clone(), keep_alive: args.keep_alive, pin };
    let mut net = client.call::<NetWarm>(&params)?;
    let deadline = Instant::now() + LONGEST_WAIT;
    while !args.no_wait && net.state != NetState::Warm && net.problem.is_none() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
        let list = client.call::<NetListAll>(&NoParams {})?;
        net = list.nets.into_iter().find(|net| net.id == args.net).unwrap_or(net);
    }
    if json {
        show::json(&json!({ "net": net }))?;
    } else {
        print_net(&net)?;
    }
    if net.problem.is_some() { Err(Failure::JobsFailed) } else { Ok(()) }
}

pub fn stop(net: String, json: bool) -> Outcome {
    let net = Client::connect()?.call::<NetStop>(&NetIdParams { id: net })?;
    if json { show::json(&json!({ "net": net })) } else { print_net(&net) }
}

pub fn remove(net: String, json: bool) -> Outcome {
    let net = Client::connect()?.call::<NetRemove>(&NetIdParams { id: net })?;
    if json { show::json(&json!({ "net": net })) } else { show::line(format!("deleted the weights of {}", net.id)) }
}

pub fn give_away(time: Option<Duration>, now: bool, json: bool) -> Outcome {
    let for_ms = time.map(|time| time.as_millis() as u64);
    let status = Client::connect()?.call::<Yield>(&YieldParams { for_ms, now })?;
    if json { show::json(&status) } else { print_devices(&status) }
}

pub fn resume(what: Option<Resumed>, json: bool) -> Outcome {
    let client = Client::connect()?;
    let before = client.call::<DaemonStatus>(&NoParams {})?;
    let mut status = None;
    if what != Some(Resumed::Queue) {
        status = Some(client.call::<TakeBack>(&NoParams {})?);
    }
    if what != Some(Resumed::Device) {
        status = Some(client.call::<QueueResume>(&NoParams {})?);
    }
    let status = status.unwrap_or(before.clone());
    if json {
        return show::json(&status);
    }
    if before.yielded.is_some() && status.yielded.is_none() {
        show::line("the device is ours again")?;
    }
    let still = if status.queue.paused { "the queue is still paused" } else { "resumed" };
    show::line(format!("{still}: {} queued", status.queue.queued))
}

fn row(net: &Net) -> Vec<String> {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), show::bytes);
    vec![
        net.id.clone(),
        state(net).to_owned(),
        net.device.clone().unwrap_or_default(),
        bytes(net.resident_bytes),
        bytes(net.peak_bytes),
        stays(net),
    ]
}

fn print_net(net: &Net) -> Outcome {
    let took = net.load_ms.filter(|_| net.state == NetState::Warm);
    let took = took.map(|ms| format!(", loaded in {}", show::duration(ms))).unwrap_or_default();
    show::line(format!("{}: {}{took}", net.id, state(net)))?;
    net.problem.iter().try_for_each(|problem| show::line(format!("  {problem}")))
}

fn state(net: &Net) -> &'static str {
    match net.state {
        NetState::Absent => "absent",
        NetState::Cold => "not in memory",
        NetState::Loading => "loading",
        NetState::Warm if net.in_use => "in use",
        NetState::Warm => "warm",
        NetState::Unloading => "leaving",
    }
}

fn stays(net: &Net) -> String {
    match (net.pinned, net.expires_in_ms, net.keep_alive) {
        (true, ..) => "pinned".to_owned(),
        (false, Some(ms), _) => show::duration(ms),
        (false, None, KeepAlive::Forever) => "forever".to_owned(),
        (false, None, KeepAlive::Ms(ms)) => format!("{} after use", show::duration(ms)),
    }
}
