//! The nouns and the rules of Spanner.
//!
//! Spanner guards model endpoints. For each request it determines *who* is calling ([`Caller`]),
//! *what* they want ([`Target`]), *whether* they may ([`Authorize`]), and *how* the request ended
//! ([`record`]). This crate has the types of these answers and the rules between them. It has no
//! I/O, no clock, no randomness and no runtime. Time and identifiers come in through [`Host`],
//! records go out through [`AuditSink`].
//!
//! The central type is [`Gate`]. After `Gate::open`, a record is owed. The [`Attempt`] that it
//! returns becomes a [`Permit`] only after the sink has stored the decision to allow the request.
//! Every other end (a refusal, a panic, a dropped future) also leaves exactly one decision and one
//! outcome.
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
