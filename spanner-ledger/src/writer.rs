//! The writer thread: takes pending entries, appends them in batches and wakes the waiting
//! callers.

use std::io;
use std::time::{Duration, Instant};

use spanner_core::SinkFault;

use crate::Durability;
use crate::clock::Clock;
use crate::entry::Entry;
use crate::error::CloseError;
use crate::evidence::SharedProgress;
use crate::log::Log;
use crate::queue::{Item, Share, SharedQueue, Work};

pub(crate) struct Writer {
    queue: SharedQueue,
    /// Publishes which entries are durable to the checkpoint signer.
    progress: SharedProgress,
    log: Log,
    durability: Durability,
    pace: Pace,
    clock: Clock,
    /// Entries taken from the queue and not yet stored, in order.
    backlog: Vec<Item>,
    /// When to retry, after a second failure in a row.
    retry_at: Option<Instant>,
    /// When to check for free space, while the disk is full.
    probe_at: Option<Instant>,
    /// When to sync next, if the durability does not require a sync per batch.
    sync_at: Option<Instant>,
    counted_at: Option<Instant>,
    /// The last error, and when it was logged.
    fault: String,
    logged_at: Option<Instant>,
}

/// The intervals of background work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Retry after two failures in a row: short enough that waiting callers benefit from a
    /// recovery, long enough to avoid a busy loop.
    pub(crate) retry: Duration,
    /// Check whether a full disk has space again. Service resumes within a second.
    pub(crate) probe: Duration,
    /// Sync, if the durability is less than `PowerLoss`. A power failure loses at most this much.
    pub(crate) sync: Duration,
    /// Store the counters, which change with every request.
    pub(crate) count: Duration,
    /// Sign a checkpoint. An attacker on this machine can rewrite at most this much unnoticed.
    pub(crate) checkpoint: Duration,
    /// Run the retention. Its limits are measured in days.
    pub(crate) prune: Duration,
    /// The timeout for a checkpoint: one fsync, which can take a second, and a few small files.
    pub(crate) patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry: Duration::from_millis(100),
            probe: Duration::from_millis(500),
            sync: Duration::from_secs(1),
            count: Duration::from_secs(1),
            checkpoint: Duration::from_secs(1),
            prune: Duration::from_secs(3600),
            patience: Duration::from_secs(5),
        }
    }
}

impl Writer {
    pub(crate) fn new(
        queue: SharedQueue,
        progress: SharedProgress,
        log: Log,
        durability: Durability,
        pace: Pace,
        clock: Clock,
    ) -> Self {
        Self {
            queue,
            progress,
            log,
            durability,
            pace,
            clock,
            backlog: Vec::new(),
            retry_at: None,
            probe_at: None,
            sync_at: None,
            counted_at: None,
            fault: String::new(),
            logged_at: None,
        }
    }

    pub(crate) fn progress(&self) -> SharedProgress {
        self.progress.clone()
    }

    /// Runs until the queue is stopped.
    pub(crate) fn run(mut self) -> Result<(), CloseError> {
        let _exit = WriterExit(self.queue.clone(), self.progress.clone());
        loop {
            let work = self.queue.take(self.due(), self.retry_at.is_some());
            let last = matches!(work, Work::Last(_));
            let (Work::Items(items) | Work::Last(items)) = work;
            // A clock step is recorded before the entries whose times it explains.
            let stepped = self.clock.look();
            self.add(stepped);
            self.backlog.extend(items);
            if last {
                return self.finish();
            }
            self.store_counts();
            self.store_backlog();
            self.maintain();
        }
    }

    /// When to wake up without new work.
    fn due(&self) -> Option<Instant> {
        if self.retry_at.is_some() {
            return self.retry_at;
        }
        let counts_at = self
            .queue
            .has_counts()
            .then(|| self.counts_due().unwrap_or_else(Instant::now));
        [self.probe_at, self.sync_at, counts_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn counts_due(&self) -> Option<Instant> {
        self.counted_at.map(|at| at + self.pace.count)
    }

    fn store_counts(&mut self) {
        let now = Instant::now();
        if self.queue.has_counts() && self.counts_due().is_none_or(|due| due <= now) {
            self.counted_at = Some(now);
            let counts = self.queue.take_counts();
            self.add(counts.map(Entry::Count));
        }
    }

    /// Adds an entry of the writer's own to the backlog.
    fn add(&mut self, entry: Option<Entry>) {
        if let Some(Ok(payload)) = entry.map(|entry| entry.payload()) {
            self.backlog.push(Item {
                payload,
                waiter: None,
                share: Share::default(),
                sequence_cell: None,
            });
        }
    }

    /// Stores the backlog. A failed batch is retried once, in a new segment, and then
    /// periodically.
    fn store_backlog(&mut self) {
        let mut tries = if self.retry_at.take().is_some() { 1 } else { 2 };
        while !self.backlog.is_empty() {
            let Err(fault) = self.store_batch() else {
                continue;
            };
            tries -= 1;
            if tries == 0 {
                self.retry_at = Some(Instant::now() + self.pace.retry);
                return;
            }
            if is_full(&fault) && self.probe_at.is_none() {
                self.disk_is_full();
            }
        }
    }

    fn store_batch(&mut self) -> io::Result<()> {
        let count = batch(&self.backlog);
        let payloads: Vec<&[u8]> = (self.backlog.iter().take(count))
            .map(|item| item.payload.as_slice())
            .collect();
        let stored = self.log.append(&payloads);
        match &stored {
            Ok(()) => {
                self.progress.written(self.log.next(), self.log.durable());
                let first = self.log.next() - count as u64;
                for (sequence, item) in (first..).zip(self.backlog.drain(..count)) {
                    self.queue.release(item.share);
                    if let Some(sequence_cell) = item.sequence_cell {
                        // The cell is empty, because only the writer sets it.
                        let _ = sequence_cell.set(sequence);
                    }
                    if let Some(waiter) = item.waiter {
                        waiter.resolve(Ok(()));
                    }
                }
            }
            Err(fault) => {
                let reason = fault.to_string();
                let is_old = self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
                if is_old || reason != self.fault {
                    self.logged_at = Some(Instant::now());
                    tracing::error!(%fault, entries = count, "cannot write to the ledger");
                }
                self.fault = reason;
                fail(&mut self.backlog, count, &self.fault);
            }
        }
        stored
    }

    fn disk_is_full(&mut self) {
        tracing::error!("the disk is full: no request is allowed until there is space");
        self.progress.set_full(true);
        self.log.release_reserve();
        self.queue.set_full(true);
        self.probe_at = Some(Instant::now() + self.pace.probe);
    }

    fn maintain(&mut self) {
        let now = Instant::now();
        if self.probe_at.is_some_and(|at| at <= now) {
            self.probe_at = Some(now + self.pace.probe);
            if self.backlog.is_empty() && self.log.restore_reserve().is_ok() {
                tracing::info!("the disk has space again");
                self.queue.set_full(false);
                self.progress.set_full(false);
                self.probe_at = None;
            }
        }
        if self.durability == Durability::PowerLoss || !self.log.has_unsynced() {
            self.sync_at = None;
        } else if self.sync_at.is_none_or(|at| at <= now) {
            if self.sync_at.take().is_some()
                && let Err(fault) = self.log.sync()
            {
                tracing::error!(%fault, "cannot sync the ledger");
            }
            self.progress.written(self.log.next(), self.log.durable());
            self.sync_at = self.log.has_unsynced().then_some(now + self.pace.sync);
        }
    }

    /// Stores the backlog and the entry `ledger.closed`, which states that all earlier entries
    /// are synced.
    fn finish(mut self) -> Result<(), CloseError> {
        let counts = self.queue.take_counts();
        self.add(counts.map(Entry::Count));
        self.store_backlog();
        if self.backlog.is_empty() {
            let closed = Entry::event("ledger.closed", serde_json::Value::Null);
            self.add(Some(closed));
            self.store_backlog();
        }
        let finished = self.log.finish();
        self.progress.written(self.log.next(), self.log.durable());
        if let Err(fault) = finished {
            self.fault = fault.to_string();
        } else if self.backlog.is_empty() {
            return Ok(());
        }
        Err(CloseError {
            lost: self.backlog.len() as u64,
            reason: self.fault,
        })
    }
}

/// Notifies the queue and the checkpoint signer when the writer ends, even by a panic.
struct WriterExit(SharedQueue, SharedProgress);

impl Drop for WriterExit {
    fn drop(&mut self) {
        self.0.writer_is_gone();
        self.1.end();
    }
}

/// The number of entries to write in the next batch.
fn batch(backlog: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = backlog.iter().take_while(|item| {
        bytes += item.payload.len();
        bytes <= MAX_BATCH_BYTES
    });
    fits.count().max(1)
}

/// *Exactly the unacknowledged waiters fail*. Their entries remain in the backlog and are stored
/// later.
fn fail(backlog: &mut [Item], count: usize, fault: &str) {
    for item in backlog.iter_mut().take(count) {
        if let Some(waiter) = item.waiter.take() {
            let reason = fault.to_owned();
            waiter.resolve(Err(SinkFault::NotDurable { reason }));
        }
    }
}

fn is_full(fault: &io::Error) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes are retried ten times a second, and logging each failure would flood the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Bounds the memory of one write, and how long the first entry of a batch waits for the last.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
