//! Giving the devices that run nets to somebody else, and taking them back.
//!
//! The end of the process is the sure way to free a device, so its worker leaves:
//! after the running stage, or at once, and then the stage's job is queued again
//! without blame. Nothing is started there until `resume` or until the time is up.
//! A paused queue is another matter: it keeps the nets and holds back all jobs.

use std::time::{Duration, Instant};

use meshkiln_protocol::{UnixMs, event::EventBody, net::YieldStatus};

use super::{State, Stored, Time, workers::Phase};
use crate::{
    catalogue::NetId,
    main_loop::{Answer, Device, Effect},
    worker::frames::Command,
};

#[derive(Debug)]
pub(super) struct Yielded {
    pub since_ms: UnixMs,
    pub until: Option<Instant>,
    pub until_ms: Option<UnixMs>,
    /// Warm when the devices were given away: loaded again afterwards.
    warm: Vec<NetId>,
}

impl State {
    pub(super) fn give_away(
        &mut self,
        time_limit: Option<Duration>,
        now: bool,
        time: Time,
        stored: &dyn Stored,
    ) -> Answer {
        let device = self.setup.devices.nets.clone();
        let until = time_limit.and_then(|limit| time.now.checked_add(limit));
        let until_ms = until.and(time_limit).map(|limit| time.wall.saturating_add(limit.as_millis() as u64));
        let before = self.yielded.take();
        let warm = before.as_ref().map(|before| before.warm.clone());
        self.yielded = Some(Yielded {
            since_ms: before.map_or(time.wall, |before| before.since_ms),
            until,
            until_ms,
            warm: warm.unwrap_or_else(|| self.residency.warm(&device).cloned().collect()),
        });
        if now {
            self.interrupt(&device, time, stored);
        }
        self.free(&device, time);
        self.tell_yield();
        Answer::Done
    }

    pub(super) fn take_back(&mut self, time: Time) -> Answer {
        let Some(yielded) = self.yielded.take() else { return Answer::Done };
        for net in yielded.warm {
            if let Some(net) = self.residency.net_mut(&net) {
                net.wanted = true;
            }
        }
        if let Some(worker) = self.workers.get_mut(&self.setup.devices.nets)
            && worker.phase == Phase::Away
        {
            worker.phase = Phase::Down { until: time.now };
        }
        self.tell_yield();
        Answer::Done
    }

    /// Its time may be up.
    pub(super) fn expire_yield(&mut self, time: Time) {
        if self.yielded.as_ref().and_then(|yielded| yielded.until).is_some_and(|until| until <= time.now) {
            self.take_back(time);
        }
    }

    /// The device is given away: nothing may be started there.
    pub(super) fn is_held(&self, device: &Device) -> bool {
        self.yielded.is_some() && self.setup.devices.nets == *device
    }

    /// Whatever is in the way of an empty device, but a running stage.
    pub(super) fn free(&mut self, device: &Device, time: Time) {
        let Some(worker) = self.workers.get_mut(device) else { return };
        let away = Phase::Freeing { since: time.now };
        match worker.phase {
            Phase::Idle { .. } => {
                worker.phase = away;
                self.out.push(Effect::Send { worker: worker.id, command: Command::Exit });
            }
            Phase::Starting { .. } | Phase::Loading { .. } | Phase::Unloading { .. } => {
                worker.phase = away;
                self.out.push(Effect::Kill { worker: worker.id });
            }
            Phase::Recycling { .. } => worker.phase = away,
            Phase::Down { .. } | Phase::Broken { .. } => {
                worker.phase = Phase::Away;
                self.tell_yield();
            }
            Phase::Busy { .. } | Phase::Killed { .. } | Phase::Freeing { .. } | Phase::Away | Phase::Leaving => {}
        }
    }

    /// The running stage is not waited for.
    fn interrupt(&mut self, device: &Device, time: Time, stored: &dyn Stored) {
        let Some(worker) = self.workers.get_mut(device) else { return };
        let Phase::Busy { run } = worker.phase else { return };
        worker.phase = Phase::Freeing { since: time.now };
        self.out.push(Effect::Kill { worker: worker.id });
        let Some(run) = self.end_run(run) else { return };
        // Told why with those that wait.
        if let Some(ask) = run.ask {
            self.ask_lost(ask, "its device is given away");
        }
        for id in run.jobs {
            self.requeue(id, None, time, stored);
            self.log(id, format!("{}: stopped and queued again: `{device}` is given away", run.stage));
        }
    }

    pub(super) fn tell_yield(&mut self) {
        let yielded = self.yield_status();
        self.out.push(Effect::Publish(EventBody::Yield { yielded }));
    }

    pub(super) fn yield_status(&self) -> Option<YieldStatus> {
        let yielded = self.yielded.as_ref()?;
        let device = &self.setup.devices.nets;
        Some(YieldStatus {
            devices: vec![device.clone()],
            since_ms: yielded.since_ms,
            until_ms: yielded.until_ms,
            freed: self.workers.get(device).is_some_and(|worker| worker.phase == Phase::Away),
        })
    }

    /// Why jobs for this device wait, in words.
    pub(super) fn hold(&self, device: &Device) -> Option<String> {
        self.is_held(device)
            .then(|| format!("`{device}` is given away until `meshkiln resume`, or until its time is up"))
    }
}
