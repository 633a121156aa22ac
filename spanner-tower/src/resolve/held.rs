//! What is kept of a body until it is decided, in the pieces in which it came.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes in pieces. Nothing large is copied.
#[derive(Debug, Default)]
pub(super) struct Held {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind the others, put together so that none keeps a buffer of its own.
    tail: BytesMut,
    length: usize,
}

/// Smaller pieces are copied.
const SMALL: usize = 4096;

/// What small pieces are put together to.
const TOGETHER: usize = 64 * 1024;

impl Held {
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

impl From<Bytes> for Held {
    fn from(bytes: Bytes) -> Self {
        let mut held = Self::default();
        held.push(bytes);
        held
    }
}
