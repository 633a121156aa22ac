//! Entries over HTTP.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use super::receiver::{Parcel, Receive, Undelivered, lines};
use crate::web;

/// A server that batches are posted to: lines of JSON as `application/x-ndjson`, or
/// OpenTelemetry's logs as protobuf.
///
/// 1. 2xx takes a batch. 400, 413 and 422 reject it for good. Anything else, redirections
///    among them, means later.
/// 2. The header `idempotency-key` is the same for the same batch.
#[derive(Debug)]
pub struct HttpReceiver {
    url: String,
    client: Option<Client>,
    credential: Option<HeaderValue>,
    body: Body,
    patience: Duration,
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
            url,
            client: None,
            credential: None,
            body,
            patience: PATIENCE,
        }
    }

    /// What is sent as `Authorization`. It is never logged.
    #[must_use]
    pub fn authorization(mut self, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.credential = Some(value);
        self
    }

    /// How long a batch may take. Default: 10 s.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn client(&mut self) -> Result<Client, reqwest::Error> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = web::client(self.patience)?;
        self.client = Some(client.clone());
        Ok(client)
    }

    fn post(&mut self, parcels: &[Parcel]) -> Result<Response, reqwest::Error> {
        let client = self.client()?;
        let (media, body) = match self.body {
            Body::Lines => ("application/x-ndjson", lines(parcels)),
            #[cfg(feature = "otlp")]
            Body::Otlp => ("application/x-protobuf", super::otlp::request(parcels)),
        };
        let mut request = client
            .post(&self.url)
            .header(CONTENT_TYPE, media)
            .body(body);
        if let Some(key) = idempotency_key(parcels) {
            request = request.header("idempotency-key", key);
        }
        if let Some(credential) = &self.credential {
            request = request.header(AUTHORIZATION, credential.clone());
        }
        request.send()
    }
}

impl Receive for HttpReceiver {
    fn receive(&mut self, parcels: &[Parcel]) -> Result<(), Undelivered> {
        let answer = self
            .post(parcels)
            .map_err(|error| Undelivered::later(web::told(error)))?;
        let status = answer.status();
        match status {
            _ if status.is_success() => match self.body {
                Body::Lines => Ok(()),
                #[cfg(feature = "otlp")]
                Body::Otlp => super::otlp::accepted(answer),
            },
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Err(Undelivered::Rejected {
                reason: format!("it answers {}", status.as_u16()),
            }),
            _ => Err(Undelivered::Later {
                reason: format!("it answers {}", status.as_u16()),
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
