//! The trait that asks an issuer about a token, and its answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::authenticate::BoxFuture;
use crate::keys::FetchError;

/// How long an answer is kept unless configured: a revocation at the issuer counts within this time.
pub(crate) const ANSWER_TTL: Duration = Duration::from_secs(30);
/// How long an answer may be kept, if so configured.
pub(crate) const MAX_ANSWER_TTL: Duration = Duration::from_secs(300);

/// Asks an issuer about tokens of its own. [`Introspection`] is the implementation for RFC
/// 7662; write another one for a provider with a protocol of its own.
///
/// # Security
/// What this answers is believed as if the issuer had signed it. It must come from the
/// issuer's own server, over an authenticated connection, in answer to this very token. It
/// must bound how long it waits and how much it reads.
pub trait AskIssuer: Send + Sync + 'static {
    /// What the issuer says of a token.
    ///
    /// # Errors
    /// [`FetchError`] when the issuer cannot be asked, or does not let us ask.
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, FetchError>>;
}

/// What an issuer says of a token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It is good, and these are its claims: a JSON object.
    Active(Bytes),
    /// It is not, or not any more, or was never.
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

/// For how long answers count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerTtl {
    /// While the issuer answers.
    pub(crate) answer: Duration,
    /// So much longer while it does not; a default where nothing is configured.
    pub(crate) outage: Option<Duration>,
}

/// The body of an answer, if it is JSON and not longer than any that a provider gives.
pub(super) async fn body(mut response: reqwest::Response) -> Result<Bytes, FetchError> {
    /// The longest answer, in bytes: one with a thousand groups fits.
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
