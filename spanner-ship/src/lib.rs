//! Takes entries out of a ledger to where others keep or watch them.
//!
//! 1. A [`Shipment`] reads the ledger's files on a thread of its own, like any reader: no
//!    request and no writer waits for it, and a receiver that is slow or away costs lag and
//!    nothing else.
//! 2. *At least once*: a cursor beside the ledger says how far it has come, and goes on only
//!    after the receiver took a batch. It is saved every five seconds and at the end, so that
//!    what a crash has sent again is little. Each entry carries a key by which whoever gets it
//!    twice can tell.
//! 3. In order, in batches with bounds; a failure is tried again after half a second, then
//!    twice as long, to a minute, never at the same beat as others.
//! 4. What a receiver rejects for good is found by sending it alone, set aside in a file
//!    beside the cursor (`ship/NAME.dead.jsonl`), and counted, once the receiver takes
//!    something of the same batch, be it the last. One that takes nothing is taken for broken:
//!    it is waited for, and nothing is set aside.
//! 5. Entries that retention removed before they were shipped are counted as lost.
//! 6. While the cursor cannot be saved, on a full disk, entries go on being shipped, and some
//!    of them again after a restart. What would have to be set aside, and cannot be, holds up
//!    what comes after it.
//!
//! # Caveats
//! Entries are shipped as soon as they can be read. After a power failure a receiver may
//! know the last ones that the ledger does not; everything is then shipped again under a new
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

/// What is to be shipped where; see the [module](self).
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

/// How much at once, and how long between.
#[derive(Debug, Clone, Copy)]
struct Pace {
    batch: usize,
    poll: Duration,
    first: Duration,
    most: Duration,
}

/// A shipment that is under way. Dropped, it ends after the batch that is being sent.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct RunningShipment {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Where a shipment stands.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ShipmentStatus {
    /// Entries that the receiver took since the start.
    pub delivered: u64,
    /// Entries that were set aside since the start.
    pub set_aside: u64,
    /// Entries that retention removed before they were shipped.
    pub lost: u64,
    /// The entry that is next.
    pub next: u64,
    /// Why nothing goes out, while nothing does.
    pub failing: Option<String>,
    /// The time of the oldest entry that is read and not delivered; absent if there is none.
    pub oldest: Option<Timestamp>,
    /// How many entries of the ledger are still to be delivered: those under its newest
    /// checkpoint, which is a second old at most while the ledger stores, and those that are
    /// read already. What retention removed counts until the shipment comes to that place.
    pub undelivered: u64,
}

/// What the thread and those who watch it share.
#[derive(Debug)]
struct Shared {
    ledger: PathBuf,
    status: Mutex<ShipmentStatus>,
    command: Mutex<Command>,
    changed: Condvar,
}

/// What the thread is asked to do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Command {
    #[default]
    Run,
    /// Deliver what is there, as long as that goes well, until then.
    Finish(Instant),
    Stop,
    /// It has ended.
    Ended,
}

impl Shipment {
    /// Ships the ledger in a directory, in a format, to a receiver. `name` is that of the
    /// cursor: letters, digits, `-` and `_`. The cursor is `ship/NAME.cursor` in the
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

    /// Who is said to have produced the events, in OCSF and syslog. Default: [`Producer::default`].
    pub fn producer(mut self, producer: Producer) -> Self {
        self.producer = producer;
        self
    }

    /// How many entries go out at once. Default: 500, and no more than a mebibyte.
    pub const fn batch(mut self, entries: usize) -> Self {
        self.pace.batch = entries;
        self
    }

    /// How often the ledger is looked at for more. Default: every 200 ms. The cursor is saved
    /// after 25 times as long.
    pub const fn poll(mut self, every: Duration) -> Self {
        self.pace.poll = every;
        self
    }

    /// How long is waited after a failure at first, and at most. Default: half a second, and
    /// a minute.
    pub const fn patience(mut self, first: Duration, most: Duration) -> Self {
        self.pace.first = first;
        self.pace.most = most;
        self
    }

    /// Starts it on a thread of its own.
    ///
    /// # Errors
    /// If the name is none, the cursor cannot be read, or there can be no more threads.
    pub fn start(self) -> io::Result<RunningShipment> {
        if !is_name(&self.name) || self.pace.batch == 0 {
            let what = format!(
                "`{}` names no shipment: write letters, digits, `-` and `_`, and a batch of 1 at least",
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
            aside: self.folder.join(format!("{}.dead.jsonl", self.name)),
            name: self.name,
            format: self.format,
            producer: self.producer,
            receiver: self.receiver,
            pace: self.pace,
            cursor,
            shared: Arc::clone(&shared),
            joiner: Joiner::default(),
            stretch: 0,
            saved: Instant::now(),
            unsavable: false,
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

/// Whether a text can name a cursor's file.
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
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> ShipmentStatus {
        self.shared.status()
    }

    /// Handles by which others see where it stands.
    #[must_use]
    pub fn handle(&self) -> StatusHandle {
        StatusHandle(Arc::clone(&self.shared))
    }

    /// Delivers what the ledger holds, as long as that goes well and until the time is over,
    /// and ends. Blocks, and no longer than that: a receiver that hangs is left to itself.
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

    /// What is being sent is not waited for, and is sent again by the next start.
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

/// Sees where a shipment stands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StatusHandle(Arc<Shared>);

impl StatusHandle {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> ShipmentStatus {
        self.0.status()
    }
}

impl ShipmentStatus {
    /// How old the oldest entry is that is read and not delivered.
    #[must_use]
    pub fn lag(&self, now: Timestamp) -> Duration {
        let age = self.oldest.map(|oldest| now.duration_since(oldest));
        age.and_then(|age| Duration::try_from(age).ok())
            .unwrap_or_default()
    }
}

impl Shared {
    /// Where it stands, and how much there is to be delivered: asked of the ledger's checkpoint,
    /// which costs the same however long the ledger is.
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

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Takes a lock, also after a thread panicked with it.
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
