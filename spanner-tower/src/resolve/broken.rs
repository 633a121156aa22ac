//! How a request's body and its response tell one another that the request was broken off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use spanner_core::{Pair, Refusal};

/// A place for the refusal of a later message, shared between the request's body and the
/// response, which ends with it; and for what was allowed meanwhile.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    refusal: OnceLock<Refusal>,
    /// Whether it was from outside the request's body.
    stopped: AtomicBool,
    response: AtomicWaker,
    request: AtomicWaker,
    /// What later messages were allowed.
    allowed: Mutex<Vec<Pair>>,
}

impl Broken {
    /// Breaks the request off from within its body. Only the first refusal counts.
    pub(super) fn set(&self, refusal: Refusal) {
        if self.shared.refusal.set(refusal).is_ok() {
            self.shared.response.wake();
        }
    }

    /// Breaks the request off from elsewhere: its body ends, too.
    pub(crate) fn stop(&self, refusal: Refusal) {
        if self.shared.refusal.set(refusal).is_ok() {
            self.shared.stopped.store(true, Ordering::Release);
            self.shared.response.wake();
            self.shared.request.wake();
        }
    }

    /// Why it was broken off, if it was.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.shared.refusal.get()
    }

    /// Resolves when the request has been broken off. One task at a time is woken: the one
    /// that asked last.
    pub(crate) fn poll_broken(&self, cx: &Context<'_>) -> Poll<Refusal> {
        if let Some(refusal) = self.shared.refusal.get() {
            return Poll::Ready(refusal.clone());
        }
        self.shared.response.register(cx.waker());
        match self.shared.refusal.get() {
            Some(refusal) => Poll::Ready(refusal.clone()),
            None => Poll::Pending,
        }
    }

    /// Whether it was broken off from elsewhere; wakes the request's body then.
    pub(super) fn is_stopped(&self, cx: &Context<'_>) -> bool {
        let stopped = || self.shared.stopped.load(Ordering::Acquire);
        stopped() || {
            self.shared.request.register(cx.waker());
            stopped()
        }
    }

    /// Takes note of what a later message was allowed.
    pub(super) fn allow(&self, pairs: &[Pair]) {
        self.allowed_later().extend_from_slice(pairs);
    }

    /// What later messages were allowed.
    pub(crate) fn allowed(&self) -> Vec<Pair> {
        self.allowed_later().clone()
    }

    /// What a panic left behind is whole: each change is one step.
    fn allowed_later(&self) -> MutexGuard<'_, Vec<Pair>> {
        let allowed = self.shared.allowed.lock();
        allowed.unwrap_or_else(PoisonError::into_inner)
    }
}
