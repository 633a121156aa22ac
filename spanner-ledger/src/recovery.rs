//! Reopening: what a crash left is cut, made durable and closed.
//!
//! All segments are read, since a decision may wait for its outcome in any of them. That
//! takes less than a second per gigabyte, and memory for the identifiers of open decisions only.

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

/// What was found and done when the ledger was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// The sequence of the first entry that this writer wrote.
    pub next: u64,
    /// Bytes at the end that a crash had left unfinished, and that were cut. None of them
    /// had been acknowledged.
    pub torn_bytes: u64,
    /// Decisions without an outcome, which were given the outcome `unknown`.
    pub closed: u64,
    /// Entries that were there without anything to hold them against: no checkpoint in the
    /// directory, no note and no sink that kept one. Whether more stood there cannot be told. 0
    /// for a ledger that was compared, or is new.
    pub uncompared: u64,
}

/// What `ledger.opened` says beside what was found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) vkey: String,
    /// Whether another key signed before.
    pub(crate) is_key_new: bool,
    pub(crate) time: Timestamp,
    /// The file system's name, if that is one to be doubted.
    pub(crate) file_system: Option<&'static str>,
    /// Whether there was nothing signed to hold the entries against.
    pub(crate) is_uncompared: bool,
    /// Of which ledgers there are notes where this one keeps its own.
    pub(crate) strangers: Vec<String>,
}

/// Why a directory could not be recovered.
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

/// What a directory holds, after it was cleaned up.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) next: u64,
    torn_bytes: u64,
    open: HashSet<RecordId>,
    /// The time of the last entry.
    last: Option<Timestamp>,
}

/// Reads all there is, holds it against what is signed, and cuts what was never acknowledged,
/// so that appending can go on.
pub(crate) fn recover(files: &Arc<dyn Files>, evidence: &Evidence) -> Result<Found, Failure> {
    sweep(&**files)?;
    let mut torn_bytes = 0;
    loop {
        let mut found = Found::default();
        let mut walk = Walk::new(files)?;
        let mut opening = evidence.opening(&walk)?;
        let (mut last, mut declared) = (None, Vec::new());
        while let Some(stored) = walk.step()? {
            opening.take(&stored)?;
            found.note(&stored);
            declared.extend(spans(&stored.payload));
            last = Some(stored);
        }
        // The file `lost` alone would be an easy way to make entries go.
        if let Some(fault) = undeclared(walk.gaps(), &declared) {
            return Err(fault.into());
        }
        found.last = last.and_then(|stored| stored.time());
        found.next = walk.next();
        opening.end(found.next)?;
        let tail = walk.tail();
        torn_bytes += tail.map_or(0, |tail| tail.torn);
        // A segment without entries would be in the way of the next one of its name.
        let empty = tail.filter(|tail| tail.segment == found.next);
        if let Some(empty) = walk.unborn().or_else(|| empty.map(|tail| tail.segment)) {
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

/// Cuts the tail and writes the last batch once more: after a sync that failed, what can be
/// read may be in memory only, and a second sync would not say so.
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

impl Opened {
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
            if !self.strangers.is_empty() {
                body.insert("notes_of_others".to_owned(), self.strangers.clone().into());
            }
        }
        body
    }
}

impl Found {
    /// Closes what was left open, in the ledger itself.
    pub(crate) fn close(self, log: &mut Log, opened: &Opened) -> io::Result<Recovery> {
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
            // An entry that a newer version wrote is whole, and that is enough.
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

/// The member of `ledger.opened` that says how many entries could not be compared.
pub(crate) const UNCOMPARED: &str = "uncompared";
/// Outcomes written at once on reopening; bounds memory.
const CLOSED_AT_ONCE: usize = 1024;
