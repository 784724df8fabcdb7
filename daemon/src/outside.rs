//! The world as the running daemon has it: real worker processes, real files, and
//! whoever listens to events.

use std::path::PathBuf;

use meshkiln_protocol::{Sha256, event, job::JobId};

use crate::{
    deliver::Deliverer,
    main_loop::{Device, Outside, WorkerId},
    worker::{frames::Command, supervise::Workers},
};

pub struct World<P> {
    pub workers: Workers,
    pub deliverer: Deliverer,
    /// Hands an event to all clients; never waits.
    pub publish: P,
}

impl<P: FnMut(event::Event) + Send> Outside for World<P> {
    fn spawn(&mut self, worker: WorkerId, device: &Device) {
        self.workers.spawn(worker, device);
    }

    fn send(&mut self, worker: WorkerId, command: Command) {
        self.workers.send(worker, command);
    }

    fn kill(&mut self, worker: WorkerId) {
        self.workers.kill(worker);
    }

    fn deliver(&mut self, job: JobId, attempt: u32, asset_sha256: Sha256, output: PathBuf) {
        self.deliverer.deliver(job, attempt, asset_sha256, output);
    }

    fn publish(&mut self, event: event::Event) {
        (self.publish)(event);
    }
}
