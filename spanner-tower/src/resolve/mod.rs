//! What is asked: which pairs of action and model a request touches.
//!
//! 1. [`Routes::classify`] looks at the target alone: its grammar ([`path`]), then the
//!    method and path in the surfaces. Unknown is refused.
//! 2. [`Match::target`] finds every model that the request names. The body is read only if
//!    one stands in it ([`reader`]: [`json`], [`lines`], [`form`], [`refs`]), or message by
//!    message ([`grpc`], [`wire`]). What was read is kept until it is decided, never more
//!    than [`Limits`] allow.
//! 3. What was read is what is forwarded ([`RequestBody`]): the same bytes. A larger body
//!    ([`watch`]) and a stream ([`stream`]) go on being read as they are forwarded, and what
//!    turns up is asked about ([`later`]).
//!
//! Nothing is normalised. What two parsers could read differently is refused, since one of
//! them could stand behind the guard.

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

/// Whatever a body in front of the guard fails with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// How much of a body may be read to find the model's name, for how long, and how much of
/// that one caller may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How much of a body is kept until it is decided, in bytes. Default: 8 MiB, which holds
    /// a dozen photographs inline. Of a larger body, what has come must name the model, or
    /// it is refused with 413; then it is forwarded, read to its end, and broken off if that
    /// contradicts what was decided.
    pub body: usize,
    /// How much is kept at most of a body that has not named its model yet, in bytes, where
    /// the surface says that its API takes so much in front of the name (`hold`). Default:
    /// 128 MiB. What is kept of all bodies together is bounded by
    /// [`bytes_per_caller`](Self::bytes_per_caller) and [`bytes`](Self::bytes).
    pub hold: usize,
    /// How much an encoded body (gzip, deflate, zstd) may unfold to, in bytes. Default:
    /// 64 MiB. It is only looked at, not kept; more is refused with 413.
    pub decoded: usize,
    /// The largest gRPC message, in bytes, as sent and as decoded. Default: 16 MiB, four
    /// times what tonic and gRPC accept unless told otherwise, for servers that were told;
    /// the one message of a call up to what the surface says (`hold`), if that is more.
    pub grpc_message: usize,
    /// How long is waited for the part of a body that is needed, in all and again for each
    /// further [`body`](Self::body) bytes of it. Default: 30 s, in which 8 MiB arrive at
    /// 2.2 Mbit/s. A slower body is refused with 408.
    pub body_wait: Duration,
    /// How long what was allowed goes on at most after the caller's credential expired or was
    /// revoked, or the access stopped allowing it: streams, WebSockets, transfers. Default:
    /// one minute. Only what lasts longer than half of it is looked at again; further
    /// decisions in a conversation look every time.
    pub outlive: Duration,
    /// How long is waited for the first piece of a body, and for each next one. Default:
    /// 20 s. A body that pauses longer is refused with 408, also while it is forwarded, and
    /// so is one that brings less than 500 bytes each second in as much time as `body_wait`.
    /// Once the answer has begun, `idle` counts instead.
    pub body_pause: Duration,
    /// How long a stream of messages may go on without one in either direction. Default:
    /// 10 min.
    pub idle: Duration,
    /// How many requests of one caller may be under way, from the check of its token to the
    /// end of the answer. Default: 512. One more is refused with 429. With an agent, it is
    /// the party that it acts for that counts.
    pub per_caller: usize,
    /// How many bytes of one caller's bodies may wait for a decision, beside the first 64 KiB
    /// of each. Default: 128 MiB. One more is refused with 429. Guards that share a
    /// [`BodyBudget`](crate::BodyBudget) count together.
    pub bytes_per_caller: usize,
    /// How many bytes of all callers' bodies may wait for a decision, counted likewise.
    /// Default: 256 MiB. One more is refused with 503 and `Retry-After`. Guards that share a
    /// [`BodyBudget`](crate::BodyBudget) count together.
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
