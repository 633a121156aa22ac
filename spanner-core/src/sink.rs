//! The sink, which stores records.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::record::{Decision, Outcome};

/// Why a sink did not store a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkFault {
    /// The sink has no room for the decision and its outcome.
    #[error("the record has no room for another request")]
    Full,
    /// The decision was accepted, and could not be made durable in time or at all.
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

/// Room for one outcome. It is reserved together with the decision, so that recording the outcome
/// later can neither block nor fail.
pub struct Room(Box<dyn FnOnce(Outcome) + Send>);

impl Room {
    /// Room that calls `fill` with the outcome, at most once. `fill` must not block or panic,
    /// because it runs in `Drop`.
    pub fn new(fill: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(Box::new(fill))
    }

    /// Stores the outcome. For sinks that forward records to another sink.
    pub fn fill(self, outcome: Outcome) {
        (self.0)(outcome);
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

/// A decision that the sink has accepted.
#[must_use = "an unacknowledged decision allows nothing"]
pub struct Receipt {
    /// Resolves when the decision is durable.
    pub acknowledged: Acknowledgement,
    /// The room for the outcome.
    pub room: Room,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

/// Requests that are counted instead of recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Count {
    /// A request to a public route (a health check, a token endpoint).
    Public,
    /// A request that the operator exempted with `danger()`.
    Exempt,
    /// A refusal for which the sink had no room. The sink records their number as soon as it has
    /// room again.
    ShedRefusal,
}

/// Stores the two entries of each request: the decision and the outcome. If [`Room`] is dropped
/// without an outcome, another point [enforces](crate::record::Enforcement::External) the decision,
/// and no outcome follows.
///
/// # Security
/// A sink that acknowledges a decision before it is stored permits calls without a record. A sink
/// that loses outcomes hides what happened to the requests.
pub trait AuditSink: Send + Sync + 'static {
    /// Accepts a decision and reserves room for its outcome. It must not block; the caller waits
    /// for the acknowledgement instead.
    ///
    /// # Errors
    /// [`SinkFault::Full`] or [`SinkFault::Closed`]: nothing was accepted, and the request is not
    /// served.
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault>;

    /// Counts a request that has no record. It must not block.
    fn count(&self, what: Count);

    /// Whether the records are available to an auditor after the process has ended. A production
    /// guard refuses to be built with a sink that returns `false`, unless that is allowed
    /// explicitly. Default: `true`.
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
