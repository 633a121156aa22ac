//! Who is calling? The first stage's seam.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::request::Parts;
use spanner_core::{Caller, Refusal, Timestamp};

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
    /// The caller, or why there is none. `now` is the wall clock of the guard's host. What
    /// is known of a credential that is refused can be left for the record in the extensions,
    /// as a [`CredentialEntry`](spanner_core::record::CredentialEntry). Who knows whether an
    /// accepted credential still counts a while later is left there as
    /// [`Vouched`](spanner_core::Vouched); without it, conversations outlive a revocation.
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Caller, Refusal>>;

    /// The algorithms of `DPoP` proofs (RFC 9449 §5.1) that it accepts, between spaces;
    /// challenges then offer that scheme too. Default: none.
    fn proof_algorithms(&self) -> Option<&str> {
        None
    }
}

impl<T: Authenticate + ?Sized> Authenticate for Arc<T> {
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Caller, Refusal>> {
        (**self).authenticate(parts, now)
    }

    fn proof_algorithms(&self) -> Option<&str> {
        (**self).proof_algorithms()
    }
}
