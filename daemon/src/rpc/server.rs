//! One TCP port on 127.0.0.1. In come connections; out go answers of JSON-RPC
//! (POST `/`, or a WebSocket there), blobs (`/blob/<sha256>`) and counters
//! (GET `/metrics`), behind one gate.
//!
//! ```text
//!   accept -> place -> head (timed) -> gate -> route -+-> body (timed, bounded) -> jsonrpsee -> calls.rs -> method
//!                                                     +-> WebSocket upgrade     -> jsonrpsee -> calls.rs -> method
//!                                                     +-> blobs.rs
//!                                                     +-> metrics.rs
//! ```

use std::{collections::BTreeSet, convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::{
    core::middleware::RpcServiceBuilder,
    server::{
        BatchRequestConfig, HttpBody, Methods, PingConfig, Server as JsonRpc, ServerConfig, ServerHandle, StopHandle,
        TowerService, TowerServiceBuilder, stop_channel, ws::is_upgrade_request,
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tower::{
    Service,
    layer::util::{Identity, Stack},
};

use super::{
    Backend, blobs,
    calls::{CallLayer, Transport, caught},
    connections::{Connections, Place},
    gate::Gate,
    limits, metrics,
    reply::{self, Response},
    socket::{Socket, Unread},
};
use crate::{store::blobs::BlobStore, system};

/// Calls of one connection.
type Rpc = TowerService<Stack<CallLayer, Identity>, Identity>;

/// A server that runs until it is stopped or dropped.
pub struct Server {
    addr: SocketAddr,
    handle: ServerHandle,
    connections: Connections,
}

struct Shared {
    gate: Gate,
    connections: Connections,
    rpc: TowerServiceBuilder<Identity, Identity>,
    methods: Methods,
    names: Arc<BTreeSet<&'static str>>,
    blobs: blobs::Blobs,
    backend: Arc<dyn Backend>,
}

/// `port` 0 lets the system choose.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await
}

impl Server {
    pub fn start(
        listener: TcpListener,
        gate: Gate,
        methods: Methods,
        blobs: BlobStore,
        backend: Arc<dyn Backend>,
    ) -> io::Result<Server> {
        let addr = listener.local_addr()?;
        let config = ServerConfig::builder()
            .max_connections(2 * limits::CONNECTIONS as u32) // ours comes first; theirs counts something else
            .max_request_body_size(limits::READ_BYTES as u32)
            .max_response_body_size(limits::RESPONSE_BYTES)
            .max_subscriptions_per_connection(limits::SUBSCRIPTIONS)
            .set_batch_request_config(BatchRequestConfig::Limit(limits::BATCH_CALLS))
            .set_message_buffer_capacity(limits::WAITING_MESSAGES)
            .enable_ws_ping(
                PingConfig::new()
                    .ping_interval(limits::PING_INTERVAL)
                    .inactive_limit(limits::PONG_TIME)
                    .max_failures(1),
            )
            .build();
        let (stop, handle) = stop_channel();
        // Each is an open file; others are needed too.
        let files = system::raise_file_limit().map_or(usize::MAX, |files| files as usize / 2);
        let connections = Connections::new(limits::CONNECTIONS.min(files));
        let shared = Arc::new(Shared {
            gate,
            connections: connections.clone(),
            rpc: JsonRpc::builder().set_config(config).to_service_builder(),
            names: Arc::new(methods.method_names().collect()),
            methods,
            blobs: blobs::Blobs::new(blobs),
            backend,
        });
        tokio::spawn(accept(listener, shared, stop));
        Ok(Server { addr, handle, connections })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Open sockets.
    pub fn n_connections(&self) -> usize {
        self.connections.n_open()
    }

    /// Takes no new connections, lets calls in flight finish for up to `patience`.
    pub async fn stop(self, patience: Duration) {
        // An error means that it has stopped already.
        let _ = self.handle.stop();
        if tokio::time::timeout(patience, self.handle.stopped()).await.is_err() {
            tracing::info!("some calls were still in flight after {patience:?}");
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: StopHandle) {
    let mut stopped = pin!(stop.clone().shutdown());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => return,
        };
        match accepted {
            Ok((stream, _)) => match shared.connections.enter() {
                Some((place, leave)) => _ = tokio::spawn(serve(stream, place, leave, shared.clone(), stop.clone())),
                None => tracing::warn!("a connection was refused: {} are open", shared.connections.n_open()),
            },
            // Most often no file handles are left; some will be given back.
            Err(e) => {
                tracing::warn!("a connection could not be accepted: {e}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, place: Place, leave: Arc<Notify>, shared: Arc<Shared>, stop: StopHandle) {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("no TCP_NODELAY: {e}");
    }
    let number = place.number();
    let unread = Unread::default();
    let layers = RpcServiceBuilder::new().layer(CallLayer::new(shared.names.clone(), unread.clone()));
    let rpc = shared.rpc.clone().set_rpc_middleware(layers).build(shared.methods.clone(), stop.clone());

    let service = service_fn(move |request| {
        let (shared, rpc) = (shared.clone(), rpc.clone());
        async move {
            let answer = caught(|| answer(&shared, number, rpc, request)).await;
            let mut response = answer.unwrap_or_else(|| {
                reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, "the daemon made a mistake", "look into its log")
            });
            reply::harden(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIME)
        .max_headers(64)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Socket::new(stream, place, unread)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.shutdown() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = leave.notified() => Ok(()),
    };
    if let Err(e) = ended {
        tracing::debug!("a connection ended: {e}");
    }
}

async fn answer(shared: &Shared, number: u64, rpc: Rpc, request: Request<Incoming>) -> Response {
    if let Err(refusal) = shared.gate.check(&request) {
        return *refusal;
    }
    shared.connections.trust(number);
    let nothing_there = || reply::refusal(StatusCode::NOT_FOUND, "there is nothing here", "call POST /");
    if request.uri().query().is_some() {
        return nothing_there();
    }
    match request.uri().path() {
        "/" => answer_rpc(rpc, request).await,
        "/metrics" if request.method() == Method::GET => metrics::answer(&shared.backend.view()),
        path => match path.strip_prefix("/blob/") {
            Some(name) => {
                let name = name.to_owned();
                shared.blobs.answer(&name, request).await
            }
            None => nothing_there(),
        },
    }
}

async fn answer_rpc(mut rpc: Rpc, request: Request<Incoming>) -> Response {
    if request.method() == Method::GET && is_upgrade_request(&request) {
        let mut request = request.map(HttpBody::new);
        request.extensions_mut().insert(Transport::WebSocket);
        return match rpc.call(request).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => response,
            Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => response,
            _ => reply::refusal(
                StatusCode::BAD_REQUEST,
                "this is no WebSocket handshake",
                "send `Sec-WebSocket-Version: 13` and a `Sec-WebSocket-Key`",
            ),
        };
    }
    if request.method() != Method::POST {
        let mut response = reply::refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "calls are made with POST, or over a WebSocket",
            "send POST / with a JSON-RPC request",
        );
        reply::set(&mut response, "allow", "POST");
        return response;
    }
    let body = match read_call(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    // Only what we have looked at goes on.
    let mut request = Request::new(HttpBody::new(Full::new(body)));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    request.extensions_mut().insert(Transport::Http);
    match rpc.call(request).await {
        // Only what asked for no answer gets `null`: less than any answer.
        Ok(response) if response.body().size_hint().exact() == Some(4) => {
            reply::with_body(StatusCode::NO_CONTENT, HttpBody::empty())
        }
        Ok(response) => response,
        Err(e) => {
            tracing::error!("jsonrpsee failed: {e}");
            reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, "the daemon made a mistake", "look into its log")
        }
    }
}

async fn read_call(body: Incoming) -> Result<Bytes, Box<Response>> {
    let refuse = |status, message: &str, hint: &str| Err(Box::new(reply::refusal(status, message, hint)));
    let whole = Limited::new(body, limits::READ_BYTES).collect();
    match tokio::time::timeout(limits::CALL_BODY_TIME, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the call has more than {} bytes", limits::READ_BYTES),
            "send pictures with PUT /blob/<sha256>, or give their path",
        ),
        Ok(Err(_)) => refuse(StatusCode::BAD_REQUEST, "the request broke off", "send it again"),
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the request came too slowly", "send it again"),
    }
}
