//! The ledger's handle and its options: opening, recording, pruning and closing.

mod builder;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use spanner_core::record::{Decision, Outcome};
use spanner_core::{Acknowledgement, AuditSink, Count, Effect, Receipt, Room, SinkFault};

pub use self::builder::Builder;
use crate::MAX_ENTRY_BYTES;
use crate::entry::{Entry, Event};
use crate::error::{CloseError, OpenError, ReadError};
use crate::evidence::{Checkpoint, SharedProgress, key_in, keys_in, newest};
use crate::files::Files;
use crate::files::disk::Disk;
use crate::journal::Index;
use crate::queue::{Admission, SequenceCell, SharedQueue};
use crate::reader::Reader;
use crate::recovery::{Failure, Recovery};
use crate::retention::{PruneError, PruneReport, Pruner, Retention};
use crate::snapshot::FileSnapshot;
use crate::waiter::{WaiterFuture, lock};

/// An append-only ledger in a directory of plain files, together with its writer.
///
/// Clones share one writer. Dropping the last clone stores all pending entries and joins the
/// writer's thread, which blocks for a moment. [`Ledger::close`] also waits for outstanding
/// outcomes and reports errors.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("ledger");
/// use spanner_ledger::{Entry, Ledger};
///
/// let ledger = Ledger::open(&dir)?;
/// ledger.event("access.reloaded", serde_json::json!({ "digest": "c0ffee" }))?;
/// ledger.close()?;
///
/// let kinds: Vec<_> = Ledger::read(&dir)?
///     .entries()?
///     .map(|numbered| numbered.map(|numbered| numbered.entry.kind()))
///     .collect::<Result<_, _>>()?;
/// assert_eq!(kinds, ["event", "event", "event"]); // opened, access.reloaded, closed
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

/// Which failures an acknowledged decision survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// A power failure: the decision is synced before it is acknowledged. The default.
    #[default]
    PowerLoss,
    /// A crash of the process: the decision is written before it is acknowledged, and synced
    /// within a second.
    ProcessCrash,
    /// Neither: the decision is queued before it is acknowledged, written soon after, and synced
    /// within a second.
    Relaxed,
}

struct Shared {
    dir: PathBuf,
    queue: SharedQueue,
    progress: SharedProgress,
    pruner: Pruner,
    recovery: Recovery,
    /// The segments found by the last [`Ledger::inspect`].
    snapshot: Mutex<FileSnapshot>,
    threads: Mutex<Option<Threads>>,
    index: Index,
    wait: Duration,
}

struct Threads {
    writer: JoinHandle<Result<(), CloseError>>,
    watchdog: JoinHandle<()>,
    signer: JoinHandle<()>,
    /// The pruning thread. It ends when the sender is dropped.
    pruning: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Ledger {
    /// Opens the ledger in a directory with the default options. Creates the directory if it does
    /// not exist.
    ///
    /// Reads the whole ledger (less than a second per gigabyte), truncates an incomplete write at
    /// its end, and appends the outcome `unknown` for every decision without an outcome.
    ///
    /// # Errors
    /// [`OpenError`] if another process has the ledger open for writing, if a file cannot be read
    /// or written, or if the ledger is damaged.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder(dir).open()
    }

    /// Returns options for the ledger in a directory.
    pub fn builder(dir: impl AsRef<Path>) -> Builder {
        Builder::new(dir.as_ref().to_owned())
    }

    /// Returns a reader of the ledger in a directory. It also works while a service writes to the
    /// ledger.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn read(dir: impl AsRef<Path>) -> Result<Reader, ReadError> {
        Reader::open(dir)
    }

    /// Checks without writing whether the ledger in a directory can be opened. Also works while a
    /// service writes to the ledger, and for a directory that does not exist yet. Does not check
    /// the last segment's end or the signatures; see [`Reader::verify`].
    ///
    /// # Errors
    /// The [`OpenError`] that [`Ledger::open`] would return.
    pub fn check(dir: impl AsRef<Path>) -> Result<(), OpenError> {
        let builder = Self::builder(dir);
        let disk = Disk::checked(&builder.dir).map_err(|source| builder.failed(source))?;
        let Some(disk) = disk else {
            return Ok(());
        };
        key_in(&disk).map_err(|fault| builder.no_key(fault))?;
        let keys = keys_in(&disk);
        let signed = keys.and_then(|keys| newest(&disk, &keys));
        let read = signed.and_then(|_| Reader::open(&builder.dir));
        read.map(drop)
            .map_err(|fault| builder.not_recovered(Failure::Read(fault)))
    }

    /// The ledger's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// What opening this ledger found and repaired.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.shared.recovery
    }

    /// Checks that the directory and the segments of the previous call still exist and have not
    /// shrunk. Reads names and sizes only.
    ///
    /// If a segment is missing, the ledger continues to store entries, but it is incomplete and
    /// cannot be reopened without [`Builder::acknowledge`]. A service should therefore report the
    /// error to its operator.
    ///
    /// # Errors
    /// [`ReadError`] for the first segment that is missing or truncated.
    pub fn inspect(&self) -> Result<(), ReadError> {
        let files = lock(&self.shared.pruner.files).clone();
        let Some(files) = files else {
            // After closing, the files may be moved or deleted.
            return Ok(());
        };
        lock(&self.shared.snapshot).refresh(&*files, self.written())
    }

    /// Whether the disk is full. While it is, the ledger refuses decisions that allow, and stores
    /// refusals and events in the reserve. It detects free space by itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    /// Records an event that belongs to no request, such as a reload of the access configuration.
    ///
    /// `event` is one stable word such as `access.reloaded`. `body` holds the details and must
    /// not contain secrets. Append life-cycle events through
    /// [`Journal`](spanner_core::journal::Journal) instead.
    ///
    /// The event is stored whether the acknowledgement is awaited or not. Await it before any
    /// action that depends on the record.
    ///
    /// # Errors
    /// [`SinkFault::Full`] if there is no room, [`SinkFault::Closed`] after [`Ledger::close`],
    /// [`SinkFault::NotDurable`] if the event is larger than [`MAX_ENTRY_BYTES`].
    pub fn event(
        &self,
        event: &str,
        body: serde_json::Value,
    ) -> Result<Acknowledgement, SinkFault> {
        let payload = payload(&Entry::event(event, body))?;
        let acknowledged = self.shared.queue.push(payload, Admission::Event)?;
        self.shared.index.pass(event);
        Ok(acknowledgement(acknowledged))
    }

    /// The files, opened for reading.
    pub(crate) fn files(&self) -> Arc<dyn Files> {
        let files = lock(&self.shared.pruner.files).clone();
        files.unwrap_or_else(|| Arc::new(Disk::reading(&self.shared.dir)))
    }

    pub(crate) fn index(&self) -> &Index {
        &self.shared.index
    }

    /// Records a life-cycle event and returns a handle to its sequence.
    pub(crate) fn push_sequenced(
        &self,
        event: &Event,
    ) -> Result<(WaiterFuture, SequenceCell), SinkFault> {
        let payload = payload(&Entry::Event(event.clone()))?;
        let place = SequenceCell::default();
        let pushed = self
            .shared
            .queue
            .push_sequenced(payload, &place, self.shared.wait)?;
        Ok((pushed, place))
    }

    /// The number of entries written, which is the sequence of the next entry.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.progress.entries()
    }

    /// The newest checkpoint, or `None` until the first one is signed.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.shared.progress.checkpoint()
    }

    /// Signs a checkpoint over all entries stored so far. Blocks for at most five seconds and
    /// returns `None` on timeout. Checkpoints are signed every second without this call.
    #[must_use]
    pub fn checkpoint_now(&self) -> Option<Checkpoint> {
        let patience = self.shared.pruner.patience;
        self.shared.progress.checkpoint_now(patience)
    }

    /// Deletes old segments; see [`Retention`].
    ///
    /// The tiles of the Merkle tree remain. Every event, and every decision whose outcome is not
    /// deleted with it, also remains at its sequence. The ledger first records the entry
    /// `ledger.pruned`. Blocks.
    ///
    /// # Errors
    /// [`PruneError`]. In that case nothing, or only a part, was deleted.
    pub fn prune(&self, retention: &Retention) -> Result<PruneReport, PruneError> {
        self.shared.pruner.prune(retention)
    }

    /// Refuses new decisions, waits up to five seconds for outstanding outcomes, stores all
    /// pending entries and ends the writer. Blocks, and closes the other clones as well. Closing
    /// twice has no effect.
    ///
    /// # Errors
    /// [`CloseError`] if an entry could not be stored. No such entry was acknowledged.
    pub fn close(&self) -> Result<(), CloseError> {
        self.shared.queue.close(DRAIN);
        self.shared.join()
    }
}

impl AuditSink for Ledger {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        let admission = match (decision.effect, &decision.caller) {
            (Effect::Allow, _) => Admission::Allow,
            (_, Some(_)) => Admission::Refuse,
            (_, None) => Admission::RefuseUnidentified,
        };
        let payload = payload(&Entry::Decision(Box::new(decision)))?;
        let acknowledged = self.shared.queue.push(payload, admission)?;
        let mut owed = OutcomeRoom(Some(Arc::clone(&self.shared.queue)), admission);
        Ok(Receipt {
            acknowledged: acknowledgement(acknowledged),
            room: Room::new(move |outcome| owed.give(outcome)),
        })
    }

    fn count(&self, what: Count) {
        self.shared.queue.count(what);
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("dir", &self.shared.dir)
            .finish_non_exhaustive()
    }
}

/// Reserved room for one outcome. Dropping it without an outcome releases the room.
struct OutcomeRoom(Option<SharedQueue>, Admission);

impl OutcomeRoom {
    fn give(&mut self, outcome: Outcome) {
        if let Some(queue) = self.0.take() {
            let payload = Entry::Outcome(Box::new(outcome)).payload().ok();
            queue.push_outcome(payload, self.1);
        }
    }
}

impl Drop for OutcomeRoom {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.push_outcome(None, self.1);
        }
    }
}

impl Shared {
    fn join(&self) -> Result<(), CloseError> {
        let Some(threads) = lock(&self.threads).take() else {
            return Ok(());
        };
        // A waker may drop the last handle on the writer's own thread, which cannot join itself.
        if threads.writer.thread().id() == thread::current().id() {
            return Ok(());
        }
        let pruned = threads.pruning.map_or(Ok(()), |(closing, pruning)| {
            drop(closing);
            pruning.join()
        });
        let written = threads.writer.join();
        let watched = threads.watchdog.join();
        let signed = threads.signer.join();
        lock(&self.pruner.files).take();
        match (written, watched, signed, pruned) {
            (Ok(written), Ok(()), Ok(()), Ok(())) => written,
            _ => Err(CloseError {
                lost: 0,
                reason: "the writer panicked".to_owned(),
            }),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.stop();
        if let Err(fault) = self.join() {
            tracing::error!(%fault, "the ledger could not be closed");
        }
    }
}

fn payload(entry: &Entry) -> Result<Vec<u8>, SinkFault> {
    let unfit = |reason| SinkFault::NotDurable { reason };
    let payload = entry
        .payload()
        .map_err(|fault| unfit(format!("the entry has no JSON: {fault}")))?;
    if payload.len() > MAX_ENTRY_BYTES {
        let bytes = payload.len();
        return Err(unfit(format!(
            "the entry has {bytes} bytes; at most {MAX_ENTRY_BYTES} are allowed"
        )));
    }
    Ok(payload)
}

fn acknowledgement(acknowledged: Option<WaiterFuture>) -> Acknowledgement {
    match acknowledged {
        Some(acknowledged) => Box::pin(acknowledged),
        None => Box::pin(std::future::ready(Ok(()))),
    }
}

/// How long closing waits for open requests. Orchestrators commonly grant a shutdown 10 to 30 s.
const DRAIN: Duration = Duration::from_secs(5);
