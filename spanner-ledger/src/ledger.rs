//! The ledger's handle and its options: opening, recording, pruning and closing.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use spanner_core::record::{Decision, Outcome};
use spanner_core::{
    Acknowledgement, AuditSink, Count, Effect, Receipt, Room, SinkFault, Timestamp,
};

use crate::MAX_ENTRY_BYTES;
use crate::clock::Clock;
use crate::entry::{Entry, Event};
use crate::error::{CloseError, OpenError, ReadError};
use crate::evidence::{
    Checkpoint, CheckpointNote, CheckpointSigner, CheckpointSink, Evidence, KeyFault, Progress,
    SharedProgress, SigningKey, key_in, key_of, keys_in, newest,
};
use crate::files::Files;
use crate::files::disk::Disk;
use crate::files::kind::Doubt;
use crate::journal::Index;
use crate::log::{Log, SegmentSize};
use crate::queue::{Admission, Limits, Queue, SequenceCell, Share, SharedQueue};
use crate::reader::Reader;
use crate::recovery::{Failure, OpenedEvent, Recovery, recover};
use crate::retention::{PruneError, PruneLimits, PruneReport, Pruner, Retention};
use crate::snapshot::FileSnapshot;
use crate::waiter::{Acknowledged, lock};
use crate::writer::{Pace, Writer};

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

/// Options for opening a ledger. Created by [`Ledger::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `open`"]
pub struct Builder {
    pub(crate) dir: PathBuf,
    durability: Durability,
    segment_bytes: u64,
    queue: usize,
    queue_bytes: usize,
    wait: Duration,
    unidentified: u32,
    origin: Option<String>,
    key: Option<SigningKey>,
    sinks: Vec<Box<dyn CheckpointSink>>,
    pub(crate) note: Option<CheckpointNote>,
    pub(crate) prune_limits: PruneLimits,
    pub(crate) pace: Pace,
    pub(crate) wall: fn() -> Timestamp,
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
        Builder {
            dir: dir.as_ref().to_owned(),
            durability: Durability::default(),
            segment_bytes: 64 * 1024 * 1024,
            queue: 65_536,
            queue_bytes: 32 * 1024 * 1024,
            wait: Duration::from_millis(250),
            unidentified: 50,
            origin: None,
            key: None,
            sinks: Vec::new(),
            note: None,
            prune_limits: PruneLimits::default(),
            pace: Pace::default(),
            wall: Timestamp::now,
        }
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
    ) -> Result<(Acknowledged, SequenceCell), SinkFault> {
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

impl Builder {
    /// The minimum for [`Builder::keep_for`]: one hour, the interval at which retention runs.
    pub const LEAST_AGE: Duration = Duration::from_secs(3600);
    /// The minimum for [`Builder::keep_bytes`]: 1 MiB, room for one entry of the maximum size.
    pub const LEAST_BYTES: u64 = 1024 * 1024;

    /// Sets which failures an acknowledged decision survives. Default: [`Durability::PowerLoss`].
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the size at which a new segment begins. Default: 64 MiB; minimum: 4 KiB. Space is
    /// allocated in steps of 4 MiB.
    pub const fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Sets how many entries may be pending at once, including one for each outstanding outcome.
    /// This limits the number of open requests. Default: 65,536; minimum: 2.
    pub const fn queue(mut self, entries: usize) -> Self {
        self.queue = entries;
        self
    }

    /// Sets how many bytes may be pending at once, including about 1.3 kB for each outstanding
    /// outcome. Default: 32 MiB; the minimum is slightly more than 1 MiB, the room for one entry
    /// of the maximum size.
    pub const fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Sets how long a decision may take to become durable before its request is refused.
    /// Default: 250 ms; minimum: 1 ms.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets how many refusals of unauthenticated callers are recorded individually per second. A
    /// burst may use up to one minute's worth, and these records never exceed 1 MiB per minute
    /// (about 10 per second, sustained). Further refusals are only counted, and the counts are
    /// recorded, so that a caller without a token cannot fill the disk. Default: 50.
    pub const fn unidentified_per_second(mut self, refusals: u32) -> Self {
        self.unidentified = refusals;
        self
    }

    /// Sets the ledger's name in its checkpoints (its origin). It takes effect when the ledger is
    /// created; later, the name of the existing key applies. A URL without its scheme is
    /// recommended, such as `example.com/models/ledger`. Default: a random name.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Signs checkpoints with this key, which is never written to disk. Default: the key in the
    /// directory's file `key`, which is created with the ledger. Supply a key if it must not be
    /// stored next to the ledger. The key may differ from the previous one; `vkey` then lists
    /// both.
    pub fn signing_key(mut self, key: SigningKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Ships each checkpoint to a sink that an attacker on this machine cannot modify. May be
    /// called several times. Default: none; checkpoints are stored only in the directory.
    pub fn checkpoints(mut self, sink: impl CheckpointSink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// Also stores the newest checkpoint in a file outside the directory, usually
    /// [`CheckpointNote::beside`], and compares the ledger with it on opening. Default: none.
    ///
    /// 1. A ledger that was truncated or reverted to an older copy is rejected, even if its own
    ///    checkpoint and tiles are missing.
    /// 2. The note may belong to another ledger, for example after a new ledger was created in
    ///    the same directory. A ledger that has entries and cannot be compared with any other
    ///    checkpoint is then rejected. Otherwise the mismatch is logged and recorded.
    /// 3. If the note cannot be read or written, the error is logged and the ledger opens.
    pub fn note(mut self, path: impl AsRef<Path>) -> Self {
        self.note = Some(CheckpointNote::new(path));
        self
    }

    /// Deletes segments automatically once all their entries are older than `age`; see
    /// [`Ledger::prune`]. Retention runs once an hour, and a new segment begins after an eighth
    /// of `age`. Entries that a shipment (`spanner-ship`) has not delivered are retained.
    /// Default: no limit; minimum: one hour.
    pub const fn keep_for(mut self, age: Duration) -> Self {
        self.prune_limits.age = Some(age);
        self
    }

    /// Deletes the oldest segments automatically while all segments together exceed `most` bytes,
    /// with the same rules as [`Builder::keep_for`]. Default: no limit; minimum: 1 MiB.
    pub const fn keep_bytes(mut self, most: u64) -> Self {
        self.prune_limits.bytes = Some(most);
        self
    }

    /// Opens the ledger; see [`Ledger::open`].
    ///
    /// # Errors
    /// [`OpenError`] if an option is out of range, if another process has the ledger open for
    /// writing, if a file cannot be read or written, or if the ledger is damaged.
    pub fn open(self) -> Result<Ledger, OpenError> {
        self.check()?;
        let disk = Disk::writing(&self.dir).map_err(|source| self.failed(source))?;
        match disk {
            Some(disk) => {
                let disk = Arc::new(disk);
                self.open_in(disk.clone(), disk)
            }
            None => Err(OpenError::Locked { dir: self.dir }),
        }
    }

    /// `beside` is the same directory, for the checkpoint signer's own writes.
    pub(crate) fn open_in(
        mut self,
        files: Arc<dyn Files>,
        beside: Arc<dyn Files>,
    ) -> Result<Ledger, OpenError> {
        let doubt = files.doubt();
        if let Some(Doubt { name, why }) = doubt {
            tracing::warn!(dir = %self.dir.display(), file_system = name, "{why}");
        }
        let evidence = self.evidence(Arc::clone(&beside))?;
        let found = recover(&files, &evidence).map_err(|failure| self.not_recovered(failure))?;
        self.compare(&evidence, found.next)?;
        let size = SegmentSize {
            bytes: self.segment_bytes,
            age: self.prune_limits.segment_age(),
        };
        let mut log = Log::new(files, self.durability, size, found.next);
        let opened = OpenedEvent {
            vkey: evidence.key.verifier().to_string(),
            is_key_new: evidence.is_key_new,
            time: (self.wall)(),
            file_system: doubt.map(|doubt| doubt.name),
            is_uncompared: !evidence.is_compared(),
            foreign_notes: foreign_notes(&evidence),
        };
        let recovery = found
            .close(&mut log, &opened)
            .map_err(|source| self.failed(source))?;
        let progress = Progress::new(log.next(), log.durable(), evidence.checkpoint.clone());
        let progress = Arc::new(progress);
        let queue = Arc::new(Queue::new(self.limits()));
        let writer = Writer::new(
            Arc::clone(&queue),
            Arc::clone(&progress),
            log,
            self.durability,
            self.pace,
            Clock::new(self.wall),
        );
        let signer = self.signer(evidence, &progress);
        let snapshot = FileSnapshot::of(&*beside).unwrap_or_default();
        let pruner = Pruner {
            dir: self.dir.clone(),
            queue: Arc::clone(&queue),
            progress: Arc::clone(&progress),
            files: Arc::new(Mutex::new(Some(beside))),
            exclusive: Arc::default(),
            patience: self.pace.patience,
        };
        let threads = Threads::start(&queue, writer, signer);
        let mut threads = threads.map_err(|source| self.failed(source))?;
        if !self.prune_limits.is_all() {
            let pruning = self.start_pruning(pruner.clone());
            threads.pruning = Some(pruning.map_err(|source| {
                queue.stop();
                self.failed(source)
            })?);
        }
        Ok(Ledger {
            shared: Arc::new(Shared {
                dir: self.dir,
                queue,
                progress,
                pruner,
                recovery,
                snapshot: Mutex::new(snapshot),
                threads: Mutex::new(Some(threads)),
                index: Index::default(),
                wait: self.wait,
            }),
        })
    }

    pub(crate) fn evidence(&mut self, files: Arc<dyn Files>) -> Result<Evidence, OpenError> {
        let key = key_of(&*files, self.key.clone(), self.origin.as_deref());
        let key = key.map_err(|fault| self.no_key(fault))?;
        let damaged = |fault| self.not_recovered(Failure::Read(fault));
        let mut evidence = Evidence::open(files, key).map_err(damaged)?;
        for sink in &mut self.sinks {
            let newest = sink.newest().map_err(|source| OpenError::Io {
                dir: self.dir.clone(),
                source,
            })?;
            if let Some(note) = newest {
                let expected = evidence.expect(&note);
                expected.map_err(|fault| OpenError::Damaged {
                    dir: self.dir.clone(),
                    source: fault,
                })?;
            }
        }
        if let Some(note) = &self.note {
            match note.notes() {
                Ok(notes) => evidence.expect_notes(notes),
                Err(fault) => tracing::warn!(
                    %fault, ?note,
                    "cannot read the note of the ledger's newest checkpoint; the ledger is not compared with it"
                ),
            }
        }
        Ok(evidence)
    }

    /// Rejects a ledger that was put in place of another one. Logs entries that cannot be
    /// compared with any checkpoint.
    fn compare(&self, evidence: &Evidence, entries: u64) -> Result<(), OpenError> {
        let others = foreign_notes(evidence);
        if entries == 0 {
            if let Some(note) = self.note.as_ref().filter(|_| !others.is_empty()) {
                let others = others.join(", ");
                tracing::warn!(
                    ?note,
                    others,
                    "a new ledger begins where another one was: records of the old one, promotions included, do not count"
                );
            }
            return Ok(());
        }
        if evidence.is_compared() {
            return Ok(());
        }
        if !others.is_empty() {
            let problem = format!(
                "it is missing, and the note outside the directory belongs to another ledger ({}): these {entries} entries were put in its place, or their key and checkpoint were removed",
                others.join(", "),
            );
            return Err(OpenError::Damaged {
                dir: self.dir.clone(),
                source: ReadError::Evidence {
                    name: "checkpoint".to_owned(),
                    problem,
                },
            });
        }
        tracing::warn!(
            dir = %self.dir.display(), entries,
            "the ledger has entries but no checkpoint, in its directory or elsewhere: whether entries were removed cannot be told, and the ledger records this"
        );
        Ok(())
    }

    fn signer(&mut self, evidence: Evidence, progress: &SharedProgress) -> CheckpointSigner {
        let mut sinks = std::mem::take(&mut self.sinks);
        if let Some(note) = self.note.take() {
            sinks.push(Box::new(note));
        }
        let pace = self.pace.checkpoint;
        CheckpointSigner::new(evidence, Arc::clone(progress), sinks, pace)
    }

    fn start_pruning(&self, pruner: Pruner) -> io::Result<(Sender<()>, JoinHandle<()>)> {
        let (closing, closed) = channel();
        let (prune_limits, pace, wall) = (self.prune_limits, self.pace.prune, self.wall);
        let thread = thread::Builder::new()
            .name("spanner-ledger-retention".to_owned())
            .spawn(move || prune_limits.run(&pruner, &closed, pace, wall))?;
        Ok((closing, thread))
    }

    fn limits(&self) -> Limits {
        Limits {
            entries: self.queue,
            bytes: self.queue_bytes,
            wait: (self.durability != Durability::Relaxed).then_some(self.wait),
            unidentified: self.unidentified,
        }
    }

    fn check(&self) -> Result<(), OpenError> {
        let rows = [
            ("segment_bytes", self.segment_bytes, 4096),
            ("queue", self.queue as u64, 2),
            ("queue_bytes", self.queue_bytes as u64, MIN_QUEUE_BYTES),
            ("wait", self.wait.as_millis() as u64, 1),
            (
                "keep_for (seconds)",
                self.prune_limits.age.map_or(u64::MAX, |age| age.as_secs()),
                Self::LEAST_AGE.as_secs(),
            ),
            (
                "keep_bytes",
                self.prune_limits.bytes.unwrap_or(u64::MAX),
                Self::LEAST_BYTES,
            ),
        ];
        match rows.into_iter().find(|(_, given, least)| given < least) {
            Some((option, given, least)) => Err(OpenError::Option {
                option,
                least,
                given,
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn not_recovered(&self, failure: Failure) -> OpenError {
        match failure {
            Failure::Write(source) => self.failed(source),
            Failure::Read(ReadError::Io { name, source }) => {
                let what = format!("`{name}`: {source}");
                self.failed(io::Error::new(source.kind(), what))
            }
            Failure::Read(source) => OpenError::Damaged {
                dir: self.dir.clone(),
                source,
            },
        }
    }

    fn no_key(&self, fault: KeyFault) -> OpenError {
        match fault {
            KeyFault::Key(source) => OpenError::Key {
                dir: self.dir.clone(),
                source,
            },
            KeyFault::Io(source) => self.failed(source),
        }
    }

    pub(crate) fn failed(&self, source: io::Error) -> OpenError {
        OpenError::Io {
            dir: self.dir.clone(),
            source,
        }
    }
}

/// Describes the notes that other ledgers left, by origin and size.
fn foreign_notes(evidence: &Evidence) -> Vec<String> {
    let name = |note: &String| {
        let mut lines = note.lines();
        let (origin, size) = (lines.next().unwrap_or_default(), lines.next());
        format!(
            "`{}` with {} entries",
            origin.escape_debug(),
            size.unwrap_or("?").escape_debug()
        )
    };
    evidence.foreign_notes.iter().map(name).collect()
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

impl Threads {
    fn start(queue: &SharedQueue, writer: Writer, signer: CheckpointSigner) -> io::Result<Self> {
        let progress = writer.progress();
        let watched = Arc::clone(queue);
        let watchdog = thread::Builder::new()
            .name("spanner-ledger-watchdog".to_owned())
            .spawn(move || watched.watch())?;
        let writer = thread::Builder::new()
            .name("spanner-ledger".to_owned())
            .spawn(move || writer.run())
            .inspect_err(|_| queue.writer_is_gone())?;
        let signer = thread::Builder::new()
            .name("spanner-ledger-evidence".to_owned())
            .spawn(move || signer.run())
            .inspect_err(|_| {
                queue.stop();
                progress.end();
            })?;
        Ok(Self {
            writer,
            watchdog,
            signer,
            pruning: None,
        })
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

fn acknowledgement(acknowledged: Option<Acknowledged>) -> Acknowledgement {
    match acknowledged {
        Some(acknowledged) => Box::pin(acknowledged),
        None => Box::pin(std::future::ready(Ok(()))),
    }
}

/// How long closing waits for open requests. Orchestrators commonly grant a shutdown 10 to 30 s.
const DRAIN: Duration = Duration::from_secs(5);
/// An entry of the maximum size and its outcome must fit, or the entry could never be admitted.
const MIN_QUEUE_BYTES: u64 = (MAX_ENTRY_BYTES + crate::OVERHEAD + Share::OUTCOME_BYTES) as u64;
