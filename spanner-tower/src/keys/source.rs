//! The trait of key sources, and what a fetch returns.

use std::time::Duration;

use bytes::Bytes;

use crate::authenticate::BoxFuture;

/// Fetches an issuer's JWK Set (RFC 7517).
///
/// Called by the issuer's cache when keys are missing, old, or do not have one that a token
/// names; never twice at once. It may wait: the cache gives up on it after
/// [`FETCH_TIMEOUT`].
///
/// # Security
/// Whoever controls what this returns can sign as any caller of the issuer. It must know
/// with whom it speaks (TLS), bound what it reads, and follow nobody elsewhere.
pub trait KeySource: Send + Sync + 'static {
    /// Fetches. `validator` is the entity tag that came with the keys at hand; a source that
    /// knows them to be current may answer [`Fetched::NotModified`].
    fn fetch<'a>(
        &'a self,
        validator: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fetched {
    /// The keys at hand are current.
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
    /// When the source wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether it says something of one token only; others may be asked about.
    pub(crate) about_token: bool,
}

impl FetchError {
    /// A failure for a reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            retry_after: None,
            about_token: false,
        }
    }
}

/// How long a fetch may take in all: discovery and keys are two exchanges of 5 s at most.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
