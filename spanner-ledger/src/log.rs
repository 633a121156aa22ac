//! The end of the ledger: appending, syncing, and recovery from failures.
//!
//! 1. A batch is one write and, if the durability requires it, one fsync.
//! 2. A file on which a write or fsync failed is never written again. It is truncated to its last
//!    good entry if possible, and the next segment begins with a [`Gap`].
//! 3. A segment's header is durable before its first entry is written. The previous segment is
//!    synced before a new one begins.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::entry::{Entry, Gap};
use crate::files::{File, Files};
use crate::frame::{Frame, HEADER_BYTES, Header, Salt};
use crate::scan::segment_name;
use crate::{Durability, OVERHEAD};

/// The part of the ledger that is appended to. Used by one thread only.
pub(crate) struct Log {
    files: Arc<dyn Files>,
    durability: Durability,
    size: SegmentSize,
    active: Option<Active>,
    /// The sequence of the next entry.
    next: u64,
    /// Every entry below this was synced.
    durable: u64,
    /// The gap with which the next segment must begin.
    gap: Option<Gap>,
    /// Whether the reserve for a full disk exists.
    reserve: bool,
    buffer: Vec<u8>,
}

/// When a new segment begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentSize {
    pub(crate) bytes: u64,
    pub(crate) age: Option<Duration>,
}

/// The segment that is appended to.
struct Active {
    begun: Instant,
    file: Box<dyn File>,
    first: u64,
    salt: Salt,
    /// The offset at which its last good entry ends.
    end: u64,
    /// The number of bytes allocated for it.
    allocated: u64,
}

impl Log {
    /// Creates a log whose entries below `next` are all synced.
    pub(crate) fn new(
        files: Arc<dyn Files>,
        durability: Durability,
        size: SegmentSize,
        next: u64,
    ) -> Self {
        let mut log = Self {
            files,
            durability,
            size,
            active: None,
            next,
            durable: next,
            gap: None,
            reserve: false,
            buffer: Vec::new(),
        };
        log.reserve = log.has_reserve() || log.restore_reserve().is_ok();
        log
    }

    /// Appends entries. On return they are as durable as configured.
    ///
    /// On an error, none of them counts as stored. Appending them again writes to a new segment.
    pub(crate) fn append(&mut self, payloads: &[&[u8]]) -> io::Result<()> {
        let result = self.try_append(payloads);
        self.abandon_on_error(result, payloads.len())
    }

    /// Syncs everything that was appended.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let result = self.try_sync();
        self.abandon_on_error(result, 0)
    }

    /// Syncs everything and releases the preallocated space.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let result = self.try_finish();
        self.abandon_on_error(result, 0)
    }

    /// Whether entries were appended and not yet synced.
    pub(crate) const fn has_unsynced(&self) -> bool {
        self.durable < self.next && self.active.is_some()
    }

    /// The sequence of the next entry.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Every entry below this was synced.
    pub(crate) const fn durable(&self) -> u64 {
        self.durable
    }

    /// Deletes the reserve, so that its space becomes available.
    pub(crate) fn release_reserve(&mut self) {
        let released = self.files.remove(RESERVE).and_then(|()| self.files.sync());
        if let Err(fault) = released {
            tracing::debug!(%fault, "cannot release the reserve");
        }
        self.reserve = false;
    }

    /// Allocates the reserve, if the disk has twice its size.
    pub(crate) fn restore_reserve(&mut self) -> io::Result<()> {
        let mut restored = self.files.create(RESERVE).and_then(|mut file| {
            match file.allocate(2 * RESERVE_BYTES) {
                Err(fault) if fault.kind() == io::ErrorKind::Unsupported => {
                    file.write(&[0; 2 * RESERVE_BYTES as usize])?;
                    file.sync()?;
                }
                allocated => allocated?,
            }
            file.truncate(RESERVE_BYTES)
        });
        if restored.is_ok() {
            restored = self.files.sync();
        }
        if restored.is_err() {
            self.release_reserve();
        }
        self.reserve = restored.is_ok();
        restored
    }

    fn has_reserve(&self) -> bool {
        let names = self.files.names().unwrap_or_default();
        names.iter().any(|name| name == RESERVE)
    }

    fn try_append(&mut self, payloads: &[&[u8]]) -> io::Result<()> {
        let bytes: usize = payloads
            .iter()
            .map(|payload| OVERHEAD + payload.len())
            .sum();
        if self.is_full(bytes as u64) {
            self.try_finish()?;
        }
        if self.active.is_none() {
            self.begin()?;
        }
        let gap = self.gap.clone().map(Entry::Gap);
        let gap = gap.map(|gap| gap.payload()).transpose()?;
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.buffer.clear();
        let mut sequence = self.next;
        for payload in gap.as_deref().into_iter().chain(payloads.iter().copied()) {
            let frame = Frame {
                sequence,
                durable: self.durable,
                payload,
            };
            frame.encode(&active.salt, &mut self.buffer);
            sequence += 1;
        }
        if self.reserve {
            active.allocate(self.buffer.len() as u64, self.size.bytes);
        }
        active.file.write(&self.buffer)?;
        if self.durability == Durability::PowerLoss {
            active.file.sync()?;
            self.durable = sequence;
        }
        active.end += self.buffer.len() as u64;
        self.next = sequence;
        self.gap = None;
        Ok(())
    }

    fn try_sync(&mut self) -> io::Result<()> {
        if self.has_unsynced()
            && let Some(active) = &mut self.active
        {
            active.file.sync()?;
            self.durable = self.next;
        }
        Ok(())
    }

    fn try_finish(&mut self) -> io::Result<()> {
        self.try_sync()?;
        if let Some(mut active) = self.active.take()
            && let Err(fault) = active.file.truncate(active.end)
        {
            tracing::debug!(%fault, "cannot release preallocated space");
        }
        Ok(())
    }

    fn is_full(&self, bytes: u64) -> bool {
        self.active.as_ref().is_some_and(|active| {
            let full = active.end + bytes > self.size.bytes;
            let old = (self.size.age).is_some_and(|age| active.begun.elapsed() >= age);
            active.first < self.next && (full || old)
        })
    }

    fn begin(&mut self) -> io::Result<()> {
        let header = Header {
            salt: salt()?,
            first: self.next,
            durable: self.durable,
            after_fault: self.gap.is_some(),
        };
        let name = segment_name(self.next);
        let created = match self.files.create(&name) {
            // A fault interrupted the creation of this segment, so nothing in it was
            // acknowledged.
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
                self.files.remove(&name)?;
                self.files.sync()?;
                self.files.create(&name)?
            }
            created => created?,
        };
        let active = self.active.insert(Active {
            begun: Instant::now(),
            file: created,
            first: header.first,
            salt: header.salt,
            end: 0,
            allocated: 0,
        });
        active.file.write(&header.encode())?;
        active.file.sync()?;
        active.end = HEADER_BYTES as u64;
        self.files.sync()
    }

    /// *A failed write or sync is never retried on that file.*
    fn abandon_on_error(&mut self, result: io::Result<()>, entries: usize) -> io::Result<()> {
        let Err(fault) = &result else {
            return result;
        };
        let abandoned = self.active.take();
        self.gap.get_or_insert_with(|| Gap {
            time: Timestamp::now(),
            segment: abandoned.as_ref().map(|active| active.first),
            uncertain: self.durable,
            entries: entries as u64,
            reason: fault.to_string(),
        });
        if let Some(active) = abandoned
            && let Err(fault) = self.seal(active)
        {
            tracing::debug!(%fault, "cannot truncate the unsynced entries");
        }
        result
    }

    fn seal(&self, mut active: Active) -> io::Result<()> {
        if active.first < self.next {
            return active.file.truncate(active.end);
        }
        drop(active.file);
        self.files.remove(&segment_name(active.first))?;
        self.files.sync()
    }
}

impl Active {
    /// Tries to allocate space for `bytes` more bytes, and some ahead.
    fn allocate(&mut self, bytes: u64, most: u64) {
        let needed = self.end + bytes;
        if needed <= self.allocated {
            return;
        }
        let ahead = (needed + ALLOCATED_AHEAD).min(most).max(needed);
        // If allocation fails, the write itself reveals whether there is space.
        self.allocated = match self.file.allocate(ahead) {
            Ok(()) => ahead,
            Err(_) => u64::MAX,
        };
    }
}

pub(crate) fn salt() -> io::Result<Salt> {
    let mut salt = Salt::default();
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    Ok(salt)
}

const RESERVE: &str = "reserve";
/// Large enough that allocation is rare, small enough for the ledger of a small service.
const ALLOCATED_AHEAD: u64 = 4 * 1024 * 1024;
/// Room for about 300 refusals and their outcomes, or a few thousand outcomes, until an operator
/// frees disk space.
const RESERVE_BYTES: u64 = 256 * 1024;
