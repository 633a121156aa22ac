//! Resolves a request to the pairs of action and model that it touches.
//!
//! 1. [`Routes::classify`] looks at the request's target alone: first its syntax ([`path`]),
//!    then method and path in the surfaces. An unknown route is refused.
//! 2. [`Match::target`] finds every model that the request names. The body is read only if it
//!    contains a name ([`reader`]: [`json`], [`lines`], [`form`], [`refs`]), or message by
//!    message ([`grpc`], [`wire`]). The bytes read are held until the decision, never more than
//!    [`Limits`] allow.
//! 3. The bytes read are the bytes forwarded ([`RequestBody`]). A larger body ([`watch`]) and a
//!    stream ([`stream`]) are examined further while they are forwarded, and new models are
//!    authorized then ([`later`]).
//!
//! Nothing is normalised. A request that two parsers could read differently is refused, because
//! the service could use either parser.

mod body;
mod broken;
mod buffer;
mod check_body;
mod decode;
mod eventstream;
mod evidence;
mod form;
mod found;
mod gather;
mod grpc;
mod head;
mod json;
mod later;
mod lines;
mod pace;
mod path;
mod reader;
mod refs;
mod report;
mod routes;
mod stream;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

pub use body::{BodyError, BodyLate, RequestBody};
pub(crate) use broken::Broken;
pub use check_body::{BodyCut, CheckBody};
pub(crate) use head::{refuse_detours, remove_ours, remove_rewriting};
pub(crate) use later::LaterDecisions;
pub(crate) use pace::Pace;
pub(crate) use report::ReportScan;
pub(crate) use routes::{Match, MessageResolver, RouteClass, Routes};

/// The error of a body in front of the guard.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Limits how much of a body is read to find the model's name and for how long, and how much of
/// that one caller may use at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The bytes of a body that are held until the decision. Default: 8 MiB, which holds a dozen
    /// inline photographs. If a body is larger, these bytes must name the model, or it is
    /// refused with 413. The rest is then scanned while it is forwarded, and the request is
    /// aborted if it contradicts the decision.
    pub body: usize,
    /// The most bytes held of a body that has not named its model yet, if the surface declares
    /// that its API puts that much before the name (`hold`). Default: 128 MiB.
    /// [`bytes_per_caller`](Self::bytes_per_caller) and [`bytes`](Self::bytes) limit all bodies
    /// together.
    pub hold: usize,
    /// The size to which an encoded body (gzip, deflate, zstd) may decode, in bytes. Default: 64
    /// MiB. The decoded bytes are examined and not held. A larger body is refused with 413.
    pub decoded: usize,
    /// The largest gRPC message, in bytes, both encoded and decoded. Default: 16 MiB, four times
    /// the default of tonic and gRPC, for servers with a raised limit. The only message of a
    /// call may have the surface's `hold`, if that is more.
    pub grpc_message: usize,
    /// The time limit for the part of a body that is needed, and again for each further
    /// [`body`](Self::body) bytes of it. Default: 30 s, in which 8 MiB arrive at 2.2 Mbit/s. A
    /// slower body is refused with 408.
    pub body_wait: Duration,
    /// The longest time for which streams, WebSockets and transfers continue after the caller's
    /// credential expired or was revoked, or the access stopped allowing them. Default: one
    /// minute. Only those that last longer than half of it are rechecked. Further decisions in a
    /// conversation always check.
    pub outlive: Duration,
    /// The time limit for the first piece of a body and for each next one. Default: 20 s. A body
    /// that pauses longer is refused with 408, also while it is forwarded. So is one that
    /// averages less than 500 bytes per second over `body_wait`. Once the response has begun,
    /// `idle` applies instead.
    pub body_pause: Duration,
    /// The longest time for which a stream of messages may be silent in both directions.
    /// Default: 10 min.
    pub idle: Duration,
    /// The concurrent requests of one caller, from the check of the token to the end of the
    /// response. Default: 512. Further ones are refused with 429. If an agent acts for another
    /// party, that party counts.
    pub per_caller: usize,
    /// The bytes of one caller's bodies that may be held for a decision, beyond the first 64 KiB
    /// of each body. Default: 128 MiB. Further ones are refused with 429. Guards that share a
    /// [`BodyBudget`](crate::BodyBudget) count together.
    pub bytes_per_caller: usize,
    /// The bytes of all callers' bodies that may be held for a decision, counted in the same
    /// way. Default: 256 MiB. Further ones are refused with 503 and `Retry-After`. Guards that
    /// share a [`BodyBudget`](crate::BodyBudget) count together.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            hold: 128 << 20,
            decoded: 64 << 20,
            grpc_message: 16 << 20,
            body_wait: Duration::from_secs(30),
            outlive: Duration::from_secs(60),
            body_pause: Duration::from_secs(20),
            idle: Duration::from_secs(600),
            per_caller: 512,
            bytes_per_caller: 128 << 20,
            bytes: 256 << 20,
        }
    }
}
