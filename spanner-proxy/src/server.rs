//! Where callers come in: HTTP/1.1 and HTTP/2 without TLS on one port.
//!
//! Everything that a stranger can hold is bounded: connections, heads, streams, the time
//! that a head may take; and what does nothing makes way for what does something. The
//! caller's address is that of the socket; nothing that a request says of it counts.

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

use crate::upstream_body::UpstreamBody;
use crate::connections::{Connections, Full as NoPlace, Line};
use crate::slot_pool::Crowd;
use crate::dispatch::Dispatch;
use crate::headers::{self, Hop};
use crate::health::{self, Health};
use crate::meters::Connected;
use crate::client_stream::Patience;
use crate::target_filter::Targets;
use crate::admission::Turn;
use crate::draining_body::Arriving;

/// What answers at one address. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Front {
    /// Absent where probes are served elsewhere.
    pub(crate) health: Option<Health>,
    /// Absent where nothing but probes is served.
    pub(crate) callers: Option<Callers>,
}

/// What callers get.
#[derive(Clone)]
pub(crate) struct Callers {
    pub(crate) dispatch: Dispatch,
    /// What answers below `/spanner/v1`.
    pub(crate) administration: GuardService<Admin>,
    /// The scheme that callers use, whoever ends their TLS.
    pub(crate) scheme: &'static str,
    /// As many requests wait for a decision at once.
    pub(crate) turns: Crowd,
}

/// What the connections at one address may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) connections: usize,
    pub(crate) per_peer: usize,
    /// How long one may have nothing to do.
    pub(crate) idle: Duration,
    /// How long a client may take nothing of what it is sent.
    pub(crate) stall: Duration,
}

type Answer = Response<Either<Guarded, Full<Bytes>>>;

/// What a guard lets through: from a model server, or from the administration.
type Guarded = Either<GuardBody<UpstreamBody>, GuardBody<Full<Bytes>>>;

const ADMINISTRATION: &str = "/spanner/v1";

impl Front {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr, line: &Line) -> Answer {
        let (parts, body) = request.into_parts();
        let (body, ending) = Arriving::new(&parts, body);
        let request = Request::from_parts(parts, body);
        let mut answer = self.respond(request, peer, line).await;
        ending.say_in(answer.headers_mut());
        answer
    }

    async fn respond(&self, request: Request<Arriving>, peer: SocketAddr, line: &Line) -> Answer {
        line.begin();
        if let Some(health) = &self.health {
            let page = health.page(request.method(), request.uri().path()).await;
            if let Some(page) = page {
                return page.map(Either::Right);
            }
        }
        match &self.callers {
            Some(callers) => callers.answer(request, peer, line).await.map(Either::Left),
            None => health::nothing_else().map(Either::Right),
        }
    }
}

impl Callers {
    async fn answer(
        &self,
        request: Request<Arriving>,
        peer: SocketAddr,
        line: &Line,
    ) -> Response<Guarded> {
        let (mut parts, body) = request.into_parts();
        let (turn, body) = Turn::take(&self.turns, body).await;
        match turn {
            Some(turn) => parts.extensions.insert(turn).map(drop),
            None => parts
                .extensions
                .insert(Exhausted(Share::Requests))
                .map(drop),
        };
        parts.extensions.insert(line.clone());
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

/// Accepts connections until told to stop, then lets them end what they are at, for at most
/// [`DRAIN`].
pub(crate) async fn run(
    listener: TcpListener,
    front: Front,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Connections::new(bounds.connections, bounds.per_peer));
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
        let Some(line) = connections.enter().await else {
            connections.turn_away(stream, NoPlace::All);
            continue;
        };
        let (front, builder, watcher) = (front.clone(), builder.clone(), graceful.watcher());
        let connections = Arc::clone(&connections);
        tasks.spawn(async move {
            if !connections.take_share(&line, peer.ip()).await {
                return connections.turn_away(stream, NoPlace::Peer);
            }
            let _counted = Connected::begin();
            let served = serve(
                stream,
                peer,
                front,
                (&builder, bounds.stall),
                watcher,
                &line,
            );
            tokio::select! {
                () = served => {}
                () = line.over(bounds.idle) => {}
            }
        });
    }
    drop(listener);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        let left = tasks.len();
        tracing::warn!(left, "connections are closed before they are done");
    }
    // Whatever is dropped settles its record.
    tasks.shutdown().await;
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            // Out of file descriptors, most likely: some are closed soon.
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    front: Front,
    (builder, stall): (&Builder<TokioExecutor>, Duration),
    watcher: Watcher,
    line: &Line,
) {
    // Tokens of a stream go out one by one.
    let _: Result<(), _> = stream.set_nodelay(true);
    let line = line.clone();
    let service = service_fn(move |request| {
        let (front, line) = (front.clone(), line.clone());
        async move { Ok::<_, Infallible>(front.answer(request, peer, &line).await) }
    });
    let stream = TokioIo::new(Patience::new(Targets::new(stream), HEAD, stall));
    let connection = builder.serve_connection_with_upgrades(stream, service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
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

/// How long open requests may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(30);
/// How long a request's head may take, the first included. Also how long an HTTP/1
/// connection stays open between two.
const HEAD: Duration = Duration::from_secs(30);
/// The longest head, in bytes: a token of 16 KiB and as much again.
const MAX_HEAD: usize = 32 * 1024;
/// Browsers behind proxies send some thirty.
const MAX_HEADERS: usize = 100;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
/// What is kept of an answer that its client does not take, in bytes.
const MAX_UNSENT: usize = 128 * 1024;
/// Streams that a client gave up before they were looked at (CVE-2023-44487), and those
/// that it made the server give up (CVE-2025-8671), before its connection is closed.
const MAX_RESETS: usize = 20;
const MAX_ERRORS: usize = 1024;
/// How often, and for how long, an HTTP/2 client is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
