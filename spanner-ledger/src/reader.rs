//! Reading a ledger, also while it is written.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use spanner_core::record::{Decision, Finish, Outcome};

use crate::entry::{Entry, StoredEntry};
use crate::error::ReadError;
use crate::files::Files;
use crate::files::disk::Disk;
use crate::lost::Missing;
use crate::notes::{Notes, Noting};
use crate::scan::Walk;
use crate::select::Selection;

/// Reads the ledger in a directory. Takes no lock and disturbs no writer; it sees what was
/// there when each reading began, and perhaps more.
#[derive(Debug, Clone)]
pub struct Reader {
    files: Arc<dyn Files>,
    partial: bool,
}

/// An entry and its place in the ledger.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Numbered {
    /// Counted from 0, without holes.
    pub sequence: u64,
    /// What stands there.
    pub entry: Entry,
}

/// One request: what was decided and what became of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The sequence of the decision.
    pub sequence: u64,
    /// Who wanted what where, and whether they may.
    pub decision: Decision,
    /// What became of it; absent while the request is open, and where another point
    /// [enforces](spanner_core::record::Enforcement::External) the decision and reports nothing.
    pub outcome: Option<Outcome>,
}

impl Row {
    /// What became of it, in one word: the outcome's class; `open` while the request is under
    /// way; `external` where another point enforces the decision and reported no outcome.
    #[must_use]
    pub fn became(&self) -> &'static str {
        match &self.outcome {
            Some(outcome) => outcome.class.as_str(),
            None if self.decision.enforcement.is_external() => "external",
            None => "open",
        }
    }

    /// From arrival to the end, in microseconds; `None` where there is no outcome, or if its
    /// process ended first, since then nobody measured it.
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
    /// A reader of the ledger in a directory.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, ReadError> {
        let reader = Self::of(Arc::new(Disk::reading(dir.as_ref())));
        reader.walk()?;
        Ok(reader)
    }

    /// A reader of what is left of the ledger in a directory: it goes on past segments that are
    /// missing or damaged. What it did not find is in the [`Notes`] of each reading, up to the
    /// end of what the checkpoint in the directory covers. Verifying is as strict as ever.
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

    /// All entries, in order.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn entries(&self) -> Result<Entries, ReadError> {
        self.entries_of(b"")
    }

    /// Every request, in order, each with what became of it. Keeps them all in memory; see
    /// [`Reader::rows`] for one after the other.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged or cannot be read. What a newer version wrote is
    /// left out.
    pub fn show(&self) -> Result<Vec<Row>, ReadError> {
        self.select(&Selection::new())
    }

    /// The requests that are meant, as [`Reader::rows`] gives them, kept in memory.
    ///
    /// # Errors
    /// As [`Reader::show`].
    pub fn select(&self, selection: &Selection) -> Result<Vec<Row>, ReadError> {
        self.rows(selection)?.collect()
    }

    /// The [events](crate::Event) alone, in order. Requests, of which there are most, are passed
    /// over without being understood, so this is several times faster than looking for events
    /// among [`entries`](Self::entries).
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn events(&self) -> Result<Entries, ReadError> {
        self.entries_of(EVENT)
    }

    /// The events from an entry on, with a few from before it.
    pub(crate) fn events_from(&self, from: u64) -> Result<Entries, ReadError> {
        self.entries_from(from, EVENT)
    }

    /// Writes all entries as JSON lines, each as it is stored, with its `sequence` first.
    /// Returns how many.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged, cannot be read, or cannot be written out.
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

    /// All entries in order, as they are stored. `selection` decides only what the
    /// [notes](StoredEntries::notes) say; nothing is left out.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn stored_entries(&self, selection: &Selection) -> Result<StoredEntries, ReadError> {
        // Before the entries, of which there may be more in a moment.
        let signed = self.signed();
        let walk = self.walk()?;
        let noting = Noting::new(selection, walk.pruned());
        Ok(StoredEntries {
            walk: Some(walk),
            noting,
            signed,
            missing: Vec::new(),
        })
    }

    /// Whether the ledger holds no entry at all.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn is_empty(&self) -> Result<bool, ReadError> {
        Ok(self.entries()?.next().is_none())
    }

    /// Every recorded decision, in order.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn decisions(&self) -> Result<Decisions, ReadError> {
        Ok(Decisions {
            known: self.known(&Selection::new())?,
            fault: None,
        })
    }

    /// All entries that this version understands.
    pub(crate) fn known(&self, selection: &Selection) -> Result<Known, ReadError> {
        self.stored_entries(selection).map(Known)
    }

    /// The outcomes from an entry on, with a few from before it.
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
            walk: Some(walk),
            only,
            signed: 0,
            missing: Vec::new(),
        })
    }

    fn entries_of(&self, only: &'static [u8]) -> Result<Entries, ReadError> {
        // Before the entries, of which there may be more in a moment.
        let signed = self.signed();
        Ok(Entries {
            walk: Some(self.walk()?),
            only,
            signed,
            missing: Vec::new(),
        })
    }

    /// How many entries there must be, for whoever wants to know what is not there.
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

/// An iterator over the entries of a ledger. Ends after damage; goes on after an entry that
/// is whole and not understood ([`ReadError::Unknown`]).
#[derive(Debug)]
pub struct Entries {
    walk: Option<Walk>,
    /// How the entries begin that are not passed over.
    only: &'static [u8],
    /// How many entries are signed.
    signed: u64,
    missing: Vec<Missing>,
}

impl Entries {
    /// What is not there, once they have ended: what was acknowledged to be lost, and for
    /// [`Reader::partial`] whatever else is missing or damaged.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }
}

/// How every event begins, since its `kind` is written first.
const EVENT: &[u8] = br#"{"kind":"event""#;
/// And every outcome.
const OUTCOME: &[u8] = br#"{"kind":"outcome""#;

impl Iterator for Entries {
    type Item = Result<Numbered, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let walk = self.walk.as_mut()?;
        let stepped = loop {
            let stepped = walk.step();
            match &stepped {
                Ok(Some(stored)) if !stored.payload.starts_with(self.only) => {}
                _ => break stepped,
            }
        };
        match stepped {
            Ok(Some(stored)) => {
                let sequence = stored.sequence;
                let entry = serde_json::from_slice(&stored.payload);
                Some(match entry {
                    Ok(entry) => Ok(Numbered { sequence, entry }),
                    Err(source) => Err(ReadError::Unknown { sequence, source }),
                })
            }
            Ok(None) => {
                self.missing = walk.missing_of(self.signed);
                self.walk = None;
                None
            }
            Err(fault) => {
                self.walk = None;
                Some(Err(fault))
            }
        }
    }
}

/// An iterator over the entries of a ledger as they are stored; see [`Reader::stored_entries`]. Ends after
/// damage.
#[derive(Debug)]
pub struct StoredEntries {
    walk: Option<Walk>,
    noting: Noting,
    signed: u64,
    missing: Vec<Missing>,
}

impl StoredEntries {
    /// What was left out, and why nothing may be selected. Complete once the entries have ended.
    #[must_use]
    pub fn notes(&self) -> Notes {
        let mut notes = self.noting.notes();
        notes.missing = self.missing.clone();
        notes
    }
}

impl Iterator for StoredEntries {
    type Item = Result<StoredEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let walk = self.walk.as_mut()?;
        match walk.step() {
            Ok(Some(stored)) => {
                let stored = StoredEntry::new(stored.sequence, stored.payload);
                match &stored.entry {
                    Some(entry) => self.noting.meet(entry),
                    None => self.noting.leave_out(),
                }
                Some(Ok(stored))
            }
            Ok(None) => {
                self.missing = walk.missing_of(self.signed);
                self.walk = None;
                None
            }
            Err(fault) => {
                self.walk = None;
                Some(Err(fault))
            }
        }
    }
}

/// An iterator over all decisions of a ledger; see [`Reader::decisions`]. Ends after damage:
/// [`end`](Self::end) tells that from the end of the ledger.
#[derive(Debug)]
pub struct Decisions {
    known: Known,
    fault: Option<ReadError>,
}

impl Decisions {
    /// Call this once they have ended.
    ///
    /// # Errors
    /// The [`ReadError`] that ended them before the end of the ledger.
    pub fn end(&mut self) -> Result<(), ReadError> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// What was left out. Complete once the decisions have ended.
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
                Ok(Numbered {
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

/// The entries that this version understands, and notes of the others.
#[derive(Debug)]
pub(crate) struct Known(StoredEntries);

impl Known {
    /// What there is to say of all that was read so far.
    pub(crate) fn notes(&self) -> Notes {
        self.0.notes()
    }
}

impl Iterator for Known {
    type Item = Result<Numbered, ReadError>;

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
