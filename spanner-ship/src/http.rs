//! Ships entries over HTTP.

use std::time::Duration;

use reqwest::blocking::Response;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode};

use crate::endpoint::{Endpoint, refused};
use crate::receiver::{DeliveryError, Message, Receiver, lines};

/// A server that receives batches by POST: lines of JSON as `application/x-ndjson`, or
/// OpenTelemetry logs as protobuf.
///
/// 1. A 2xx status accepts a batch. The statuses 400, 413 and 422 reject it permanently. Any
///    other status, including redirects, causes a retry.
/// 2. The header `idempotency-key` is the same for every attempt to send a batch.
#[derive(Debug)]
pub struct HttpReceiver {
    endpoint: Endpoint,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Lines,
    #[cfg(feature = "otlp")]
    Otlp,
}

impl HttpReceiver {
    /// Sends lines of JSON.
    pub fn lines(endpoint: impl Into<Endpoint>) -> Self {
        Self::of(endpoint.into(), Body::Lines)
    }

    /// Sends OTLP logs to a collector. The URL is that of the logs signal, which usually ends in
    /// `/v1/logs`.
    #[cfg(feature = "otlp")]
    pub fn otlp(endpoint: impl Into<Endpoint>) -> Self {
        Self::of(endpoint.into(), Body::Otlp)
    }

    fn of(endpoint: Endpoint, body: Body) -> Self {
        let endpoint = endpoint.or_timeout(TIMEOUT);
        Self { endpoint, body }
    }

    fn post(&mut self, messages: &[Message]) -> Result<Response, String> {
        let (media, body) = match self.body {
            Body::Lines => ("application/x-ndjson", lines(messages)),
            #[cfg(feature = "otlp")]
            Body::Otlp => ("application/x-protobuf", crate::otlp::request(messages)),
        };
        self.endpoint.send(Method::POST, |request| {
            let request = request.header(CONTENT_TYPE, media).body(body);
            match idempotency_key(messages) {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            }
        })
    }
}

impl Receiver for HttpReceiver {
    fn receive(&mut self, messages: &[Message]) -> Result<(), DeliveryError> {
        let answer = self.post(messages).map_err(DeliveryError::retry)?;
        let status = answer.status();
        match status {
            _ if status.is_success() => match self.body {
                Body::Lines => Ok(()),
                #[cfg(feature = "otlp")]
                Body::Otlp => crate::otlp::accepted(answer),
            },
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Err(DeliveryError::Rejected {
                reason: refused(status),
            }),
            _ => Err(DeliveryError::Retry {
                reason: refused(status),
                after: retry_after(&answer),
            }),
        }
    }
}

fn idempotency_key(messages: &[Message]) -> Option<String> {
    let (first, last) = (messages.first()?, messages.last()?);
    Some(format!("{}-{}", first.key, last.key))
}

/// The `Retry-After` header in seconds, limited to [`MAX_RETRY_AFTER`]. Dates are ignored.
fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.parse().ok().map(Duration::from_secs)?;
    Some(seconds.min(MAX_RETRY_AFTER))
}

/// A receiver that needs longer is treated as unavailable.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A receiver must not delay shipment indefinitely.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
