//! Iterates over the entries of a ledger and distinguishes a torn tail from damage.
//!
//! 1. Segments are contiguous: each begins where the previous one ends.
//! 2. In a segment that has a successor, any invalid byte is damage. The exception is an entry
//!    that was not yet synced when the successor's header says that the segment was abandoned
//!    after a fault.
//! 3. In the last segment, the first invalid frame ends the ledger. It is a torn tail, unless a
//!    later frame states that this entry had been synced.
//! 4. A last segment without a valid header was created but never written.
//! 5. In a pruned ledger, the surviving entries come first, each at its own sequence. Segments
//!    below the pruning point are about to be deleted and are ignored.
//! 6. Entries whose loss was acknowledged ([`crate::lost`]) are skipped. A partial walk
//!    ([`Walk::partial`]) also skips missing and damaged entries. [`Walk::gaps`] lists what was
//!    skipped.
//!
//! # Caveats
//! Damage to entries of the very last fsync looks like a torn tail, because no later frame states
//! that they had been synced. Closing a ledger appends such a frame.

mod segment;

use std::io;
use std::sync::Arc;

use serde::Deserialize;
use spanner_core::Timestamp;

use self::segment::{SegmentReader, Source, is_zero};
use crate::error::ReadError;
use crate::files::Files;
use crate::frame::{HEADER_BYTES, Header};
use crate::lost::{LossList, Missing};
use crate::{MAX_ENTRY_BYTES, OVERHEAD};

/// A validated entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) payload: Vec<u8>,
    /// A fault may have lost this entry: the next segment states that it was not synced by then.
    /// Never set with `Durability::PowerLoss`.
    pub(crate) uncertain: bool,
}

impl Stored {
    /// The entry's time, if it has one.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        #[derive(Deserialize)]
        struct Timed {
            time: Timestamp,
        }
        let timed = serde_json::from_slice::<Timed>(&self.payload);
        timed.ok().map(|timed| timed.time)
    }
}

/// Where and how a ledger ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The first entry of the last segment, which is the segment's name.
    pub(crate) segment: u64,
    /// The offset at which its valid frames end.
    pub(crate) end: u64,
    /// The offset of the first frame that no later frame confirms as synced.
    pub(crate) unproven: u64,
    /// The number of invalid bytes after `end`, without trailing zeros.
    pub(crate) torn: u64,
}

impl Tail {
    /// The error for an entry at the end that should have been complete.
    pub(crate) fn corrupt(&self, sequence: u64) -> ReadError {
        corrupt(self.segment, self.end, sequence)
    }
}

/// An iterator over all entries, in order.
#[derive(Debug)]
pub(crate) struct Walk {
    files: Arc<dyn Files>,
    /// The segments still to read, in reverse order.
    ahead: Vec<Header>,
    current: Option<SegmentReader>,
    /// The entries that survived pruning.
    kept: Option<SegmentReader>,
    pruned: u64,
    next: u64,
    tail: Option<Tail>,
    unwritten: Option<u64>,
    listed: bool,
    lost: LossList,
    /// Whether to skip missing and damaged entries.
    partial: bool,
    gaps: Vec<Missing>,
    /// Sequences at which a segment ends with extra bytes after its last entry.
    trailing: Vec<u64>,
}

impl Walk {
    pub(crate) fn new(files: &Arc<dyn Files>) -> Result<Self, ReadError> {
        Self::start(files, false)
    }

    /// Iterates over all readable entries and skips missing and damaged ones.
    pub(crate) fn partial(files: &Arc<dyn Files>) -> Result<Self, ReadError> {
        Self::start(files, true)
    }

    fn start(files: &Arc<dyn Files>, partial: bool) -> Result<Self, ReadError> {
        let lost = LossList::read(&**files)?;
        let mut tries = 0..MAX_LISTINGS;
        loop {
            let mut walk = Self::at(Arc::clone(files), 0, lost.clone());
            walk.partial = partial;
            let begun = walk.begin();
            // A segment may be pruned after it was listed and before it is opened.
            match begun {
                Err(ReadError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound
                        && walk.listed
                        && tries.next().is_some() => {}
                begun => return begun.map(|()| walk),
            }
        }
    }

    fn begin(&mut self) -> Result<(), ReadError> {
        self.look_ahead(0)?;
        match self.pruned {
            0 => self.advance(),
            end => {
                let header = Header::decode(&self.kept_header(end)?);
                match header.filter(|header| header.first == end) {
                    Some(header) => {
                        self.kept = Some(SegmentReader::open_kept(&*self.files, header)?);
                        Ok(())
                    }
                    None => {
                        self.skip_to(end, kept_corrupt(end, 0, 0))?;
                        self.advance()
                    }
                }
            }
        }
    }

    /// Skips to a later entry. Fails with `fault` unless the walk is partial or the loss of the
    /// skipped entries was acknowledged.
    fn skip_to(&mut self, to: u64, fault: ReadError) -> Result<(), ReadError> {
        let from = self.next;
        let acknowledged = self.lost.covers(from, to);
        let is_whole = !matches!(fault, ReadError::Io { .. });
        if to < from || !is_whole || !(acknowledged || self.partial) {
            return Err(fault);
        }
        if from < to {
            self.gaps.extend(self.lost.missing(from, to));
        }
        self.next = to;
        Ok(())
    }

    fn kept_header(&self, end: u64) -> Result<Vec<u8>, ReadError> {
        let mut source = Source::open(&*self.files, kept_name(end), 0)?;
        let header = source.fill(HEADER_BYTES)?;
        Ok(header.get(..HEADER_BYTES).unwrap_or_default().to_vec())
    }

    /// Starts at the segment that contains, or will contain, an entry.
    pub(crate) fn from(files: Arc<dyn Files>, sequence: u64) -> Result<Self, ReadError> {
        Self::start_from(files, sequence, false)
    }

    /// Like [`Walk::from`], but skips missing and damaged entries.
    pub(crate) fn partial_from(files: Arc<dyn Files>, sequence: u64) -> Result<Self, ReadError> {
        Self::start_from(files, sequence, true)
    }

    fn start_from(files: Arc<dyn Files>, sequence: u64, partial: bool) -> Result<Self, ReadError> {
        let names = names(&*files)?;
        let pruned = names.iter().filter_map(|name| parse_kept(name)).max();
        if pruned.is_some_and(|pruned| sequence < pruned) {
            return Self::start(&files, partial);
        }
        let firsts = names.iter().filter_map(|name| parse_name(name));
        let first = firsts.filter(|first| *first <= sequence).max();
        let lost = LossList::read(&*files)?;
        let mut walk = Self::at(files, first.unwrap_or(sequence), lost);
        walk.partial = partial;
        walk.refresh()?;
        Ok(walk)
    }

    const fn at(files: Arc<dyn Files>, next: u64, lost: LossList) -> Self {
        Self {
            files,
            ahead: Vec::new(),
            current: None,
            kept: None,
            pruned: 0,
            listed: false,
            next,
            tail: None,
            unwritten: None,
            lost,
            partial: false,
            gaps: Vec::new(),
            trailing: Vec::new(),
        }
    }

    /// Lists the segments again, so that [`Walk::step`] can continue after the end.
    pub(crate) fn refresh(&mut self) -> Result<(), ReadError> {
        self.tail = None;
        // A segment of which nothing was read may have been replaced.
        let next = self.next;
        let mut begun = self.current.take_if(|current| current.header.first < next);
        let from = begun.as_ref().map_or(next, |begun| begun.header.first + 1);
        self.look_ahead(from)?;
        if let Some(begun) = &mut begun {
            // The buffer may end in the middle of a frame that is complete by now.
            begun.reopen(&*self.files)?;
        }
        self.current = begun;
        match self.current {
            None if !self.ahead.is_empty() => self.advance(),
            _ => Ok(()),
        }
    }

    /// The first entry of the last segment.
    pub(crate) fn last_segment(&self) -> u64 {
        let last = self.ahead.first().map(|header| header.first);
        let current = self.current.as_ref().map(|current| current.header.first);
        last.or(current).unwrap_or(self.next)
    }

    /// Reads the headers of all segments from `from` on.
    fn look_ahead(&mut self, from: u64) -> Result<(), ReadError> {
        let names = names(&*self.files)?;
        self.listed = true;
        let pruned = names.iter().filter_map(|name| parse_kept(name)).max();
        self.pruned = pruned.unwrap_or(0);
        let from = from.max(self.pruned);
        let mut firsts: Vec<u64> = names
            .iter()
            .filter_map(|name| parse_name(name))
            .filter(|first| *first >= from)
            .collect();
        firsts.sort_unstable_by(|one, other| other.cmp(one));
        self.ahead = Vec::with_capacity(firsts.len());
        self.unwritten = None;
        for (index, first) in firsts.into_iter().enumerate() {
            match read_header(&*self.files, first) {
                Ok(Some(header)) => self.ahead.push(header),
                Ok(None) if index == 0 => self.unwritten = Some(first),
                Err(fault @ ReadError::Io { .. }) => return Err(fault),
                // The skipped entries are reported when the next segment begins.
                _ if self.partial => {}
                Ok(None) => return Err(corrupt(first, 0, first)),
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Returns the next entry, or `None` at the end.
    pub(crate) fn step(&mut self) -> Result<Option<Stored>, ReadError> {
        loop {
            if let Some(kept) = &mut self.kept {
                match kept.read_kept(self.next) {
                    Ok(Some(stored)) => {
                        self.next = stored.sequence + 1;
                        return Ok(Some(stored));
                    }
                    Ok(None) => self.next = self.pruned,
                    Err(fault) => self.skip_to(self.pruned, fault)?,
                }
                self.kept = None;
                self.advance()?;
            }
            let limit = self.ahead.last().map(|header| header.first);
            let Some(current) = &mut self.current else {
                return Ok(None);
            };
            if limit == Some(self.next) {
                self.check_rest()?;
                self.advance()?;
            } else if let Some(mut stored) = current.read(self.next)? {
                self.next += 1;
                let successor = self.ahead.last();
                stored.uncertain = successor
                    .is_some_and(|header| header.after_fault && header.durable <= stored.sequence);
                return Ok(Some(stored));
            } else if !self.handle_invalid_frame()? {
                return Ok(None);
            }
        }
    }

    /// The sequence after the last entry read.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// How the ledger ends. Set once [`Walk::step`] has returned `None`.
    pub(crate) const fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// The sequence below which entries were pruned.
    pub(crate) const fn pruned(&self) -> u64 {
        self.pruned
    }

    /// The skipped entries, in order. Complete once [`Walk::step`] has returned `None`.
    pub(crate) fn gaps(&self) -> &[Missing] {
        &self.gaps
    }

    /// The skipped entries, and those missing at the end of a ledger of which `signed` entries
    /// were signed.
    pub(crate) fn missing_of(&self, signed: u64) -> Vec<Missing> {
        let mut missing = self.gaps.clone();
        if self.next < signed {
            let behind = missing.pop_if(|last| !last.acknowledged && last.to + 1 == self.next);
            missing.push(Missing {
                from: behind.map_or(self.next, |last| last.from),
                to: signed - 1,
                acknowledged: false,
            });
        }
        missing
    }

    /// The sequences at which a segment ends with extra bytes after its last entry, which a
    /// partial walk tolerates.
    pub(crate) fn trailing(&self) -> &[u64] {
        &self.trailing
    }

    /// Whether an entry's loss was acknowledged.
    pub(crate) fn is_lost(&self, sequence: u64) -> bool {
        self.lost.covers(sequence, sequence + 1)
    }

    /// A last segment that was created but never written.
    pub(crate) const fn unwritten(&self) -> Option<u64> {
        self.unwritten
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        self.current = None;
        while let Some(header) = self.ahead.pop() {
            let first = header.first;
            if first < self.next && self.partial {
                // Two segments claim the same entries. The first one counts.
                continue;
            }
            if first != self.next {
                self.skip_to(first, missing(self.next, first))?;
            }
            self.current = Some(SegmentReader::open(&*self.files, header)?);
            return Ok(());
        }
        Ok(())
    }

    /// Checks that no bytes follow the last entry of a segment.
    fn check_rest(&mut self) -> Result<(), ReadError> {
        let forgiven = self.ahead.last().is_some_and(|header| header.after_fault)
            || self.lost.covers(self.next, self.next);
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if forgiven {
            return Ok(());
        }
        let fault = match current.rest(&*self.files, self.next) {
            Ok(rest) if rest.is_zero() => return Ok(()),
            Ok(_) => corrupt(current.header.first, current.at, self.next),
            Err(fault) => fault,
        };
        match (self.partial, fault) {
            (true, ReadError::Corrupt { .. }) => {
                self.trailing.push(self.next);
                Ok(())
            }
            (_, fault) => Err(fault),
        }
    }

    /// Handles an invalid frame. Returns whether to continue.
    fn handle_invalid_frame(&mut self) -> Result<bool, ReadError> {
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        if let Some(successor) = self.ahead.last() {
            let first = successor.first;
            if successor.after_fault && self.next >= successor.durable {
                self.next = first;
            } else {
                let fault = match current.rest(&*self.files, self.next) {
                    Ok(rest) if rest.is_zero() => missing(self.next, first),
                    Ok(_) => corrupt(current.header.first, current.at, self.next),
                    Err(fault) => fault,
                };
                self.skip_to(first, fault)?;
            }
            self.advance()?;
            return Ok(true);
        }
        // The writer may have appended more since the buffer was filled, so read again before
        // judging.
        let mut damaged = corrupt(current.header.first, current.at, self.next);
        for _ in 0..2 {
            current.reopen(&*self.files)?;
            if current.frame(self.next)?.is_some() {
                return Ok(true);
            }
            match current.rest(&*self.files, self.next) {
                Ok(rest) if !rest.is_confirmed => {
                    self.tail = Some(current.tail(rest));
                    return Ok(false);
                }
                Ok(_) => {}
                Err(fault @ ReadError::Io { .. }) => return Err(fault),
                Err(fault) => damaged = fault,
            }
        }
        match self.partial {
            true => {
                // The number of lost entries is unknown, but it is at least one.
                self.skip_to(self.next + 1, damaged)?;
                self.current = None;
                Ok(false)
            }
            false => Err(damaged),
        }
    }
}

/// The file name of the segment that begins with an entry.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

fn names(files: &dyn Files) -> Result<Vec<String>, ReadError> {
    files
        .names()
        .map_err(|source| failed(&files.place(), source))
}

/// The file name for the entries below `end` that survived pruning.
pub(crate) fn kept_name(end: u64) -> String {
    format!("{end:020}{KEPT}")
}

pub(crate) fn parse_name(name: &str) -> Option<u64> {
    parse(name, SUFFIX)
}

pub(crate) fn parse_kept(name: &str) -> Option<u64> {
    parse(name, KEPT)
}

fn parse(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The header of a segment, or `None` if the segment was never written.
pub(crate) fn read_header(files: &dyn Files, first: u64) -> Result<Option<Header>, ReadError> {
    let mut source = Source::open(files, segment_name(first), 0)?;
    match Header::decode(source.fill(HEADER_BYTES)?) {
        Some(header) if header.first == first => Ok(Some(header)),
        Some(header) => Err(ReadError::Misnamed {
            segment: segment_name(first),
            sequence: first,
            holds: header.first,
            name: segment_name(header.first),
        }),
        None => {
            source.consume(HEADER_BYTES);
            let rest = source.fill(OVERHEAD + MAX_ENTRY_BYTES)?;
            if is_zero(rest) {
                Ok(None)
            } else {
                Err(corrupt(first, 0, first))
            }
        }
    }
}

fn failed(name: &str, source: io::Error) -> ReadError {
    ReadError::Io {
        name: name.to_owned(),
        source,
    }
}

fn corrupt(segment: u64, offset: u64, sequence: u64) -> ReadError {
    ReadError::Corrupt {
        segment: segment_name(segment),
        offset,
        sequence,
    }
}

fn kept_corrupt(end: u64, offset: u64, sequence: u64) -> ReadError {
    ReadError::Corrupt {
        segment: kept_name(end),
        offset,
        sequence,
    }
}

fn missing(from: u64, first: u64) -> ReadError {
    ReadError::Missing {
        from,
        to: first.saturating_sub(1),
        segment: segment_name(first),
    }
}

const SUFFIX: &str = ".seg";
const KEPT: &str = ".kept";
/// How many listings in a row may be outdated by pruning, which runs once an hour.
const MAX_LISTINGS: u32 = 5;
