//! The thread of a shipment.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cursor::{Cursor, Position, private};
use crate::keyed::{Joiner, KeyedEntry};
use crate::priority::make_way;
use crate::receiver::{DeliveryError, Message, Receiver, cut_torn_line};
use crate::{Command, Format, Pace, Producer, Shared, chain, lock};
use spanner_ledger::{EntryFollower, ReadError};

pub(crate) struct Run {
    /// Where what is rejected goes.
    pub(crate) aside: PathBuf,
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) producer: Producer,
    pub(crate) receiver: Box<dyn Receiver>,
    pub(crate) pace: Pace,
    pub(crate) cursor: Cursor,
    pub(crate) shared: Arc<Shared>,
    pub(crate) joiner: Joiner,
    /// How often the batch was doubled, since all of it is rejected: what comes behind it may
    /// not be.
    pub(crate) stretch: u32,
    /// When the cursor was saved last, or that was tried.
    pub(crate) saved: Instant,
    /// Whether that was in vain.
    pub(crate) unsavable: bool,
}

/// It was asked to end.
struct Ended;

/// Tells whoever waits for its end, however it ends.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        *lock(&self.0.command) = Command::Ended;
        self.0.changed.notify_all();
    }
}

/// What was read at once.
#[derive(Default)]
struct Batch {
    items: Vec<KeyedEntry>,
    lost: Lost,
    /// Why there is not more of it.
    fault: Option<ReadError>,
}

/// What a receiver rejects for good, as long as nobody knows whether it takes anything.
#[derive(Default)]
struct Rejected {
    held: Vec<(Message, String)>,
    /// Whether it took something of the same batch.
    takes: bool,
}

/// What was removed before it was shipped.
#[derive(Default)]
struct Lost {
    entries: u64,
    from: Option<u64>,
}

impl Run {
    pub(crate) fn run(mut self) {
        let _over = Over(Arc::clone(&self.shared));
        make_way();
        self.go_on();
        self.save();
    }

    fn go_on(&mut self) {
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

    /// Ships until it is asked to end (`None`), or the ledger cannot be read.
    fn ship(&mut self) -> Result<(), Option<String>> {
        let mut follow = self.follow()?;
        loop {
            let finishing = self.goes_on().map_err(|Ended| None)?;
            let Batch { items, lost, fault } = self.batch(&mut follow);
            if let Some(last) = items.last() {
                let position = Position {
                    origin: self.cursor.position.origin.clone(),
                    next: last.stored.sequence + 1,
                    last: Some(last.stored.checksum()),
                };
                let refused = self.hand_over(&items).map_err(|Ended| None)?;
                if refused.is_some() {
                    // With more behind it, if there is more by then.
                    return Err(refused);
                }
                self.count_lost(&lost);
                self.go(position);
            }
            if let Some(fault) = fault {
                return Err(unread(fault));
            }
            self.save_in_time();
            if items.is_empty() {
                // What was written before it was to finish was there for this look.
                if finishing {
                    return Err(None);
                }
                self.rest(self.pace.poll).map_err(|Ended| None)?;
            }
        }
    }

    /// A reader at the cursor. A ledger that is not the one that the cursor knows is shipped
    /// from its beginning, under another origin.
    fn follow(&mut self) -> Result<EntryFollower, Option<String>> {
        let Position { next, last, .. } = self.cursor.position;
        let Some(last) = last.filter(|_| next > 0) else {
            return EntryFollower::from(&self.shared.ledger, next).map_err(unread);
        };
        let mut follow = EntryFollower::from(&self.shared.ledger, next - 1).map_err(unread)?;
        match follow.first() {
            Some(stored) if stored.sequence + 1 == next && stored.checksum() == last => {
                follow.step().map_err(unread)?;
                return Ok(follow);
            }
            // What was before it is gone, and cannot be compared.
            Some(stored) if stored.sequence >= next => return Ok(follow),
            _ => {}
        }
        tracing::warn!(
            shipment = self.name,
            "the ledger is not the one that was shipped: it is shipped again from its beginning"
        );
        // Before anything goes out under its origin.
        self.begin_again().map_err(|Ended| None)?;
        EntryFollower::from(&self.shared.ledger, 0).map_err(unread)
    }

    /// Counts what was removed before it was shipped, once what comes after it is delivered:
    /// until then it may be read again.
    fn count_lost(&self, lost: &Lost) {
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

    /// What is there, up to the bounds.
    fn batch(&mut self, follow: &mut EntryFollower) -> Batch {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        let Position { origin, next, .. } = self.cursor.position.clone();
        let mut due = next;
        let most = self.pace.batch.saturating_mul(1 << self.stretch);
        let most_bytes = MAX_BATCH_BYTES << self.stretch.min(MOST_STRETCH_BYTES);
        while batch.items.len() < most && bytes < most_bytes {
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
        // A fault may have taken back what was read: then it begins earlier.
        status.undelivered = due.saturating_sub(next);
        drop(status);
        batch
    }

    /// Delivers a batch; what cannot be said or is rejected is set aside. Answers with why, if
    /// the receiver took nothing of it: then it is the receiver's fault, and nothing is.
    fn hand_over(&mut self, batch: &[KeyedEntry]) -> Result<Option<String>, Ended> {
        let (mut messages, mut unsayable) = (Vec::with_capacity(batch.len()), Vec::new());
        for item in batch {
            let key = item.key.clone();
            match self.format.encode(item, &self.producer) {
                Ok(bytes) => messages.push(Message { key, bytes }),
                Err(fault) => {
                    let bytes = item.stored.json.clone();
                    unsayable.push((Message { key, bytes }, fault.to_string()));
                }
            }
        }
        let mut rejected = Rejected::default();
        self.deliver(&messages, &mut rejected)?;
        while let Some((_, reason)) = rejected.held.first().filter(|_| !rejected.takes) {
            // All before it were rejected. Does it take the last one, at least?
            let (_, rest) = messages.split_at(rejected.held.len().min(messages.len()));
            let last = rest.last().map(std::slice::from_ref);
            if last.is_none_or(|last| self.receiver.receive(last).is_err()) {
                self.stretch = (self.stretch + 1).min(MOST_STRETCH);
                return Ok(Some(reason.clone()));
            }
            rejected.takes = true;
            self.set_all_aside(&mut rejected)?;
            self.deliver(rest, &mut rejected)?;
        }
        self.stretch = 0;
        rejected.held.extend(unsayable);
        self.set_all_aside(&mut rejected)?;
        Ok(None)
    }

    fn deliver(&mut self, messages: &[Message], rejected: &mut Rejected) -> Result<(), Ended> {
        let mut failures = 0;
        while !messages.is_empty() && !rejected.is_broken() {
            let undelivered = match self.receiver.receive(messages) {
                Ok(()) => {
                    rejected.takes = true;
                    self.delivered(messages.len());
                    return self.set_all_aside(rejected);
                }
                Err(undelivered) => undelivered,
            };
            match undelivered {
                DeliveryError::Rejected { reason } => {
                    let (one, other) = messages.split_at(messages.len() / 2);
                    if let ([], [message]) = (one, other) {
                        rejected.held.push((message.clone(), reason));
                        return match rejected.takes {
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

    fn set_all_aside(&mut self, rejected: &mut Rejected) -> Result<(), Ended> {
        let held = std::mem::take(&mut rejected.held);
        held.iter()
            .try_for_each(|(message, reason)| self.set_aside(message, reason))
    }

    fn delivered(&mut self, entries: usize) {
        let mut status = lock(&self.shared.status);
        status.delivered += entries as u64;
        if status.failing.take().is_some() {
            tracing::info!(shipment = self.name, "the receiver takes entries again");
        }
    }

    /// Keeps what is rejected, so that a person can look at it.
    fn set_aside(&mut self, message: &Message, reason: &str) -> Result<(), Ended> {
        let mut failures = 0;
        while let Err(error) = self.write_aside(message, reason) {
            failures += 1;
            let what = format!("`{}`: {error}", self.aside.display());
            self.wait(failures, &what, None)?;
        }
        tracing::warn!(
            shipment = self.name,
            key = message.key,
            reason,
            "an entry is set aside"
        );
        lock(&self.shared.status).set_aside += 1;
        Ok(())
    }

    fn write_aside(&self, message: &Message, reason: &str) -> io::Result<()> {
        let mut file = private(&self.aside, true)?;
        // Half of one, if the disk was full in the middle of it.
        cut_torn_line(&mut file)?;
        if file.metadata()?.len() >= MAX_ASIDE_BYTES {
            return Err(io::Error::other(
                "more is set aside than anybody looks at: see what is wrong, and move the file away",
            ));
        }
        let entry = String::from_utf8_lossy(&message.bytes);
        let line = json!({"key": message.key, "reason": reason, "entry": entry});
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }

    /// Begins under another origin, durably.
    fn begin_again(&mut self) -> Result<(), Ended> {
        let (position, mut failures) = (Position::begin(), 0);
        while let Err(error) = self.cursor.save(position.clone()) {
            failures += 1;
            self.wait(failures, &format!("the cursor: {error}"), None)?;
        }
        lock(&self.shared.status).next = position.next;
        Ok(())
    }

    /// Goes on from here.
    fn go(&mut self, position: Position) {
        let mut status = lock(&self.shared.status);
        status.next = position.next;
        status.oldest = None;
        status.undelivered = 0;
        drop(status);
        self.cursor.go(position);
    }

    /// Saves the cursor once in a while: decisions that are synced on the same disk wait behind
    /// it, and if that were one in a hundred, it would show.
    fn save_in_time(&mut self) {
        if self.saved.elapsed() >= self.pace.poll.saturating_mul(SAVE) {
            self.save();
        }
    }

    /// Saves the cursor; says once if that cannot be done, and once if it can again.
    fn save(&mut self) {
        self.saved = Instant::now();
        match self.cursor.catch_up() {
            Err(error) if !self.unsavable => {
                self.unsavable = true;
                tracing::warn!(
                    shipment = self.name,
                    %error,
                    "the cursor cannot be saved: entries go on being sent, and after a restart some are sent twice"
                );
            }
            Ok(()) if self.unsavable => {
                self.unsavable = false;
                tracing::info!(shipment = self.name, "the cursor is saved again");
            }
            _ => {}
        }
    }

    /// Waits after a failure, longer each time, and never at the same beat as others.
    fn wait(&self, failures: u32, reason: &str, after: Option<Duration>) -> Result<(), Ended> {
        let mut status = lock(&self.shared.status);
        if status.failing.is_none() {
            tracing::warn!(shipment = self.name, reason, "nothing goes out");
        }
        status.failing = Some(reason.to_owned());
        drop(status);
        if let Command::Finish(_) = *lock(&self.shared.command) {
            return Err(Ended);
        }
        let doubled = self.pace.first.saturating_mul(1 << failures.min(16));
        let most = doubled.min(self.pace.most).max(after.unwrap_or_default());
        self.rest(most.mul_f64(jitter()))
    }

    /// Whether another batch is wanted; whether that is to be the last look.
    fn goes_on(&self) -> Result<bool, Ended> {
        match *lock(&self.shared.command) {
            Command::Run => Ok(false),
            Command::Finish(until) if Instant::now() < until => Ok(true),
            Command::Finish(_) | Command::Stop | Command::Ended => Err(Ended),
        }
    }

    /// Waits, or hears that it is to end, or to finish.
    fn rest(&self, time: Duration) -> Result<(), Ended> {
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

impl Rejected {
    /// Nothing is taken, and so much was asked that nothing will be.
    const fn is_broken(&self) -> bool {
        !self.takes && self.held.len() >= MAX_REJECTED
    }
}

impl Lost {
    /// What is missing between what is due and what came.
    fn count(&mut self, due: u64, sequence: u64) {
        if sequence > due {
            self.entries += sequence - due;
            self.from.get_or_insert(due);
        }
    }
}

/// From a half to the whole.
fn jitter() -> f64 {
    let mut random = [0; 1];
    match getrandom::fill(&mut random) {
        Ok(()) => 0.5 + f64::from(u8::from_le_bytes(random)) / 512.0,
        Err(_) => 1.0,
    }
}

/// What there is to wait for.
#[expect(clippy::needless_pass_by_value, reason = "maps errors")]
fn unread(fault: ReadError) -> Option<String> {
    Some(chain(&fault))
}

/// How many polls there are between two times that the cursor is saved.
const SAVE: u32 = 25;
/// A batch that is larger is no faster, and receivers commonly refuse some megabytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Rejections in a row from which on the receiver is taken for broken.
const MAX_REJECTED: usize = 100;
/// How often a batch is doubled at most, in entries and in bytes.
const MOST_STRETCH: u32 = 12;
const MOST_STRETCH_BYTES: u32 = 3;
/// What is set aside; beyond it nobody looks, and nothing is lost.
const MAX_ASIDE_BYTES: u64 = 64 * 1024 * 1024;
