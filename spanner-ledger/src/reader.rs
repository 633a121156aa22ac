//! Reading a ledger, also while it is written.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use spanner_core::RecordId;
use spanner_core::record::{Decision, Finish, Outcome};

use crate::csv;
use crate::entry::Entry;
use crate::error::ReadError;
use crate::files::Files;
use crate::files::disk::Disk;
use crate::lost::Missing;
use crate::notes::{Notes, Noting};
use crate::scan::Walk;
use crate::select::Selection;
use crate::ship::{Format, Item, Joiner};
use crate::visible::visible_json;

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

/// What was written out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// How many lines, but for a head.
    pub lines: u64,
    /// What is not among them.
    pub notes: Notes,
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

    /// Writes the entries that are meant in a format, each on a line, as a
    /// [`Shipment`](crate::ship::Shipment) would: decisions with their outcomes, and what else
    /// happened as [`Reader::history`] tells it. What a newer version wrote is left out where
    /// the format has no word for it, or where only a part is meant.
    ///
    /// What is invisible in JSON lines and OCSF is escaped ([`visible_json`]), with the same
    /// meaning; [`Reader::json_lines`] gives out the bytes of which the tree is made.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged, cannot be read, or cannot be written out.
    pub fn export(
        &self,
        format: Format,
        selection: &Selection,
        out: &mut dyn Write,
    ) -> Result<Exported, ReadError> {
        let export = |source| ReadError::Export { source };
        let mut part = match *selection == Selection::new() {
            true => None,
            false => Some(Part::of(self, selection)?),
        };
        let signed = self.signed();
        let (mut walk, mut joiner, mut lines) = (self.walk()?, Joiner::default(), 0);
        let mut noting = Noting::new(selection, walk.pruned());
        while let Some(stored) = walk.step()? {
            let item = joiner.item("export", stored.sequence, stored.payload);
            if let Some(entry) = &item.entry {
                noting.meet(entry);
            }
            let is_meant = part.as_mut().is_none_or(|part| part.takes(&item));
            let line = is_meant.then(|| format.encode(&item));
            let Some(Ok(line)) = line else {
                if item.entry.is_none() {
                    noting.leave_out();
                }
                continue;
            };
            out.write_all(&visible(format, line)).map_err(export)?;
            out.write_all(b"\n").map_err(export)?;
            lines += 1;
        }
        out.flush().map_err(export)?;
        let mut notes = noting.notes();
        notes.missing = walk.missing_of(signed);
        Ok(Exported { lines, notes })
    }

    /// Writes the requests that are meant as [`csv`](crate::csv()) renders them, one after the
    /// other.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged, cannot be read, or cannot be written out.
    pub fn csv_lines(
        &self,
        selection: &Selection,
        out: &mut dyn Write,
    ) -> Result<Exported, ReadError> {
        let export = |source| ReadError::Export { source };
        let (mut rows, mut lines) = (self.rows(selection)?, 0);
        out.write_all(csv::head().as_bytes()).map_err(export)?;
        for row in rows.by_ref() {
            out.write_all(csv::line(&row?).as_bytes()).map_err(export)?;
            lines += 1;
        }
        out.flush().map_err(export)?;
        let notes = rows.notes();
        Ok(Exported { lines, notes })
    }

    /// All entries that this version understands.
    pub(crate) fn known(&self, selection: &Selection) -> Result<Known, ReadError> {
        let entries = self.entries_of(b"")?;
        let pruned = entries.walk.as_ref().map_or(0, Walk::pruned);
        let noting = Noting::new(selection, pruned);
        Ok(Known { entries, noting })
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

/// A line in which nothing is invisible.
fn visible(format: Format, line: Vec<u8>) -> Vec<u8> {
    match (format, str::from_utf8(&line)) {
        (Format::JsonLines | Format::Ocsf, Ok(text)) => match visible_json(text) {
            Cow::Borrowed(_) => line,
            Cow::Owned(text) => text.into_bytes(),
        },
        _ => line,
    }
}

/// A part of a ledger, while it is read.
struct Part<'s> {
    selection: &'s Selection,
    /// The sequences of what is meant apart from requests.
    happened: HashSet<u64>,
    /// Requests that are meant and have not ended.
    open: HashSet<RecordId>,
}

impl<'s> Part<'s> {
    fn of(reader: &Reader, selection: &'s Selection) -> Result<Self, ReadError> {
        let happenings = reader.history(selection)?.happenings;
        Ok(Self {
            selection,
            happened: happenings.iter().map(|it| it.sequence).collect(),
            open: HashSet::new(),
        })
    }

    fn takes(&mut self, item: &Item) -> bool {
        match &item.entry {
            Some(Entry::Decision(decision)) if decision.enforcement.is_external() => {
                self.selection.takes(decision)
            }
            Some(Entry::Decision(decision)) => {
                let takes = self.selection.takes(decision);
                takes && self.open.insert(decision.id)
            }
            Some(Entry::Outcome(outcome)) => {
                let reported = item.decision.as_ref().is_some_and(|decision| {
                    decision.enforcement.is_external() && self.selection.takes(decision)
                });
                reported || self.open.remove(&outcome.id)
            }
            Some(Entry::Count(counts)) => {
                self.selection.takes_general() && self.selection.takes_time(counts.time)
            }
            Some(Entry::Gap(_) | Entry::Event(_)) => self.happened.contains(&item.sequence),
            None => false,
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

/// The entries that this version understands, and notes of the others.
#[derive(Debug)]
pub(crate) struct Known {
    entries: Entries,
    noting: Noting,
}

impl Known {
    /// What there is to say of all that was read so far.
    pub(crate) fn notes(&self) -> Notes {
        let mut notes = self.noting.notes();
        notes.missing = self.entries.missing().to_vec();
        notes
    }
}

impl Iterator for Known {
    type Item = Result<Numbered, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let read = self.entries.next()?;
            match &read {
                Err(ReadError::Unknown { .. }) => self.noting.leave_out(),
                Err(_) => return Some(read),
                Ok(numbered) => {
                    self.noting.meet(&numbered.entry);
                    return Some(read);
                }
            }
        }
    }
}
