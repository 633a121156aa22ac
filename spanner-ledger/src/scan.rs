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

use std::io::{self, Read};
use std::sync::Arc;

use serde::Deserialize;
use spanner_core::Timestamp;

use crate::error::ReadError;
use crate::files::Files;
use crate::frame::{Frame, HEADER_BYTES, Header, frame_length};
use crate::lost::{Lost, Missing};
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
    current: Option<Current>,
    /// The entries that survived pruning.
    kept: Option<Current>,
    pruned: u64,
    next: u64,
    tail: Option<Tail>,
    unwritten: Option<u64>,
    listed: bool,
    lost: Lost,
    /// Whether to skip missing and damaged entries.
    partial: bool,
    gaps: Vec<Missing>,
    /// Sequences at which a segment ends with extra bytes after its last entry.
    trailing: Vec<u64>,
}

#[derive(Debug)]
struct Current {
    header: Header,
    source: Source,
    at: u64,
    unproven: (u64, u64),
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
        let lost = Lost::read(&**files)?;
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
                        self.kept = Some(Current::open_kept(&*self.files, header)?);
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
        let lost = Lost::read(&*files)?;
        let mut walk = Self::at(files, first.unwrap_or(sequence), lost);
        walk.partial = partial;
        walk.refresh()?;
        Ok(walk)
    }

    const fn at(files: Arc<dyn Files>, next: u64, lost: Lost) -> Self {
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
            self.current = Some(Current::open(&*self.files, header)?);
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

impl Current {
    fn open(files: &dyn Files, header: Header) -> Result<Self, ReadError> {
        let at = HEADER_BYTES as u64;
        Ok(Self {
            header,
            source: Source::open(files, segment_name(header.first), at)?,
            at,
            unproven: (header.durable, at),
        })
    }

    fn open_kept(files: &dyn Files, header: Header) -> Result<Self, ReadError> {
        let at = HEADER_BYTES as u64;
        Ok(Self {
            header,
            source: Source::open(files, kept_name(header.first), at)?,
            at,
            unproven: (header.durable, at),
        })
    }

    /// Reads the next entry that survived pruning, from a sequence on.
    fn read_kept(&mut self, from: u64) -> Result<Option<Stored>, ReadError> {
        let (end, at) = (self.header.first, self.at);
        let head = self.source.fill(OVERHEAD)?;
        if head.is_empty() {
            return Ok(None);
        }
        let length = frame_length(head).unwrap_or_default();
        let bytes = self.source.fill(OVERHEAD + length)?;
        let frame = Frame::decode(&self.header.salt, bytes);
        let frame = frame.filter(|frame| (from..end).contains(&frame.sequence));
        let frame = frame.ok_or_else(|| kept_corrupt(end, at, from))?;
        let (sequence, bytes) = (frame.sequence, frame.bytes());
        let payload = frame.payload.to_vec();
        self.at += bytes as u64;
        self.source.consume(bytes);
        Ok(Some(Stored {
            sequence,
            payload,
            uncertain: false,
        }))
    }

    fn reopen(&mut self, files: &dyn Files) -> Result<(), ReadError> {
        self.source = Source::open(files, segment_name(self.header.first), self.at)?;
        Ok(())
    }

    /// The next frame, if it is valid and has this sequence.
    fn frame(&mut self, sequence: u64) -> Result<Option<Frame<'_>>, ReadError> {
        let head = self.source.fill(OVERHEAD)?;
        let length = frame_length(head).unwrap_or_default();
        let bytes = self.source.fill(OVERHEAD + length)?;
        let frame = Frame::decode(&self.header.salt, bytes);
        Ok(frame.filter(|frame| frame.sequence == sequence))
    }

    fn read(&mut self, sequence: u64) -> Result<Option<Stored>, ReadError> {
        let Some(frame) = self.frame(sequence)? else {
            return Ok(None);
        };
        let (bytes, durable) = (frame.bytes(), frame.durable);
        let payload = frame.payload.to_vec();
        if durable != self.unproven.0 {
            self.unproven = (durable, self.at);
        }
        self.at += bytes as u64;
        self.source.consume(bytes);
        Ok(Some(Stored {
            sequence,
            payload,
            uncertain: false,
        }))
    }

    /// Examines the bytes after the valid frames, in bounded memory.
    fn rest(&mut self, files: &dyn Files, sequence: u64) -> Result<Rest, ReadError> {
        let (segment, offset) = (self.header.first, self.at);
        let damaged = || corrupt(segment, offset, sequence);
        let size = files.size(&self.source.name);
        let size = size.map_err(|source| failed(&self.source.name, source))?;
        let length = size.saturating_sub(self.at);
        if length > MAX_REST {
            return Err(damaged());
        }
        // A frame is at least `OVERHEAD` bytes long, which bounds the sequences that can follow.
        let most = sequence.saturating_add(length / OVERHEAD as u64);
        let (mut rest, mut passed, mut checked) = (Rest::default(), 0, 0);
        loop {
            let bytes = self.source.fill(WINDOW)?;
            // Only positions are examined that have room for the longest frame behind them,
            // unless the file ends.
            let looked = match bytes.len() < WINDOW {
                true => bytes.len(),
                false => READ_AHEAD,
            };
            if looked == 0 {
                return Ok(rest);
            }
            let part = bytes.get(..looked).unwrap_or_default();
            if !is_zero(part) {
                let zeros = part.iter().rev().take_while(|byte| **byte == 0).count();
                rest.torn = passed + (looked - zeros) as u64;
            }
            if !rest.is_confirmed && !is_zero(bytes.get(..looked + OVERHEAD).unwrap_or(bytes)) {
                let salt = self.header.salt;
                for frame in (0..looked).filter_map(|at| bytes.get(at..)) {
                    let claimed = frame.get(8..16).and_then(|claim| claim.first_chunk::<8>());
                    let claimed = claimed.map(|claim| u64::from_le_bytes(*claim));
                    if !claimed.is_some_and(|claimed| (sequence..=most).contains(&claimed)) {
                        continue;
                    }
                    checked += frame_length(frame).unwrap_or_default() as u64;
                    let frame = Frame::decode(&salt, frame);
                    rest.is_confirmed |= frame.is_some_and(|frame| frame.durable > sequence);
                    // A long run of bytes that only look like frames is no accident.
                    if checked > MAX_CHECKED + length {
                        return Err(damaged());
                    }
                }
            }
            passed += looked as u64;
            self.source.consume(looked);
        }
    }

    fn tail(&self, rest: Rest) -> Tail {
        Tail {
            segment: self.header.first,
            end: self.at,
            unproven: self.unproven.1,
            torn: rest.torn,
        }
    }
}

/// The bytes after the last valid frame of a segment.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    /// The number of bytes up to the last non-zero byte.
    torn: u64,
    /// Whether a later frame states that the entry expected here had been synced.
    is_confirmed: bool,
}

impl Rest {
    const fn is_zero(self) -> bool {
        self.torn == 0
    }
}

/// A file with a read-ahead buffer.
struct Source {
    name: String,
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
}

impl Source {
    fn open(files: &dyn Files, name: String, at: u64) -> Result<Self, ReadError> {
        let reader = files.read(&name, at);
        Ok(Self {
            reader: reader.map_err(|source| failed(&name, source))?,
            name,
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// Returns the next bytes: at least `want`, or fewer at the end of the file.
    fn fill(&mut self, want: usize) -> Result<&[u8], ReadError> {
        while self.bytes().len() < want {
            if self.start > READ_AHEAD {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let mut ahead = (&mut self.reader).take(READ_AHEAD as u64);
            match ahead.read_to_end(&mut self.buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(source) => return Err(failed(&self.name, source)),
            }
        }
        Ok(self.bytes())
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn consume(&mut self, bytes: usize) {
        self.start = self.buffer.len().min(self.start + bytes);
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", self.name)
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

fn is_zero(bytes: &[u8]) -> bool {
    let all = |chunk: &[u8]| chunk.iter().fold(0, |all, byte| all | byte);
    bytes.chunks(64).all(|chunk| all(chunk) == 0)
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
/// The size of one read: large enough to amortize system calls, small enough for many readers.
const READ_AHEAD: usize = 64 * 1024;
/// The buffer for the bytes after the valid frames: one read and the longest frame.
const WINDOW: usize = READ_AHEAD + OVERHEAD + MAX_ENTRY_BYTES;
/// A crash leaves less than this after the valid frames: one second's entries and the
/// preallocated space.
const MAX_REST: u64 = 1 << 30;
/// Bounds the work of searching those bytes for frames, which is quadratic for crafted input.
const MAX_CHECKED: u64 = 64 << 20;
