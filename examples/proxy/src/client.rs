//! Connections to model servers: one pool for HTTP/1.1, one for HTTP/2 without upgrade,
//! which gRPC needs.

use std::time::Duration;

use http::{Request, Version};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use spanner_tower::RequestBody;

type Connection = Pool<HttpsConnector<HttpConnector>, RequestBody<Incoming>>;

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
/// Shorter than servers usually keep theirs, so that a connection is rarely used in the
/// moment in which it is closed.
const IDLE: Duration = Duration::from_secs(30);
/// How often an HTTP/2 connection with requests on it is asked whether it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The longest head of a response, in bytes.
const MAX_HEAD: usize = 64 * 1024;

impl Client {
    /// Connections that take at most this long to make.
    pub(crate) fn new(connect_timeout: Duration) -> Result<Self, ClientError> {
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
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD);
        let http1 = builder.build(http1);
        builder
            .http2_only(true)
            .http2_adaptive_window(true)
            .http2_max_header_list_size(MAX_HEAD as u32)
            .http2_keep_alive_interval(KEEP_ALIVE);
        let http2 = builder.build(http2);
        Ok(Self { http1, http2 })
    }

    /// Sends a request: over HTTP/2 if it is one of gRPC, otherwise over HTTP/1.1.
    pub(crate) fn send(
        &self,
        mut request: Request<RequestBody<Incoming>>,
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
