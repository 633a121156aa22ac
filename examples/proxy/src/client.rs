//! Connections to model servers: one pool for HTTP/1.1, one for HTTP/2 without upgrade,
//! which gRPC needs.

use std::time::Duration;

use http::{Request, Version};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use spanner_tower::RequestBody;

use crate::turn::CallerBody;

type Connection = Pool<HttpsConnector<HttpConnector>, RequestBody<CallerBody>>;

/// The connections to one upstream. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http1: Connection,
    http2: Connection,
}

/// Why there can be no connections.
#[derive(Debug, thiserror::Error)]
#[error("the system's roots of trust cannot be used: {0}")]
pub(crate) struct ClientError(String);

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

impl Client {
    /// Connections that take at most this long to make, are kept so long unused, and have so
    /// many requests at once.
    pub(crate) fn new(
        connect_timeout: Duration,
        idle_timeout: Duration,
        max_requests: usize,
    ) -> Result<Self, ClientError> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let tls = || {
            HttpsConnectorBuilder::new()
                .try_with_platform_verifier()
                .map(|builder| builder.https_or_http())
                .map_err(|error| ClientError(error.to_string()))
        };
        let http1 = tls()?.enable_http1().wrap_connector(tcp.clone());
        let http2 = tls()?.enable_http2().wrap_connector(tcp);
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
            .http2_initial_connection_window_size(connection_window(max_requests))
            .http2_max_send_buf_size(WINDOW as usize)
            .http2_max_header_list_size(MAX_HEAD as u32)
            .http2_keep_alive_interval(KEEP_ALIVE);
        let http2 = builder.build(http2);
        Ok(Self { http1, http2 })
    }

    /// Sends a request: over HTTP/2 if it is one of gRPC, otherwise over HTTP/1.1.
    pub(crate) fn send(
        &self,
        mut request: Request<RequestBody<CallerBody>>,
        grpc: bool,
    ) -> ResponseFuture {
        let (pool, version) = match grpc {
            true => (&self.http2, Version::HTTP_2),
            false => (&self.http1, Version::HTTP_11),
        };
        *request.version_mut() = version;
        pool.request(request)
    }
}

/// Holds what every request leaves unread, and one more: all share a connection, so a window
/// that some could fill would be closed to the others.
fn connection_window(max_requests: usize) -> u32 {
    const MAX: u32 = (1 << 31) - 1;
    let requests = u32::try_from(max_requests).unwrap_or(MAX);
    WINDOW.saturating_mul(requests.saturating_add(1)).min(MAX)
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
