//! Reads a ledger, even while a service writes to it.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use spanner_core::record::{Decision, Finish, Outcome};

use crate::entry::{Entry, StoredEntry};
use crate::error::ReadError;
use crate::files::Files;
use crate::files::disk::Disk;
use crate::lost::Missing;
use crate::notes::{Notes, NotesBuilder};
use crate::scan::{Stored, Walk};
use crate::select::Selection;

/// Reads the ledger in a directory. Takes no lock and does not disturb the writer. Each iteration
/// sees at least the entries that existed when it began.
#[derive(Debug, Clone)]
pub struct Reader {
    files: Arc<dyn Files>,
    partial: bool,
}

/// An entry and its sequence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NumberedEntry {
    /// The entry's position, counted from 0 without gaps.
    pub sequence: u64,
    /// The entry.
    pub entry: Entry,
}

/// One request: its decision and its outcome.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The sequence of the decision.
    pub sequence: u64,
    /// The decision: caller, target, and effect.
    pub decision: Decision,
    /// The outcome. `None` while the request is open, and if another component
    /// [enforces](spanner_core::record::Enforcement::External) the decision and reports no
    /// outcome.
    pub outcome: Option<Outcome>,
}

impl Row {
    /// The request's state in one word: the class of its outcome; `open` while it is in progress;
    /// `external` if another component enforces the decision and reported no outcome.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.outcome {
            Some(outcome) => outcome.class.as_str(),
            None if self.decision.enforcement.is_external() => "external",
            None => "open",
        }
    }

    /// The time from arrival to the end, in microseconds. `None` without an outcome, or if the
    /// process crashed before the request ended and the time is therefore unknown.
    #[must_use]
    pub fn duration_us(&self) -> Option<u64> {
        let measured = |it: &&Outcome| it.finish != Finish::Crash;
        self.outcome
            .as_ref()
            .filter(measured)
            .map(|it| it.duration_us)
    }
}

impl Reader {
    /// Opens the ledger in a directory for reading.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, ReadError> {
        let reader = Self::of(Arc::new(Disk::reading(dir.as_ref())));
        reader.walk()?;
        Ok(reader)
    }

    /// Opens a damaged ledger for reading. Skips segments that are missing or damaged. The
    /// [`Notes`] of each iteration list the missing entries, up to the end of what the checkpoint
    /// in the directory covers. Verification is not affected.
    ///
    /// # Errors
    /// [`ReadError::Io`] if the directory or a file in it cannot be read.
    pub fn partial(dir: impl AsRef<Path>) -> Result<Self, ReadError> {
        let mut reader = Self::of(Arc::new(Disk::reading(dir.as_ref())));
        reader.partial = true;
        reader.walk()?;
        Ok(reader)
    }

    pub(crate) fn of(files: Arc<dyn Files>) -> Self {
        Self {
            files,
            partial: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn partial_of(files: Arc<dyn Files>) -> Self {
        Self {
            files,
            partial: true,
        }
    }

    /// Iterates over all entries, in order.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn entries(&self) -> Result<Entries, ReadError> {
        self.entries_of(b"")
    }

    /// All requests with their outcomes, in order. Collects them in memory; [`Reader::rows`]
    /// returns them one by one.
    ///
    /// # Errors
    /// [`ReadError`] if the ledger is damaged or cannot be read. Entries in a newer format are
    /// omitted.
    pub fn show(&self) -> Result<Vec<Row>, ReadError> {
        self.select(&Selection::new())
    }

    /// The selected requests, as [`Reader::rows`] returns them, collected in memory.
    ///
    /// # Errors
    /// As [`Reader::show`].
    pub fn select(&self, selection: &Selection) -> Result<Vec<Row>, ReadError> {
        self.rows(selection)?.collect()
    }

    /// Iterates over the [events](crate::Event) only, in order. Skips decisions and outcomes
    /// without parsing them, so this is several times faster than filtering
    /// [`entries`](Self::entries).
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn events(&self) -> Result<Entries, ReadError> {
        self.entries_of(EVENT)
    }

    /// The events from an entry on. May begin a few events earlier.
    pub(crate) fn events_from(&self, from: u64) -> Result<Entries, ReadError> {
        self.entries_from(from, EVENT)
    }

    /// Writes all entries as JSON lines, each as it is stored, preceded by its `sequence`.
    /// Returns the number of lines.
    ///
    /// # Errors
    /// [`ReadError`] if the ledger is damaged, cannot be read, or `out` cannot be written.
    pub fn json_lines(&self, out: &mut dyn Write) -> Result<u64, ReadError> {
        let export = |source| ReadError::Export { source };
        let mut walk = self.walk()?;
        let mut lines = 0;
        while let Some(stored) = walk.step()? {
            let members = stored.payload.strip_prefix(b"{").unwrap_or_default();
            write!(out, "{{\"sequence\":{},", stored.sequence).map_err(export)?;
            out.write_all(members).map_err(export)?;
            out.write_all(b"\n").map_err(export)?;
            lines += 1;
        }
        out.flush().map_err(export)?;
        Ok(lines)
    }

    pub(crate) const fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Iterates over all entries in order, as they are stored. `selection` affects only the
    /// [notes](StoredEntries::notes) and omits no entry.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn stored_entries(&self, selection: &Selection) -> Result<StoredEntries, ReadError> {
        // Read before the entries, because the ledger may grow in between.
        let signed = self.signed();
        let walk = self.walk()?;
        let notes = NotesBuilder::new(selection, walk.pruned());
        let steps = Steps::new(walk, signed);
        Ok(StoredEntries { steps, notes })
    }

    /// Whether the ledger has no entries.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn is_empty(&self) -> Result<bool, ReadError> {
        Ok(self.entries()?.next().is_none())
    }

    /// Iterates over all decisions, in order.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn decisions(&self) -> Result<Decisions, ReadError> {
        Ok(Decisions {
            known: self.known(&Selection::new())?,
            fault: None,
        })
    }

    /// All entries whose format this version understands.
    pub(crate) fn known(&self, selection: &Selection) -> Result<Known, ReadError> {
        self.stored_entries(selection).map(Known)
    }

    /// The outcomes from an entry on. May begin a few outcomes earlier.
    pub(crate) fn outcomes(&self, from: u64) -> Result<Entries, ReadError> {
        self.entries_from(from, OUTCOME)
    }

    fn entries_from(&self, from: u64, only: &'static [u8]) -> Result<Entries, ReadError> {
        let files = Arc::clone(&self.files);
        let walk = match self.partial {
            true => Walk::partial_from(files, from)?,
            false => Walk::from(files, from)?,
        };
        Ok(Entries {
            steps: Steps::new(walk, 0),
            only,
        })
    }

    fn entries_of(&self, only: &'static [u8]) -> Result<Entries, ReadError> {
        // Read before the entries, because the ledger may grow in between.
        let signed = self.signed();
        Ok(Entries {
            steps: Steps::new(self.walk()?, signed),
            only,
        })
    }

    /// The number of signed entries, for a partial reader that reports missing ones.
    fn signed(&self) -> u64 {
        let checkpoint = self.partial.then(|| self.checkpoint().ok().flatten());
        checkpoint.flatten().map_or(0, |it| it.size())
    }

    fn walk(&self) -> Result<Walk, ReadError> {
        match self.partial {
            true => Walk::partial(&self.files),
            false => Walk::new(&self.files),
        }
    }
}

/// An iterator over the entries of a ledger. Ends after damage. Continues after a valid entry in
/// an unknown format ([`ReadError::Unknown`]).
#[derive(Debug)]
pub struct Entries {
    steps: Steps,
    /// The prefix of the entries to return; others are skipped.
    only: &'static [u8],
}

impl Entries {
    /// The missing entries, once the iteration has ended: those whose loss was acknowledged and,
    /// for [`Reader::partial`], all others that are missing or damaged.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.steps.missing
    }
}

/// The prefix of every event. `kind` is always the first member.
const EVENT: &[u8] = br#"{"kind":"event""#;
/// The prefix of every outcome.
const OUTCOME: &[u8] = br#"{"kind":"outcome""#;

impl Iterator for Entries {
    type Item = Result<NumberedEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let only = self.only;
        let is_wanted = |step: &Result<Stored, ReadError>| match step {
            Ok(stored) => stored.payload.starts_with(only),
            Err(_) => true,
        };
        let step = self.steps.find(is_wanted)?;
        Some(step.and_then(|stored| {
            let sequence = stored.sequence;
            match serde_json::from_slice(&stored.payload) {
                Ok(entry) => Ok(NumberedEntry { sequence, entry }),
                Err(source) => Err(ReadError::Unknown { sequence, source }),
            }
        }))
    }
}

/// The steps of a walk until it ends, and the entries that are missing by then.
#[derive(Debug)]
struct Steps {
    walk: Option<Walk>,
    /// The number of signed entries.
    signed: u64,
    missing: Vec<Missing>,
}

impl Steps {
    const fn new(walk: Walk, signed: u64) -> Self {
        Self {
            walk: Some(walk),
            signed,
            missing: Vec::new(),
        }
    }
}

impl Iterator for Steps {
    type Item = Result<Stored, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let walk = self.walk.as_mut()?;
        let step = walk.step();
        if let Ok(None) = step {
            self.missing = walk.missing_of(self.signed);
        }
        if !matches!(step, Ok(Some(_))) {
            self.walk = None;
        }
        step.transpose()
    }
}

/// An iterator over the entries of a ledger as they are stored; see [`Reader::stored_entries`].
/// Ends after damage.
#[derive(Debug)]
pub struct StoredEntries {
    steps: Steps,
    notes: NotesBuilder,
}

impl StoredEntries {
    /// What was omitted, and why the selection may be empty. Complete once the iteration has
    /// ended.
    #[must_use]
    pub fn notes(&self) -> Notes {
        let mut notes = self.notes.notes();
        notes.missing = self.steps.missing.clone();
        notes
    }
}

impl Iterator for StoredEntries {
    type Item = Result<StoredEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.steps.next()?;
        Some(step.map(|stored| {
            let stored = StoredEntry::new(stored.sequence, stored.payload);
            match &stored.entry {
                Some(entry) => self.notes.observe(entry),
                None => self.notes.skip_unknown(),
            }
            stored
        }))
    }
}

/// An iterator over all decisions of a ledger; see [`Reader::decisions`]. Ends after damage. Call
/// [`end`](Self::end) to distinguish that from the end of the ledger.
#[derive(Debug)]
pub struct Decisions {
    known: Known,
    fault: Option<ReadError>,
}

impl Decisions {
    /// Returns the error that ended the iteration, if any. Call this after the last item.
    ///
    /// # Errors
    /// The [`ReadError`] that ended the iteration before the end of the ledger.
    pub fn end(&mut self) -> Result<(), ReadError> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// What was omitted. Complete once the iteration has ended.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.known.notes()
    }
}

impl Iterator for Decisions {
    type Item = Decision;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.known.next()? {
                Ok(NumberedEntry {
                    entry: Entry::Decision(decision),
                    ..
                }) => return Some(*decision),
                Ok(_) => {}
                Err(fault) => {
                    self.fault = Some(fault);
                    return None;
                }
            }
        }
    }
}

/// The entries whose format this version understands, with notes about the others.
#[derive(Debug)]
pub(crate) struct Known(StoredEntries);

impl Known {
    /// The notes about the entries read up to now.
    pub(crate) fn notes(&self) -> Notes {
        self.0.notes()
    }
}

impl Iterator for Known {
    type Item = Result<NumberedEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next()? {
                Ok(stored) => {
                    if let Some(numbered) = stored.numbered() {
                        return Some(Ok(numbered));
                    }
                }
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}
