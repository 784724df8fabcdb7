//! How many connections there may be. Those that have not passed the gate yet
//! make room for new ones, so that nobody without the token can lock out those
//! who have it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

#[derive(Clone)]
pub struct Connections {
    max: usize,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    n_open: usize,
    /// Oldest first.
    strangers: BTreeMap<u64, Arc<Notify>>,
}

/// Held as long as the socket is open.
pub struct Place {
    connections: Connections,
    number: u64,
}

impl Connections {
    pub fn new(max: usize) -> Connections {
        Connections { max, inner: Arc::default() }
    }

    /// A place, and what tells its holder to leave. `None` when every place is
    /// taken by somebody who has passed the gate.
    pub fn enter(&self) -> Option<(Place, Arc<Notify>)> {
        let mut inner = self.lock();
        if inner.n_open >= self.max {
            let (_, oldest) = inner.strangers.pop_first()?;
            oldest.notify_one();
        }
        let number = inner.next;
        inner.next += 1;
        inner.n_open += 1;
        let leave = Arc::new(Notify::new());
        inner.strangers.insert(number, leave.clone());
        Some((Place { connections: self.clone(), number }, leave))
    }

    /// The holder of this place has passed the gate.
    pub fn trust(&self, number: u64) {
        self.lock().strangers.remove(&number);
    }

    pub fn n_open(&self) -> usize {
        self.lock().n_open
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.connections.lock();
        inner.n_open -= 1;
        inner.strangers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_make_room_and_the_trusted_stay() {
        let connections = Connections::new(2);
        let (trusted, _) = connections.enter().unwrap();
        connections.trust(trusted.number());
        let (_stranger, leave) = connections.enter().unwrap();
        let (another, _) = connections.enter().expect("the stranger has to make room");
        assert!(tokio_test_notified(&leave), "nobody told the stranger to leave");
        connections.trust(another.number());
        drop(_stranger);
        assert!(connections.enter().is_none(), "a trusted connection was pushed out");
        drop(another);
        assert!(connections.enter().is_some());
        drop(trusted);
        assert_eq!(connections.n_open(), 0);
    }

    fn tokio_test_notified(notify: &Notify) -> bool {
        use std::{
            pin::pin,
            task::{Context, Poll, Waker},
        };
        pin!(notify.notified()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }
}
