//! How a request's body tells the response that it was broken off, and how the response tells
//! the body that it goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use spanner_core::Refusal;
use tokio::time::Instant;

/// A place for the refusal of a later message, shared between the request's body, which
/// sets it, and the response, which ends with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    refusal: OnceLock<Refusal>,
    waker: AtomicWaker,
    /// Whether the answer has begun.
    answered: AtomicBool,
    began: Instant,
    /// When either side said something last, in milliseconds since then.
    moved: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            refusal: OnceLock::new(),
            waker: AtomicWaker::new(),
            answered: AtomicBool::new(false),
            began: Instant::now(),
            moved: AtomicU64::new(0),
        }
    }
}

impl Broken {
    /// Breaks the request off. Only the first refusal counts.
    pub(super) fn set(&self, refusal: Refusal) {
        if self.shared.refusal.set(refusal).is_ok() {
            self.shared.waker.wake();
        }
    }

    /// The answer has begun.
    pub(crate) fn answered(&self) {
        self.shared.answered.store(true, Ordering::Relaxed);
        self.moved();
    }

    pub(super) fn is_answered(&self) -> bool {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Something was said, by either side.
    pub(crate) fn moved(&self) {
        self.shared.moved.store(self.since(), Ordering::Relaxed);
    }

    /// How long nothing was said.
    pub(super) fn quiet(&self) -> Duration {
        let moved = self.shared.moved.load(Ordering::Relaxed);
        Duration::from_millis(self.since().saturating_sub(moved))
    }

    fn since(&self) -> u64 {
        u64::try_from(self.shared.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Resolves when the request has been broken off. One task at a time is woken: the one
    /// that asked last.
    pub(crate) fn poll_broken(&self, cx: &Context<'_>) -> Poll<Refusal> {
        if let Some(refusal) = self.shared.refusal.get() {
            return Poll::Ready(refusal.clone());
        }
        self.shared.waker.register(cx.waker());
        match self.shared.refusal.get() {
            Some(refusal) => Poll::Ready(refusal.clone()),
            None => Poll::Pending,
        }
    }
}
