//! Who is calling? The first stage's seam.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::request::Parts;
use spanner_core::record::CredentialEntry;
use spanner_core::{Caller, Obstacle, Outage, Refusal, Timestamp, TokenFault, Vouch};

/// A future on the heap, as object-safe traits give it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The address at the other end of the connection. Put it into the request's extensions before
/// the guard if your server knows it. It goes into the record; and questions about
/// opaque tokens are shared out by it.
///
/// # Security
/// The address of the socket, or what a proxy says that nobody can go around. From a header that
/// callers can write, each of them would be as many peers as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Tells who makes a request. `Bearer` (feature `jwks`) is the implementation that teams
/// use; write another one for mutual TLS or a session, with
/// [`Caller::assertion`](spanner_core::Caller::assertion).
///
/// Called once per request, after the path was found to be well formed and before any byte
/// of the body is read. It may wait, for keys for instance, and must bound how long.
///
/// # Security
/// Whoever this names is who the policies judge and the record accuses. It must answer from
/// what it verified and from nothing else; a credential that it does not understand is an
/// error and never "somebody unknown". It should mark the headers that carry credentials as
/// [sensitive](http::HeaderValue::set_sensitive), so that nothing behind prints them.
pub trait Authenticate: Send + Sync + 'static {
    /// Identifies the caller. `now` is the wall clock of the guard's host.
    ///
    /// # Errors
    /// [`AuthenticationError`]: why nobody is identified.
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Authentication, AuthenticationError>>;

    /// The algorithms of `DPoP` proofs (RFC 9449 §5.1) that it accepts, between spaces;
    /// challenges then offer that scheme too. Default: none.
    fn proof_algorithms(&self) -> Option<&str> {
        None
    }
}

/// A caller that was identified, and how its credential can be checked again.
///
/// A [`Caller`] converts into one without a [`Vouch`].
#[derive(Clone)]
#[non_exhaustive]
pub struct Authentication {
    /// Who calls.
    pub caller: Caller,
    /// Checks later whether the credential still counts. Without it, only the credential's
    /// times are checked again, and a conversation outlives a revocation.
    pub vouch: Option<Arc<dyn Vouch>>,
}

impl Authentication {
    /// A caller whose credential can be checked again.
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

/// Why nobody is identified, and what the record keeps of the credential.
///
/// A [`Refusal`] converts into one without a credential, and so does each of its causes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AuthenticationError {
    /// Why.
    pub refusal: Refusal,
    /// The credential that was refused, if something is known of it.
    pub credential: Option<CredentialEntry>,
}

impl AuthenticationError {
    /// A refused credential that the record names.
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
