//! The trait of key sources, and what a fetch returns.

use std::time::Duration;

use bytes::Bytes;

use crate::authenticate::BoxFuture;

/// Fetches an issuer's JWK Set (RFC 7517).
///
/// The issuer's cache calls it when keys are missing or stale, or when a token names an unknown
/// key; never twice at once. It may wait: the cache gives up after [`FETCH_TIMEOUT`].
///
/// # Security
/// Anyone who controls the result can sign as any caller of the issuer. An implementation must
/// authenticate the server (TLS), limit how much it reads, and not follow redirects.
pub trait KeySource: Send + Sync + 'static {
    /// Fetches the keys. `validator` is the entity tag of the cached keys. If it shows that they
    /// are current, a source may return [`Fetched::NotModified`].
    fn fetch<'a>(
        &'a self,
        validator: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}

/// The result of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fetched {
    /// The cached keys are current.
    NotModified {
        /// How long they are fresh, if the source says.
        fresh_for: Option<Duration>,
    },
    /// A JWK Set.
    Document {
        /// Its text, at most [`KeySet::MAX_BYTES`](spanner_core::token::KeySet::MAX_BYTES).
        text: Bytes,
        /// Its entity tag.
        validator: Option<String>,
        /// How long it is fresh, if the source says.
        fresh_for: Option<Duration>,
    },
}

/// Why a fetch failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct FetchError {
    /// What went wrong, in words, without secrets.
    pub reason: String,
    /// How long the source asks clients to wait before the next request.
    pub retry_after: Option<Duration>,
    /// Whether the failure concerns one token only, so that other tokens may still be
    /// introspected.
    pub(crate) about_token: bool,
}

impl FetchError {
    /// A failure with a reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            retry_after: None,
            about_token: false,
        }
    }
}

/// The timeout of a whole fetch: discovery and keys are two exchanges of at most 5 s each.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
