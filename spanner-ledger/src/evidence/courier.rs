//! Takes checkpoints to one sink, on a thread of its own, so that a sink that is slow or away
//! keeps neither the ledger's own checkpoints nor the other sinks waiting.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Checkpoint, CheckpointSink};
use crate::waiter::lock;

/// One sink, and the thread that ships to it.
pub(crate) struct Courier {
    desk: Arc<Desk>,
    pace: Duration,
    thread: Option<JoinHandle<()>>,
    /// The size of the checkpoint that was given last.
    given: Option<u64>,
}

/// What the keeper and the thread share.
struct Desk {
    sink: Mutex<Box<dyn CheckpointSink>>,
    tray: Mutex<Tray>,
    changed: Condvar,
}

#[derive(Default)]
struct Tray {
    /// The newest checkpoint, unless the sink has it.
    due: Option<Checkpoint>,
    /// There will be no more.
    ended: bool,
    /// Somebody takes from here.
    attended: bool,
}

impl Courier {
    /// What fails is tried again at this pace.
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

    /// Has the newest checkpoint shipped, in place of an older one that still waits.
    pub(crate) fn give(&mut self, checkpoint: &Checkpoint) {
        let mut tray = lock(&self.desk.tray);
        if self.given != Some(checkpoint.size()) {
            self.given = Some(checkpoint.size());
            tray.due = Some(checkpoint.clone());
            self.desk.changed.notify_all();
        }
        // At first, and where there was no thread to be had before.
        let idle = tray.due.is_some() && !tray.attended;
        tray.attended |= idle;
        drop(tray);
        if idle && let Err(fault) = self.start() {
            lock(&self.desk.tray).attended = false;
            tracing::error!(%fault, "there is no thread to ship checkpoints on");
        }
    }

    /// There will be no more: what waits is tried once again.
    pub(crate) fn end(&self) {
        lock(&self.desk.tray).ended = true;
        self.desk.changed.notify_all();
    }

    /// Waits for the thread to end, no longer than until then.
    pub(crate) fn join(mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let tray = lock(&self.desk.tray);
        let attended = |tray: &mut Tray| tray.attended;
        let waited = self.desk.changed.wait_timeout_while(tray, left, attended);
        let tray = waited.unwrap_or_else(PoisonError::into_inner).0;
        if tray.attended {
            tracing::warn!("a checkpoint is still being shipped, and nobody waits for it");
            return;
        }
        drop(tray);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a sink of checkpoints panicked");
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

/// The thread; tells when it is gone, however it ends.
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
                        tracing::warn!(%fault, ?sink, last, "a checkpoint could not be shipped");
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

    /// Waits for a checkpoint to ship, after a failure for a while first, and says whether it
    /// is tried for the last time. `None` if there will be no more.
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
    // A panic is one more way to fail.
    let shipped = catch_unwind(AssertUnwindSafe(|| sink.ship(checkpoint)));
    shipped.unwrap_or_else(|_| Err(io::Error::other("the sink panicked")))
}
