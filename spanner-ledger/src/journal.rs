//! Implements [`Journal`] for life-cycle events on a ledger.
//!
//! 1. A life-cycle event is an [event](Event) whose name has a [`Topic`]. A cursor is the
//!    sequence of an entry.
//! 2. Only one process writes a ledger. It serializes appends, so the condition of an append is
//!    checked in memory and no other event can intervene.
//! 3. An append that was not acknowledged in time may still be stored. Until that is known,
//!    further appends fail.
//! 4. Reading and fsync block, so each call runs on its own thread. A caller runs one call at a
//!    time, which bounds the number of threads.
//!
//! A [`Reader`] is a read-only journal.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use spanner_core::journal::{
    Append, Condition, Cursor, EventKind, IdempotencyKey, Item, Journal, JournalError,
    JournalFuture, Page, Recorded, Topic,
};
use spanner_core::text::error_chain;
use spanner_core::{SinkFault, Timestamp};

use crate::MAX_ENTRY_BYTES;
use crate::acknowledge::spans_of;
use crate::entry::{Entry, Event};
use crate::error::ReadError;
use crate::ledger::Ledger;
use crate::lost::Span;
use crate::queue::SequenceCell;
use crate::reader::Reader;
use crate::waiter::lock;

/// The index of the life-cycle events in a ledger that is open for writing.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Serializes calls. Also held during an fsync.
    turn: Mutex<State>,
    /// Held only briefly, so that a future may lock it.
    news: Mutex<News>,
    /// Whether a life-cycle event was recorded without the journal.
    is_passed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The sequence after the last entry that was read.
    next: u64,
    last: Option<u64>,
    keys: HashMap<IdempotencyKey, u64>,
    lost: Vec<Span>,
    is_current: bool,
    /// An event that was not acknowledged in time and may still be stored.
    undecided: Option<SequenceCell>,
}

#[derive(Debug, Default)]
struct News {
    last: Option<u64>,
    watchers: Vec<Waker>,
}

impl Index {
    /// Notes an event that was recorded without the journal.
    pub(crate) fn pass(&self, word: &str) {
        if Topic::of(word).is_some() {
            self.is_passed.store(true, Ordering::Release);
        }
    }

    fn publish(&self, last: Option<u64>) {
        let mut news = lock(&self.news);
        news.last = last;
        let watchers = std::mem::take(&mut news.watchers);
        drop(news);
        watchers.into_iter().for_each(Waker::wake);
    }
}

impl Ledger {
    fn append_now(&self, append: Append) -> Result<Recorded, JournalError> {
        let index = self.index();
        let mut state = lock(&index.turn);
        if state.is_undecided() {
            return Err(JournalError::Unavailable {
                reason: "an earlier event is not stored yet".to_owned(),
            });
        }
        let reader = self.refresh(&mut state)?;
        if let Some(key) = &append.key
            && let Some(sequence) = state.keys.get(key).copied()
        {
            let recorded = first(&reader, sequence)?;
            return match recorded.is_of(&append) {
                true => Ok(recorded),
                false => Err(JournalError::KeyReused {
                    by: recorded.cursor,
                }),
            };
        }
        if let Condition::Unchanged { since, .. } = &append.condition {
            let from = state.after(since)?;
            if state.last.is_some_and(|last| last >= from) {
                return Err(JournalError::Overtaken {
                    by: Box::new(first(&reader, from)?),
                });
            }
        }
        let bytes = append.body.to_string().len();
        if bytes > MAX_BODY_BYTES {
            let limit = MAX_BODY_BYTES;
            return Err(JournalError::TooLarge { bytes, limit });
        }
        let event = Event {
            time: Timestamp::now(),
            event: append.kind.as_str().to_owned(),
            body: append.body,
            key: append.key.as_ref().map(|key| key.as_str().to_owned()),
        };
        let (acknowledged, place) = self
            .push_sequenced(&event)
            .map_err(|fault| not_appended(&fault))?;
        match (acknowledged.wait(), place.get()) {
            (Ok(()), Some(sequence)) => {
                state.observe(*sequence, &event);
                index.publish(state.last);
                recorded(*sequence, event)
            }
            (stored, _) => {
                state.is_current = false;
                state.undecided = Some(place);
                let reason = stored.err().map_or_else(String::new, |it| it.to_string());
                Err(JournalError::Unacknowledged { reason })
            }
        }
    }

    fn read_now(&self, after: &Cursor) -> Result<Page, JournalError> {
        let mut state = lock(&self.index().turn);
        let reader = self.refresh(&mut state)?;
        let from = state.after(after)?;
        match state.last.is_some_and(|last| last >= from) {
            true => page(&reader, after, from, &state.lost),
            // There is nothing after the cursor, so no file is read.
            false => Ok(Page::new(Vec::new(), after.clone(), false)),
        }
    }

    /// The sequence that the next event after a cursor will have, or a lower one.
    fn place_after(&self, after: &Cursor) -> Result<u64, JournalError> {
        let mut state = lock(&self.index().turn);
        self.refresh(&mut state)?;
        state.after(after)
    }

    /// Reads the events that the index does not contain yet.
    fn refresh(&self, state: &mut State) -> Result<Reader, JournalError> {
        let reader = Reader::of(self.files());
        let index = self.index();
        let is_passed = index.is_passed.swap(false, Ordering::AcqRel);
        if state.is_current && !is_passed {
            return Ok(reader);
        }
        state.is_current = false;
        let is_undecided = state.is_undecided();
        for numbered in reader
            .events_from(state.next)
            .map_err(|fault| not_read(&fault))?
        {
            let numbered = numbered.map_err(|fault| not_read(&fault))?;
            if let Entry::Event(event) = &numbered.entry
                && numbered.sequence >= state.next
            {
                state.observe(numbered.sequence, event);
            }
        }
        state.is_current = !is_undecided;
        if state.is_current {
            state.undecided = None;
        }
        index.publish(state.last);
        Ok(reader)
    }
}

impl State {
    fn observe(&mut self, sequence: u64, event: &Event) {
        self.next = sequence + 1;
        self.lost.extend(spans_of(event));
        if Topic::of(&event.event).is_some() {
            self.last = Some(sequence);
            let key = event.key.as_deref();
            if let Some(Ok(key)) = key.map(IdempotencyKey::new) {
                self.keys.entry(key).or_insert(sequence);
            }
        }
    }

    /// Whether the writer may still store an event that was not acknowledged in time.
    fn is_undecided(&self) -> bool {
        let place = self.undecided.as_ref();
        place.is_some_and(|place| Arc::strong_count(place) > 1)
    }

    /// The sequence after a cursor.
    fn after(&self, cursor: &Cursor) -> Result<u64, JournalError> {
        after(cursor, self.next)
    }
}

impl Journal for Ledger {
    fn append(&self, append: Append) -> JournalFuture<'_, Recorded> {
        let ledger = self.clone();
        Box::pin(blocking(move |_| ledger.append_now(append)))
    }

    fn read<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, Page> {
        let (ledger, after) = (self.clone(), after.clone());
        Box::pin(blocking(move |_| ledger.read_now(&after)))
    }

    fn wait<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, ()> {
        let (ledger, after) = (self.clone(), after.clone());
        Box::pin(async move {
            let from = blocking(move |_| ledger.place_after(&after)).await?;
            poll_fn(|context| {
                let mut news = lock(&self.index().news);
                if news.last.is_some_and(|last| last >= from) {
                    return Poll::Ready(Ok(()));
                }
                news.watchers.push(context.waker().clone());
                Poll::Pending
            })
            .await
        })
    }
}

impl Reader {
    fn read_now(&self, after: &Cursor) -> Result<Page, JournalError> {
        let (mut next, mut lost) = (0, Vec::new());
        for numbered in self.events().map_err(|fault| not_read(&fault))? {
            let numbered = numbered.map_err(|fault| not_read(&fault))?;
            next = numbered.sequence + 1;
            if let Entry::Event(event) = &numbered.entry {
                lost.extend(spans_of(event));
            }
        }
        let from = self::after(after, next)?;
        page(self, after, from, &lost)
    }
}

impl Journal for Reader {
    fn append(&self, _: Append) -> JournalFuture<'_, Recorded> {
        Box::pin(std::future::ready(Err(JournalError::ReadOnly)))
    }

    fn read<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, Page> {
        let (reader, after) = (self.clone(), after.clone());
        Box::pin(blocking(move |_| reader.read_now(&after)))
    }

    fn wait<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, ()> {
        let (reader, after) = (self.clone(), after.clone());
        Box::pin(blocking(move |wanted| {
            while wanted() {
                let page = reader.read_now(&after)?;
                if !page.items.is_empty() {
                    break;
                }
                thread::sleep(POLL);
            }
            Ok(())
        }))
    }
}

/// The sequence after a cursor. `next` is the sequence after the last entry read.
fn after(cursor: &Cursor, next: u64) -> Result<u64, JournalError> {
    let Some(text) = cursor.as_str() else {
        return Ok(0);
    };
    let known = text.parse().ok().filter(|sequence: &u64| *sequence < next);
    known.map_or_else(
        || {
            let cursor = cursor.clone();
            Err(JournalError::UnknownCursor { cursor })
        },
        |sequence| Ok(sequence + 1),
    )
}

/// A page of life-cycle events from a sequence on, with markers where entries were lost.
fn page(reader: &Reader, after: &Cursor, from: u64, lost: &[Span]) -> Result<Page, JournalError> {
    let mut lost: Vec<Span> = lost.iter().copied().filter(|it| it.end > from).collect();
    lost.sort_unstable();
    let mut lost = lost.into_iter().peekable();
    let (mut items, mut bytes, mut end) = (Vec::new(), 0, after.clone());
    for numbered in reader.events_from(from).map_err(|fault| not_read(&fault))? {
        let numbered = numbered.map_err(|fault| not_read(&fault))?;
        let (sequence, Entry::Event(event)) = (numbered.sequence, numbered.entry) else {
            continue;
        };
        if sequence < from || Topic::of(&event.event).is_none() {
            continue;
        }
        while lost.next_if(|span| span.from < sequence).is_some() {
            items.push(Item::Lost);
        }
        if items.len() >= PAGE_ITEMS || bytes >= PAGE_BYTES {
            return Ok(Page::new(items, end, true));
        }
        bytes += event.body.to_string().len();
        end = Cursor::new(sequence.to_string());
        items.push(Item::Event(recorded(sequence, event)?));
    }
    Ok(Page::new(items, end, false))
}

/// The first life-cycle event from a sequence on.
fn first(reader: &Reader, from: u64) -> Result<Recorded, JournalError> {
    let page = page(reader, &Cursor::default(), from, &[])?;
    let mut items = page.items.into_iter();
    match items.next() {
        Some(Item::Event(recorded)) => Ok(recorded),
        Some(_) | None => Err(JournalError::Corrupt {
            place: format!("entry {from}"),
            reason: "the event is gone".to_owned(),
        }),
    }
}

fn recorded(sequence: u64, event: Event) -> Result<Recorded, JournalError> {
    let corrupt = |reason: String| JournalError::Corrupt {
        place: format!("entry {sequence}"),
        reason,
    };
    let kind = EventKind::new(&event.event).map_err(|error| corrupt(error.to_string()))?;
    let key = event.key.as_deref().map(IdempotencyKey::new).transpose();
    let key = key.map_err(|error| corrupt(error.to_string()))?;
    let cursor = Cursor::new(sequence.to_string());
    Ok(Recorded::new(cursor, event.time, kind, event.body).key(key))
}

fn not_appended(fault: &SinkFault) -> JournalError {
    JournalError::Unavailable {
        reason: fault.to_string(),
    }
}

fn not_read(fault: &ReadError) -> JournalError {
    let reason = error_chain(fault);
    match fault {
        ReadError::Io { .. } => JournalError::Unavailable { reason },
        ReadError::Unknown { sequence, .. } => JournalError::Corrupt {
            place: format!("entry {sequence}"),
            reason,
        },
        _ => {
            let first = fault.first_bad();
            JournalError::Corrupt {
                place: first.map_or_else(|| "the ledger".to_owned(), |it| format!("entry {it}")),
                reason,
            }
        }
    }
}

/// Runs blocking work on its own thread. The work continues if its future is dropped, and can
/// check for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let slot = Arc::new(Mutex::new(Slot {
        done: None,
        waker: None,
    }));
    let end = WorkerEnd(Arc::downgrade(&slot));
    let worker = thread::Builder::new()
        .name("spanner-ledger-journal".to_owned())
        .spawn(move || {
            let done = work(&|| end.0.strong_count() > 0);
            end.finish(done);
        });
    if let Err(fault) = worker {
        return Err(JournalError::Unavailable {
            reason: fault.to_string(),
        });
    }
    poll_fn(|context| {
        let mut slot = lock(&slot);
        match slot.done.take() {
            Some(done) => Poll::Ready(done),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

struct Slot<T> {
    done: Option<Result<T, JournalError>>,
    waker: Option<Waker>,
}

/// The worker's end of the slot. If the worker panics, dropping it reports an error.
struct WorkerEnd<T>(Weak<Mutex<Slot<T>>>);

impl<T> WorkerEnd<T> {
    fn finish(&self, done: Result<T, JournalError>) {
        let Some(slot) = self.0.upgrade() else {
            return;
        };
        let waker = {
            let mut slot = lock(&slot);
            slot.done.get_or_insert(done);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for WorkerEnd<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "the ledger's reader ended early".to_owned();
            self.finish(Err(JournalError::Unacknowledged { reason }));
        }
    }
}

/// The room for an event's body within [`MAX_ENTRY_BYTES`]; the rest of the entry takes less than
/// 1 KiB.
const MAX_BODY_BYTES: usize = MAX_ENTRY_BYTES - 1024;

/// Bounds the memory of one page. Promotions hold every event in memory anyway.
const PAGE_ITEMS: usize = 1000;
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The interval at which a reader checks the files that another process writes: short for a
/// person who waits, and cheap.
const POLL: Duration = Duration::from_millis(500);
