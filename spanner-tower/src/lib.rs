//! Spanner's guard, for any axum or tonic service.
//!
//! [`GuardLayer`] is a tower layer. Each request that passes it is *attributed* to a
//! [`Caller`](spanner_core::Caller), *resolved* to actions on models, *authorized* and
//! *recorded*; what is refused is answered in the words of the API that was called, and
//! never reaches the service behind.
//!
//! ```
//! # #[cfg(feature = "test-util")] {
//! use http::{Request, Response};
//! use spanner_core::testing::{MemorySink, Rules};
//! use spanner_tower::mock_idp::MockIdp;
//! use spanner_tower::{Bearer, GuardLayer, RequestBody, surface};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # type Body = http_body_util::Full<bytes::Bytes>;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let idp = MockIdp::new();
//! let callers = Bearer::builder().issuer(idp.issuer_config().audience("models")).build()?;
//! let rules = Rules::allow(|question| question.party.principal.subject.as_str() == "alice");
//! let ledger = MemorySink::new();
//! let guard = GuardLayer::builder(callers, rules, ledger.clone())
//!     .environment("production".parse()?)
//!     .surface(surface::openai())
//!     .build()?;
//! let service = guard.layer(service_fn(async |_: Request<RequestBody<Body>>| {
//!     Ok::<_, std::convert::Infallible>(Response::new(Body::from("[0.7]")))
//! }));
//!
//! for (who, status) in [("alice", 200), ("mallory", 403)] {
//!     let token = idp.token().sub(who).audience("models").sign();
//!     let request = Request::post("/v1/embeddings")
//!         .header("authorization", format!("Bearer {token}"))
//!         .header("content-type", "application/json")
//!         .body(Body::from(r#"{"model": "acme/sentiment", "input": "hello"}"#))?;
//!     let response = service.clone().oneshot(request).await?;
//!     assert_eq!(response.status(), status);
//! }
//! assert_eq!(ledger.decisions().len(), 2);
//! # Ok(()) }
//! # main().unwrap();
//! # }
//! ```
//!
//! [`Guard::check`] is the same road for a front door that is not a tower service, such as an
//! adapter for a gateway.
//!
//! # The stages
//! | stage | module | asks |
//! |---|---|---|
//! | authenticate | [`Authenticate`], `Bearer` (feature `jwks`) | who is calling? |
//! | resolve | [`surface`], [`Limits`] | what do they want? |
//! | decide | `spanner_core::Authorize`, from `spanner-cedar` | may they? |
//! | forward | [`GuardLayer`] | (the service behind) |
//! | record | `spanner_core::AuditSink`, from `spanner-ledger` | what became of it? |

mod authenticate;
#[cfg(feature = "jwks")]
pub mod bearer;
mod guard;
mod host;
#[cfg(feature = "jwks")]
pub mod keys;
mod media;
#[cfg(feature = "metrics")]
pub mod metered;
#[cfg(feature = "test-util")]
pub mod mock_idp;
#[cfg(feature = "jwks")]
pub mod opaque;
mod peer_network;
mod resolve;
mod resolver;
#[cfg(feature = "test-util")]
pub mod self_check;
mod shares;
pub mod surface;

pub use authenticate::{Authenticate, Authentication, AuthenticationError, BoxFuture, Peer};
#[cfg(feature = "jwks")]
pub use bearer::{Bearer, BearerError, Issuer, PeerCertificate};
#[cfg(feature = "axum")]
pub use guard::NotGuarded;
pub use guard::{
    Access, Admission, BuildError, Conversation, Danger, Ending, Exhausted, Guard, GuardBody,
    GuardBuilder, GuardLayer, GuardResponse, GuardService, HeaderChanges, MessageRefused,
    Permitted, Problem, ProtectedResource, ReauthorizationRefused, Reauthorize, Reply,
};
pub use host::SystemHost;
pub use media::is_grpc;
#[cfg(feature = "jwks")]
pub use opaque::Introspection;
pub use peer_network::PeerNetwork;
pub use resolve::{BodyCut, BodyError, BodyLate, BoxError, CheckBody, Limits, RequestBody};
pub use resolver::{Resolved, Resolver, ResolverError};
pub use shares::BodyBudget;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
