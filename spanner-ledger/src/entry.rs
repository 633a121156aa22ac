//! What a ledger holds.

use serde::{Deserialize, Serialize};
use spanner_core::Timestamp;
use spanner_core::record::{Decision, Outcome};

use crate::reader::Numbered;

/// One entry of a ledger: a JSON object whose `kind` is one of these.
///
/// This is part of the compatibility promise: fields and kinds are added, never changed or
/// removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Entry {
    /// Who wanted what where, and whether they may.
    Decision(Box<Decision>),
    /// What became of it.
    Outcome(Box<Outcome>),
    /// The storage failed here.
    Gap(Gap),
    /// What was counted and not recorded one by one.
    Count(Counts),
    /// Something that happened to the service or to the ledger itself.
    Event(Event),
}

/// One entry as the ledger stores it, and parsed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredEntry {
    /// Its place in the ledger, counted from 0.
    pub sequence: u64,
    /// The stored bytes: one JSON object. They are a leaf of the ledger's tree.
    pub json: Vec<u8>,
    /// The parsed entry; `None` if a newer version wrote it.
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

    /// The sequence and the parsed entry; `None` if a newer version wrote it.
    #[must_use]
    pub fn numbered(self) -> Option<Numbered> {
        let Self {
            sequence, entry, ..
        } = self;
        entry.map(|entry| Numbered { sequence, entry })
    }
}

/// A note that storage failed, at the head of the segment that was begun after it.
///
/// Nothing that was acknowledged is missing. What could not be stored in the segment before
/// follows this entry, although whoever waited for it was told that it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// When it failed.
    pub time: Timestamp,
    /// The first sequence of the segment that was given up; absent if none could be begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// From this sequence on it is uncertain what that segment holds. Below the gap's own
    /// sequence only if the durability is not `PowerLoss`.
    pub uncertain: u64,
    /// How many entries could not be stored at the first try.
    pub entries: u64,
    /// What the operating system said.
    pub reason: String,
}

/// How often something happened since the last entry of this kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// When these were added up.
    pub time: Timestamp,
    /// Requests to public routes.
    #[serde(default)]
    pub public: u64,
    /// Requests that the operator exempted.
    #[serde(default)]
    pub exempt: u64,
    /// Refusals for which there was no room.
    #[serde(default)]
    pub shed_refusal: u64,
}

/// Something that happened, apart from requests: access reloaded, a model promoted, the
/// ledger opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When it was given to the ledger.
    pub time: Timestamp,
    /// What happened, in one stable word such as `access.reloaded`. Words that begin with
    /// `ledger.` are the ledger's own.
    pub event: String,
    /// What there is to know about it.
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

    /// The word that stands in `kind`.
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

    /// The bytes that are stored.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

impl Entry {
    /// Something that happened now.
    pub(crate) fn event(event: &str, body: serde_json::Value) -> Self {
        Self::Event(Event {
            time: Timestamp::now(),
            event: event.to_owned(),
            body,
            key: None,
        })
    }
}
