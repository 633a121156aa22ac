//! The guard: one tower layer for any axum or tonic service.
//!
//! For each request, in this order:
//!
//! 1. The path is checked and looked up in the [surfaces](crate::surface). A path that two
//!    servers could read differently is refused with 400. Public and exempted routes pass here
//!    and are only counted.
//! 2. The caller is authenticated, before any byte of the body is read.
//! 3. The target is resolved: every (action, model) pair that the request touches. The body is
//!    read only if it contains the model's name, and only up to a limit.
//! 4. Every pair is decided for every party of the caller.
//! 5. The decision is recorded. Only then is there a permit.
//! 6. The request is forwarded, without the credential and without any `spanner-*` header of the
//!    client.
//! 7. The outcome is recorded when the response has ended, failed or been dropped.
//!
//! Refusals are responses in the dialect of the surface, never errors of the service. Three
//! headers of a response explain it: `spanner-decision` is the id of its record,
//! `spanner-origin: guard` says that the guard itself answered, and `spanner-fault` names the
//! party that caused a failure.
//!
//! If a [`ProtectedResource`] is configured, the guard serves the service's protected resource
//! metadata (RFC 9728) itself. That happens before all other steps and for anybody, and is
//! counted like a public route.
//!
//! [`Guard::check`] is this road. The tower service forwards the requests that it admits. Other
//! front doors, such as an adapter for a gateway, call the same function.
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
