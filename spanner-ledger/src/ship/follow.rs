//! Reads a ledger to its end, and goes on when there is more.

use std::io::{self, Read};
use std::sync::Arc;

use crate::error::ReadError;
use crate::files::Files;
use crate::scan::{Stored, Tail, Walk, segment_name};

/// A reader that never ends.
#[derive(Debug)]
pub(super) struct Follow {
    files: Arc<dyn Files>,
    walk: Walk,
    /// What was read and not taken yet.
    ahead: Option<Stored>,
    /// How the ledger ended when nothing more was there, and its last segment at that time.
    end: Option<(Tail, String)>,
}

impl Follow {
    /// From an entry on, or from the first one after it that is there.
    pub(super) fn from(files: Arc<dyn Files>, sequence: u64) -> Result<Self, ReadError> {
        let mut walk = Walk::from(Arc::clone(&files), sequence)?;
        let mut ahead = walk.step()?;
        while ahead.as_ref().is_some_and(|it| it.sequence < sequence) {
            ahead = walk.step()?;
        }
        Ok(Self {
            files,
            walk,
            ahead,
            end: None,
        })
    }

    /// What is next, if it was there when this began and is not taken yet.
    pub(super) const fn first(&self) -> Option<&Stored> {
        self.ahead.as_ref()
    }

    /// The next entry, if it is there already.
    pub(super) fn step(&mut self) -> Result<Option<Stored>, ReadError> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        if let Some(end) = self.end.take() {
            if !self.has_grown(&end) {
                self.end = Some(end);
                return Ok(None);
            }
            self.walk.refresh()?;
        }
        if let Some(stored) = self.walk.step()? {
            return Ok(Some(stored));
        }
        // A segment may have been begun since the walk last looked: once more, and what comes
        // after this look is seen by the next one.
        let last = self.last_segment();
        self.walk.refresh()?;
        let stored = self.walk.step()?;
        if stored.is_none() {
            self.end = self.walk.tail().map(|tail| (tail, last));
        }
        Ok(stored)
    }

    /// Whether something was written since, at the price of a look: what is allocated ahead
    /// reads as zeros.
    fn has_grown(&self, (tail, last): &(Tail, String)) -> bool {
        if self.last_segment() != *last {
            return true;
        }
        let mut next = [0; 8];
        let looked: io::Result<()> = self
            .files
            .read(&segment_name(tail.segment), tail.end)
            .and_then(|mut file| file.read_exact(&mut next));
        looked.is_ok() && next != [0; 8]
    }

    fn last_segment(&self) -> String {
        let names = self.files.names().unwrap_or_default();
        let segments = names.into_iter().filter(|name| name.ends_with(".seg"));
        segments.max().unwrap_or_default()
    }
}
