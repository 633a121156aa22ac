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
    desk: Arc<Desk>,
    pace: Duration,
    thread: Option<JoinHandle<()>>,
    /// The size of the last checkpoint passed to it.
    given: Option<u64>,
}

/// The state shared by the checkpoint signer and the shipping thread.
struct Desk {
    sink: Mutex<Box<dyn CheckpointSink>>,
    tray: Mutex<Tray>,
    changed: Condvar,
}

#[derive(Default)]
struct Tray {
    /// The newest checkpoint that the sink does not have yet.
    due: Option<Checkpoint>,
    /// Set when no more checkpoints will come.
    ended: bool,
    /// Whether the shipping thread is running.
    attended: bool,
}

impl Courier {
    /// Creates a courier that retries failed shipments after `pace`.
    pub(crate) fn new(sink: Box<dyn CheckpointSink>, pace: Duration) -> Self {
        Self {
            desk: Arc::new(Desk {
                sink: Mutex::new(sink),
                tray: Mutex::default(),
                changed: Condvar::new(),
            }),
            pace,
            thread: None,
            given: None,
        }
    }

    /// Ships a checkpoint, and drops an older one that is still waiting.
    pub(crate) fn give(&mut self, checkpoint: &Checkpoint) {
        let mut tray = lock(&self.desk.tray);
        if self.given != Some(checkpoint.size()) {
            self.given = Some(checkpoint.size());
            tray.due = Some(checkpoint.clone());
            self.desk.changed.notify_all();
        }
        // Start the thread on first use, and again if starting it failed before.
        let idle = tray.due.is_some() && !tray.attended;
        tray.attended |= idle;
        drop(tray);
        if idle && let Err(fault) = self.start() {
            lock(&self.desk.tray).attended = false;
            tracing::error!(%fault, "cannot start the thread that ships checkpoints");
        }
    }

    /// Ends the thread after one last attempt to ship the waiting checkpoint.
    pub(crate) fn end(&self) {
        lock(&self.desk.tray).ended = true;
        self.desk.changed.notify_all();
    }

    /// Waits for the thread to end, at most until `until`.
    pub(crate) fn join(mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let tray = lock(&self.desk.tray);
        let attended = |tray: &mut Tray| tray.attended;
        let waited = self.desk.changed.wait_timeout_while(tray, left, attended);
        let tray = waited.unwrap_or_else(PoisonError::into_inner).0;
        if tray.attended {
            tracing::warn!("the ledger closes while a checkpoint is still being shipped");
            return;
        }
        drop(tray);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a checkpoint sink panicked");
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let (desk, pace) = (Arc::clone(&self.desk), self.pace);
        let thread = thread::Builder::new()
            .name("spanner-ledger-checkpoints".to_owned())
            .spawn(move || Attendant(desk).run(pace))?;
        self.thread = Some(thread);
        Ok(())
    }
}

/// The shipping thread. Dropping it reports its end, even after a panic.
struct Attendant(Arc<Desk>);

impl Attendant {
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
                    lock(&self.0.tray).due.get_or_insert(checkpoint);
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
        let mut tray = lock(&self.0.tray);
        if let Some(after) = after {
            let more = |tray: &mut Tray| !tray.ended;
            let waited = self.0.changed.wait_timeout_while(tray, after, more);
            tray = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let idle = |tray: &mut Tray| tray.due.is_none() && !tray.ended;
        let waited = self.0.changed.wait_while(tray, idle);
        let mut tray = waited.unwrap_or_else(PoisonError::into_inner);
        let last = tray.ended;
        tray.due.take().map(|checkpoint| (checkpoint, last))
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        lock(&self.0.tray).attended = false;
        self.0.changed.notify_all();
    }
}

fn ship(sink: &mut dyn CheckpointSink, checkpoint: &Checkpoint) -> io::Result<()> {
    // A panic counts as a failed attempt.
    let shipped = catch_unwind(AssertUnwindSafe(|| sink.ship(checkpoint)));
    shipped.unwrap_or_else(|_| Err(io::Error::other("the sink panicked")))
}
