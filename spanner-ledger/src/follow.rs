//! Follows a ledger: reads to the end and continues when entries are appended.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::entry::StoredEntry;
use crate::error::ReadError;
use crate::files::Files;
use crate::files::disk::Disk;
use crate::scan::{Stored, Tail, Walk, segment_name};

/// Reads the entries of a ledger in order, and continues when entries are appended.
///
/// It takes no lock and does not block: [`step`](Self::step) returns `None` at the end, and the
/// next entry once it is stored.
#[derive(Debug)]
pub struct EntryFollower {
    files: Arc<dyn Files>,
    walk: Walk,
    /// An entry that was read and not returned yet.
    ahead: Option<StoredEntry>,
    /// How the ledger ended at the last step, and the name of its last segment then.
    end: Option<(Tail, String)>,
}

impl EntryFollower {
    /// Starts at a sequence. If retention deleted that entry, starts with the next one that is
    /// stored.
    ///
    /// # Errors
    /// [`ReadError`] if the directory, or its contents up to there, cannot be read.
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

    /// The next entry, if it was stored when this was created and has not been returned.
    #[must_use]
    pub const fn first(&self) -> Option<&StoredEntry> {
        self.ahead.as_ref()
    }

    /// Returns the next entry, or `None` if there is none yet.
    ///
    /// # Errors
    /// [`ReadError`] if the entry is damaged or cannot be read. The next call tries the same
    /// entry again.
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
        // A segment may have begun since the walk listed them, so list them again. The name taken
        // before that lets the next step detect any later segment.
        let last = self.last_segment();
        self.walk.refresh()?;
        let next = self.walk.step()?;
        if next.is_none() {
            self.end = self.walk.tail().map(|tail| (tail, last));
        }
        Ok(next.map(stored))
    }

    /// Cheaply detects new entries: preallocated space reads as zeros.
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
