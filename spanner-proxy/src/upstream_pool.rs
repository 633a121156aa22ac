//! Connections to model servers: one pool for HTTP/1.1, and several connections over HTTP/2
//! without upgrade, which gRPC needs.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Version};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use spanner_tower::RequestBody;

use crate::admission::CallerBody;

type Connection = Pool<HttpsConnector<HttpConnector>, RequestBody<CallerBody>>;

/// The connections to one upstream. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http1: Connection,
    /// Several, since a server limits the requests on one connection: a caller that holds all
    /// of those would keep all others out.
    http2: Arc<[Lane]>,
}

/// A connection over HTTP/2, and the requests on it.
#[derive(Debug)]
struct Lane {
    pool: Connection,
    requests: AtomicUsize,
}

/// One request on a connection over HTTP/2, until it is dropped.
#[derive(Debug)]
pub(crate) struct OnLane {
    lanes: Arc<[Lane]>,
    at: usize,
}

/// Which servers' certificates are trusted. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Trust(ClientConfig);

/// Why the platform's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the system's roots of trust cannot be used: {0}")]
pub(crate) struct TrustError(String);

/// Idle connections that are kept to one upstream: more is rarely asked at once.
const MAX_IDLE: usize = 64;
/// HTTP/2 says before it closes (RFC 9113 §6.8).
const IDLE_HTTP2: Duration = Duration::from_secs(30);
/// How often an HTTP/2 connection with requests on it is asked whether it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The longest head of a response, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// What is taken in of one answer over HTTP/2 that its reader does not take, in bytes.
const WINDOW: u32 = 128 * 1024;
/// Requests on one connection over HTTP/2, before another is opened: fewer than servers take
/// (RFC 9113 §6.5.2 recommends 100 at least). Its window holds what each of twice as many
/// leaves unread, so that none is closed to the others.
const PER_LANE: usize = 64;
const MAX_LANES: usize = 64;

impl Trust {
    /// The roots of the platform, read now: some 150 certificates, once for all upstreams.
    pub(crate) fn platform() -> Result<Self, TrustError> {
        ClientConfig::builder()
            .try_with_platform_verifier()
            .map(|builder| Self(builder.with_no_client_auth()))
            .map_err(|error| TrustError(error.to_string()))
    }

    /// No roots, where every upstream is reached without TLS.
    pub(crate) fn nobody() -> Self {
        let builder = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        Self(builder.with_no_client_auth())
    }
}

impl Client {
    /// Connections that take at most this long to make, are kept so long unused, and have so
    /// many requests at once.
    pub(crate) fn new(
        trust: &Trust,
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
                .with_tls_config(trust.0.clone())
                .https_or_http()
        };
        let http1 = tls().enable_http1().wrap_connector(tcp.clone());
        let http2 = tls().enable_http2().wrap_connector(tcp);
        let mut builder = Pool::builder(TokioExecutor::new());
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
            .http2_initial_connection_window_size(WINDOW * (PER_LANE as u32 + 1) * 2)
            .http2_max_send_buf_size(WINDOW as usize)
            .http2_max_header_list_size(MAX_HEAD as u32)
            .http2_keep_alive_interval(KEEP_ALIVE);
        let lanes = max_requests.div_ceil(PER_LANE).clamp(1, MAX_LANES);
        let lane = || Lane {
            pool: builder.build(http2.clone()),
            requests: AtomicUsize::new(0),
        };
        let http2 = iter::repeat_with(lane).take(lanes).collect();
        Self { http1, http2 }
    }

    /// Sends a request: over HTTP/2 if it is one of gRPC, otherwise over HTTP/1.1. What comes
    /// beside is kept until the answer has ended.
    pub(crate) fn send(
        &self,
        mut request: Request<RequestBody<CallerBody>>,
        grpc: bool,
    ) -> (ResponseFuture, Option<OnLane>) {
        if !grpc {
            *request.version_mut() = Version::HTTP_11;
            return (self.http1.request(request), None);
        }
        *request.version_mut() = Version::HTTP_2;
        let on_lane = OnLane::take(&self.http2);
        let pool = on_lane.lane().map_or(&self.http1, |lane| &lane.pool);
        (pool.request(request), Some(on_lane))
    }
}

impl OnLane {
    /// The first connection that has room, or else the one with the fewest requests.
    fn take(lanes: &Arc<[Lane]>) -> Self {
        let counts = lanes
            .iter()
            .map(|lane| lane.requests.load(Ordering::Relaxed));
        let counted = counts.map(|count| count.max(PER_LANE - 1)).enumerate();
        let at = counted
            .min_by_key(|(_, count)| *count)
            .map_or(0, |(at, _)| at);
        let lanes = Arc::clone(lanes);
        let taken = Self { lanes, at };
        if let Some(lane) = taken.lane() {
            lane.requests.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn lane(&self) -> Option<&Lane> {
        self.lanes.get(self.at)
    }
}

impl Drop for OnLane {
    fn drop(&mut self) {
        if let Some(lane) = self.lane() {
            lane.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whether an error is that of a body that the caller did not send whole.
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
