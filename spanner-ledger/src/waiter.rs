//! A caller that waits until its decision is durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use spanner_core::SinkFault;

/// The writer's and the watchdog's end of a waiter. The first result counts.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(crate) deadline: Instant,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Done(Result<(), SinkFault>),
}

/// The caller's end of a waiter. Dropping it has no effect on other callers.
#[derive(Debug)]
pub(crate) struct WaiterFuture {
    slot: Arc<Mutex<Slot>>,
}

impl Waiter {
    pub(crate) fn new(deadline: Instant) -> (Self, WaiterFuture) {
        let slot = Arc::new(Mutex::new(Slot::Waiting(None)));
        let acknowledged = WaiterFuture {
            slot: Arc::clone(&slot),
        };
        (Self { deadline, slot }, acknowledged)
    }

    /// Wakes the caller, which may run foreign code. The caller of this method must hold no lock.
    pub(crate) fn resolve(&self, result: Result<(), SinkFault>) {
        let mut slot = lock(&self.slot);
        if let Slot::Waiting(waker) = &mut *slot {
            let waker = waker.take();
            *slot = Slot::Done(result);
            drop(slot);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl WaiterFuture {
    /// Blocks until there is a result. The watchdog guarantees one.
    pub(crate) fn wait(self) -> Result<(), SinkFault> {
        let mut this = self;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut this).poll(&mut context) {
                Poll::Ready(result) => return result,
                Poll::Pending => thread::park(),
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Future for WaiterFuture {
    type Output = Result<(), SinkFault>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *lock(&self.slot) {
            Slot::Done(result) => Poll::Ready(result.clone()),
            Slot::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Locks a mutex even if it is poisoned, because no code here leaves a state half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
