//! Life-cycle events of many models, in one order: the store behind promotions.
//!
//! A [`Journal`] is an append-only list of events that processes share. It decides nothing: the
//! caller computes an event from the earlier ones and states in a [`Condition`] which ones it read.
//! The journal accepts the event only if the condition holds, so that of two processes that decide
//! at the same time only one succeeds.
//!
//! 1. Events have one order, which is the same for every reader. Once a reader has seen an event,
//!    its place does not change, and no event is inserted before it.
//! 2. [`append`](Journal::append) resolves once the event is durable. Until then the event has no
//!    effect, and after an error other than [`JournalError::Unacknowledged`] it never has one.
//! 3. The check of a condition and the append are atomic: no other event comes between them.
//! 4. An [`IdempotencyKey`] identifies one event permanently. Appending again with the same key
//!    returns the existing event, even if its condition no longer holds.
//! 5. A [`Cursor`] is a place in the order. Only the journal that gave it can read it.
//!
//! `spanner-ledger` stores the events in the same ledger as the records of requests. `testing` has
//! a journal in memory and the tests that every journal must pass (feature `test-util`).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::Timestamp;
use crate::name::{Environment, ModelName};

/// The future of a journal's answer.
pub type JournalFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// A store of life-cycle events: see the [module](self).
///
/// `Promotions` of `spanner-admin` reads a journal from its beginning when it opens, appends one
/// event per step, and waits for the events of other processes. No method may block the thread
/// that polls: a journal with blocking I/O does it on a thread of its own. Each call resolves
/// within a time that the journal bounds, except [`wait`](Self::wait).
///
/// # Security
/// What is in force follows from the events alone. A journal that drops an event, puts one
/// before another that was read, returns an event that nobody appended, or ignores a condition
/// can grant access that nobody approved or undo a revocation. A journal that resolves before the
/// event is durable lets a crash undo steps that were reported as taken. Write access to the store
/// is equivalent to the right to approve: protect it like a release signing key.
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Appends an event if its condition holds, and resolves once it is durable.
    ///
    /// Dropping the future does not take the event back: it may or may not be appended, as after
    /// [`JournalError::Unacknowledged`].
    ///
    /// # Errors
    /// [`JournalError::Overtaken`] if the condition does not hold, [`JournalError::TooLarge`],
    /// [`JournalError::KeyReused`], [`JournalError::UnknownCursor`], [`JournalError::ReadOnly`]
    /// and [`JournalError::Unavailable`]: nothing was appended.
    /// [`JournalError::Unacknowledged`]: it may have been. Append it again with the same key, or
    /// read.
    fn append(&self, append: Append) -> JournalFuture<'_, Recorded>;

    /// The events after a cursor, in order, as many as fit into one page.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`], [`JournalError::UnknownCursor`],
    /// [`JournalError::Unavailable`].
    fn read<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, Page>;

    /// Resolves once there are events after a cursor. It may resolve early; read then, and wait
    /// again.
    ///
    /// # Errors
    /// As [`read`](Self::read). Wait a moment before trying again.
    fn wait<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, ()>;
}

impl<J: Journal + ?Sized> Journal for Arc<J> {
    fn append(&self, append: Append) -> JournalFuture<'_, Recorded> {
        (**self).append(append)
    }

    fn read<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, Page> {
        (**self).read(after)
    }

    fn wait<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, ()> {
        (**self).wait(after)
    }
}

/// An event to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Append {
    /// What it is.
    pub kind: EventKind,
    /// Its scope.
    pub scope: Scope,
    /// Its content, without secrets.
    pub body: Value,
    /// What must hold for it to be appended. Default: nothing.
    pub condition: Condition,
    /// The key by which a retry finds it. Default: none, so that a retry appends another event.
    pub key: Option<IdempotencyKey>,
}

/// The scope of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The service as a whole.
    Everything,
    /// One model in one environment.
    Model {
        /// The model.
        model: ModelName,
        /// The environment.
        environment: Environment,
    },
}

/// What must hold for an event to be appended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// No event of this scope was appended after the cursor, so that the event was computed from
    /// the latest state. [`Scope::Everything`] means every event.
    ///
    /// A journal may also refuse because of an event of another scope, if that is simpler. The
    /// caller then reads the new events and decides again.
    Unchanged {
        /// The place of the last event that was read.
        since: Cursor,
        /// Which events count.
        scope: Scope,
    },
}

/// An event as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Its place. Reading after it returns the events that follow.
    pub cursor: Cursor,
    /// When the journal accepted it.
    pub time: Timestamp,
    /// What it is.
    pub kind: EventKind,
    /// Its content.
    pub body: Value,
    /// The key that it was appended with.
    pub key: Option<IdempotencyKey>,
}

/// A part of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The events in order, and the places where events were lost.
    pub items: Vec<Item>,
    /// Where to continue reading; the cursor of the request if there was nothing after it.
    pub end: Cursor,
    /// Whether more items are available.
    pub has_more: bool,
}

/// An item of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// An event.
    Event(Recorded),
    /// Events may have been lost here, and an operator acknowledged the loss. Later events can
    /// depend on them.
    Lost,
}

/// A place in the order of a journal, in a form that only the journal reads. The default is the
/// beginning, before every event.
///
/// Two cursors of one journal are equal only if they are the same place. A reader may store one as
/// text.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Cursor(Option<Arc<str>>);

/// The identifier of an append, chosen by the caller, so that a retry finds the event instead of
/// appending another: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// The kind of an event, as a stable word: `promotion.approved`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventKind(Arc<str>);

/// The topic of a life-cycle event. Journals that share their store with other entries recognize
/// life-cycle events by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// Promotions, and the environments in which they determine what is in force.
    Promotion,
}

/// The text is not a kind of life-cycle event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a kind of life-cycle event", .0.escape_debug())]
pub struct EventKindError(String);

/// The text is not an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an idempotency key has 1 to {} visible ASCII characters",
    IdempotencyKey::MAX_BYTES
)]
pub struct IdempotencyKeyError;

/// Why a journal could not append or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The condition does not hold: another event came first. Nothing was appended.
    #[error("another process recorded `{}` first (entry {})", .by.kind, .by.cursor)]
    Overtaken {
        /// The first event that the condition did not expect.
        by: Box<Recorded>,
    },
    /// The key was given to an event of another kind or with another body. Nothing was appended.
    #[error("the idempotency key was used for another step (entry {by})")]
    KeyReused {
        /// The event that has the key.
        by: Cursor,
    },
    /// The event exceeds the size limit of the journal. Nothing was appended.
    #[error("the event has {bytes} bytes, and at most {limit} can be recorded in one")]
    TooLarge {
        /// Its size, in bytes of JSON.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The journal can only be read. Nothing was appended.
    #[error("the journal can only be read here")]
    ReadOnly,
    /// The journal cannot be reached, or accepts nothing now. Nothing was appended.
    #[error("the journal is not available: {reason}")]
    Unavailable {
        /// What went wrong, for the operator.
        reason: String,
    },
    /// The event may or may not have been appended, now or in a moment: read to find out.
    #[error("the event was not acknowledged in time: {reason}")]
    Unacknowledged {
        /// What went wrong, for the operator.
        reason: String,
    },
    /// An entry was changed after it was appended, or cannot be parsed.
    #[error("the journal cannot be read at {place}: {reason}")]
    Corrupt {
        /// The place in terms of the store: a file and an offset, an entry, a row.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The cursor belongs to another journal, or to events that this one no longer has.
    #[error("the journal has no place `{cursor}`: it is another one, or an older copy of it")]
    UnknownCursor {
        /// The cursor.
        cursor: Cursor,
    },
}

impl Append {
    /// An event without a condition or a key.
    #[must_use]
    pub const fn new(kind: EventKind, scope: Scope, body: Value) -> Self {
        Self {
            kind,
            scope,
            body,
            condition: Condition::None,
            key: None,
        }
    }

    /// Sets the condition.
    #[must_use]
    pub fn only_if(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }

    /// Sets the key, by which a retry finds the event.
    #[must_use]
    pub fn key(self, key: IdempotencyKey) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }
}

impl Recorded {
    /// An event of a journal, without a key.
    #[must_use]
    pub const fn new(cursor: Cursor, time: Timestamp, kind: EventKind, body: Value) -> Self {
        Self {
            cursor,
            time,
            kind,
            body,
            key: None,
        }
    }

    /// Sets the key with which it was appended.
    #[must_use]
    pub fn key(self, key: Option<IdempotencyKey>) -> Self {
        Self { key, ..self }
    }

    /// Whether an append with the same key asks for this event.
    #[must_use]
    pub fn is_of(&self, append: &Append) -> bool {
        (&self.kind, &self.body) == (&append.kind, &append.body)
    }
}

impl Page {
    /// These items, up to a cursor.
    #[must_use]
    pub const fn new(items: Vec<Item>, end: Cursor, has_more: bool) -> Self {
        Self {
            items,
            end,
            has_more,
        }
    }
}

impl Cursor {
    /// A place in a journal. Only journals make cursors.
    pub fn new(place: impl Into<Arc<str>>) -> Self {
        Self(Some(place.into()))
    }

    /// The text from which it was made; `None` at the beginning.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str().unwrap_or("start"))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl IdempotencyKey {
    /// The longest key, in bytes: a UUID or a digest with a prefix fits. Keys are stored
    /// permanently.
    pub const MAX_BYTES: usize = 128;

    /// A key.
    ///
    /// # Errors
    /// [`IdempotencyKeyError`] if it is empty, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, IdempotencyKeyError> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        match fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(text.into())),
            false => Err(IdempotencyKeyError),
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Topic {
    /// The topic of an event's kind; `None` if it is not a life-cycle event.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        match word.split_once('.')?.0 {
            "promotion" | "promotions" => Some(Self::Promotion),
            _ => None,
        }
    }
}

impl EventKind {
    /// A kind of a life-cycle event.
    ///
    /// # Errors
    /// [`EventKindError`] if it has no [`Topic`].
    pub fn new(word: &str) -> Result<Self, EventKindError> {
        match Topic::of(word) {
            Some(_) => Ok(Self(word.into())),
            None => Err(EventKindError(word.to_owned())),
        }
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> Option<Topic> {
        Topic::of(&self.0)
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
