//! How a request's body tells the response that it was broken off.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use spanner_core::Refusal;

/// A place for the refusal of a later message, shared between the request's body, which
/// sets it, and the response, which ends with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    refusal: OnceLock<Refusal>,
    waker: AtomicWaker,
}

impl Broken {
    /// Breaks the request off. Only the first refusal counts.
    pub(super) fn set(&self, refusal: Refusal) {
        if self.shared.refusal.set(refusal).is_ok() {
            self.shared.waker.wake();
        }
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
