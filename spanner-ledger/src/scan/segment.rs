//! Reads one segment: its frames, and the bytes after them.

use std::io::Read;

use super::{Stored, Tail, corrupt, failed, kept_corrupt, kept_name, segment_name};
use crate::error::ReadError;
use crate::files::Files;
use crate::frame::{Frame, HEADER_BYTES, Header, frame_length};
use crate::{MAX_ENTRY_BYTES, OVERHEAD};

/// Reads the frames of one segment.
#[derive(Debug)]
pub(super) struct SegmentReader {
    pub(super) header: Header,
    source: Source,
    pub(super) at: u64,
    unproven: (u64, u64),
}

impl SegmentReader {
    pub(super) fn open(files: &dyn Files, header: Header) -> Result<Self, ReadError> {
        let at = HEADER_BYTES as u64;
        Ok(Self {
            header,
            source: Source::open(files, segment_name(header.first), at)?,
            at,
            unproven: (header.durable, at),
        })
    }

    pub(super) fn open_kept(files: &dyn Files, header: Header) -> Result<Self, ReadError> {
        let at = HEADER_BYTES as u64;
        Ok(Self {
            header,
            source: Source::open(files, kept_name(header.first), at)?,
            at,
            unproven: (header.durable, at),
        })
    }

    /// Reads the next entry that survived pruning, from a sequence on.
    pub(super) fn read_kept(&mut self, from: u64) -> Result<Option<Stored>, ReadError> {
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

    pub(super) fn reopen(&mut self, files: &dyn Files) -> Result<(), ReadError> {
        self.source = Source::open(files, segment_name(self.header.first), self.at)?;
        Ok(())
    }

    /// The next frame, if it is valid and has this sequence.
    pub(super) fn frame(&mut self, sequence: u64) -> Result<Option<Frame<'_>>, ReadError> {
        let head = self.source.fill(OVERHEAD)?;
        let length = frame_length(head).unwrap_or_default();
        let bytes = self.source.fill(OVERHEAD + length)?;
        let frame = Frame::decode(&self.header.salt, bytes);
        Ok(frame.filter(|frame| frame.sequence == sequence))
    }

    pub(super) fn read(&mut self, sequence: u64) -> Result<Option<Stored>, ReadError> {
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
    pub(super) fn rest(&mut self, files: &dyn Files, sequence: u64) -> Result<Rest, ReadError> {
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

    pub(super) fn tail(&self, rest: Rest) -> Tail {
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
pub(super) struct Rest {
    /// The number of bytes up to the last non-zero byte.
    pub(super) torn: u64,
    /// Whether a later frame states that the entry expected here had been synced.
    pub(super) is_confirmed: bool,
}

impl Rest {
    pub(super) const fn is_zero(self) -> bool {
        self.torn == 0
    }
}

/// A file with a read-ahead buffer.
pub(super) struct Source {
    name: String,
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
}

impl Source {
    pub(super) fn open(files: &dyn Files, name: String, at: u64) -> Result<Self, ReadError> {
        let reader = files.read(&name, at);
        Ok(Self {
            reader: reader.map_err(|source| failed(&name, source))?,
            name,
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// Returns the next bytes: at least `want`, or fewer at the end of the file.
    pub(super) fn fill(&mut self, want: usize) -> Result<&[u8], ReadError> {
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

    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = self.buffer.len().min(self.start + bytes);
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let all = |chunk: &[u8]| chunk.iter().fold(0, |all, byte| all | byte);
    bytes.chunks(64).all(|chunk| all(chunk) == 0)
}

/// The size of one read: large enough to amortize system calls, small enough for many readers.
const READ_AHEAD: usize = 64 * 1024;

/// The buffer for the bytes after the valid frames: one read and the longest frame.
const WINDOW: usize = READ_AHEAD + OVERHEAD + MAX_ENTRY_BYTES;

/// A crash leaves less than this after the valid frames: one second's entries and the
/// preallocated space.
const MAX_REST: u64 = 1 << 30;

/// Bounds the work of searching those bytes for frames, which is quadratic for crafted input.
const MAX_CHECKED: u64 = 64 << 20;
