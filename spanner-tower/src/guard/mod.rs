//! The guard: one tower layer for any axum or tonic service.
//!
//! For each request, in this order:
//!
//! 1. The path is checked and looked up in the [surfaces](crate::surface). One that two
//!    servers could read differently is refused with 400. A public or exempted route
//!    passes here and is only counted.
//! 2. The caller is authenticated. No byte of the body has been read.
//! 3. The target is resolved: every (action, model) pair that the request touches. A body
//!    is read only if the model's name is in it, and only up to a limit.
//! 4. Every pair is decided for every party of the caller.
//! 5. The decision is recorded. Only now there is a permit.
//! 6. The request is forwarded, without the credential and without any `spanner-*` header
//!    that came in.
//! 7. The outcome is recorded when the response has ended, failed or been dropped.
//!
//! Refusals are responses in the dialect of the surface, never errors of the service.
//! Every response says with `spanner-decision` which record it belongs to, with
//! `spanner-origin: guard` whether the guard itself answered, and with `spanner-fault`
//! whose failure it is.
//!
//! The guard itself serves the service's protected resource metadata (RFC 9728) where a
//! [`ProtectedResource`] is configured: before all of this, to anybody, and counted like a
//! public route.
//!
//! The road is [`Guard::check`]; the tower service forwards what it admits. Another front door,
//! such as an adapter for a gateway, calls the same function.
//!
//! # Caveats
//! In axum, [`Router::layer`](https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer)
//! guards only the routes that were added before it. Add the guard last, or wrap the whole
//! router as a service.

mod admission;
mod answer;
mod arrival;
mod asserted;
mod body;
mod builder;
mod classify;
mod conversation;
mod credentials;
mod dialect;
mod exempt;
mod fault;
mod headers;
mod layer;
mod permitted;
mod reauthorize;
mod reply;
mod resource;
mod service;
mod shared;
mod trace;
mod vigil;
mod voice;

pub use admission::{Admission, HeaderChanges};
pub use body::GuardBody;
pub use builder::{BuildError, Danger, GuardBuilder, Problem};
pub use conversation::{Conversation, Ending, MessageRefused};
pub use layer::GuardLayer;
#[cfg(feature = "axum")]
pub use permitted::NotGuarded;
pub use permitted::{Access, Exhausted, Permitted};
pub use reauthorize::{GuardResponse, ReauthorizationRefused, Reauthorize};
pub use reply::Reply;
pub use resource::ProtectedResource;
pub use service::{Guard, GuardService};
