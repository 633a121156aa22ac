//! Checks that the files of a ledger that is open for writing still exist.

use std::collections::BTreeMap;

use crate::error::ReadError;
use crate::files::Files;
use crate::scan::{kept_name, parse_kept, parse_name, segment_name};

/// The segments at one point in time.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct FileSnapshot {
    /// The first entry of each segment. The size is known once a later segment exists.
    segments: BTreeMap<u64, Option<u64>>,
    /// The sequence below which entries were pruned.
    pruned: u64,
}

impl FileSnapshot {
    pub(crate) fn of(files: &dyn Files) -> Result<Self, ReadError> {
        let names = files
            .names()
            .map_err(|source| failed(&files.place(), source))?;
        let pruned = names.iter().filter_map(|name| parse_kept(name)).max();
        let pruned = pruned.unwrap_or(0);
        let mut segments = BTreeMap::new();
        let firsts = names.iter().filter_map(|name| parse_name(name));
        for first in firsts.filter(|first| *first >= pruned) {
            segments.insert(first, files.size(&segment_name(first)).ok());
        }
        // The last segment still grows, and is truncated when it ends.
        if let Some(mut last) = segments.last_entry() {
            last.insert(None);
        }
        Ok(Self { segments, pruned })
    }

    /// Compares the current files with the previous ones. On an error, the previous ones remain
    /// expected.
    pub(crate) fn refresh(&mut self, files: &dyn Files, written: u64) -> Result<(), ReadError> {
        files
            .inspect()
            .map_err(|source| failed(&files.place(), source))?;
        let mut now = Self::of(files)?;
        if self.compare(&now, written).is_err() {
            // Segments may be pruned during the listing, so a fault must occur twice.
            now = Self::of(files)?;
            self.compare(&now, written)?;
        }
        *self = now;
        Ok(())
    }

    fn compare(&self, now: &Self, written: u64) -> Result<(), ReadError> {
        if now.pruned < self.pruned {
            let problem = "the file with the entries that survived pruning was removed".to_owned();
            let name = kept_name(self.pruned);
            return Err(ReadError::Evidence { name, problem });
        }
        let mut segments = self.segments.range(now.pruned..).peekable();
        while let Some((first, before)) = segments.next() {
            let successor = segments.peek().map_or(written, |(first, _)| **first);
            let Some(size) = now.segments.get(first) else {
                // An empty segment, created after a fault, is deleted again.
                if *first >= successor {
                    continue;
                }
                return Err(ReadError::Missing {
                    from: *first,
                    to: successor - 1,
                    segment: segment_name(successor),
                });
            };
            if let (Some(before), Some(size)) = (before, size)
                && size < before
            {
                return Err(ReadError::Evidence {
                    name: segment_name(*first),
                    problem: "the file was truncated from outside".to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn failed(name: &str, source: std::io::Error) -> ReadError {
    let name = name.to_owned();
    ReadError::Io { name, source }
}
