//! What is kept of a body until it is decided: in the pieces in which it came, where it is only
//! forwarded later, or in one, where messages are cut out of it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes in pieces. Nothing large is copied.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind the others, put together so that none keeps a buffer of its own.
    tail: BytesMut,
    length: usize,
}

/// Smaller pieces are copied, in bytes: a piece keeps the buffer of its read alive, which is often
/// 8 KiB or more.
const SMALL: usize = 4096;

/// What small pieces are put together to, in bytes: few enough pieces, and no large reallocation.
const TOGETHER: usize = 64 * 1024;

impl Pieces {
    /// Keeps a piece.
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

    /// Keeps nothing of it.
    pub(super) fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    /// The first piece, which is kept no longer.
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

/// Bytes that have arrived. As long as they came in one piece, they are not copied.
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

    /// Takes the first bytes away; all of them, if there are fewer.
    pub(super) fn split_to(&mut self, length: usize) -> Bytes {
        let length = length.min(self.len());
        match self {
            Self::One(bytes) => bytes.split_to(length),
            Self::Many(bytes) => bytes.split_to(length).freeze(),
        }
    }
}
