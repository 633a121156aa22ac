//! Reads a ledger to its end, and goes on when there is more.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::entry::StoredEntry;
use crate::error::ReadError;
use crate::files::Files;
use crate::files::disk::Disk;
use crate::scan::{Stored, Tail, Walk, segment_name};

/// Reads the entries of a ledger in order, and goes on when more are written.
///
/// It takes no lock and waits for nobody: [`step`](Self::step) returns `None` at the end of what
/// is stored, and the next entry once there is one.
#[derive(Debug)]
pub struct EntryFollower {
    files: Arc<dyn Files>,
    walk: Walk,
    /// What was read and not taken yet.
    ahead: Option<StoredEntry>,
    /// How the ledger ended when nothing more was there, and its last segment at that time.
    end: Option<(Tail, String)>,
}

impl EntryFollower {
    /// Reads the ledger in a directory, from a sequence on. If retention removed that entry, it
    /// begins with the first one after it that is stored.
    ///
    /// # Errors
    /// [`ReadError`] if the directory, or what it holds up to there, cannot be read.
    pub fn from(dir: impl AsRef<Path>, sequence: u64) -> Result<Self, ReadError> {
        let files: Arc<dyn Files> = Arc::new(Disk::reading(dir.as_ref()));
        let mut walk = Walk::from(Arc::clone(&files), sequence)?;
        let mut ahead = walk.step()?;
        while ahead.as_ref().is_some_and(|it| it.sequence < sequence) {
            ahead = walk.step()?;
        }
        Ok(Self {
            files,
            walk,
            ahead: ahead.map(stored),
            end: None,
        })
    }

    /// The next entry, if it was stored when this was opened and is not taken yet.
    #[must_use]
    pub const fn first(&self) -> Option<&StoredEntry> {
        self.ahead.as_ref()
    }

    /// The next entry, if it is stored already.
    ///
    /// # Errors
    /// [`ReadError`] if it is damaged or cannot be read. The same entry is tried again next time.
    pub fn step(&mut self) -> Result<Option<StoredEntry>, ReadError> {
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
        if let Some(next) = self.walk.step()? {
            return Ok(Some(stored(next)));
        }
        // A segment may have been begun since the walk last looked: once more, and what comes
        // after this look is seen by the next one.
        let last = self.last_segment();
        self.walk.refresh()?;
        let next = self.walk.step()?;
        if next.is_none() {
            self.end = self.walk.tail().map(|tail| (tail, last));
        }
        Ok(next.map(stored))
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

fn stored(read: Stored) -> StoredEntry {
    StoredEntry::new(read.sequence, read.payload)
}
