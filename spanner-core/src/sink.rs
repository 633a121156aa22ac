//! Where records go.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::record::{Decision, Outcome};

/// Why a sink did not take a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkFault {
    /// There is no room for the decision and its outcome.
    #[error("the record has no room for another request")]
    Full,
    /// The decision was taken and could not be made durable in time, or at all.
    #[error("the decision could not be made durable: {reason}")]
    NotDurable {
        /// What went wrong, for the operator.
        reason: String,
    },
    /// The sink has been closed.
    #[error("the record is closed")]
    Closed,
}

/// Resolves when the decision is as durable as the sink was configured to make it.
pub type Acknowledgement = Pin<Box<dyn Future<Output = Result<(), SinkFault>> + Send>>;

/// Room for one outcome, reserved together with its decision, so that giving the outcome
/// later can neither wait nor fail.
pub struct Room(Box<dyn FnOnce(Outcome) + Send>);

impl Room {
    /// Room that is filled by calling `fill` once. It must not block or panic: it runs in
    /// `Drop`.
    pub fn new(fill: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(Box::new(fill))
    }

    /// Fills it. For sinks that pass records on to another one.
    pub fn fill(self, outcome: Outcome) {
        (self.0)(outcome);
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

/// A decision that the sink has taken.
#[must_use = "an unacknowledged decision allows nothing"]
pub struct Receipt {
    /// Resolves when the decision is durable.
    pub acknowledged: Acknowledgement,
    /// Where the outcome goes.
    pub room: Room,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

/// What is counted and not recorded one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Count {
    /// A request to a route that is public (health, a token endpoint).
    Public,
    /// A request that the operator exempted with `danger()`.
    Exempt,
    /// A refusal for which there was no room. The sink records the number as soon as there
    /// is room again.
    ShedRefusal,
}

/// Takes the two entries of each request: the decision and the outcome. Room that is dropped
/// without being filled is room of a decision that another point
/// [enforces](crate::record::Enforcement::External): no outcome follows.
///
/// # Security
/// A sink that acknowledges before it has stored opens the door to calls that nobody can
/// account for; one that loses outcomes hides what became of them.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes a decision and reserves room for its outcome. Must not block: waiting is what
    /// the acknowledgement is for.
    ///
    /// # Errors
    /// [`SinkFault::Full`] or [`SinkFault::Closed`]: nothing was taken, and the request
    /// will not be served.
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault>;

    /// Counts something that has no record of its own. Must not block.
    fn count(&self, what: Count);

    /// Whether what it takes is there for an auditor after the process has ended. A guard
    /// that is built for production is not made with one that says no, unless that is
    /// allowed by name. Default: `true`.
    fn is_audited(&self) -> bool {
        true
    }
}

impl<T: AuditSink + ?Sized> AuditSink for Arc<T> {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        (**self).record(decision)
    }

    fn count(&self, what: Count) {
        (**self).count(what);
    }

    fn is_audited(&self) -> bool {
        (**self).is_audited()
    }
}
