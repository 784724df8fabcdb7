//! Around every call, whichever way it came (alone, in a batch, as notification,
//! by HTTP or WebSocket): a size, a bound on calls in flight and on answers not yet
//! taken per connection, and a panic that harms nobody else.
//!
//! jsonrpsee's own layers do not see inside batches, run any number of calls at
//! once, and leave a caller without answer when its handler panics.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use jsonrpsee::{
    core::middleware::{Batch, BatchEntry, Notification},
    server::{BatchResponseBuilder, MethodResponse, middleware::rpc::RpcServiceT},
    types::{Id, Request},
};
use meshkiln_protocol::error::ErrorKind;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    convert::{self, CallError},
    limits,
    socket::Unread,
};

/// Put into each request's extensions: which way it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Http,
    WebSocket,
}

/// Bound of one connection, shared by all its calls.
#[derive(Clone)]
pub struct CallLayer {
    in_flight: Arc<Semaphore>,
    unread: Unread,
    methods: Arc<BTreeSet<&'static str>>,
}

impl CallLayer {
    /// `methods` are the names that exist.
    pub fn new(methods: Arc<BTreeSet<&'static str>>, unread: Unread) -> CallLayer {
        CallLayer { in_flight: Arc::new(Semaphore::new(limits::CALLS_IN_FLIGHT)), unread, methods }
    }
}

impl<S> tower::Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub struct Calls<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> RpcServiceT for Calls<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            NotificationResponse = MethodResponse,
            BatchResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let this = self.clone();
        async move {
            let answer = match this.admit() {
                Ok(_permit) => this.run(request).await,
                Err(error) => refuse(request.id, error),
            };
            this.counted(answer)
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let this = self.clone();
        async move {
            // One at a time, hence one place for all of them.
            let permit = this.admit();
            let mut answers = BatchResponseBuilder::new_with_limit(limits::RESPONSE_BYTES as usize);
            let (mut n_answers, mut n_silent) = (0, 0);
            let mut bytes = 0;
            for entry in batch {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) if request.method.starts_with("events.") && !polls(&request) => {
                        refuse(request.id, not_in_a_batch(&request.method))
                    }
                    Ok(BatchEntry::Call(request)) => {
                        bytes += size(&request);
                        match &permit {
                            Err(error) => refuse(request.id, error.clone()),
                            Ok(_) if bytes > limits::REQUEST_BYTES => refuse(request.id, too_large(bytes)),
                            Ok(_) => this.run(request).await,
                        }
                    }
                    Ok(BatchEntry::Notification(_)) => {
                        n_silent += 1;
                        continue;
                    }
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                n_answers += 1;
                if let Err(too_long) = answers.append(answer) {
                    return this.counted(too_long);
                }
            }
            if n_answers == 0 && n_silent > 0 {
                return MethodResponse::notification();
            }
            this.counted(MethodResponse::from_batch(answers.finish()))
        }
    }

    /// Every method here has an answer worth having; a notification asks for none
    /// and gets nothing done. It is counted like a call all the same.
    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let this = self.clone();
        async move {
            let _permit = this.admit();
            tracing::debug!("the notification `{}` was ignored: calls need an id", notification.method.escape_debug());
            MethodResponse::notification().with_extensions(notification.extensions)
        }
    }
}

impl<S> Calls<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Send + Sync,
{
    fn admit(&self) -> Result<SemaphorePermit<'_>, CallError> {
        let unread = self.layer.unread.bytes();
        if unread > limits::UNREAD_BYTES {
            return Err(busy(format!("{unread} bytes of answers wait to be read")));
        }
        let in_flight = || busy(format!("{} calls of this connection are in flight", limits::CALLS_IN_FLIGHT));
        self.layer.in_flight.try_acquire().map_err(|_| in_flight())
    }

    fn counted(&self, answer: MethodResponse) -> MethodResponse {
        self.layer.unread.add(answer.as_ref().len());
        answer
    }

    async fn run(&self, mut request: Request<'_>) -> MethodResponse {
        let bytes = size(&request);
        if bytes > limits::REQUEST_BYTES {
            return refuse(request.id, too_large(bytes));
        }
        if !self.layer.methods.contains(request.method.as_ref()) {
            let name = request.method.chars().take(80).collect();
            return refuse(request.id, CallError::NoSuchMethod(name));
        }
        if matches!(request.method.as_ref(), "events.subscribe" | "events.unsubscribe")
            && request.extensions.get() != Some(&Transport::WebSocket)
        {
            let message = format!("`{}` needs a WebSocket", request.method);
            let hint = "call `events.poll`, which gives the same events".to_owned();
            return refuse(request.id, CallError::Request { message, hint });
        }
        if request.method == "events.unsubscribe" {
            by_position(&mut request);
        }
        let id = request.id.clone().into_owned();
        let method = request.method.clone().into_owned();
        match caught(|| self.inner.call(request)).await {
            Some(answer) => answer,
            None => {
                tracing::error!("the handler of `{method}` panicked");
                refuse(id, CallError::Panicked)
            }
        }
    }
}

/// `None` when making or polling the future panicked.
pub async fn caught<F: Future>(make: impl FnOnce() -> F) -> Option<F::Output> {
    let future = catch_unwind(AssertUnwindSafe(make)).ok()?;
    let mut future = pin!(future);
    // What a panicking handler leaves half-done is dropped with its future; shared
    // state lies behind the loop and the store.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

fn refuse(id: Id<'_>, error: CallError) -> MethodResponse {
    MethodResponse::error(id, convert::to_wire(error))
}

fn busy(message: String) -> CallError {
    convert::refused(ErrorKind::Busy, message, "wait for an answer, then call again")
}

fn too_large(bytes: usize) -> CallError {
    convert::refused(
        ErrorKind::TooLarge,
        format!("the call has {bytes} bytes, more than {}", limits::REQUEST_BYTES),
        "send pictures with PUT /blob/<sha256>, or give their path",
    )
}

fn not_in_a_batch(method: &str) -> CallError {
    CallError::Request { message: format!("`{method}` may not be part of a batch"), hint: "send it alone".to_owned() }
}

fn polls(request: &Request<'_>) -> bool {
    request.method == "events.poll"
}

fn size(request: &Request<'_>) -> usize {
    request.method.len() + request.params.as_ref().map_or(0, |params| params.get().len())
}

/// jsonrpsee reads the parameters of unsubscribing by position; ours are by name.
fn by_position(request: &mut Request<'_>) {
    #[derive(serde::Deserialize)]
    struct ByName<'a> {
        #[serde(borrow)]
        subscription: &'a RawValue,
    }
    let params = request.params.as_ref().map_or("", |params| params.get());
    if let Ok(named) = serde_json::from_str::<ByName>(params)
        && let Ok(list) = RawValue::from_string(format!("[{}]", named.subscription.get()))
    {
        request.params = Some(Cow::Owned(list));
    }
}
