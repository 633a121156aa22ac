//! Entries over HTTP.

use std::time::Duration;

use reqwest::blocking::Response;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};

use crate::receiver::{Parcel, Receive, Undelivered, lines};
use crate::web::{Server, refused};

/// A server that batches are posted to: lines of JSON as `application/x-ndjson`, or
/// OpenTelemetry's logs as protobuf.
///
/// 1. 2xx takes a batch. 400, 413 and 422 reject it for good. Anything else, redirections
///    among them, means later.
/// 2. The header `idempotency-key` is the same for the same batch.
#[derive(Debug)]
pub struct HttpReceiver {
    server: Server,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Lines,
    #[cfg(feature = "otlp")]
    Otlp,
}

impl HttpReceiver {
    /// A server that takes lines.
    pub fn lines(url: impl Into<String>) -> Self {
        Self::of(url.into(), Body::Lines)
    }

    /// A collector that takes OTLP logs; the address is that of the signal, and ends in
    /// `/v1/logs` as a rule.
    #[cfg(feature = "otlp")]
    pub fn otlp(url: impl Into<String>) -> Self {
        Self::of(url.into(), Body::Otlp)
    }

    const fn of(url: String, body: Body) -> Self {
        Self {
            server: Server::new(url, PATIENCE),
            body,
        }
    }

    /// What is sent as `Authorization`. It is never logged.
    #[must_use]
    pub fn authorization(mut self, value: HeaderValue) -> Self {
        self.server.authorization(value);
        self
    }

    /// The same where it changes: asked for with each request. It must not block.
    #[must_use]
    pub fn authorization_from(
        mut self,
        current: impl Fn() -> HeaderValue + Send + Sync + 'static,
    ) -> Self {
        self.server.authorization_from(current);
        self
    }

    /// How long a batch may take. Default: 10 s.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.server.patience = patience;
        self
    }

    fn post(&mut self, parcels: &[Parcel]) -> Result<Response, String> {
        let (media, body) = match self.body {
            Body::Lines => ("application/x-ndjson", lines(parcels)),
            #[cfg(feature = "otlp")]
            Body::Otlp => ("application/x-protobuf", crate::otlp::request(parcels)),
        };
        self.server.send(Method::POST, |request| {
            let request = request.header(CONTENT_TYPE, media).body(body);
            match idempotency_key(parcels) {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            }
        })
    }
}

impl Receive for HttpReceiver {
    fn receive(&mut self, parcels: &[Parcel]) -> Result<(), Undelivered> {
        let answer = self.post(parcels).map_err(Undelivered::later)?;
        let status = answer.status();
        match status {
            _ if status.is_success() => match self.body {
                Body::Lines => Ok(()),
                #[cfg(feature = "otlp")]
                Body::Otlp => crate::otlp::accepted(answer),
            },
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Err(Undelivered::Rejected {
                reason: refused(status),
            }),
            _ => Err(Undelivered::Later {
                reason: refused(status),
                after: retry_after(&answer),
            }),
        }
    }
}

fn idempotency_key(parcels: &[Parcel]) -> Option<String> {
    let (first, last) = (parcels.first()?, parcels.last()?);
    Some(format!("{}-{}", first.key, last.key))
}

/// Seconds to wait, as far as that is said in seconds and is no more than
/// [`MAX_RETRY_AFTER`].
fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.parse().ok().map(Duration::from_secs)?;
    Some(seconds.min(MAX_RETRY_AFTER))
}

/// A receiver that takes longer is no better than one that is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nobody can ask to be left alone for ever.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
