//! The HTTP server: HTTP/1.1 and HTTP/2 without TLS on one port.
//!
//! Everything that a client can hold is limited: connections, heads, streams, and the time that a
//! head may take. Idle connections are closed for new ones. The caller's address is that of the
//! socket; headers about it are ignored.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use spanner_admin::Admin;
use spanner_core::Share;
use spanner_tower::{Exhausted, GuardBody, GuardService, Peer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use crate::admission::Admission;
use crate::client_stream::{ClientObserver, ClientStream};
use crate::connections::{ConnectionHandle, ConnectionLimit, Connections};
use crate::dispatch::Dispatch;
use crate::draining_body::DrainingBody;
use crate::headers::{self, Hop};
use crate::health::{self, Health};
use crate::meters::Connected;
use crate::slot_pool::SlotPool;
use crate::upstream_body::UpstreamBody;

/// What is served at one address. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Frontend {
    /// `None` where probes are served at another address.
    pub(crate) health: Option<Health>,
    /// `None` where only probes are served.
    pub(crate) callers: Option<Callers>,
}

/// What is served to callers.
#[derive(Clone)]
pub(crate) struct Callers {
    pub(crate) dispatch: Dispatch,
    /// Served below [`ADMINISTRATION`].
    pub(crate) administration: GuardService<Admin>,
    /// The scheme that callers use, wherever TLS is terminated.
    pub(crate) scheme: &'static str,
    /// Limits the requests that wait for a decision.
    pub(crate) admissions: SlotPool,
}

/// The limits of the connections at one address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    pub(crate) connections: usize,
    pub(crate) per_peer: usize,
    /// How long a connection may be idle.
    pub(crate) idle: Duration,
    /// How long a client may accept nothing of a response.
    pub(crate) stall: Duration,
}

type Answer = Response<Either<Guarded, Full<Bytes>>>;

/// A guarded response, from a model server or from the administration.
type Guarded = Either<GuardBody<UpstreamBody>, GuardBody<Full<Bytes>>>;

const ADMINISTRATION: &str = "/spanner/v1";

impl Frontend {
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        connection: &ConnectionHandle,
    ) -> Answer {
        let (parts, body) = request.into_parts();
        let (body, close) = DrainingBody::new(&parts, body);
        let request = Request::from_parts(parts, body);
        let mut answer = self.respond(request, peer, connection).await;
        close.apply_to(answer.headers_mut());
        answer
    }

    async fn respond(
        &self,
        request: Request<DrainingBody>,
        peer: SocketAddr,
        connection: &ConnectionHandle,
    ) -> Answer {
        connection.begin();
        if let Some(health) = &self.health {
            let page = health.page(request.method(), request.uri().path()).await;
            if let Some(page) = page {
                return page.map(Either::Right);
            }
        }
        match &self.callers {
            Some(callers) => callers
                .answer(request, peer, connection)
                .await
                .map(Either::Left),
            None => health::nothing_else().map(Either::Right),
        }
    }
}

impl Callers {
    async fn answer(
        &self,
        request: Request<DrainingBody>,
        peer: SocketAddr,
        connection: &ConnectionHandle,
    ) -> Response<Guarded> {
        let (mut parts, body) = request.into_parts();
        let (admission, body) = Admission::take(&self.admissions, connection.clone(), body).await;
        match admission {
            Some(admission) => parts.extensions.insert(admission).map(drop),
            None => parts
                .extensions
                .insert(Exhausted(Share::Requests))
                .map(drop),
        };
        parts.extensions.insert(connection.clone());
        headers::received(&mut parts);
        let host = parts.headers.get(HOST).cloned();
        let named = || parts.uri.authority()?.as_str().parse().ok();
        let hop = Hop {
            peer: peer.ip(),
            scheme: self.scheme,
            host: host.or_else(named),
        };
        parts.extensions.insert(Peer(peer.ip()));
        parts.extensions.insert(hop);
        if is_administration(parts.uri.path()) {
            let mut guarded = self.administration.clone();
            let Ok(response) = guarded.call(Request::from_parts(parts, body)).await;
            return response.map(Either::Right);
        }
        let mut guarded = self.dispatch.choose(&mut parts).clone();
        let Ok(response) = guarded.call(Request::from_parts(parts, body)).await;
        response.map(Either::Left)
    }
}

fn is_administration(path: &str) -> bool {
    let rest = path.strip_prefix(ADMINISTRATION);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Accepts connections until `stop`. Then it waits for open requests, for at most [`DRAIN`].
pub(crate) async fn run(
    listener: TcpListener,
    front: Frontend,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Connections::new(limits.connections, limits.per_peer));
    let (graceful, mut tasks) = (GracefulShutdown::new(), JoinSet::new());
    let builder = builder();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next() => continue,
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, peer)) = accepted else {
            continue;
        };
        let Some(connection) = connections.enter().await else {
            connections.refuse(stream, ConnectionLimit::All);
            continue;
        };
        let (front, builder, watcher) = (front.clone(), builder.clone(), graceful.watcher());
        let connections = Arc::clone(&connections);
        tasks.spawn(async move {
            if !connections.take_share(&connection, peer.ip()).await {
                return connections.refuse(stream, ConnectionLimit::Peer);
            }
            let _counted = Connected::begin();
            let served = serve(
                stream,
                peer,
                front,
                (&builder, limits.stall),
                watcher,
                &connection,
            );
            tokio::select! {
                () = served => {}
                () = connection.expired(limits.idle) => {}
            }
        });
    }
    drop(listener);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        let left = tasks.len();
        tracing::warn!(left, "connections are closed with requests in progress");
    }
    // A request that is dropped settles its record.
    tasks.shutdown().await;
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            // The process is probably out of file descriptors, and others will be closed soon.
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    front: Frontend,
    (builder, stall): (&Builder<TokioExecutor>, Duration),
    watcher: Watcher,
    connection: &ConnectionHandle,
) {
    // Each token of a stream is sent at once.
    let _: Result<(), _> = stream.set_nodelay(true);
    let connection = connection.clone();
    let service = service_fn(move |request| {
        let (front, connection) = (front.clone(), connection.clone());
        async move { Ok::<_, Infallible>(front.answer(request, peer, &connection).await) }
    });
    let stream = TokioIo::new(ClientStream::new(stream, ClientObserver::new(HEAD, stall)));
    let served = builder.serve_connection_with_upgrades(stream, service);
    if let Err(error) = watcher.watch(served.into_owned()).await {
        tracing::debug!(error, "a connection ended early");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_UNSENT)
        .max_header_list_size(MAX_HEAD as u32)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_ERRORS)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

/// How long open requests may take to end when the service stops: as long as Kubernetes waits by
/// default.
const DRAIN: Duration = Duration::from_secs(30);
/// How long a request's head may take, and how long an HTTP/1 connection stays open between two
/// requests: a slow link sends [`MAX_HEAD`] in less.
const HEAD: Duration = Duration::from_secs(30);
/// The longest head, in bytes: a token of 16 KiB and as much again.
const MAX_HEAD: usize = 32 * 1024;
/// The most headers of a request: browsers behind proxies send some thirty.
const MAX_HEADERS: usize = 100;
/// Requests at once on one HTTP/2 connection: what Go's server allows.
const MAX_STREAMS: u32 = 250;
/// How much of a response is buffered while the client does not read it, in bytes: two windows of
/// HTTP/2.
const MAX_UNSENT: usize = 128 * 1024;
/// How many streams a client may reset before they are accepted until its connection is closed
/// (CVE-2023-44487): hyper's default.
const MAX_RESETS: usize = 20;
/// How many streams a client may make the server reset until its connection is closed
/// (CVE-2025-8671): hyper's default.
const MAX_ERRORS: usize = 1024;
/// How often an idle HTTP/2 client is pinged, and how long it may take to answer: load balancers drop
/// silent connections after a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
