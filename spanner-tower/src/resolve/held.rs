//! The bytes that are kept of bodies until they are decided: of each one as they came, and of
//! all together never more than a budget.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use spanner_core::Outage;

/// How many bytes of bodies may be kept at a time, over all requests of the guards that share
/// it. Cheap to clone.
///
/// A body is kept until it is decided and its beginning forwarded. Where the budget is used
/// up, a request that needs more of it is refused with 503 and `Retry-After`.
#[derive(Clone)]
pub struct BodyBudget(Arc<Shared>);

struct Shared {
    limit: usize,
    held: AtomicUsize,
}

impl BodyBudget {
    /// The default, 256 MiB: two bodies of the greatest size that is kept of one, or 32 of
    /// 8 MiB.
    pub const DEFAULT: usize = 256 << 20;

    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let held = AtomicUsize::new(0);
        Self(Arc::new(Shared { limit, held }))
    }

    /// How many bytes are kept now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Result<(), Outage> {
        let Shared { limit, held } = &*self.0;
        let more = |held: usize| held.checked_add(bytes).filter(|held| held <= limit);
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_or(Err(Outage::Bodies), |_| Ok(()))
    }

    fn give(&self, bytes: usize) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

impl fmt::Debug for BodyBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyBudget")
            .field("limit", &self.0.limit)
            .field("held", &self.held())
            .finish()
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: BodyBudget,
    bytes: usize,
}

impl Charge {
    pub(super) const fn none(budget: BodyBudget) -> Self {
        Self { budget, bytes: 0 }
    }

    /// # Errors
    /// [`Outage::Bodies`] if the budget is used up.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Outage> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Parts with so many of its bytes.
    pub(super) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let budget = self.budget.clone();
        Self { budget, bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

/// Bytes in the pieces in which they came. Nothing large is copied.
#[derive(Debug)]
pub(super) struct Held {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind the others, put together so that none keeps a buffer of its own.
    tail: BytesMut,
    length: usize,
    charge: Charge,
}

/// Smaller pieces are copied.
const SMALL: usize = 4096;

/// What small pieces are put together to.
const TOGETHER: usize = 64 * 1024;

impl Held {
    pub(super) fn none(budget: BodyBudget) -> Self {
        Self::of(Bytes::new(), Charge::none(budget))
    }

    pub(super) fn of(bytes: Bytes, charge: Charge) -> Self {
        Self {
            length: bytes.len(),
            pieces: VecDeque::from_iter((!bytes.is_empty()).then_some(bytes)),
            tail: BytesMut::new(),
            charge,
        }
    }

    /// Keeps a piece.
    ///
    /// # Errors
    /// [`Outage::Bodies`] if the budget is used up.
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<(), Outage> {
        self.charge.add(bytes.len())?;
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
        Ok(())
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
        drop(self.charge.split(piece.len()));
        Some(piece)
    }
}
