//! The queue of entries to write. It is bounded in entries and bytes, and reserves room for every
//! outstanding outcome.

mod budget;
mod tally;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use spanner_core::{Count, SinkFault};

use self::budget::Budget;
use self::tally::Tally;
use crate::OVERHEAD;
use crate::entry::Counts;
use crate::waiter::{Waiter, WaiterFuture, lock};

/// Shared by all handles, the writer and the watchdog.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes the watchdog.
    alarm: Condvar,
    /// Wakes the threads that close the ledger.
    settled: Condvar,
    limits: Limits,
    tally: Tally,
}

/// The limits of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    /// How long a caller waits at most, or `None` if callers do not wait.
    pub(crate) wait: Option<Duration>,
    /// How many refusals of unidentified callers are recorded per second.
    pub(crate) unidentified: u32,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<Item>,
    /// Callers that wait for entries the writer has taken.
    in_flight: Vec<Waiter>,
    used: Share,
    /// The number of outstanding outcomes.
    owed: usize,
    phase: Phase,
    /// Whether the disk is full. Then decisions that allow are refused, and refusals use the
    /// reserve.
    full: bool,
    budget: Option<Budget>,
    writer_sleeps: bool,
    watchdog_sleeps: bool,
    nudged: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Open,
    /// Refuses decisions, and accepts outcomes.
    Closing,
    /// The writer stores the pending entries and ends.
    Stopping,
    /// The writer has ended.
    Gone,
}

/// One entry to be written.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) payload: Vec<u8>,
    pub(crate) waiter: Option<Waiter>,
    /// The room that is released once the entry is written.
    pub(crate) share: Share,
    /// Receives the entry's sequence.
    pub(crate) sequence_cell: Option<SequenceCell>,
}

/// Receives the sequence of an entry once it is written. The queue drops its clone when the entry
/// is written or abandoned, so a unique handle without a value means that the entry will never be
/// stored.
pub(crate) type SequenceCell = Arc<OnceLock<u64>>;

/// A share of the queue's capacity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Share {
    entries: usize,
    bytes: usize,
}

/// What the writer takes from the queue.
#[derive(Debug)]
pub(crate) enum Work {
    /// Entries to write. May be empty.
    Items(Vec<Item>),
    /// The last entries, after which the writer ends.
    Last(Vec<Item>),
}

/// How an entry counts against the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// A decision that allows.
    Allow,
    /// A decision that refuses an authenticated caller.
    Refuse,
    /// A decision that refuses an unauthenticated caller. Limited by [`Budget`].
    RefuseUnidentified,
    /// An event, which has no outcome.
    Event,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            alarm: Condvar::new(),
            settled: Condvar::new(),
            limits,
            tally: Tally::default(),
        }
    }

    /// Queues an entry and reserves room for its outcome. Returns `None` if callers do not wait.
    pub(crate) fn push(
        &self,
        payload: Vec<u8>,
        admission: Admission,
    ) -> Result<Option<WaiterFuture>, SinkFault> {
        self.push_for(payload, admission, self.limits.wait, None)
    }

    /// Queues an event whose sequence the caller needs. The caller always waits, regardless of
    /// the durability.
    pub(crate) fn push_sequenced(
        &self,
        payload: Vec<u8>,
        sequence_cell: &SequenceCell,
        wait: Duration,
    ) -> Result<WaiterFuture, SinkFault> {
        let sequence_cell = Some(Arc::clone(sequence_cell));
        let pushed = self.push_for(payload, Admission::Event, Some(wait), sequence_cell)?;
        pushed.ok_or(SinkFault::Closed)
    }

    /// Queues an event and blocks until it is stored.
    pub(crate) fn push_event(&self, payload: Vec<u8>, wait: Duration) -> Result<(), SinkFault> {
        let acknowledged = self.push_for(payload, Admission::Event, Some(wait), None)?;
        acknowledged.map_or(Ok(()), WaiterFuture::wait)
    }

    fn push_for(
        &self,
        payload: Vec<u8>,
        admission: Admission,
        wait: Option<Duration>,
        sequence_cell: Option<SequenceCell>,
    ) -> Result<Option<WaiterFuture>, SinkFault> {
        let now = Instant::now();
        let share = Share::of(&payload);
        let (waiter, acknowledged) = match wait {
            Some(wait) => {
                let (waiter, acknowledged) = Waiter::new(now + wait);
                (Some(waiter), Some(acknowledged))
            }
            None => (None, None),
        };
        let mut state = self.lock();
        state.admit(&self.limits, admission, share, now)?;
        state.pending.push(Item {
            payload,
            waiter,
            share,
            sequence_cell,
        });
        if state.watchdog_sleeps {
            self.alarm.notify_one();
        }
        self.wake_writer(&state);
        Ok(acknowledged)
    }

    /// Queues an outcome in the room reserved for it, or releases the room if there is no
    /// payload.
    pub(crate) fn push_outcome(&self, payload: Option<Vec<u8>>, admission: Admission) {
        let mut state = self.lock();
        if admission == Admission::RefuseUnidentified
            && let Some(budget) = &mut state.budget
        {
            budget.repay(payload.as_ref().map_or(0, Vec::len));
        }
        let late = state.phase >= Phase::Stopping && payload.is_some();
        match payload {
            Some(payload) if !late => state.pending.push(Item {
                payload,
                waiter: None,
                share: Share::OUTCOME,
                sequence_cell: None,
            }),
            _ => state.release(Share::OUTCOME),
        }
        state.owed = state.owed.saturating_sub(1);
        if state.owed == 0 {
            self.settled.notify_all();
        }
        self.wake_writer(&state);
        drop(state);
        if late {
            tracing::error!(
                "an outcome arrived after the ledger was closed; reopening records it as unknown"
            );
        }
    }

    pub(crate) fn count(&self, what: Count) {
        if self.tally.add(what) {
            let mut state = self.lock();
            state.nudged = true;
            self.wake_writer(&state);
        }
    }

    /// The counts since the last call, if any.
    pub(crate) fn take_counts(&self) -> Option<Counts> {
        self.tally.take()
    }

    pub(crate) fn has_counts(&self) -> bool {
        self.tally.is_dirty()
    }

    /// Waits for work, at most until `until`. If `held` is set, waits until then even if there is
    /// work.
    pub(crate) fn take(&self, until: Option<Instant>, held: bool) -> Work {
        let mut state = self.lock();
        if !held {
            // The writer has stored everything it took before.
            state.in_flight.clear();
        }
        loop {
            let due = until.map(|until| until.saturating_duration_since(Instant::now()));
            let work = !state.pending.is_empty() || state.nudged;
            if state.phase >= Phase::Stopping {
                return Work::Last(state.take());
            }
            if due.is_some_and(|due| due.is_zero()) || (work && !held) {
                state.nudged = false;
                return Work::Items(state.take());
            }
            state.writer_sleeps = true;
            state = match due {
                Some(due) => {
                    let waited = self.work.wait_timeout(state, due);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => (self.work.wait(state)).unwrap_or_else(PoisonError::into_inner),
            };
            state.writer_sleeps = false;
        }
    }

    /// Releases room after an entry was written.
    pub(crate) fn release(&self, share: Share) {
        self.lock().release(share);
    }

    /// Sets whether the disk is full.
    pub(crate) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Whether the disk was full at the last check.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().full
    }

    /// Refuses further decisions and waits for outstanding outcomes, then stops the writer.
    pub(crate) fn close(&self, patience: Duration) {
        let mut state = self.lock();
        state.phase = state.phase.max(Phase::Closing);
        let waited = self
            .settled
            .wait_timeout_while(state, patience, |state| state.owed > 0);
        drop(waited);
        self.stop();
    }

    /// Makes the writer store the pending entries and end.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.phase = state.phase.max(Phase::Stopping);
        self.work.notify_all();
    }

    /// Called when the writer has ended. Fails all callers that still wait.
    pub(crate) fn writer_is_gone(&self) {
        let mut state = self.lock();
        state.phase = Phase::Gone;
        let mut waiting = std::mem::take(&mut state.in_flight);
        waiting.extend(state.take().into_iter().filter_map(|item| item.waiter));
        self.alarm.notify_all();
        drop(state);
        for waiter in waiting {
            waiter.resolve(Err(SinkFault::Closed));
        }
    }

    /// Fails callers whose deadline has passed, even while the writer is blocked in a sync.
    /// Returns when the writer has ended.
    pub(crate) fn watch(&self) {
        let mut state = self.lock();
        while state.phase != Phase::Gone {
            let (overdue, next) = state.overdue(Instant::now());
            if !overdue.is_empty() {
                drop(state);
                self.fail(overdue);
                state = self.lock();
                continue;
            }
            state.watchdog_sleeps = next.is_none();
            state = match next {
                Some(due) => {
                    let waited = self.alarm.wait_timeout(state, due);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => (self.alarm.wait(state)).unwrap_or_else(PoisonError::into_inner),
            };
            state.watchdog_sleeps = false;
        }
    }

    fn fail(&self, overdue: Vec<Waiter>) {
        let millis = self.limits.wait.unwrap_or_default().as_millis();
        for waiter in overdue {
            let reason = format!("not stored within {millis} ms");
            waiter.resolve(Err(SinkFault::NotDurable { reason }));
        }
    }

    fn wake_writer(&self, state: &State) {
        if state.writer_sleeps {
            self.work.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn admit(
        &mut self,
        limits: &Limits,
        admission: Admission,
        share: Share,
        now: Instant,
    ) -> Result<(), SinkFault> {
        if self.phase > Phase::Open {
            return Err(SinkFault::Closed);
        }
        let owes = admission != Admission::Event;
        let whole = if owes {
            share.plus(Share::OUTCOME)
        } else {
            share
        };
        let then = self.used.plus(whole);
        let has_room = then.entries <= limits.entries && then.bytes <= limits.bytes;
        if !has_room || (self.full && admission == Admission::Allow) {
            return Err(SinkFault::Full);
        }
        if admission == Admission::RefuseUnidentified {
            let fresh = || Budget::new(limits.unidentified, now);
            self.budget.get_or_insert_with(fresh).spend(now, share)?;
        }
        self.used = then;
        self.owed += usize::from(owes);
        Ok(())
    }

    fn take(&mut self) -> Vec<Item> {
        let items = std::mem::take(&mut self.pending);
        let waiters = items.iter().filter_map(|item| item.waiter.clone());
        self.in_flight.extend(waiters);
        items
    }

    fn release(&mut self, share: Share) {
        self.used.entries = self.used.entries.saturating_sub(share.entries);
        self.used.bytes = self.used.bytes.saturating_sub(share.bytes);
    }

    /// Removes and returns the overdue callers. Also returns the time until the next deadline.
    fn overdue(&mut self, now: Instant) -> (Vec<Waiter>, Option<Duration>) {
        let mut overdue: Vec<Waiter> = self
            .in_flight
            .extract_if(.., |waiter| waiter.deadline <= now)
            .collect();
        for item in &mut self.pending {
            overdue.extend(item.waiter.take_if(|waiter| waiter.deadline <= now));
        }
        let waiting = self.pending.iter().filter_map(|item| item.waiter.as_ref());
        let next = waiting.chain(&self.in_flight).map(|waiter| waiter.deadline);
        let next = next.min().map(|next| next.saturating_duration_since(now));
        (overdue, next)
    }
}

impl Share {
    pub(crate) const OUTCOME_BYTES: usize = OVERHEAD + MAX_OUTCOME_BYTES;

    /// The room for any outcome. It is a constant because the texts of an outcome are bounded.
    pub(crate) const OUTCOME: Self = Self {
        entries: 1,
        bytes: Self::OUTCOME_BYTES,
    };

    fn of(payload: &[u8]) -> Self {
        Self {
            entries: 1,
            bytes: OVERHEAD + payload.len(),
        }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// An outcome has an identifier, a time, four words, a model's name and fourteen numbers. A test
/// adds up the longest values.
pub(crate) const MAX_OUTCOME_BYTES: usize = 1280;
/// A queue for handles that may outlive the ledger.
pub(crate) type SharedQueue = Arc<Queue>;
