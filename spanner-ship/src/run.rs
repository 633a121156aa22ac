//! The thread of a shipment.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use spanner_core::text::error_chain;
use spanner_ledger::{EntryFollower, ReadError};

use crate::cursor::{Cursor, Position, private};
use crate::keyed::{Joiner, KeyedEntry};
use crate::priority::lower_priority;
use crate::receiver::{DeliveryError, Message, Receiver, cut_torn_line};
use crate::{Command, Format, Pace, Producer, Shared, lock};

pub(crate) struct Run {
    /// The file for rejected entries.
    pub(crate) dead_letter_file: PathBuf,
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) producer: Producer,
    pub(crate) receiver: Box<dyn Receiver>,
    pub(crate) pace: Pace,
    pub(crate) cursor: Cursor,
    pub(crate) shared: Arc<Shared>,
    pub(crate) joiner: Joiner,
    /// How many times the batch size was doubled because the receiver rejected the whole batch.
    /// Entries further on may be acceptable.
    pub(crate) doublings: u32,
    /// When the cursor was last saved, or the last attempt failed.
    pub(crate) saved: Instant,
    /// Whether the last attempt to save the cursor failed.
    pub(crate) save_failed: bool,
}

/// The thread was asked to end.
struct Ended;

/// Notifies waiting threads when this thread ends, even by a panic.
struct ExitNotice(Arc<Shared>);

impl Drop for ExitNotice {
    fn drop(&mut self) {
        *lock(&self.0.command) = Command::Ended;
        self.0.changed.notify_all();
    }
}

/// The entries of one batch.
#[derive(Default)]
struct Batch {
    items: Vec<KeyedEntry>,
    lost: LossCount,
    /// The error that ended the batch early.
    fault: Option<ReadError>,
}

/// Entries that the receiver rejected, until it is known whether it accepts any entry.
#[derive(Default)]
struct Rejections {
    entries: Vec<(Message, String)>,
    /// Whether the receiver accepted an entry of the same batch.
    accepts: bool,
}

/// Entries that were deleted before they were shipped.
#[derive(Default)]
struct LossCount {
    entries: u64,
    from: Option<u64>,
}

impl Run {
    pub(crate) fn run(mut self) {
        let _exit = ExitNotice(Arc::clone(&self.shared));
        lower_priority();
        self.run_with_retries();
        self.save();
    }

    fn run_with_retries(&mut self) {
        let (mut failures, mut before) = (0, self.cursor.position.next);
        while let Err(Some(fault)) = self.ship() {
            let next = self.cursor.position.next;
            failures = if next > before { 1 } else { failures + 1 };
            before = next;
            if self.wait(failures, &fault, None).is_err() {
                return;
            }
        }
    }

    /// Ships until the thread is asked to end (`None`) or the ledger cannot be read.
    fn ship(&mut self) -> Result<(), Option<String>> {
        let mut follow = self.follow()?;
        loop {
            let finishing = self.is_finishing().map_err(|Ended| None)?;
            let Batch { items, lost, fault } = self.batch(&mut follow);
            if let Some(last) = items.last() {
                let position = Position {
                    origin: self.cursor.position.origin.clone(),
                    next: last.stored.sequence + 1,
                    last: Some(last.stored.checksum()),
                };
                let refused = self.deliver_batch(&items).map_err(|Ended| None)?;
                if refused.is_some() {
                    // The next attempt includes newer entries, if there are any.
                    return Err(refused);
                }
                self.count_lost(&lost);
                self.go(position);
            }
            if let Some(fault) = fault {
                return Err(retry_later(fault));
            }
            self.save_in_time();
            if items.is_empty() {
                // Entries written before the command to finish are visible in this read.
                if finishing {
                    return Err(None);
                }
                self.sleep(self.pace.poll).map_err(|Ended| None)?;
            }
        }
    }

    /// Opens a reader at the cursor. If the ledger differs from the one that was shipped, ships
    /// it from the beginning under a new origin.
    fn follow(&mut self) -> Result<EntryFollower, Option<String>> {
        let Position { next, last, .. } = self.cursor.position;
        let Some(last) = last.filter(|_| next > 0) else {
            return EntryFollower::from(&self.shared.ledger, next).map_err(retry_later);
        };
        let mut follow = EntryFollower::from(&self.shared.ledger, next - 1).map_err(retry_later)?;
        match follow.first() {
            Some(stored) if stored.sequence + 1 == next && stored.checksum() == last => {
                follow.step().map_err(retry_later)?;
                return Ok(follow);
            }
            // The previous entry was deleted by retention and cannot be compared.
            Some(stored) if stored.sequence >= next => return Ok(follow),
            _ => {}
        }
        tracing::warn!(
            shipment = self.name,
            "the ledger differs from the one that was shipped: shipping it again from its beginning"
        );
        // The origin must be durable before entries are shipped under it.
        self.begin_again().map_err(|Ended| None)?;
        EntryFollower::from(&self.shared.ledger, 0).map_err(retry_later)
    }

    /// Counts deleted entries once the following ones are delivered. Until then, they may be
    /// counted again.
    fn count_lost(&self, lost: &LossCount) {
        if let Some(from) = lost.from {
            let lost = lost.entries;
            tracing::error!(
                shipment = self.name,
                from,
                lost,
                "entries were removed before they were shipped"
            );
            lock(&self.shared.status).lost += lost;
        }
    }

    /// Reads the next entries, up to the limits.
    fn batch(&mut self, follow: &mut EntryFollower) -> Batch {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        let Position { origin, next, .. } = self.cursor.position.clone();
        let mut due = next;
        let most = self.pace.batch.saturating_mul(1 << self.doublings);
        let max_bytes = MAX_BATCH_BYTES << self.doublings.min(MAX_BYTE_DOUBLINGS);
        while batch.items.len() < most && bytes < max_bytes {
            let stored = match follow.step() {
                Ok(Some(stored)) => stored,
                Ok(None) => break,
                Err(fault) => {
                    batch.fault = Some(fault);
                    break;
                }
            };
            batch.lost.count(due, stored.sequence);
            due = stored.sequence + 1;
            bytes += stored.json.len();
            let item = self.joiner.join(&origin, stored);
            batch.items.push(item);
        }
        let mut status = lock(&self.shared.status);
        status.oldest = batch.items.first().and_then(KeyedEntry::time);
        // After a storage fault, the ledger may be shorter than before.
        status.undelivered = due.saturating_sub(next);
        drop(status);
        batch
    }

    /// Delivers a batch, and sets aside entries that cannot be encoded or are rejected. Returns
    /// the reason if the receiver rejected the whole batch. In that case the receiver is at fault
    /// and nothing is set aside.
    fn deliver_batch(&mut self, batch: &[KeyedEntry]) -> Result<Option<String>, Ended> {
        let (mut messages, mut unencodable) = (Vec::with_capacity(batch.len()), Vec::new());
        for item in batch {
            let key = item.key.clone();
            match self.format.encode(item, &self.producer) {
                Ok(bytes) => messages.push(Message { key, bytes }),
                Err(fault) => {
                    let bytes = item.stored.json.clone();
                    unencodable.push((Message { key, bytes }, fault.to_string()));
                }
            }
        }
        let mut rejected = Rejections::default();
        self.deliver(&messages, &mut rejected)?;
        while let Some((_, reason)) = rejected.entries.first().filter(|_| !rejected.accepts) {
            // All entries up to here were rejected. Test whether the receiver accepts at least
            // the last one.
            let (_, rest) = messages.split_at(rejected.entries.len().min(messages.len()));
            let last = rest.last().map(std::slice::from_ref);
            if last.is_none_or(|last| self.receiver.receive(last).is_err()) {
                self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
                return Ok(Some(reason.clone()));
            }
            rejected.accepts = true;
            self.set_all_aside(&mut rejected)?;
            self.deliver(rest, &mut rejected)?;
        }
        self.doublings = 0;
        rejected.entries.extend(unencodable);
        self.set_all_aside(&mut rejected)?;
        Ok(None)
    }

    fn deliver(&mut self, messages: &[Message], rejected: &mut Rejections) -> Result<(), Ended> {
        let mut failures = 0;
        while !messages.is_empty() && !rejected.is_receiver_down() {
            let undelivered = match self.receiver.receive(messages) {
                Ok(()) => {
                    rejected.accepts = true;
                    self.delivered(messages.len());
                    return self.set_all_aside(rejected);
                }
                Err(undelivered) => undelivered,
            };
            match undelivered {
                DeliveryError::Rejected { reason } => {
                    let (one, other) = messages.split_at(messages.len() / 2);
                    if let ([], [message]) = (one, other) {
                        rejected.entries.push((message.clone(), reason));
                        return match rejected.accepts {
                            true => self.set_all_aside(rejected),
                            false => Ok(()),
                        };
                    }
                    self.deliver(one, rejected)?;
                    return self.deliver(other, rejected);
                }
                DeliveryError::Retry { reason, after } => {
                    failures += 1;
                    self.wait(failures, &reason, after)?;
                }
            }
        }
        Ok(())
    }

    fn set_all_aside(&mut self, rejected: &mut Rejections) -> Result<(), Ended> {
        let entries = std::mem::take(&mut rejected.entries);
        entries
            .iter()
            .try_for_each(|(message, reason)| self.set_aside(message, reason))
    }

    fn delivered(&mut self, entries: usize) {
        let mut status = lock(&self.shared.status);
        status.delivered += entries as u64;
        if status.failing.take().is_some() {
            tracing::info!(shipment = self.name, "the receiver accepts entries again");
        }
    }

    /// Appends a rejected entry to the file for inspection by a person.
    fn set_aside(&mut self, message: &Message, reason: &str) -> Result<(), Ended> {
        let mut failures = 0;
        while let Err(error) = self.write_aside(message, reason) {
            failures += 1;
            let what = format!("`{}`: {error}", self.dead_letter_file.display());
            self.wait(failures, &what, None)?;
        }
        tracing::warn!(
            shipment = self.name,
            key = message.key,
            reason,
            "an entry was rejected and set aside"
        );
        lock(&self.shared.status).set_aside += 1;
        Ok(())
    }

    fn write_aside(&self, message: &Message, reason: &str) -> io::Result<()> {
        let mut file = private(&self.dead_letter_file, true)?;
        // A full disk may have left an incomplete line.
        cut_torn_line(&mut file)?;
        if file.metadata()?.len() >= MAX_ASIDE_BYTES {
            return Err(io::Error::other(
                "too many rejected entries are set aside: find the cause and move the file away",
            ));
        }
        let entry = String::from_utf8_lossy(&message.bytes);
        let line = json!({"key": message.key, "reason": reason, "entry": entry});
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }

    /// Starts under a new origin, durably.
    fn begin_again(&mut self) -> Result<(), Ended> {
        let (position, mut failures) = (Position::begin(), 0);
        while let Err(error) = self.cursor.save(position.clone()) {
            failures += 1;
            self.wait(failures, &format!("the cursor: {error}"), None)?;
        }
        lock(&self.shared.status).next = position.next;
        Ok(())
    }

    /// Advances the position.
    fn go(&mut self, position: Position) {
        let mut status = lock(&self.shared.status);
        status.next = position.next;
        status.oldest = None;
        status.undelivered = 0;
        drop(status);
        self.cursor.go(position);
    }

    /// Saves the cursor periodically. Saving it after each batch would delay decisions that are
    /// synced on the same disk.
    fn save_in_time(&mut self) {
        if self.saved.elapsed() >= self.pace.poll.saturating_mul(POLLS_PER_SAVE) {
            self.save();
        }
    }

    /// Saves the cursor. Logs the first failure and the recovery.
    fn save(&mut self) {
        self.saved = Instant::now();
        match self.cursor.catch_up() {
            Err(error) if !self.save_failed => {
                self.save_failed = true;
                tracing::warn!(
                    shipment = self.name,
                    %error,
                    "cannot save the cursor: shipping continues, and a restart sends some entries twice"
                );
            }
            Ok(()) if self.save_failed => {
                self.save_failed = false;
                tracing::info!(shipment = self.name, "the cursor is saved again");
            }
            _ => {}
        }
    }

    /// Waits after a failure, with exponential backoff and jitter.
    fn wait(&self, failures: u32, reason: &str, after: Option<Duration>) -> Result<(), Ended> {
        let mut status = lock(&self.shared.status);
        if status.failing.is_none() {
            tracing::warn!(shipment = self.name, reason, "shipping fails");
        }
        status.failing = Some(reason.to_owned());
        drop(status);
        if let Command::Finish(_) = *lock(&self.shared.command) {
            return Err(Ended);
        }
        let doubled = self.pace.first.saturating_mul(1 << failures.min(16));
        let most = doubled.min(self.pace.most).max(after.unwrap_or_default());
        self.sleep(most.mul_f64(jitter()))
    }

    /// Whether to continue, and whether the next batch is part of finishing.
    fn is_finishing(&self) -> Result<bool, Ended> {
        match *lock(&self.shared.command) {
            Command::Run => Ok(false),
            Command::Finish(until) if Instant::now() < until => Ok(true),
            Command::Finish(_) | Command::Stop | Command::Ended => Err(Ended),
        }
    }

    /// Waits for a time, or until there is a command.
    fn sleep(&self, time: Duration) -> Result<(), Ended> {
        let until = Instant::now() + time;
        let mut command = lock(&self.shared.command);
        loop {
            let now = Instant::now();
            match *command {
                Command::Stop | Command::Ended => return Err(Ended),
                Command::Finish(_) => return Ok(()),
                Command::Run if now >= until => return Ok(()),
                Command::Run => {}
            }
            let waited = self.shared.changed.wait_timeout(command, until - now);
            command = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Rejections {
    /// Whether the receiver rejected so many entries that it is considered to be down.
    const fn is_receiver_down(&self) -> bool {
        !self.accepts && self.entries.len() >= MAX_REJECTED
    }
}

impl LossCount {
    /// Counts the entries between the expected and the actual sequence.
    fn count(&mut self, due: u64, sequence: u64) {
        if sequence > due {
            self.entries += sequence - due;
            self.from.get_or_insert(due);
        }
    }
}

/// A random factor between 0.5 and 1.
fn jitter() -> f64 {
    let mut random = [0; 1];
    match getrandom::fill(&mut random) {
        Ok(()) => 0.5 + f64::from(u8::from_le_bytes(random)) / 512.0,
        Err(_) => 1.0,
    }
}

/// Converts a read error into a reason to wait.
#[expect(clippy::needless_pass_by_value, reason = "maps errors")]
fn retry_later(fault: ReadError) -> Option<String> {
    Some(error_chain(&fault))
}

/// The cursor is saved after this many poll intervals: every five seconds by default.
const POLLS_PER_SAVE: u32 = 25;
/// Larger batches are not faster, and receivers commonly limit requests to some megabytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// The number of rejections without any acceptance after which a receiver is considered to be
/// down. It bounds the requests that a broken receiver causes.
const MAX_REJECTED: usize = 100;
/// The maximum number of doublings: in entries up to 4096 times, in bytes up to 8 MiB.
const MAX_DOUBLINGS: u32 = 12;
const MAX_BYTE_DOUBLINGS: u32 = 3;
/// Bounds the disk space for rejected entries. A larger file indicates a problem that an operator
/// must solve.
const MAX_ASIDE_BYTES: u64 = 64 * 1024 * 1024;
