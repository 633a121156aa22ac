//! The provider over loopback HTTP.

use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use spanner_core::token::Algorithm;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::MockIdp;
use crate::keys::{Fetched, KeySource};

/// A provider's server, which runs until this is dropped.
#[must_use = "the server runs until this is dropped"]
pub struct Serving {
    task: JoinHandle<()>,
}

impl MockIdp {
    /// A provider whose issuer is its address, `http://127.0.0.1:<port>`, where it serves
    /// discovery and keys until the second value is dropped. A guard reaches it with
    /// [`Issuer::danger_allow_http_loopback`](crate::Issuer::danger_allow_http_loopback).
    #[expect(clippy::expect_used, reason = "a test that cannot go on should fail")]
    pub async fn serve(algorithm: Algorithm) -> (Self, Serving) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let idp = Self::of(&url, algorithm);
        let serving = idp.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let idp = serving.clone();
                let service = service_fn(move |request| respond(idp.clone(), request));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    // A client that leaves is no failure of the provider.
                    let _: Result<(), _> = connection.await;
                });
            }
        });
        (idp, Serving { task })
    }
}

async fn respond(
    idp: MockIdp,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, http::Error> {
    match request.uri().path() {
        "/.well-known/openid-configuration" => {
            let issuer = idp.issuer();
            let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")});
            Response::builder().body(Full::from(metadata.to_string()))
        }
        "/keys" => keys(&idp, request.headers().get(IF_NONE_MATCH)).await,
        _ => status(StatusCode::NOT_FOUND),
    }
}

async fn keys(
    idp: &MockIdp,
    validator: Option<&HeaderValue>,
) -> Result<Response<Full<Bytes>>, http::Error> {
    let validator = validator.and_then(|value| value.to_str().ok());
    let mut response = Response::builder();
    match idp.fetch(validator).await {
        Ok(Fetched::NotModified { .. }) => status(StatusCode::NOT_MODIFIED),
        Ok(Fetched::Document {
            text,
            validator,
            fresh_for,
        }) => {
            if let Some(validator) = validator {
                response = response.header(ETAG, validator);
            }
            if let Some(time) = fresh_for {
                response = response.header(CACHE_CONTROL, format!("max-age={}", time.as_secs()));
            }
            response.body(Full::from(text))
        }
        Err(error) => {
            if let Some(time) = error.retry_after {
                response = response.header(RETRY_AFTER, time.as_secs());
            }
            response
                .status(StatusCode::SERVICE_UNAVAILABLE)
                .body(Full::default())
        }
    }
}

fn status(status: StatusCode) -> Result<Response<Full<Bytes>>, http::Error> {
    Response::builder().status(status).body(Full::default())
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serving")
    }
}
