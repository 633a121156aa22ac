//! Ships checkpoints to one sink on its own thread. A slow or unavailable sink delays neither the
//! ledger's own checkpoints nor other sinks.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Checkpoint, CheckpointSink};
use crate::waiter::lock;

/// One sink and its shipping thread.
pub(crate) struct Courier {
    shared: Arc<Shared>,
    pace: Duration,
    thread: Option<JoinHandle<()>>,
    /// The size of the last checkpoint passed to it.
    sent: Option<u64>,
}

/// The state shared by the checkpoint signer and the shipping thread.
struct Shared {
    sink: Mutex<Box<dyn CheckpointSink>>,
    mailbox: Mutex<Mailbox>,
    changed: Condvar,
}

#[derive(Default)]
struct Mailbox {
    /// The newest checkpoint that the sink does not have yet.
    due: Option<Checkpoint>,
    /// Set when no more checkpoints will come.
    ended: bool,
    /// Whether the shipping thread is running.
    is_running: bool,
}

impl Courier {
    /// Creates a courier that retries failed shipments after `pace`.
    pub(crate) fn new(sink: Box<dyn CheckpointSink>, pace: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                sink: Mutex::new(sink),
                mailbox: Mutex::default(),
                changed: Condvar::new(),
            }),
            pace,
            thread: None,
            sent: None,
        }
    }

    /// Ships a checkpoint, and drops an older one that is still waiting.
    pub(crate) fn send(&mut self, checkpoint: &Checkpoint) {
        let mut mailbox = lock(&self.shared.mailbox);
        if self.sent != Some(checkpoint.size()) {
            self.sent = Some(checkpoint.size());
            mailbox.due = Some(checkpoint.clone());
            self.shared.changed.notify_all();
        }
        // Start the thread on first use, and again if starting it failed before.
        let idle = mailbox.due.is_some() && !mailbox.is_running;
        mailbox.is_running |= idle;
        drop(mailbox);
        if idle && let Err(fault) = self.start() {
            lock(&self.shared.mailbox).is_running = false;
            tracing::error!(%fault, "cannot start the thread that ships checkpoints");
        }
    }

    /// Ends the thread after one last attempt to ship the waiting checkpoint.
    pub(crate) fn end(&self) {
        lock(&self.shared.mailbox).ended = true;
        self.shared.changed.notify_all();
    }

    /// Waits for the thread to end, at most until `until`.
    pub(crate) fn join(mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let mailbox = lock(&self.shared.mailbox);
        let is_running = |mailbox: &mut Mailbox| mailbox.is_running;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(mailbox, left, is_running);
        let mailbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        if mailbox.is_running {
            tracing::warn!("the ledger closes while a checkpoint is still being shipped");
            return;
        }
        drop(mailbox);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a checkpoint sink panicked");
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let (shared, pace) = (Arc::clone(&self.shared), self.pace);
        let thread = thread::Builder::new()
            .name("spanner-ledger-checkpoints".to_owned())
            .spawn(move || Worker(shared).run(pace))?;
        self.thread = Some(thread);
        Ok(())
    }
}

/// The shipping thread. Dropping it reports its end, even after a panic.
struct Worker(Arc<Shared>);

impl Worker {
    fn run(&self, pace: Duration) {
        let mut failed = false;
        while let Some((checkpoint, last)) = self.take(failed.then_some(pace)) {
            let mut sink = lock(&self.0.sink);
            match ship(&mut **sink, &checkpoint) {
                Ok(()) if failed => {
                    tracing::info!(?sink, "checkpoints are shipped again");
                    failed = false;
                }
                Ok(()) => {}
                Err(fault) => {
                    if !failed || last {
                        tracing::warn!(%fault, ?sink, last, "cannot ship a checkpoint");
                    }
                    failed = true;
                    lock(&self.0.mailbox).due.get_or_insert(checkpoint);
                    if last {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for a checkpoint to ship, after a failure for at least `after`. Also returns whether
    /// this is the last attempt. `None` if there are no more checkpoints.
    fn take(&self, after: Option<Duration>) -> Option<(Checkpoint, bool)> {
        let mut mailbox = lock(&self.0.mailbox);
        if let Some(after) = after {
            let more = |mailbox: &mut Mailbox| !mailbox.ended;
            let waited = self.0.changed.wait_timeout_while(mailbox, after, more);
            mailbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let idle = |mailbox: &mut Mailbox| mailbox.due.is_none() && !mailbox.ended;
        let waited = self.0.changed.wait_while(mailbox, idle);
        let mut mailbox = waited.unwrap_or_else(PoisonError::into_inner);
        let last = mailbox.ended;
        mailbox.due.take().map(|checkpoint| (checkpoint, last))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        lock(&self.0.mailbox).is_running = false;
        self.0.changed.notify_all();
    }
}

fn ship(sink: &mut dyn CheckpointSink, checkpoint: &Checkpoint) -> io::Result<()> {
    // A panic counts as a failed attempt.
    let shipped = catch_unwind(AssertUnwindSafe(|| sink.ship(checkpoint)));
    shipped.unwrap_or_else(|_| Err(io::Error::other("the sink panicked")))
}
