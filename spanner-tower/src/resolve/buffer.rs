//! Buffers for a body that is held until the decision: in pieces as they arrived, if they are
//! only forwarded later, or contiguous, if messages are cut out of them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes in pieces. Large pieces are not copied.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    /// The small pieces at the end, joined so that none of them keeps a read buffer alive.
    tail: BytesMut,
    length: usize,
}

/// The size in bytes below which pieces are copied: a piece keeps its whole read buffer alive,
/// which is often 8 KiB or more.
const SMALL: usize = 4096;

/// The size in bytes to which small pieces are joined: few pieces, and no large reallocation.
const TOGETHER: usize = 64 * 1024;

impl Pieces {
    /// Appends a piece.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        let first = self.pieces.is_empty() && self.tail.is_empty();
        if bytes.len() < SMALL && !first {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() >= TOGETHER {
                self.close_tail();
            }
        } else if !bytes.is_empty() {
            self.close_tail();
            self.pieces.push_back(bytes);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.length
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Drops all pieces.
    pub(super) fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    /// Removes and returns the first piece.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.close_tail();
        }
        let piece = self.pieces.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        let mut held = Self::default();
        held.push(bytes);
        held
    }
}

/// Contiguous bytes. They are copied only if they arrived in several pieces.
#[derive(Debug)]
pub(super) enum Contiguous {
    One(Bytes),
    Many(BytesMut),
}

impl Default for Contiguous {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Contiguous {
    pub(super) fn push(&mut self, bytes: Bytes) {
        match self {
            Self::One(first) if first.is_empty() => *first = bytes,
            Self::One(first) => {
                let mut many = BytesMut::with_capacity(first.len() + bytes.len());
                many.extend_from_slice(first);
                many.extend_from_slice(&bytes);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.extend_from_slice(&bytes),
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Removes and returns the first bytes, or all if there are fewer.
    pub(super) fn split_to(&mut self, length: usize) -> Bytes {
        let length = length.min(self.len());
        match self {
            Self::One(bytes) => bytes.split_to(length),
            Self::Many(bytes) => bytes.split_to(length).freeze(),
        }
    }
}
