//! The interface of the first stage: authentication.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::request::Parts;
use spanner_core::record::CredentialEntry;
use spanner_core::{Caller, Obstacle, Outage, Refusal, Timestamp, TokenFault, Vouch};

/// A boxed future, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The address of the connection's peer. If your server knows it, put it into the request's
/// extensions before the guard. The record contains it, and questions about opaque tokens are
/// rationed by it.
///
/// # Security
/// Use the address of the socket, or one set by a proxy that nobody can bypass. With an address
/// from a header that callers can write, each caller can pose as any number of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Authenticates the caller of a request. `Bearer` (feature `jwks`) is the usual implementation;
/// write another one for mutual TLS or a session, with
/// [`Caller::assertion`](spanner_core::Caller::assertion).
///
/// It is called once per request, after the path was validated and before any byte of the body
/// is read. It may wait, for keys for instance, and must bound how long.
///
/// # Security
/// The policies judge, and the record names, the caller that this returns. It must rely on
/// verified evidence only. A credential that it does not understand is an error, never an
/// anonymous caller. It should mark headers that carry credentials as
/// [sensitive](http::HeaderValue::set_sensitive), so that later code does not print them.
pub trait Authenticate: Send + Sync + 'static {
    /// Authenticates the caller. `now` is the wall clock of the guard's host.
    ///
    /// # Errors
    /// [`AuthenticationError`]: why the caller is not authenticated.
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Authentication, AuthenticationError>>;

    /// The accepted algorithms of `DPoP` proofs (RFC 9449 §5.1), separated by spaces. Challenges
    /// then offer that scheme too. Default: none.
    fn proof_algorithms(&self) -> Option<&str> {
        None
    }
}

/// An authenticated caller, and how to check its credential again.
///
/// A [`Caller`] converts into one without a [`Vouch`].
#[derive(Clone)]
#[non_exhaustive]
pub struct Authentication {
    /// The caller.
    pub caller: Caller,
    /// Checks later whether the credential is still valid. Without it, only the credential's
    /// times are checked again, and a conversation outlives a revocation.
    pub vouch: Option<Arc<dyn Vouch>>,
}

impl Authentication {
    /// An authenticated caller whose credential can be checked again.
    #[must_use]
    pub fn vouched(caller: Caller, vouch: Arc<dyn Vouch>) -> Self {
        let vouch = Some(vouch);
        Self { caller, vouch }
    }
}

impl From<Caller> for Authentication {
    fn from(caller: Caller) -> Self {
        let vouch = None;
        Self { caller, vouch }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// Why the caller is not authenticated, and what the record keeps of the credential.
///
/// A [`Refusal`] converts into one without a credential, and so does each of its causes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AuthenticationError {
    /// The reason.
    pub refusal: Refusal,
    /// The refused credential, if anything is known about it.
    pub credential: Option<CredentialEntry>,
}

impl AuthenticationError {
    /// An error with a refused credential for the record.
    #[must_use]
    pub fn of(refusal: impl Into<Refusal>, credential: CredentialEntry) -> Self {
        Self {
            refusal: refusal.into(),
            credential: Some(credential),
        }
    }
}

impl From<Refusal> for AuthenticationError {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            credential: None,
        }
    }
}

impl From<Obstacle> for AuthenticationError {
    fn from(obstacle: Obstacle) -> Self {
        Refusal::from(obstacle).into()
    }
}

impl From<TokenFault> for AuthenticationError {
    fn from(fault: TokenFault) -> Self {
        Refusal::from(fault).into()
    }
}

impl From<Outage> for AuthenticationError {
    fn from(outage: Outage) -> Self {
        Refusal::from(outage).into()
    }
}

impl<T: Authenticate + ?Sized> Authenticate for Arc<T> {
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Authentication, AuthenticationError>> {
        (**self).authenticate(parts, now)
    }

    fn proof_algorithms(&self) -> Option<&str> {
        (**self).proof_algorithms()
    }
}
