//! Iterates over requests with their outcomes.

use std::collections::{HashMap, VecDeque};

use spanner_core::RecordId;
use spanner_core::record::Outcome;

use crate::entry::Entry;
use crate::error::ReadError;
use crate::notes::Notes;
use crate::reader::{Known, NumberedEntry, Reader, Row};
use crate::select::Selection;

/// An iterator over the selected requests, in the order of their decisions, each with its
/// outcome; see [`Reader::rows`]. Ends after damage.
#[derive(Debug)]
pub struct Rows {
    reader: Reader,
    selection: Selection,
    known: Known,
    /// Rows that were read and not returned, each with a flag that an outcome may follow.
    waiting: VecDeque<(Row, bool)>,
    /// The positions of rows that wait for an outcome, counted from the first row returned.
    places: HashMap<RecordId, usize>,
    /// How many of these rows must have an outcome. An externally enforced decision may have
    /// none.
    owed: usize,
    given: usize,
    /// The sequence after the last entry read.
    next: u64,
    is_over: bool,
    fault: Option<ReadError>,
    /// The maximum number of waiting rows.
    pub(crate) most: usize,
}

impl Reader {
    /// Iterates over the selected requests, in order, each with its outcome. A row is returned
    /// when its outcome was read, or when the ledger ends without one.
    ///
    /// At most 10,000 rows wait for their outcomes. Beyond that, the reader searches the rest of
    /// the ledger for these outcomes. Memory is therefore bounded, and no request that has ended
    /// is reported as open. A ledger in which many requests stay open for long is read several
    /// times. A decision that another component enforces waits equally long for an outcome, and
    /// is then returned without one.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read. Entries in a newer
    /// format are omitted; see [`Rows::notes`].
    pub fn rows(&self, selection: &Selection) -> Result<Rows, ReadError> {
        Ok(Rows {
            reader: self.clone(),
            selection: selection.clone(),
            known: self.known(selection)?,
            waiting: VecDeque::new(),
            places: HashMap::new(),
            owed: 0,
            given: 0,
            next: 0,
            is_over: false,
            fault: None,
            most: MAX_WAITING,
        })
    }
}

impl Rows {
    /// What the rows omit. Complete once the iteration has ended.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.known.notes()
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, numbered: NumberedEntry) {
        let NumberedEntry { sequence, entry } = numbered;
        self.next = sequence + 1;
        match entry {
            Entry::Decision(decision) if self.selection.matches(&decision) => {
                let place = self.given + self.waiting.len();
                self.places.insert(decision.id, place);
                self.owed += usize::from(decision.enforcement.is_inline());
                let row = Row {
                    sequence,
                    decision: *decision,
                    outcome: None,
                };
                self.waiting.push_back((row, true));
            }
            Entry::Outcome(outcome) => self.end(*outcome),
            Entry::Decision(_) | Entry::Gap(_) | Entry::Count(_) | Entry::Event(_) => {}
        }
    }

    fn end(&mut self, outcome: Outcome) {
        let place = self.places.remove(&outcome.id);
        let at = place.and_then(|place| place.checked_sub(self.given));
        if let Some((row, is_expected)) = at.and_then(|at| self.waiting.get_mut(at)) {
            self.owed -= usize::from(row.decision.enforcement.is_inline());
            row.outcome = Some(outcome);
            *is_expected = false;
        }
    }

    /// Finds the outcomes of all waiting rows. A row without an outcome no longer waits.
    fn look_ahead(&mut self) {
        if let Err(fault) = self.find_outcomes() {
            // A later attempt may succeed, so the waiting rows must not be reported as open.
            self.waiting.clear();
            (self.is_over, self.fault) = (true, Some(fault));
        }
        self.places.clear();
        self.owed = 0;
        for (_, is_expected) in &mut self.waiting {
            *is_expected = false;
        }
    }
}

impl Rows {
    fn find_outcomes(&mut self) -> Result<(), ReadError> {
        for numbered in self.reader.outcomes(self.next)? {
            match numbered {
                Ok(numbered) => {
                    if let Entry::Outcome(outcome) = numbered.entry {
                        self.end(*outcome);
                    }
                }
                Err(ReadError::Unknown { .. }) => {}
                Err(fault @ ReadError::Io { .. }) => return Err(fault),
                // Damage is reported when the iteration reaches it, after the rows before it.
                Err(_) => break,
            }
            if self.owed == 0 {
                break;
            }
        }
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let is_ready = self.waiting.front().map(|(_, expected)| !expected);
            if is_ready.is_some_and(|it| it || self.is_over)
                && let Some((row, _)) = self.waiting.pop_front()
            {
                self.given += 1;
                return Some(Ok(row));
            }
            if self.is_over {
                return self.fault.take().map(Err);
            }
            if self.waiting.len() >= self.most {
                match self.waiting.front_mut() {
                    Some((row, is_expected)) if row.decision.enforcement.is_external() => {
                        *is_expected = false;
                        self.places.remove(&row.decision.id);
                    }
                    _ => self.look_ahead(),
                }
                continue;
            }
            match self.known.next() {
                Some(Ok(numbered)) => self.take(numbered),
                Some(Err(fault)) => (self.is_over, self.fault) = (true, Some(fault)),
                None => self.is_over = true,
            }
        }
    }
}

/// About 2 KiB each, and more than the concurrent requests of a busy service.
const MAX_WAITING: usize = 10_000;
