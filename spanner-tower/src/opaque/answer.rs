//! The trait that asks an issuer about a token, and its answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::authenticate::BoxFuture;
use crate::keys::FetchError;

/// The default lifetime of an answer: a revocation at the issuer takes effect within this time.
pub(crate) const ANSWER_TTL: Duration = Duration::from_secs(30);
/// The longest lifetime that may be configured for an answer: a revoked token must stop within
/// minutes.
pub(crate) const MAX_ANSWER_TTL: Duration = Duration::from_secs(300);

/// Asks an issuer about its opaque tokens. [`Introspection`](super::Introspection) is the
/// implementation for RFC 7662; write another one for a provider with a protocol of its own.
///
/// # Security
/// The answer is trusted as if the issuer had signed it. It must come from the issuer's own
/// server, over an authenticated connection, in response to exactly this token. An
/// implementation must bound how long it waits and how much it reads.
pub trait AskIssuer: Send + Sync + 'static {
    /// Asks about a token.
    ///
    /// # Errors
    /// [`FetchError`] if the issuer cannot be reached or rejects the guard's own credentials.
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, FetchError>>;
}

/// An issuer's answer about a token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The token is active. These are its claims, a JSON object.
    Active(Bytes),
    /// The token is not active: expired, revoked or unknown.
    Inactive,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active(_) => "Active",
            Self::Inactive => "Inactive",
        })
    }
}

/// The lifetimes of answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerTtl {
    /// The lifetime while the issuer is available.
    pub(crate) answer: Duration,
    /// The extension while it is unavailable; `None` selects the default.
    pub(crate) outage: Option<Duration>,
}

/// Reads the body of a response, which must be JSON and of limited size.
pub(super) async fn body(mut response: reqwest::Response) -> Result<Bytes, FetchError> {
    /// The maximum size of an answer, in bytes: one with a thousand groups fits.
    const MAX_BODY: usize = 256 * 1024;
    let headers = response.headers();
    let media_type = headers.get(http::header::CONTENT_TYPE);
    let media_type = media_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(FetchError::new("the answer is not `application/json`"));
    }
    let encoding = headers.get(http::header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::new("the answer has a content encoding"));
    }
    let mut body = bytes::BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| FetchError::new(crate::keys::cause(&error)))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(FetchError::new(format!(
                "the answer exceeds {MAX_BODY} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
