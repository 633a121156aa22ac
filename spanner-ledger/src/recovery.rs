//! Recovers a ledger on opening: truncates an incomplete write, makes the rest durable, and
//! closes open decisions.
//!
//! Recovery reads all segments, because a decision in any of them may lack its outcome. That
//! takes less than a second per gigabyte, and memory only for the identifiers of open decisions.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use jiff::Timestamp;
use spanner_core::RecordId;
use spanner_core::record::Outcome;

use crate::acknowledge::spans;
use crate::clock::behind;
use crate::entry::Entry;
use crate::error::ReadError;
use crate::evidence::Evidence;
use crate::files::Files;
use crate::head::Head;
use crate::log::Log;
use crate::lost::undeclared;
use crate::retention::sweep;
use crate::scan::{Stored, Tail, Walk, segment_name};

/// What opening the ledger found and repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// The sequence of the first entry that this writer wrote.
    pub next: u64,
    /// The number of bytes of an incomplete write that were truncated. None of them had been
    /// acknowledged.
    pub torn_bytes: u64,
    /// The number of decisions without an outcome, which received the outcome `unknown`.
    pub closed: u64,
    /// The number of entries that could not be compared with any checkpoint, in the directory, in
    /// a note or in a sink. Further entries may have been removed without a trace. 0 for a ledger
    /// that was compared or is new.
    pub uncompared: u64,
}

/// The contents of `ledger.opened`, apart from [`Recovery`].
#[derive(Debug)]
pub(crate) struct OpenedEvent {
    pub(crate) vkey: String,
    /// Whether a different key signed the previous checkpoint.
    pub(crate) is_key_new: bool,
    pub(crate) time: Timestamp,
    /// The file system's name, if its durability is in doubt.
    pub(crate) file_system: Option<&'static str>,
    /// Whether there was no checkpoint to compare the entries with.
    pub(crate) is_uncompared: bool,
    /// Descriptions of other ledgers whose notes are in the place of this ledger's note.
    pub(crate) foreign_notes: Vec<String>,
}

/// Why a ledger could not be recovered.
#[derive(Debug)]
pub(crate) enum Failure {
    Read(ReadError),
    Write(io::Error),
}

impl From<ReadError> for Failure {
    fn from(fault: ReadError) -> Self {
        Self::Read(fault)
    }
}

impl From<io::Error> for Failure {
    fn from(fault: io::Error) -> Self {
        Self::Write(fault)
    }
}

/// The contents of a directory after cleaning up.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) next: u64,
    torn_bytes: u64,
    open: HashSet<RecordId>,
    /// The time of the last entry.
    last: Option<Timestamp>,
}

/// Reads all entries, compares them with the checkpoints, and truncates what was never
/// acknowledged.
pub(crate) fn recover(files: &Arc<dyn Files>, evidence: &Evidence) -> Result<Recovered, Failure> {
    sweep(&**files)?;
    let mut torn_bytes = 0;
    loop {
        let mut found = Recovered::default();
        let mut walk = Walk::new(files)?;
        let mut opening = evidence.opening(&walk)?;
        let (mut last, mut declared) = (None, Vec::new());
        while let Some(stored) = walk.step()? {
            opening.take(&stored)?;
            found.note(&stored);
            declared.extend(spans(&stored.payload));
            last = Some(stored);
        }
        // The file `lost` alone must not be able to hide entries.
        if let Some(fault) = undeclared(walk.gaps(), &declared) {
            return Err(fault.into());
        }
        found.last = last.and_then(|stored| stored.time());
        found.next = walk.next();
        opening.end(found.next)?;
        let tail = walk.tail();
        torn_bytes += tail.map_or(0, |tail| tail.torn);
        // An empty segment would block the next segment, which has the same name.
        let empty = tail.filter(|tail| tail.segment == found.next);
        if let Some(empty) = walk.unwritten().or_else(|| empty.map(|tail| tail.segment)) {
            files.remove(&segment_name(empty))?;
            files.sync()?;
            continue;
        }
        if let Some(tail) = tail {
            seal(&**files, tail)?;
        }
        found.torn_bytes = torn_bytes;
        return Ok(found);
    }
}

/// Truncates the tail and writes the last batch again. After a failed fsync, the data may be
/// readable from memory only, and a second fsync would not report that.
fn seal(files: &dyn Files, tail: Tail) -> io::Result<()> {
    let name = segment_name(tail.segment);
    let mut last = Vec::new();
    let length = tail.end.saturating_sub(tail.unproven);
    files
        .read(&name, tail.unproven)?
        .take(length)
        .read_to_end(&mut last)?;
    let mut file = files.open(&name, tail.unproven)?;
    file.write(&last)?;
    file.truncate(tail.end)?;
    file.sync()
}

impl OpenedEvent {
    fn body(&self, recovery: Recovery) -> serde_json::Value {
        let mut body = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "torn_bytes": recovery.torn_bytes,
            "closed": recovery.closed,
            "vkey": self.vkey,
        });
        if let Some(body) = body.as_object_mut() {
            if let Some(name) = self.file_system {
                body.insert("file_system".to_owned(), name.into());
            }
            if self.is_key_new {
                body.insert("new_key".to_owned(), true.into());
            }
            if recovery.uncompared > 0 {
                body.insert(UNCOMPARED.to_owned(), recovery.uncompared.into());
            }
            if !self.foreign_notes.is_empty() {
                body.insert(
                    "notes_of_others".to_owned(),
                    self.foreign_notes.clone().into(),
                );
            }
        }
        body
    }
}

impl Recovered {
    /// Appends an outcome for each open decision, and the entry `ledger.opened`.
    pub(crate) fn close(self, log: &mut Log, opened: &OpenedEvent) -> io::Result<Recovery> {
        let time = opened.time;
        if let Some(stepped) = self.last.and_then(|last| behind(last, time)) {
            append(log, [stepped])?;
        }
        let outcome = |id: &RecordId| Entry::Outcome(Box::new(Outcome::crashed(*id, time)));
        let mut open: Vec<RecordId> = self.open.into_iter().collect();
        open.sort_unstable();
        for ids in open.chunks(CLOSED_AT_ONCE) {
            append(log, ids.iter().map(outcome))?;
        }
        let recovery = Recovery {
            next: self.next,
            torn_bytes: self.torn_bytes,
            closed: open.len() as u64,
            uncompared: if opened.is_uncompared { self.next } else { 0 },
        };
        append(log, [Entry::event("ledger.opened", opened.body(recovery))])?;
        Ok(recovery)
    }

    fn note(&mut self, stored: &Stored) {
        match Head::of(&stored.payload) {
            Head::Decision(id) => {
                self.open.insert(id);
            }
            Head::Outcome(id) => {
                self.open.remove(&id);
            }
            // A valid entry in a newer format needs no further checks.
            Head::External(_) | Head::Gap | Head::Count | Head::Event | Head::Unknown => {}
        }
    }
}

fn append(log: &mut Log, entries: impl IntoIterator<Item = Entry>) -> io::Result<()> {
    let payloads: Result<Vec<_>, _> = entries.into_iter().map(|entry| entry.payload()).collect();
    let payloads = payloads?;
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    log.append(&payloads)
}

/// The member of `ledger.opened` with the number of entries that could not be compared.
pub(crate) const UNCOMPARED: &str = "uncompared";
/// Bounds the memory of one batch on opening.
const CLOSED_AT_ONCE: usize = 1024;
