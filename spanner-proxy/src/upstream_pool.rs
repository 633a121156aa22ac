//! Connections to one model server: a pool for HTTP/1.1, and several connections over HTTP/2
//! with prior knowledge, which gRPC needs.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Version};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use spanner_tower::RequestBody;

use crate::admission::CallerBody;

type Connection = Client<HttpsConnector<HttpConnector>, RequestBody<CallerBody>>;

/// The connections to one upstream. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamPool {
    http1: Connection,
    /// Several connections, since a server limits the requests on each: a caller that holds all of
    /// one connection must not keep the others out.
    http2: Arc<[Http2Connection]>,
}

/// A connection over HTTP/2, and the number of requests on it.
#[derive(Debug)]
struct Http2Connection {
    pool: Connection,
    requests: AtomicUsize,
}

/// A request on a connection over HTTP/2. Dropping it ends the count.
#[derive(Debug)]
pub(crate) struct Http2Request {
    connections: Arc<[Http2Connection]>,
    at: usize,
}

/// The certificate authorities that upstreams are verified with. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct TlsRoots(ClientConfig);

/// Why the platform's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the system's roots of trust cannot be used: {0}")]
pub(crate) struct TlsRootsError(String);

/// Idle connections that are kept to one upstream: more requests at once are rare.
const MAX_IDLE: usize = 64;
/// How long an unused HTTP/2 connection is kept. A server announces that it closes one (RFC 9113
/// §6.8), so a request is not lost in a race.
const IDLE_HTTP2: Duration = Duration::from_secs(30);
/// How often an HTTP/2 connection with requests on it is pinged: a dead server is noticed well before
/// `response_timeout`.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The longest head of a response, in bytes: twice what callers may send, since servers add cookies and
/// policies.
const MAX_HEAD: usize = 64 * 1024;
/// How much of one response over HTTP/2 is buffered while the caller does not read it, in bytes: a
/// moment of a fast stream.
const WINDOW: u32 = 128 * 1024;
/// Requests on one connection over HTTP/2 before another is opened: fewer than servers accept
/// (RFC 9113 §6.5.2 recommends 100 at least). The connection's window covers twice as many unread
/// responses, so an unread response does not stall the others.
const PER_CONNECTION: usize = 64;
/// Connections over HTTP/2 to one upstream: enough for 4,096 requests.
const MAX_CONNECTIONS: usize = 64;

impl TlsRoots {
    /// The roots of the platform, read now: some 150 certificates, shared by all upstreams.
    pub(crate) fn platform() -> Result<Self, TlsRootsError> {
        ClientConfig::builder()
            .try_with_platform_verifier()
            .map(|builder| Self(builder.with_no_client_auth()))
            .map_err(|error| TlsRootsError(error.to_string()))
    }

    /// No roots, for a configuration without an `https` upstream.
    pub(crate) fn none() -> Self {
        let builder = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        Self(builder.with_no_client_auth())
    }
}

impl UpstreamPool {
    /// A pool whose connections take at most `connect_timeout` to open, are kept for `idle_timeout`
    /// unused (HTTP/1.1), and carry at most `max_requests` together (HTTP/2).
    pub(crate) fn new(
        roots: &TlsRoots,
        connect_timeout: Duration,
        idle_timeout: Duration,
        max_requests: usize,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let tls = || {
            HttpsConnectorBuilder::new()
                .with_tls_config(roots.0.clone())
                .https_or_http()
        };
        let http1 = tls().enable_http1().wrap_connector(tcp.clone());
        let http2 = tls().enable_http2().wrap_connector(tcp);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(idle_timeout)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD);
        let http1 = builder.build(http1);
        builder
            .http2_only(true)
            .pool_idle_timeout(IDLE_HTTP2)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(WINDOW * (PER_CONNECTION as u32 + 1) * 2)
            .http2_max_send_buf_size(WINDOW as usize)
            .http2_max_header_list_size(MAX_HEAD as u32)
            .http2_keep_alive_interval(KEEP_ALIVE);
        let connections = max_requests
            .div_ceil(PER_CONNECTION)
            .clamp(1, MAX_CONNECTIONS);
        let connection = || Http2Connection {
            pool: builder.build(http2.clone()),
            requests: AtomicUsize::new(0),
        };
        let http2 = iter::repeat_with(connection).take(connections).collect();
        Self { http1, http2 }
    }

    /// Sends a request: a gRPC call over HTTP/2, any other over HTTP/1.1. The caller keeps the
    /// second value until the response has ended.
    pub(crate) fn send(
        &self,
        mut request: Request<RequestBody<CallerBody>>,
        grpc: bool,
    ) -> (ResponseFuture, Option<Http2Request>) {
        if !grpc {
            *request.version_mut() = Version::HTTP_11;
            return (self.http1.request(request), None);
        }
        *request.version_mut() = Version::HTTP_2;
        let http2 = Http2Request::take(&self.http2);
        let pool = http2
            .connection()
            .map_or(&self.http1, |connection| &connection.pool);
        (pool.request(request), Some(http2))
    }
}

impl Http2Request {
    /// Takes the first connection with room, or else the one with the fewest requests.
    fn take(connections: &Arc<[Http2Connection]>) -> Self {
        let counts = connections
            .iter()
            .map(|connection| connection.requests.load(Ordering::Relaxed));
        let counted = counts
            .map(|count| count.max(PER_CONNECTION - 1))
            .enumerate();
        let at = counted
            .min_by_key(|(_, count)| *count)
            .map_or(0, |(at, _)| at);
        let connections = Arc::clone(connections);
        let taken = Self { connections, at };
        if let Some(connection) = taken.connection() {
            connection.requests.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn connection(&self) -> Option<&Http2Connection> {
        self.connections.get(self.at)
    }
}

impl Drop for Http2Request {
    fn drop(&mut self) {
        if let Some(connection) = self.connection() {
            connection.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whether an error comes from a request body that the caller did not send completely.
pub(crate) fn is_callers(error: &Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<spanner_tower::BodyError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
