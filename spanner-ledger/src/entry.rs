//! The entries of a ledger.

use serde::{Deserialize, Serialize};
use spanner_core::Timestamp;
use spanner_core::record::{Decision, Outcome};

use crate::reader::NumberedEntry;

/// One entry of a ledger: a JSON object whose member `kind` selects the variant.
///
/// The format is part of the compatibility promise: members and kinds may be added, but are never
/// changed or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Entry {
    /// A decision about a request.
    Decision(Box<Decision>),
    /// The outcome of a decision.
    Outcome(Box<Outcome>),
    /// A storage failure.
    Gap(Gap),
    /// Counts of requests that have no entry of their own.
    Count(Counts),
    /// An event of the service or of the ledger itself.
    Event(Event),
}

/// One entry as stored, with its parsed form.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredEntry {
    /// The entry's position in the ledger, counted from 0.
    pub sequence: u64,
    /// The stored bytes: one JSON object. They are a leaf of the ledger's Merkle tree.
    pub json: Vec<u8>,
    /// The parsed entry; `None` if its format is newer than this version.
    pub entry: Option<Entry>,
}

impl StoredEntry {
    /// Parses stored bytes.
    #[must_use]
    pub fn new(sequence: u64, json: Vec<u8>) -> Self {
        let entry = serde_json::from_slice(&json).ok();
        Self {
            sequence,
            json,
            entry,
        }
    }

    /// CRC-32C of the stored bytes.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.json)
    }

    /// The sequence and the parsed entry; `None` if its format is newer than this version.
    #[must_use]
    pub fn numbered(self) -> Option<NumberedEntry> {
        let Self {
            sequence, entry, ..
        } = self;
        entry.map(|entry| NumberedEntry { sequence, entry })
    }
}

/// Records a storage failure. It is the first entry of the segment after the failure.
///
/// No acknowledged entry is missing. Entries that could not be stored in the previous segment
/// follow this one, although their requests were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// When storing failed.
    pub time: Timestamp,
    /// The first sequence of the abandoned segment; absent if no segment could be created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// The sequence from which the contents of that segment are uncertain. Less than the gap's
    /// own sequence only if the durability is not `PowerLoss`.
    pub uncertain: u64,
    /// The number of entries whose first attempt failed.
    pub entries: u64,
    /// The operating system's error.
    pub reason: String,
}

/// Counts since the previous entry of this kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// When the counts were taken.
    pub time: Timestamp,
    /// Requests to public routes, which need no authorization.
    #[serde(default)]
    pub public: u64,
    /// Requests that the operator exempted from authorization.
    #[serde(default)]
    pub exempt: u64,
    /// Refusals that were not recorded individually for lack of room.
    #[serde(default)]
    pub shed_refusal: u64,
}

/// An event that belongs to no request, such as a reload of the access configuration, a
/// promotion, or the opening of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When the event was recorded.
    pub time: Timestamp,
    /// The event's name, a stable word such as `access.reloaded`. Names that begin with `ledger.`
    /// are reserved for the ledger itself.
    pub event: String,
    /// The event's details.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub body: serde_json::Value,
    /// The idempotency key of the life-cycle event, if it was appended with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Entry {
    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Decision(decision) => decision.time,
            Self::Outcome(outcome) => outcome.time,
            Self::Gap(gap) => gap.time,
            Self::Count(counts) => counts.time,
            Self::Event(event) => event.time,
        }
    }

    /// The value of the member `kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Decision(_) => "decision",
            Self::Outcome(_) => "outcome",
            Self::Gap(_) => "gap",
            Self::Count(_) => "count",
            Self::Event(_) => "event",
        }
    }

    /// The bytes to store.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

impl Entry {
    /// An event that happens now.
    pub(crate) fn event(event: &str, body: serde_json::Value) -> Self {
        Self::Event(Event {
            time: Timestamp::now(),
            event: event.to_owned(),
            body,
            key: None,
        })
    }
}
