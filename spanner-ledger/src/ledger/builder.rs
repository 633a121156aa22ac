//! The options of a ledger, and opening it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use spanner_core::Timestamp;

use super::{Durability, Ledger, Shared, Threads};
use crate::MAX_ENTRY_BYTES;
use crate::clock::Clock;
use crate::error::{OpenError, ReadError};
use crate::evidence::{
    CheckpointNote, CheckpointSigner, CheckpointSink, Evidence, KeyFault, Progress, SharedProgress,
    SigningKey, key_of,
};
use crate::files::Files;
use crate::files::disk::Disk;
use crate::files::kind::Doubt;
use crate::journal::Index;
use crate::log::{Log, SegmentSize};
use crate::queue::{Limits, Queue, Share, SharedQueue};
use crate::recovery::{Failure, OpenedEvent, recover};
use crate::retention::{PruneLimits, Pruner};
use crate::snapshot::FileSnapshot;
use crate::writer::{Pace, Writer};

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

impl Builder {
    /// The minimum for [`Builder::keep_for`]: one hour, the interval at which retention runs.
    pub const LEAST_AGE: Duration = Duration::from_secs(3600);
    /// The minimum for [`Builder::keep_bytes`]: 1 MiB, room for one entry of the maximum size.
    pub const LEAST_BYTES: u64 = 1024 * 1024;

    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
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

    pub(super) fn no_key(&self, fault: KeyFault) -> OpenError {
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

/// An entry of the maximum size and its outcome must fit, or the entry could never be admitted.
const MIN_QUEUE_BYTES: u64 = (MAX_ENTRY_BYTES + crate::OVERHEAD + Share::OUTCOME_BYTES) as u64;
