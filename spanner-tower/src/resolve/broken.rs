//! Shared state by which a request's body and its response tell each other that the request was
//! aborted, or that it makes progress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use spanner_core::{Pair, Refusal};
use tokio::time::Instant;

/// The refusal that aborted a request, shared between its body and its response, and what later
/// messages were allowed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    refusal: OnceLock<Refusal>,
    /// Whether the request was aborted from outside its body.
    stopped: AtomicBool,
    response: AtomicWaker,
    request: AtomicWaker,
    /// What later messages were allowed.
    allowed: Mutex<Vec<Pair>>,
    /// Whether the response has begun.
    answered: AtomicBool,
    began: Instant,
    /// The time of the last progress of either side, in milliseconds since `began`.
    moved: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            refusal: OnceLock::new(),
            stopped: AtomicBool::new(false),
            response: AtomicWaker::new(),
            request: AtomicWaker::new(),
            allowed: Mutex::default(),
            answered: AtomicBool::new(false),
            began: Instant::now(),
            moved: AtomicU64::new(0),
        }
    }
}

impl Broken {
    /// Aborts the request from within its body. Only the first refusal counts.
    pub(super) fn set(&self, refusal: Refusal) {
        if self.shared.refusal.set(refusal).is_ok() {
            self.shared.response.wake();
        }
    }

    /// Aborts the request from outside its body, which ends as well.
    pub(crate) fn stop(&self, refusal: Refusal) {
        if self.shared.refusal.set(refusal).is_ok() {
            self.shared.stopped.store(true, Ordering::Release);
            self.shared.response.wake();
            self.shared.request.wake();
        }
    }

    /// Why the request was aborted, if it was.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.shared.refusal.get()
    }

    /// Notes that the response has begun.
    pub(crate) fn answered(&self) {
        self.shared.answered.store(true, Ordering::Relaxed);
        self.moved();
    }

    pub(super) fn is_answered(&self) -> bool {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Notes progress of either side.
    pub(crate) fn moved(&self) {
        self.shared.moved.store(self.since(), Ordering::Relaxed);
    }

    /// The time without progress of either side.
    pub(super) fn quiet(&self) -> Duration {
        let moved = self.shared.moved.load(Ordering::Relaxed);
        Duration::from_millis(self.since().saturating_sub(moved))
    }

    fn since(&self) -> u64 {
        u64::try_from(self.shared.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Resolves when the request has been aborted. Only the task that polled last is woken.
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

    /// Whether the request was aborted from outside its body; registers the body to be woken
    /// then.
    pub(super) fn is_stopped(&self, cx: &Context<'_>) -> bool {
        let stopped = || self.shared.stopped.load(Ordering::Acquire);
        stopped() || {
            self.shared.request.register(cx.waker());
            stopped()
        }
    }

    /// Notes what a later message was allowed.
    pub(super) fn allow(&self, pairs: &[Pair]) {
        self.allowed_later().extend_from_slice(pairs);
    }

    /// What later messages were allowed.
    pub(crate) fn allowed(&self) -> Vec<Pair> {
        self.allowed_later().clone()
    }

    /// Each change is a single step, so the state is consistent after a panic.
    fn allowed_later(&self) -> MutexGuard<'_, Vec<Pair>> {
        let allowed = self.shared.allowed.lock();
        allowed.unwrap_or_else(PoisonError::into_inner)
    }
}
