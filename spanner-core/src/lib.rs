//! The nouns and the rules of Spanner.
//!
//! Spanner guards model endpoints. For each request it answers *who* is calling
//! ([`Caller`]), *what* they want ([`Target`]), *may* they ([`Authorize`]), and *what
//! became of it* ([`record`]). This crate holds the types of these answers and the rules
//! between them, and nothing that touches the world: no I/O, no clock, no randomness, no
//! runtime. Time and identifiers come in through [`Host`], effects go out through
//! [`AuditSink`].
//!
//! The centre is [`Gate`]. `Gate::open` owes a record from the moment a request arrives;
//! the [`Attempt`] it returns becomes a [`Permit`] only when the decision to allow stands
//! in the sink, and every other end (a refusal, a panic, a dropped future) leaves exactly
//! one decision and one outcome behind as well.
//!
//! # Who uses what
//!
//! An embedder rarely names this crate: `spanner-tower` drives it from HTTP,
//! `spanner-cedar` implements [`Authorize`], `spanner-ledger` implements [`AuditSink`].
//! Write against it to bring another policy engine or another store.

mod access;
mod action;
mod caller;
pub mod few;
mod gate;
mod host;
mod id;
pub mod journal;
mod name;
mod party;
pub mod promotion;
mod questions;
pub mod record;
mod refusal;
mod sink;
mod spelling;
mod target;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod text;
#[cfg(feature = "jwt")]
pub mod token;
pub mod units;
mod verdict;
mod vouch;

pub use access::{Authorize, Context, Question};
pub use action::{Action, ActionGroup, UnknownAction};
pub use caller::{Assertion, Caller, Credential, Freshness, TooDeep};
pub use few::Few;
pub use gate::{
    Arrival, Attempt, Decided, Gate, Inquiry, Meter, Permit, Refused, Settlement, Usage,
};
pub use host::Host;
pub use id::{IdError, PromotionId, RecordId};
pub use name::{Environment, GroupName, IssuerAlias, ModelName, NameError, Revision, SubjectId};
pub use party::{CallerKind, Group, Party, Principal, Role};
pub use questions::{Answered, NotAgain, Questions};
pub use refusal::{
    Challenge, Denial, Fault, Notice, Obstacle, Outage, Refusal, RequestFault, Share, Status,
    TokenFault, UnknownRoute,
};

pub use sink::{Acknowledgement, AuditSink, Count, Receipt, Room, SinkFault};
pub use spelling::Spelling;
pub use target::{Pair, Resource, Target};
pub use verdict::{Advice, Effect, PolicyIds, StepUp, Verdict, VerdictReason, Verdicts};
pub use vouch::Vouch;

/// A point in time, in UTC with nanosecond resolution; RFC 3339 where it is written.
pub use jiff::Timestamp;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
