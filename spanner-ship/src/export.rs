//! Exports a part of a ledger in a format.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Write;

use spanner_core::RecordId;

use crate::format::Format;
use crate::keyed::{Joiner, KeyedEntry};
use crate::producer::Producer;
use spanner_ledger::{Entry, Notes, ReadError, Reader, Selection, visible_json};

/// Writes the selected entries in a format, one per line, in the form in which a
/// [`Shipment`](crate::Shipment) sends them. The selection contains decisions with their outcomes
/// and the events of [`Reader::history`]. Entries in a newer format are omitted if the export
/// format cannot express them, or if only a part of the ledger is selected.
///
/// In JSON lines and OCSF, invisible characters are escaped ([`visible_json`]), which does not
/// change the meaning. [`Reader::json_lines`] writes the original bytes, which are the leaves of
/// the Merkle tree.
///
/// Returns the number of lines and what was omitted.
///
/// # Errors
/// [`ReadError`] if the ledger is damaged or cannot be read, or `out` cannot be written.
pub fn export(
    reader: &Reader,
    format: Format,
    producer: &Producer,
    selection: &Selection,
    out: &mut dyn Write,
) -> Result<(u64, Notes), ReadError> {
    let failed = |source| ReadError::Export { source };
    let mut part = match *selection == Selection::new() {
        true => None,
        false => Some(Part::of(reader, selection)?),
    };
    let mut entries = reader.stored_entries(selection)?;
    let (mut joiner, mut lines, mut omitted) = (Joiner::default(), 0, 0);
    for stored in entries.by_ref() {
        let item = joiner.join("export", stored?);
        let is_selected = part.as_mut().is_none_or(|part| part.selects(&item));
        let line = is_selected.then(|| format.encode(&item, producer));
        let Some(Ok(line)) = line else {
            omitted += u64::from(item.stored.entry.is_none());
            continue;
        };
        out.write_all(&visible(format, line)).map_err(failed)?;
        out.write_all(b"\n").map_err(failed)?;
        lines += 1;
    }
    out.flush().map_err(failed)?;
    let mut notes = entries.notes();
    notes.not_understood = omitted;
    Ok((lines, notes))
}

/// Escapes invisible characters in a line.
fn visible(format: Format, line: Vec<u8>) -> Vec<u8> {
    match (format, str::from_utf8(&line)) {
        (Format::JsonLines | Format::Ocsf, Ok(text)) => match visible_json(text) {
            Cow::Borrowed(_) => line,
            Cow::Owned(text) => text.into_bytes(),
        },
        _ => line,
    }
}

/// The selected part of a ledger.
struct Part<'s> {
    selection: &'s Selection,
    /// The sequences of the selected events and gaps.
    events: HashSet<u64>,
    /// The selected requests whose outcome has not been read.
    open: HashSet<RecordId>,
}

impl<'s> Part<'s> {
    fn of(reader: &Reader, selection: &'s Selection) -> Result<Self, ReadError> {
        let events = reader.history(selection)?.events;
        Ok(Self {
            selection,
            events: events.iter().map(|it| it.sequence).collect(),
            open: HashSet::new(),
        })
    }

    fn selects(&mut self, item: &KeyedEntry) -> bool {
        match &item.stored.entry {
            Some(Entry::Decision(decision)) if decision.enforcement.is_external() => {
                self.selection.matches(decision)
            }
            Some(Entry::Decision(decision)) => {
                let takes = self.selection.matches(decision);
                takes && self.open.insert(decision.id)
            }
            Some(Entry::Outcome(outcome)) => {
                let reported = item.decision.as_ref().is_some_and(|decision| {
                    decision.enforcement.is_external() && self.selection.matches(decision)
                });
                reported || self.open.remove(&outcome.id)
            }
            Some(Entry::Count(counts)) => {
                self.selection.matches_general() && self.selection.matches_time(counts.time)
            }
            Some(Entry::Gap(_) | Entry::Event(_)) => self.events.contains(&item.stored.sequence),
            Some(_) | None => false,
        }
    }
}
