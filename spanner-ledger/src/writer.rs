//! The one thread that writes: takes whatever waits, stores it together, tells everybody.

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
    /// Where the evidence learns what is durable.
    progress: SharedProgress,
    log: Log,
    durability: Durability,
    pace: Pace,
    clock: Clock,
    /// Taken and not yet stored, in order.
    backlog: Vec<Item>,
    /// After a second failure in a row: when to try again.
    retry_at: Option<Instant>,
    /// While the disk is full: when to see whether it still is.
    probe_at: Option<Instant>,
    /// With a durability that does not sync each batch: when to sync next.
    sync_at: Option<Instant>,
    counted_at: Option<Instant>,
    /// What went wrong last, and when that was logged.
    fault: String,
    told_at: Option<Instant>,
}

/// How often things are done that nobody waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Trying again after two failures in a row: often enough that whoever waits hears of a
    /// recovery, seldom enough not to spin.
    pub(crate) retry: Duration,
    /// Seeing whether a full disk has space again, within a second.
    pub(crate) probe: Duration,
    /// What a power failure may cost where the durability is less than `PowerLoss`.
    pub(crate) sync: Duration,
    /// Counts change with every request; the ledger need not.
    pub(crate) count: Duration,
    /// How much somebody who holds the machine can rewrite unnoticed.
    pub(crate) checkpoint: Duration,
    /// Letting old segments go by themselves: their age is told in days.
    pub(crate) prune: Duration,
    /// Waiting for a checkpoint: for a sync, perhaps a second's, and a handful of small files.
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
            told_at: None,
        }
    }

    pub(crate) fn progress(&self) -> SharedProgress {
        self.progress.clone()
    }

    /// Until the queue says that there is no more.
    pub(crate) fn run(mut self) -> Result<(), CloseError> {
        let _gone = Gone(self.queue.clone(), self.progress.clone());
        loop {
            let work = self.queue.take(self.due(), self.retry_at.is_some());
            let last = matches!(work, Work::Last(_));
            let (Work::Items(items) | Work::Last(items)) = work;
            // Before the entries whose times it explains.
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

    /// When there is something to do, apart from new work.
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

    /// Puts an entry of the writer's own behind the others.
    fn add(&mut self, entry: Option<Entry>) {
        if let Some(Ok(payload)) = entry.map(|entry| entry.payload()) {
            self.backlog.push(Item {
                payload,
                waiter: None,
                share: Share::default(),
                place: None,
            });
        }
    }

    /// Stores all that was taken. After a failure the batch is tried once more, in a new
    /// segment, and then from time to time.
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
                    if let Some(place) = item.place {
                        // Nobody else sets it.
                        let _ = place.set(sequence);
                    }
                    if let Some(waiter) = item.waiter {
                        waiter.resolve(Ok(()));
                    }
                }
            }
            Err(fault) => {
                let reason = fault.to_string();
                let is_old = self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY);
                if is_old || reason != self.fault {
                    self.told_at = Some(Instant::now());
                    tracing::error!(%fault, entries = count, "the ledger could not be written");
                }
                self.fault = reason;
                fail(&mut self.backlog, count, &self.fault);
            }
        }
        stored
    }

    fn disk_is_full(&mut self) {
        tracing::error!("the disk is full: nothing is allowed until there is space");
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
                tracing::error!(%fault, "the ledger could not be synced");
            }
            self.progress.written(self.log.next(), self.log.durable());
            self.sync_at = self.log.has_unsynced().then_some(now + self.pace.sync);
        }
    }

    /// Stores the rest, with a last word that testifies to all before it.
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

/// Tells the queue and the keeper when the writer ends, however it ends.
struct Gone(SharedQueue, SharedProgress);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.writer_is_gone();
        self.1.end();
    }
}

/// How many of these are written at once.
fn batch(backlog: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = backlog.iter().take_while(|item| {
        bytes += item.payload.len();
        bytes <= MAX_BATCH_BYTES
    });
    fits.count().max(1)
}

/// *Exactly the unacknowledged waiters fail*; their entries are stored all the same, later.
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

/// A disk that is away is tried ten times a second.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Bounds the memory of one write, and how long the first of a batch waits for the last.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
