//! The ledger that a service writes.

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
    Checkpoint, CheckpointNote, CheckpointSink, Evidence, Keeper, KeyFault, Progress,
    SharedProgress, SigningKey, key_in, key_of, keys_in, newest,
};
use crate::files::Files;
use crate::files::disk::Disk;
use crate::files::kind::Doubt;
use crate::journal::Index;
use crate::log::{Log, SegmentSize};
use crate::queue::{Admission, Limits, Place, Queue, Share, SharedQueue};
use crate::reader::Reader;
use crate::recovery::{Failure, Opened, Recovery, recover};
use crate::retention::{Keeping, PruneError, Pruned, Pruner, Retention};
use crate::seen::Seen;
use crate::waiter::{Acknowledged, lock};
use crate::writer::{Pace, Writer};

/// An append-only ledger in a directory of plain files, and the writer of it.
///
/// Clones share one writer. When the last one is dropped, what waits is stored, and the
/// writer's thread is joined, which blocks for a moment; [`Ledger::close`] also waits for
/// outcomes that are still owed and says whether all went well.
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

/// What an acknowledged decision survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// A failure of the power: it is synced before the answer. The default.
    #[default]
    PowerLoss,
    /// A crash of the process: it is written before the answer and synced within a second.
    ProcessCrash,
    /// Neither: it has room in the queue before the answer, and is written soon and synced
    /// within a second.
    Relaxed,
}

/// Options of a ledger.
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
    pub(crate) keeping: Keeping,
    pub(crate) pace: Pace,
    pub(crate) wall: fn() -> Timestamp,
}

struct Shared {
    dir: PathBuf,
    queue: SharedQueue,
    progress: SharedProgress,
    pruner: Pruner,
    recovery: Recovery,
    /// The segments that were there when they were looked at last.
    seen: Mutex<Seen>,
    threads: Mutex<Option<Threads>>,
    index: Index,
    wait: Duration,
}

struct Threads {
    writer: JoinHandle<Result<(), CloseError>>,
    watchdog: JoinHandle<()>,
    keeper: JoinHandle<()>,
    /// Prunes until its end of the channel is gone.
    pruning: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Ledger {
    /// Opens the ledger in a directory, which is made if need be, with the defaults.
    ///
    /// Reads the whole ledger (less than a second per gigabyte), cuts what a crash left
    /// unfinished, and gives every decision without an outcome the outcome `unknown`.
    ///
    /// # Errors
    /// [`OpenError`] if somebody else writes there, if a file cannot be read or written, or
    /// if the ledger is damaged.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder(dir).open()
    }

    /// A ledger with options.
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
            keeping: Keeping::default(),
            pace: Pace::default(),
            wall: Timestamp::now,
        }
    }

    /// A reader of the ledger in a directory, also while somebody writes it.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or a segment's header cannot be read.
    pub fn read(dir: impl AsRef<Path>) -> Result<Reader, ReadError> {
        Reader::open(dir)
    }

    /// Finds what would keep the ledger in a directory from being opened, as far as that can be
    /// seen without writing: also while somebody writes it, and before it is there. Only its
    /// end is not looked at, nor whether it is what was signed; that is [`Reader::verify`]'s.
    ///
    /// # Errors
    /// [`OpenError`], as [`Ledger::open`] would say it.
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

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// What was found and done when this ledger was opened.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.shared.recovery
    }

    /// Looks whether the files are still there: the directory, and every segment that was there
    /// when this was asked before, as long as it was. Reads names and sizes only. Entries go on
    /// being stored if a segment is gone, but the ledger is no longer whole, and will not be
    /// opened again ([`Builder::acknowledge`]); so a service should say that something is wrong.
    ///
    /// # Errors
    /// [`ReadError`] with the first that is missing or cut.
    pub fn inspect(&self) -> Result<(), ReadError> {
        let files = lock(&self.shared.pruner.files).clone();
        let Some(files) = files else {
            // It is closed, and whatever happens to the files is not its business any more.
            return Ok(());
        };
        lock(&self.shared.seen).look(&*files, self.written())
    }

    /// Whether the disk is full: then nothing is allowed, and refusals and events live off a
    /// reserve. Space that is there again is noticed without being asked for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    /// Records something that happened, apart from requests: access reloaded or refused, a
    /// model promoted. `event` is one stable word such as `access.reloaded`; `body` is what
    /// there is to know about it, without secrets. Life-cycle events are appended through
    /// [`Journal`](spanner_core::journal::Journal).
    ///
    /// The event is stored whether the acknowledgement is awaited or not; await it where
    /// nothing may go on before.
    ///
    /// # Errors
    /// [`SinkFault::Full`] if there is no room, [`SinkFault::Closed`] after
    /// [`Ledger::close`], [`SinkFault::NotDurable`] if it is larger than
    /// [`MAX_ENTRY_BYTES`].
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

    /// The files, for reading.
    pub(crate) fn files(&self) -> Arc<dyn Files> {
        let files = lock(&self.shared.pruner.files).clone();
        files.unwrap_or_else(|| Arc::new(Disk::reading(&self.shared.dir)))
    }

    pub(crate) fn index(&self) -> &Index {
        &self.shared.index
    }

    /// Records a life-cycle event whose sequence is wanted.
    pub(crate) fn push_placed(&self, event: &Event) -> Result<(Acknowledged, Place), SinkFault> {
        let payload = payload(&Entry::Event(event.clone()))?;
        let place = Place::default();
        let pushed = self
            .shared
            .queue
            .push_placed(payload, &place, self.shared.wait)?;
        Ok((pushed, place))
    }

    /// How many entries are written: the sequence of the next one.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.progress.entries()
    }

    /// The newest checkpoint; absent for a moment after a ledger is made.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.shared.progress.checkpoint()
    }

    /// Has a checkpoint made over all that is stored by now, and waits for it, up to five
    /// seconds. Blocks. Checkpoints are made every second without it.
    #[must_use]
    pub fn checkpoint_now(&self) -> Option<Checkpoint> {
        let patience = self.shared.pruner.patience;
        self.shared.progress.checkpoint_now(patience)
    }

    /// Lets old segments go; see [`Retention`]. The tiles of the tree stay, and so does what
    /// must survive: every event, and every decision whose outcome does not go with it, each
    /// at its own sequence. The entry `ledger.pruned` says so first. Blocks.
    ///
    /// # Errors
    /// [`PruneError`]; then nothing went, or less than could.
    pub fn prune(&self, retention: &Retention) -> Result<Pruned, PruneError> {
        self.shared.pruner.prune(retention)
    }

    /// Takes no more decisions, waits up to five seconds for the outcomes that are owed,
    /// stores everything and ends the writer. Blocks; the other clones are closed as well.
    /// Once closed, closing again does nothing.
    ///
    /// # Errors
    /// [`CloseError`] if something could not be stored. Nothing of that was acknowledged.
    pub fn close(&self) -> Result<(), CloseError> {
        self.shared.queue.close(DRAIN);
        self.shared.join()
    }
}

impl Builder {
    /// The least that [`Builder::keep_for`] takes: what is kept for less is no record.
    pub const LEAST_AGE: Duration = Duration::from_secs(3600);
    /// The least that [`Builder::keep_bytes`] takes.
    pub const LEAST_BYTES: u64 = 1024 * 1024;

    /// What an acknowledged decision survives. Default: [`Durability::PowerLoss`].
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The size at which a segment is ended and the next begun. Default: 64 MiB; at least
    /// 4 KiB. Space is allocated ahead, 4 MiB at a time.
    pub const fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// How many entries may wait at once, counting one for each outcome that is owed: a
    /// bound on open requests. Default: 65,536; at least 2.
    pub const fn queue(mut self, entries: usize) -> Self {
        self.queue = entries;
        self
    }

    /// How many bytes may wait at once, counting about half a kilobyte for each outcome that
    /// is owed. Default: 32 MiB; at least 1 MiB and a bit, the room of one great entry.
    pub const fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How long a decision may take to become durable before its request is refused.
    /// Default: 250 ms; at least 1 ms.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How many refusals of unidentified callers are recorded one by one, per second, after
    /// a first burst of a minute's worth, and never more than a mebibyte of them in a minute
    /// (some 10 a second for long). The rest are counted, and the count is recorded, so that
    /// nobody can fill the disk without a token. Default: 50.
    pub const fn unidentified_per_second(mut self, refusals: u32) -> Self {
        self.unidentified = refusals;
        self
    }

    /// The name of the ledger in its checkpoints, when it is opened for the first time:
    /// preferably a URL without its scheme, such as `example.com/models/ledger`. Default: a
    /// random name. Later openings keep the name that the key has.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Signs checkpoints with this key, which is not written anywhere. Default: the key in
    /// the directory's file `key`, which is made when the ledger is opened for the first time.
    /// Give one where the key shall not lie beside the ledger. Another key than before is
    /// taken, and `vkey` lists both.
    pub fn signing_key(mut self, key: SigningKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Ships each checkpoint to a place that whoever holds this machine cannot change; can be
    /// called several times. Default: none, and checkpoints stay in the directory.
    pub fn checkpoints(mut self, sink: impl CheckpointSink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// Keeps the newest checkpoint in a file outside the directory as well, usually the one that
    /// [`CheckpointNote::beside`] names, and holds the ledger against it when it is opened: a
    /// ledger that lost its end or was set back to an older copy is not opened then, even if its
    /// own checkpoint and tiles are gone. A note of another ledger, as one that was begun anew in
    /// the same place finds it, keeps a ledger with entries of its own from being opened if those
    /// cannot be compared with anything else; otherwise it is logged and recorded. A note that
    /// cannot be read or written is logged, and the ledger is opened all the same. Default: none.
    pub fn note(mut self, path: impl AsRef<Path>) -> Self {
        self.note = Some(CheckpointNote::new(path));
        self
    }

    /// Lets segments go by themselves whose entries are all older than this; see
    /// [`Ledger::prune`]. Looked at once an hour, and a segment is ended after an eighth of
    /// that time. What a shipment (`spanner-ship`) has not delivered stays until it is. Default:
    /// nothing goes; at least an hour.
    pub const fn keep_for(mut self, age: Duration) -> Self {
        self.keeping.age = Some(age);
        self
    }

    /// Lets the oldest segments go by themselves as long as all of them take more than so many
    /// bytes, as [`Builder::keep_for`] does. Default: nothing goes; at least 1 MiB.
    pub const fn keep_bytes(mut self, most: u64) -> Self {
        self.keeping.bytes = Some(most);
        self
    }

    /// Opens it; see [`Ledger::open`].
    ///
    /// # Errors
    /// [`OpenError`] if an option has an impossible value, if somebody else writes there, if
    /// a file cannot be read or written, or if the ledger is damaged.
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

    /// `beside` is the same directory, as the keeper of the evidence sees it.
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
            age: self.keeping.segment_age(),
        };
        let mut log = Log::new(files, self.durability, size, found.next);
        let opened = Opened {
            vkey: evidence.key.verifier().to_string(),
            is_key_new: evidence.is_key_new,
            time: (self.wall)(),
            file_system: doubt.map(|doubt| doubt.name),
            is_uncompared: !evidence.is_compared(),
            strangers: strangers(&evidence),
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
        let keeper = self.keeper(evidence, &progress);
        let seen = Seen::of(&*beside).unwrap_or_default();
        let pruner = Pruner {
            dir: self.dir.clone(),
            queue: Arc::clone(&queue),
            progress: Arc::clone(&progress),
            files: Arc::new(Mutex::new(Some(beside))),
            alone: Arc::default(),
            patience: self.pace.patience,
        };
        let threads = Threads::start(&queue, writer, keeper);
        let mut threads = threads.map_err(|source| self.failed(source))?;
        if !self.keeping.is_all() {
            let pruning = self.prune_by_itself(pruner.clone());
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
                seen: Mutex::new(seen),
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
                    "the note of the ledger's newest checkpoint cannot be read; the ledger is not compared with it"
                ),
            }
        }
        Ok(evidence)
    }

    /// Says what could not be compared with anything, and does not open what was put in another
    /// ledger's place.
    fn compare(&self, evidence: &Evidence, entries: u64) -> Result<(), OpenError> {
        let others = strangers(evidence);
        if entries == 0 {
            if let Some(note) = self.note.as_ref().filter(|_| !others.is_empty()) {
                let others = others.join(", ");
                tracing::warn!(
                    ?note,
                    others,
                    "a new ledger begins where another one was: nothing of what that recorded, promotions included, counts here"
                );
            }
            return Ok(());
        }
        if evidence.is_compared() {
            return Ok(());
        }
        if !others.is_empty() {
            let problem = format!(
                "it is missing, and the note outside the directory is of another ledger ({}): these {entries} entries were put in its place, or their key and checkpoint were removed",
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
            "the ledger has entries and no checkpoint, in its directory or elsewhere: whether more of them stood here cannot be told, and the record says so"
        );
        Ok(())
    }

    fn keeper(&mut self, evidence: Evidence, progress: &SharedProgress) -> Keeper {
        let mut sinks = std::mem::take(&mut self.sinks);
        if let Some(note) = self.note.take() {
            sinks.push(Box::new(note));
        }
        let pace = self.pace.checkpoint;
        Keeper::new(evidence, Arc::clone(progress), sinks, pace)
    }

    fn prune_by_itself(&self, pruner: Pruner) -> io::Result<(Sender<()>, JoinHandle<()>)> {
        let (closing, closed) = channel();
        let (keeping, pace, wall) = (self.keeping, self.pace.prune, self.wall);
        let thread = thread::Builder::new()
            .name("spanner-ledger-retention".to_owned())
            .spawn(move || keeping.run(&pruner, &closed, pace, wall))?;
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
                self.keeping.age.map_or(u64::MAX, |age| age.as_secs()),
                Self::LEAST_AGE.as_secs(),
            ),
            (
                "keep_bytes",
                self.keeping.bytes.unwrap_or(u64::MAX),
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

/// What ledgers with other keys are called that left a note.
fn strangers(evidence: &Evidence) -> Vec<String> {
    let name = |note: &String| {
        let mut lines = note.lines();
        let (origin, size) = (lines.next().unwrap_or_default(), lines.next());
        format!(
            "`{}` with {} entries",
            origin.escape_debug(),
            size.unwrap_or("?").escape_debug()
        )
    };
    evidence.strangers.iter().map(name).collect()
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
        let mut owed = Owed(Some(Arc::clone(&self.shared.queue)), admission);
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

/// Room for one outcome; dropped without it, it gives the room back.
struct Owed(Option<SharedQueue>, Admission);

impl Owed {
    fn give(&mut self, outcome: Outcome) {
        if let Some(queue) = self.0.take() {
            let payload = Entry::Outcome(Box::new(outcome)).payload().ok();
            queue.push_outcome(payload, self.1);
        }
    }
}

impl Drop for Owed {
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
        // A waker may drop the last handle on the writer's own thread.
        if threads.writer.thread().id() == thread::current().id() {
            return Ok(());
        }
        let pruned = threads.pruning.map_or(Ok(()), |(closing, pruning)| {
            drop(closing);
            pruning.join()
        });
        let written = threads.writer.join();
        let watched = threads.watchdog.join();
        let kept = threads.keeper.join();
        lock(&self.pruner.files).take();
        match (written, watched, kept, pruned) {
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
    fn start(queue: &SharedQueue, writer: Writer, keeper: Keeper) -> io::Result<Self> {
        let progress = writer.progress();
        let watched = Arc::clone(queue);
        let watchdog = thread::Builder::new()
            .name("spanner-ledger-watchdog".to_owned())
            .spawn(move || watched.watch())?;
        let writer = thread::Builder::new()
            .name("spanner-ledger".to_owned())
            .spawn(move || writer.run())
            .inspect_err(|_| queue.writer_is_gone())?;
        let keeper = thread::Builder::new()
            .name("spanner-ledger-evidence".to_owned())
            .spawn(move || keeper.run())
            .inspect_err(|_| {
                queue.stop();
                progress.end();
            })?;
        Ok(Self {
            writer,
            watchdog,
            keeper,
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
            "the entry has {bytes} bytes, of {MAX_ENTRY_BYTES} allowed"
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

/// What a shutdown may take for open requests; orchestrators commonly give 10 to 30 s.
const DRAIN: Duration = Duration::from_secs(5);
/// The greatest entry and its outcome must fit, or they never would.
const MIN_QUEUE_BYTES: u64 = (MAX_ENTRY_BYTES + crate::OVERHEAD + Share::OUTCOME_BYTES) as u64;
