//! Ships entries from a ledger to a SIEM, a collector or a file.
//!
//! 1. A [`Shipment`] reads the ledger's files on its own thread, like any other reader. Neither
//!    requests nor the writer wait for it. A slow or unavailable receiver only causes lag.
//! 2. *At least once*: a cursor next to the ledger stores the position and advances only after
//!    the receiver has accepted a batch. It is saved every five seconds and at the end, which
//!    limits what a crash causes to be sent again. Each entry has a key by which a receiver
//!    detects duplicates.
//! 3. Entries are sent in order, in bounded batches. A failed batch is retried after half a
//!    second, then with exponential backoff and jitter, at most every minute.
//! 4. To find entries that the receiver rejects permanently, the shipment splits the batch. If
//!    the receiver accepts any entry of the batch, the rejected ones are appended to
//!    `ship/NAME.dead.jsonl` next to the cursor and counted. A receiver that rejects everything
//!    is treated as down: the shipment retries and sets nothing aside.
//! 5. Entries that retention deleted before they were shipped are counted as lost.
//! 6. If the cursor cannot be saved, for example on a full disk, shipping continues, and a
//!    restart sends some entries again. If a rejected entry cannot be set aside, shipping waits.
//!
//! # Caveats
//! Entries are shipped as soon as they are readable. After a power failure, a receiver may have
//! entries that the ledger lost; the shipment then starts again from the beginning under a new
//! origin.
//!
//! # Example
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let (dir, out) = (folder.path().join("ledger"), folder.path().join("out.jsonl"));
//! use spanner_ledger::Ledger;
//! use spanner_ship::{FileReceiver, Format, Shipment};
//!
//! let ledger = Ledger::open(&dir)?;
//! let shipping = Shipment::new(&dir, "siem", Format::Ocsf, FileReceiver::new(&out)).start()?;
//! ledger.event("access.reloaded", serde_json::json!({ "digest": "c0ffee" }))?;
//! ledger.close()?;
//! let status = shipping.finish(std::time::Duration::from_secs(10));
//! assert_eq!((status.delivered, status.failing), (3, None));
//! assert_eq!(std::fs::read_to_string(&out)?.lines().count(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cursor;
#[cfg(feature = "http")]
mod endpoint;
mod export;
mod format;
#[cfg(feature = "http")]
mod http;
mod keyed;
mod ocsf;
#[cfg(feature = "otlp")]
mod otlp;
mod priority;
mod producer;
mod receiver;
mod run;
mod syslog;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "http")]
mod witness;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use spanner_core::Timestamp;

use cursor::Cursor;
use run::Run;
use spanner_ledger::Reader;

#[cfg(feature = "http")]
pub use endpoint::Endpoint;
pub use export::export;
pub use format::{EncodeError, Format};
#[cfg(feature = "http")]
pub use http::HttpReceiver;
use keyed::Joiner;
pub use keyed::KeyedEntry;
pub use producer::Producer;
pub use receiver::{
    DeliveryError, FileReceiver, Message, Receiver, StdoutReceiver, SyslogReceiver,
};
#[cfg(feature = "http")]
pub use witness::CheckpointHttp;

/// A shipment from a ledger to a receiver; see the [crate documentation](self).
#[must_use = "a shipment goes nowhere until it is started"]
pub struct Shipment {
    ledger: PathBuf,
    folder: PathBuf,
    name: String,
    format: Format,
    producer: Producer,
    receiver: Box<dyn Receiver>,
    pace: Pace,
}

/// Batch size and intervals.
#[derive(Debug, Clone, Copy)]
struct Pace {
    batch: usize,
    poll: Duration,
    first: Duration,
    most: Duration,
}

/// A running shipment. Dropping it ends the shipment after the current batch.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct RunningShipment {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The progress of a shipment.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ShipmentStatus {
    /// Entries that the receiver accepted since the start.
    pub delivered: u64,
    /// Entries that were rejected and set aside since the start.
    pub set_aside: u64,
    /// Entries that retention deleted before they were shipped.
    pub lost: u64,
    /// The sequence of the next entry to ship.
    pub next: u64,
    /// The current error, while shipping fails.
    pub failing: Option<String>,
    /// The time of the oldest entry that was read and not delivered; `None` if there is none.
    pub oldest: Option<Timestamp>,
    /// The number of entries still to be delivered: those that the ledger's newest checkpoint
    /// covers, and those already read. The checkpoint is at most one second old while a service
    /// writes. Entries that retention deleted count until the shipment reaches their position.
    pub undelivered: u64,
}

/// The state shared by the thread and its handles.
#[derive(Debug)]
struct Shared {
    ledger: PathBuf,
    status: Mutex<ShipmentStatus>,
    command: Mutex<Command>,
    changed: Condvar,
}

/// The command to the thread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Command {
    #[default]
    Run,
    /// Deliver the remaining entries until this time, and end at the first failure.
    Finish(Instant),
    Stop,
    /// The thread has ended.
    Ended,
}

impl Shipment {
    /// Creates a shipment of the ledger in a directory. `name` is the name of its cursor: up to
    /// 64 letters, digits, `-` and `_`. The cursor is stored in `ship/NAME.cursor` in the
    /// ledger's directory.
    pub fn new(
        ledger: impl AsRef<Path>,
        name: impl Into<String>,
        format: Format,
        receiver: impl Receiver + 'static,
    ) -> Self {
        let ledger = ledger.as_ref().to_owned();
        Self {
            folder: ledger.join("ship"),
            ledger,
            name: name.into(),
            format,
            producer: Producer::default(),
            receiver: Box::new(receiver),
            pace: Pace::default(),
        }
    }

    /// Sets the producer of the events in OCSF and syslog. Default: [`Producer::default`].
    pub fn producer(mut self, producer: Producer) -> Self {
        self.producer = producer;
        self
    }

    /// Sets the maximum number of entries per batch. Default: 500. A batch also ends after 1 MiB.
    pub const fn batch(mut self, entries: usize) -> Self {
        self.pace.batch = entries;
        self
    }

    /// Sets how often the ledger is checked for new entries. Default: every 200 ms. The cursor is
    /// saved after 25 of these intervals.
    pub const fn poll(mut self, every: Duration) -> Self {
        self.pace.poll = every;
        self
    }

    /// Sets the first and the maximum delay after a failure. Defaults: half a second and one
    /// minute.
    pub const fn patience(mut self, first: Duration, most: Duration) -> Self {
        self.pace.first = first;
        self.pace.most = most;
        self
    }

    /// Starts the shipment on its own thread.
    ///
    /// # Errors
    /// If the name or the batch size is invalid, the cursor cannot be read, or a thread cannot be
    /// started.
    pub fn start(self) -> io::Result<RunningShipment> {
        if !is_name(&self.name) || self.pace.batch == 0 {
            let what = format!(
                "`{}` is not a valid shipment: the name needs letters, digits, `-` and `_`, and the batch at least 1 entry",
                self.name
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let cursor = Cursor::open(&self.folder, &self.name)?;
        let status = ShipmentStatus {
            next: cursor.position.next,
            ..ShipmentStatus::default()
        };
        let shared = Arc::new(Shared {
            ledger: self.ledger,
            status: Mutex::new(status),
            command: Mutex::default(),
            changed: Condvar::new(),
        });
        let run = Run {
            dead_letter_file: self.folder.join(format!("{}.dead.jsonl", self.name)),
            name: self.name,
            format: self.format,
            producer: self.producer,
            receiver: self.receiver,
            pace: self.pace,
            cursor,
            shared: Arc::clone(&shared),
            joiner: Joiner::default(),
            doublings: 0,
            saved: Instant::now(),
            save_failed: false,
        };
        let thread = thread::Builder::new()
            .name("spanner-ship".to_owned())
            .spawn(move || run.run())?;
        Ok(RunningShipment {
            shared,
            thread: Some(thread),
        })
    }
}

/// Whether a text is a valid name for a cursor: 1 to 64 letters, digits, `-` and `_`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batch: 500,
            poll: Duration::from_millis(200),
            first: Duration::from_millis(500),
            most: Duration::from_secs(60),
        }
    }
}

impl RunningShipment {
    /// The current progress.
    #[must_use]
    pub fn status(&self) -> ShipmentStatus {
        self.shared.status()
    }

    /// Returns a handle that reports the progress. Handles remain valid after the shipment ends.
    #[must_use]
    pub fn handle(&self) -> StatusHandle {
        StatusHandle(Arc::clone(&self.shared))
    }

    /// Delivers the remaining entries and ends the shipment. Ends early at the first failure.
    /// Blocks for at most `patience`; a receiver that hangs longer is abandoned.
    pub fn finish(mut self, patience: Duration) -> ShipmentStatus {
        self.shared.ask(Command::Finish(Instant::now() + patience));
        let under_way = |command: &mut Command| *command != Command::Ended;
        let command = lock(&self.shared.command);
        let waited = (self.shared.changed).wait_timeout_while(command, patience, under_way);
        let timed_out = waited.is_ok_and(|(_, waited)| waited.timed_out());
        match timed_out {
            true => self.abandon(),
            false => self.join(),
        }
        self.status()
    }

    /// Leaves the current batch to its thread. The next start sends it again.
    fn abandon(&mut self) {
        self.shared.ask(Command::Stop);
        self.thread = None;
        let reason = "the receiver has not answered".to_owned();
        lock(&self.shared.status).failing.get_or_insert(reason);
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a shipment panicked");
        }
    }
}

impl Drop for RunningShipment {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.shared.ask(Command::Stop);
            self.join();
        }
    }
}

/// Reports the progress of a shipment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StatusHandle(Arc<Shared>);

impl StatusHandle {
    /// The current progress.
    #[must_use]
    pub fn status(&self) -> ShipmentStatus {
        self.0.status()
    }
}

impl ShipmentStatus {
    /// The age of the oldest entry that was read and not delivered; zero if there is none.
    #[must_use]
    pub fn lag(&self, now: Timestamp) -> Duration {
        let age = self.oldest.map(|oldest| now.duration_since(oldest));
        age.and_then(|age| Duration::try_from(age).ok())
            .unwrap_or_default()
    }
}

impl Shared {
    /// The progress, including the number of undelivered entries. The ledger's checkpoint
    /// provides it at a cost that does not depend on the ledger's size.
    fn status(&self) -> ShipmentStatus {
        let newest = Reader::open(&self.ledger).and_then(|reader| reader.checkpoint());
        let signed = newest.ok().flatten().map_or(0, |newest| newest.size());
        let mut status = lock(&self.status).clone();
        let rest = signed.saturating_sub(status.next);
        status.undelivered = status.undelivered.max(rest);
        status
    }

    fn ask(&self, command: Command) {
        *lock(&self.command) = command;
        self.changed.notify_all();
    }
}

/// Locks a mutex even if it is poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shipment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shipment")
            .field("ledger", &self.ledger)
            .field("name", &self.name)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// The README's example compiles.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
