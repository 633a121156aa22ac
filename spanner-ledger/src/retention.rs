//! Deletes old entries.
//!
//! 1. Only whole segments are deleted, the oldest first, and never the one that is written.
//! 2. The tiles of the Merkle tree remain. Remaining entries can still be proved and verified,
//!    and so can copies of deleted ones.
//! 3. Entries that must survive are copied to a file `<end>.kept`, each at its own sequence.
//!    These are all events except `ledger.opened` and `ledger.closed`, decisions whose outcome is
//!    not deleted with them, and entries in a newer format.
//! 4. Before a file is deleted, the entry `ledger.pruned` states what is deleted and what
//!    survives, and a checkpoint covers that entry.
//!
//! # Caveats
//! A reader may fail because a segment is deleted while it reads. Reading again succeeds.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use spanner_core::text::error_chain;
use spanner_core::{RecordId, SinkFault};

use crate::clock::Clock;
use crate::cursors::undelivered;
use crate::entry::Entry;
use crate::error::ReadError;
use crate::evidence::{SharedProgress, Tree, leaf};
use crate::files::Files;
use crate::frame::{Frame, Header};
use crate::head::Head;
use crate::log::salt;
use crate::queue::SharedQueue;
use crate::scan::{Stored, Walk, kept_name, segment_name};
use crate::waiter::lock;

/// Limits on what a ledger retains. Without a limit, all entries remain. With several, a segment
/// is deleted if it exceeds any of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "it does nothing until a ledger is pruned with it"]
pub struct Retention {
    before: Option<Timestamp>,
    bytes: Option<u64>,
    segments: Option<u64>,
    delivered: bool,
}

/// The result of pruning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneReport {
    /// The sequence below which entries were pruned, now or earlier, except for those that
    /// survive.
    pub before: u64,
    /// How many entries below `before` survive.
    pub kept: u64,
    /// How many segments this call deleted.
    pub segments: u64,
    /// The shipment that prevented further deletion. Either it has not delivered the entries yet,
    /// or it no longer exists and has left its cursor in the folder `ship`.
    pub held_by: Option<String>,
}

/// Why pruning failed. Only entries that a `ledger.pruned` entry announces may have been deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// No checkpoint covers all entries yet. Retry in a second.
    #[error("the ledger has no checkpoint over all its entries yet: ask again in a second")]
    Unsigned,
    /// The entry `ledger.pruned` could not be stored.
    #[error("`ledger.pruned` could not be recorded")]
    Unrecorded(#[source] SinkFault),
    /// The entries could not be read.
    #[error("the entries that would go cannot be read")]
    Read(#[source] ReadError),
    /// A file could not be written or deleted.
    #[error("cannot write the entries that survive pruning, or delete a segment")]
    Io(#[source] io::Error),
}

impl Retention {
    /// Retains all entries.
    pub const fn new() -> Self {
        Self {
            before: None,
            bytes: None,
            segments: None,
            delivered: false,
        }
    }

    /// Deletes segments whose entries are all older than `time`.
    pub const fn before(mut self, time: Timestamp) -> Self {
        self.before = Some(time);
        self
    }

    /// Deletes the oldest segments while all segments together exceed `most` bytes.
    pub const fn bytes(mut self, most: u64) -> Self {
        self.bytes = Some(most);
        self
    }

    /// Deletes the oldest segments while there are more than `most`.
    pub const fn segments(mut self, most: u64) -> Self {
        self.segments = Some(most);
        self
    }

    /// Retains entries that a shipment (`spanner-ship`) has not delivered.
    pub const fn delivered(mut self) -> Self {
        self.delivered = true;
        self
    }
}

/// The limits for automatic pruning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PruneLimits {
    pub(crate) age: Option<Duration>,
    pub(crate) bytes: Option<u64>,
}

/// Prunes a ledger that is open for writing, on request and automatically.
#[derive(Clone)]
pub(crate) struct Pruner {
    pub(crate) dir: PathBuf,
    pub(crate) queue: SharedQueue,
    pub(crate) progress: SharedProgress,
    /// The files, shared with the checkpoint signer. `None` once the ledger is closed, which
    /// releases the directory's lock.
    pub(crate) files: Arc<Mutex<Option<Arc<dyn Files>>>>,
    pub(crate) exclusive: Arc<Mutex<()>>,
    /// The timeout for storing an entry and for signing a checkpoint.
    pub(crate) patience: Duration,
}

impl Pruner {
    /// Deletes what exceeds the limits.
    pub(crate) fn prune(&self, retention: &Retention) -> Result<PruneReport, PruneError> {
        let _exclusive = lock(&self.exclusive);
        let behind = match retention.delivered {
            true => undelivered(&self.dir),
            false => None,
        };
        let below = behind.as_ref().map_or(u64::MAX, |(_, next)| *next);
        let files = lock(&self.files).clone();
        let files = files.ok_or(PruneError::Unrecorded(SinkFault::Closed))?;
        let signed = || {
            let signed = self.progress.checkpoint_now(self.patience);
            signed.ok_or(PruneError::Unsigned)
        };
        let (plan, held) = Plan::of(&files, retention, signed()?.size().min(below))?;
        let held_by = behind.filter(|_| held).map(|(shipment, _)| shipment);
        let Some(plan) = plan else {
            return Ok(PruneReport {
                held_by,
                ..PruneReport::default()
            });
        };
        let payload = plan.event().payload();
        let payload = payload.map_err(|fault| PruneError::Io(fault.into()))?;
        let stored = self.queue.push_event(payload, self.patience);
        stored.map_err(PruneError::Unrecorded)?;
        signed()?;
        let pruned = plan.carry_out()?;
        Ok(PruneReport { held_by, ..pruned })
    }
}

impl PruneLimits {
    /// The maximum age of a segment, so that recent entries do not keep old ones in the same
    /// segment.
    pub(crate) fn segment_age(&self) -> Option<Duration> {
        self.age.map(|age| age / 8)
    }

    pub(crate) const fn is_all(&self) -> bool {
        self.age.is_none() && self.bytes.is_none()
    }

    fn retention(&self, now: Timestamp) -> Retention {
        let mut retention = Retention::new().delivered();
        retention.bytes = self.bytes;
        retention.before = self.age.and_then(|age| now.checked_sub(age).ok());
        retention
    }

    /// Prunes periodically until the ledger is closed, and retains entries that a shipment has
    /// not delivered.
    pub(crate) fn run(
        self,
        pruner: &Pruner,
        closed: &Receiver<()>,
        pace: Duration,
        wall: fn() -> Timestamp,
    ) {
        let mut wait = pace.min(FIRST_LOOK);
        let (mut clock, mut held_by) = (Clock::new(wall), None);
        while closed.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            wait = pace;
            if clock.look().is_some() {
                // After a clock step, the age of entries is unreliable.
                continue;
            }
            match pruner.prune(&self.retention(wall())) {
                Ok(pruned) => {
                    if pruned.segments > 0 {
                        let PruneReport {
                            segments, before, ..
                        } = pruned;
                        tracing::info!(segments, before, "deleted old segments of the ledger");
                    }
                    if pruned.held_by != held_by
                        && let Some(shipment) = &pruned.held_by
                    {
                        tracing::warn!(
                            shipment,
                            "old segments of the ledger are retained, because this shipment has not delivered them; if the shipment no longer exists, remove its cursor from the folder `ship`"
                        );
                    }
                    held_by = pruned.held_by;
                }
                Err(fault) => {
                    let fault = error_chain(&fault);
                    tracing::warn!(fault, "cannot prune the ledger; will retry");
                }
            }
        }
    }
}

/// The segments to delete and the entries that survive.
pub(crate) struct Plan {
    files: Arc<dyn Files>,
    end: u64,
    segments: Vec<u64>,
    pub(crate) kept: u64,
    root: String,
}

impl Plan {
    /// Selects the segments to delete below `limit` and writes the surviving entries to a
    /// temporary file. Returns `None` if there is nothing to delete, and whether only `limit`
    /// prevented further deletion.
    pub(crate) fn of(
        files: &Arc<dyn Files>,
        retention: &Retention,
        limit: u64,
    ) -> Result<(Option<Self>, bool), PruneError> {
        let firsts = segments(files).map_err(PruneError::Read)?;
        let mut gone = 0;
        let sizes: io::Result<Vec<u64>> = firsts
            .iter()
            .map(|first| files.size(&segment_name(*first)))
            .collect();
        let sizes = sizes.map_err(PruneError::Io)?;
        let mut bytes: u64 = sizes.iter().sum();
        let successors = firsts.iter().skip(1);
        let begins_old = |first| {
            let Some(before) = retention.before else {
                return Ok(false);
            };
            let begun = begins(files, first).map_err(PruneError::Read)?;
            Ok(begun.is_some_and(|time| time <= before))
        };
        let mut held = false;
        for ((size, first), successor) in sizes.iter().zip(&firsts).zip(successors) {
            let left = (firsts.len() - gone) as u64;
            let over = retention.bytes.is_some_and(|most| bytes > most)
                || retention.segments.is_some_and(|most| left > most.max(1));
            // Both ends must be old, so that a single entry with a wrong time deletes nothing.
            let old = !over && begins_old(*first)? && begins_old(*successor)?;
            if !(over || old) {
                break;
            }
            if *successor > limit {
                held = true;
                break;
            }
            bytes -= size;
            gone += 1;
        }
        let (Some(going), Some(end)) = (firsts.get(..gone), firsts.get(gone)) else {
            return Ok((None, held));
        };
        if going.is_empty() {
            return Ok((None, held));
        }
        let mut plan = Self {
            files: Arc::clone(files),
            end: *end,
            segments: going.to_vec(),
            kept: 0,
            root: String::new(),
        };
        plan.write_survivors().map_err(|fault| match fault {
            ReadError::Io { source, .. } => PruneError::Io(source),
            fault => PruneError::Read(fault),
        })?;
        Ok((Some(plan), held))
    }

    /// The entry `ledger.pruned`.
    pub(crate) fn event(&self) -> Entry {
        let body = serde_json::json!({
            "before": self.end, "kept": self.kept, "kept_root": self.root,
            "segments": self.segments.len(),
        });
        Entry::event(PRUNED, body)
    }

    /// Deletes the segments.
    pub(crate) fn carry_out(self) -> Result<PruneReport, PruneError> {
        let Self { files, end, .. } = &self;
        let name = kept_name(*end);
        files
            .rename(&format!("{name}.new"), &name)
            .and_then(|()| files.sync())
            .and_then(|()| sweep(&**files))
            .map_err(PruneError::Io)?;
        Ok(PruneReport {
            before: *end,
            kept: self.kept,
            segments: self.segments.len() as u64,
            held_by: None,
        })
    }

    /// Writes the surviving entries to a file that has no effect until it is renamed.
    fn write_survivors(&mut self) -> Result<(), ReadError> {
        let unsettled = self.unsettled()?;
        let salt = salt().map_err(wrong)?;
        let header = Header {
            salt,
            first: self.end,
            durable: self.end,
            after_fault: false,
        };
        let name = format!("{}.new", kept_name(self.end));
        drop(self.files.remove(&name));
        let mut file = self.files.create(&name).map_err(wrong)?;
        file.write(&header.encode()).map_err(wrong)?;
        let mut tree = Tree::default();
        let mut walk = Walk::new(&self.files)?;
        while let Some(stored) = walk.step()? {
            if stored.sequence >= self.end {
                break;
            }
            if !survives(&stored, &unsettled) {
                continue;
            }
            let mut bytes = Vec::new();
            let frame = Frame {
                sequence: stored.sequence,
                durable: stored.sequence,
                payload: &stored.payload,
            };
            frame.encode(&salt, &mut bytes);
            file.write(&bytes).map_err(wrong)?;
            tree.push(leaf(&stored));
            self.kept += 1;
        }
        file.sync().map_err(wrong)?;
        self.root = tree.root().to_string();
        Ok(())
    }

    /// The decisions whose outcomes are not deleted with them.
    fn unsettled(&self) -> Result<HashSet<RecordId>, ReadError> {
        let mut unsettled = HashSet::new();
        let mut walk = Walk::new(&self.files)?;
        while let Some(stored) = walk.step()? {
            if stored.sequence >= self.end {
                break;
            }
            match Head::of(&stored.payload) {
                Head::Decision(id) => {
                    unsettled.insert(id);
                }
                Head::Outcome(id) => {
                    unsettled.remove(&id);
                }
                Head::External(_) | Head::Gap | Head::Count | Head::Event | Head::Unknown => {}
            }
        }
        Ok(unsettled)
    }
}

/// Deletes the segments and older `.kept` files that the newest `.kept` file replaces.
pub(crate) fn sweep(files: &dyn Files) -> io::Result<()> {
    let names = files.names()?;
    let Some(end) = names
        .iter()
        .filter_map(|name| crate::scan::parse_kept(name))
        .max()
    else {
        return Ok(());
    };
    let mut swept = false;
    for name in &names {
        let superfluous = crate::scan::parse_name(name).is_some_and(|first| first < end)
            || crate::scan::parse_kept(name).is_some_and(|other| other < end);
        if superfluous {
            files.remove(name)?;
            swept = true;
        }
    }
    match swept {
        true => files.sync(),
        false => Ok(()),
    }
}

fn survives(stored: &Stored, unsettled: &HashSet<RecordId>) -> bool {
    match Head::of(&stored.payload) {
        Head::Decision(id) => unsettled.contains(&id),
        Head::External(_) | Head::Outcome(_) | Head::Gap | Head::Count => false,
        Head::Event => !matches!(
            word(stored).as_deref(),
            Some("ledger.opened" | "ledger.closed")
        ),
        Head::Unknown => true,
    }
}

/// The name of an event.
fn word(stored: &Stored) -> Option<String> {
    #[derive(Deserialize)]
    struct Worded {
        event: String,
    }
    let worded = serde_json::from_slice::<Worded>(&stored.payload);
    worded.ok().map(|worded| worded.event)
}

/// The first entries of the remaining segments.
fn segments(files: &Arc<dyn Files>) -> Result<Vec<u64>, ReadError> {
    let names = files.names().map_err(wrong)?;
    let pruned = Walk::new(files)?.pruned();
    let firsts = names
        .iter()
        .filter_map(|name| crate::scan::parse_name(name));
    let mut firsts: Vec<u64> = firsts.filter(|first| *first >= pruned).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// The time of a segment's first entry.
fn begins(files: &Arc<dyn Files>, first: u64) -> Result<Option<Timestamp>, ReadError> {
    let mut walk = Walk::from(Arc::clone(files), first)?;
    let stored = walk.step()?;
    Ok(stored.and_then(|stored| stored.time()))
}

fn wrong(source: io::Error) -> ReadError {
    let name = "the entries that are kept".to_owned();
    ReadError::Io { name, source }
}

/// Soon after opening, so that a service that restarts every hour is pruned as well.
const FIRST_LOOK: Duration = Duration::from_secs(60);
pub(crate) const PRUNED: &str = "ledger.pruned";
