//! `events.poll` and `events.subscribe`: the same events by either way, by
//! sequence number, without loss or doubling.

use std::{sync::Arc, time::Duration};

use jsonrpsee::{RpcModule, core::SubscriptionError, server::SendTimeoutError};
use meshkiln_protocol::{
    event::{Event, EventPage, PollParams, SubscribeParams, SubscriptionEnd},
    job::JobId,
};
use serde_json::value::to_raw_value;
use tokio::time::{Instant, timeout_at};

use super::{
    Daemon,
    convert::{CallError, to_wire},
    limits,
    methods::{blocking, read_params},
};
use crate::events::without_stale_progress;

/// Longest page, and the usual one.
const PAGE: (usize, usize) = (1000, 200);
/// Sent to a subscriber between two looks at what is newest.
const BURST: usize = 64;
/// What `Daemon::subscriber_patience` usually is. Shorter than the patience of
/// the socket, whose other calls go on.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub async fn poll(daemon: Arc<Daemon>, params: PollParams) -> Result<EventPage, CallError> {
    let (longest, usual) = PAGE;
    let limit = params.limit.map_or(usual, |limit| limit as usize);
    if !(1..=longest).contains(&limit) {
        return Err(CallError::Params {
            message: format!("`limit`: expected 1 to {longest}, not {limit}"),
            hint: "ask for the next page with `since`".to_owned(),
        });
    }
    let Some(mut since) = params.since else {
        return Ok(EventPage { events: Vec::new(), next: daemon.hub.last_seq(), lost: false });
    };
    let deadline = Instant::now() + Duration::from_millis(params.wait_ms).min(limits::LONGEST_WAIT);
    let mut changes = daemon.hub.changes();
    loop {
        // Marked as seen before looking, so that no event is missed.
        let closed = changes.borrow_and_update().closed;
        let page = page(&daemon, since, limit, params.job).await?;
        if !page.events.is_empty() || page.lost || closed {
            let events = page.events.iter().map(|event| Event::clone(event)).collect();
            return Ok(EventPage { events, next: page.next, lost: page.lost });
        }
        since = page.next;
        if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return Ok(EventPage { events: Vec::new(), next: since, lost: false });
        }
    }
}

pub fn register_subscription(module: &mut RpcModule<Daemon>) {
    let registered = module.register_subscription(
        "events.subscribe",
        "events.event",
        "events.unsubscribe",
        |params, pending, daemon, _| async move {
            let params: SubscribeParams = match read_params(params.as_str()) {
                Ok(params) => params,
                Err(error) => {
                    pending.reject(to_wire(error)).await;
                    return Ok(());
                }
            };
            let since = params.since.unwrap_or_else(|| daemon.hub.last_seq());
            // The connection has gone: nobody is left to tell.
            let Ok(sink) = pending.accept().await else { return Ok(()) };
            tokio::select! {
                end = send_all(&daemon, &sink, since) => end,
                () = sink.closed() => Ok(()),
            }
        },
    );
    registered.unwrap_or_else(|e| panic!("events.subscribe: {e}"));
}

/// Ends when the connection or the daemon does, or the subscriber falls behind.
async fn send_all(
    daemon: &Arc<Daemon>,
    sink: &jsonrpsee::server::SubscriptionSink,
    mut since: u64,
) -> Result<(), SubscriptionError> {
    let mut changes = daemon.hub.changes();
    loop {
        let closed = changes.borrow_and_update().closed;
        let page = match page(daemon, since, BURST, None).await {
            Ok(page) => page,
            Err(error) => return Err(end(to_wire(error).message(), since)),
        };
        if page.lost {
            let first = page.events.first().map_or(page.next, |event| event.seq.saturating_sub(1));
            return Err(end("events in between are no longer known: list what you show again", first));
        }
        let is_all = page.events.len() < BURST;
        // Who keeps up gets everything; who does not is spared what is stale.
        let events = if is_all { page.events } else { without_stale_progress(page.events) };
        for event in events {
            let Ok(message) = to_raw_value(&*event) else { continue };
            match sink.send_timeout(message, daemon.subscriber_patience).await {
                Ok(()) => since = event.seq,
                Err(SendTimeoutError::Timeout(_)) => return Err(end("you took no events for a while", since)),
                Err(SendTimeoutError::Closed(_)) => return Ok(()),
            }
        }
        since = page.next;
        if is_all && (closed || changes.changed().await.is_err()) {
            return Ok(());
        }
    }
}

fn end(message: &str, since: u64) -> SubscriptionError {
    let hint = format!("subscribe again with since = {since}");
    let end = SubscriptionEnd { message: message.to_owned(), hint: hint.clone(), since };
    to_raw_value(&end).map(SubscriptionError::from_json).unwrap_or_else(|_| hint.into())
}

struct Page {
    events: Vec<Arc<Event>>,
    next: u64,
    lost: bool,
}

/// What follows `since`: from the store what is no longer in memory, then memory.
async fn page(daemon: &Arc<Daemon>, since: u64, limit: usize, job: Option<JobId>) -> Result<Page, CallError> {
    let recent = daemon.hub.recent(since, limit, job);
    if since > recent.to {
        // A number from another life of the state folder.
        return Ok(Page { events: Vec::new(), next: recent.to, lost: true });
    }
    if since + 1 >= recent.from {
        return Ok(Page { events: recent.events, next: recent.to, lost: false });
    }
    let backend = daemon.backend.clone();
    let older = blocking(move || Ok(backend.events(since, limit as u32, job)?)).await?;
    let is_full = older.events.len() >= limit;
    let mut events: Vec<_> =
        older.events.into_iter().filter(|event| event.seq > since && event.seq < recent.from).map(Arc::new).collect();
    let lost = older.lost;
    if is_full && let Some(last) = events.last() {
        let next = last.seq;
        return Ok(Page { events, next, lost });
    }
    // Memory may have moved on since; it is looked at again from where the store ends.
    let recent = daemon.hub.recent(recent.from - 1, limit - events.len().min(limit), job);
    events.extend(recent.events);
    Ok(Page { events, next: recent.to, lost })
}
