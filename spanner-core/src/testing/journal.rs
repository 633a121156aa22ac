//! A journal in memory, and the tests that every journal must pass.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use serde_json::json;

use super::{block_on, lock};
use crate::Timestamp;
use crate::journal::{
    Append, Condition, Cursor, EventKind, IdempotencyKey, Item, Journal, JournalError,
    JournalFuture, Page, Recorded, Scope,
};

/// A journal in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    items: Vec<(Item, Scope)>,
    watchers: Vec<Waker>,
    fault: Option<JournalError>,
    is_silent: bool,
}

impl MemoryJournal {
    /// The largest body, in bytes of JSON.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every call fail with this error; `None` ends that.
    pub fn fail(&self, fault: Option<JournalError>) {
        lock(&self.state).fault = fault;
    }

    /// Makes every append succeed and return [`JournalError::Unacknowledged`]; `false` ends that.
    pub fn lose_acknowledgements(&self, lose: bool) {
        lock(&self.state).is_silent = lose;
    }

    /// Adds an item that marks lost events, which an operator acknowledged.
    pub fn lose_events(&self) {
        lock(&self.state)
            .items
            .push((Item::Lost, Scope::Everything));
    }

    fn append_now(&self, append: Append) -> Result<Recorded, JournalError> {
        let mut state = lock(&self.state);
        state.check()?;
        if let Some(key) = &append.key
            && let Some(known) = state.events(0).find(|(it, _)| it.key.as_ref() == Some(key))
        {
            let (recorded, _) = known;
            return match recorded.is_of(&append) {
                true => Ok(recorded.clone()),
                false => Err(JournalError::KeyReused {
                    by: recorded.cursor.clone(),
                }),
            };
        }
        if let Condition::Unchanged { since, scope } = &append.condition {
            let mut later = state.events(state.place(since)?);
            let counts = |of: &Scope| *scope == Scope::Everything || of == scope;
            if let Some((by, _)) = later.find(|(_, of)| counts(of)) {
                return Err(JournalError::Overtaken {
                    by: Box::new(by.clone()),
                });
            }
        }
        let bytes = append.body.to_string().len();
        if bytes > Self::MAX_BYTES {
            let limit = Self::MAX_BYTES;
            return Err(JournalError::TooLarge { bytes, limit });
        }
        let cursor = Cursor::new((state.items.len() + 1).to_string());
        let recorded = Recorded::new(cursor, Timestamp::UNIX_EPOCH, append.kind, append.body);
        let recorded = recorded.key(append.key);
        state
            .items
            .push((Item::Event(recorded.clone()), append.scope));
        state.watchers.drain(..).for_each(Waker::wake);
        match state.is_silent {
            true => Err(JournalError::Unacknowledged {
                reason: "the acknowledgement was lost".to_owned(),
            }),
            false => Ok(recorded),
        }
    }

    fn read_now(&self, after: &Cursor) -> Result<Page, JournalError> {
        let state = lock(&self.state);
        state.check()?;
        let place = state.place(after)?;
        let ahead = state.items.get(place..).unwrap_or_default();
        // Small, so that every reader meets a journal of several pages.
        const PAGE: usize = 3;
        let items: Vec<Item> = ahead.iter().take(PAGE).map(|(it, _)| it.clone()).collect();
        let end = match items.len() {
            0 => after.clone(),
            read => Cursor::new((place + read).to_string()),
        };
        Ok(Page::new(items, end, ahead.len() > PAGE))
    }
}

impl State {
    fn check(&self) -> Result<(), JournalError> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// The number of items up to a cursor.
    fn place(&self, cursor: &Cursor) -> Result<usize, JournalError> {
        let place = cursor.as_str().map_or(Some(0), |text| text.parse().ok());
        place
            .filter(|place| *place <= self.items.len())
            .ok_or_else(|| JournalError::UnknownCursor {
                cursor: cursor.clone(),
            })
    }

    fn events(&self, from: usize) -> impl Iterator<Item = (&Recorded, &Scope)> {
        self.items.iter().skip(from).filter_map(|it| match it {
            (Item::Event(recorded), scope) => Some((recorded, scope)),
            (Item::Lost, _) => None,
        })
    }
}

impl Journal for MemoryJournal {
    fn append(&self, append: Append) -> JournalFuture<'_, Recorded> {
        Box::pin(async move { self.append_now(append) })
    }

    fn read<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, Page> {
        Box::pin(async move { self.read_now(after) })
    }

    fn wait<'a>(&'a self, after: &'a Cursor) -> JournalFuture<'a, ()> {
        Box::pin(poll_fn(move |context| {
            let mut state = lock(&self.state);
            if let Err(fault) = state.check() {
                return Poll::Ready(Err(fault));
            }
            match state.place(after) {
                Ok(place) if place < state.items.len() => Poll::Ready(Ok(())),
                Ok(_) => {
                    state.watchers.push(context.waker().clone());
                    Poll::Pending
                }
                Err(fault) => Poll::Ready(Err(fault)),
            }
        }))
    }
}

/// Checks that a journal fulfils the contract of [`Journal`]. `fresh` makes an empty one. `reopen`
/// closes a journal, which has no other handles, and opens what it stored.
///
/// # Panics
/// If it does not fulfil the contract.
#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a journal that does not conform should fail its test"
)]
pub fn check_journal<J: Journal>(fresh: impl Fn() -> J, reopen: impl Fn(J) -> J) {
    let ok = "the journal answers";
    let append = |journal: &J, what: Append| block_on(journal.append(what));

    // Events are read in the order in which they were appended, from every place.
    let journal = fresh();
    assert_eq!(all(&journal, &Cursor::default()), [], "an empty journal");
    let appended: Vec<Recorded> = (0..20)
        .map(|number| append(&journal, event(number)).expect(ok))
        .collect();
    assert_eq!(all(&journal, &Cursor::default()), appended);
    for (place, recorded) in appended.iter().enumerate() {
        let rest = appended.get(place + 1..).unwrap_or_default();
        assert_eq!(all(&journal, &recorded.cursor), rest, "after {recorded:?}");
    }

    // They are the same after a restart, and so are their cursors.
    let journal = reopen(journal);
    assert_eq!(all(&journal, &Cursor::default()), appended);
    let (early, late) = (appended.get(4).expect(ok), appended.last().expect(ok));
    assert_eq!(all(&journal, &early.cursor), appended.get(5..).expect(ok));

    // A condition that does not hold appends nothing, and says which event came first.
    let since = |cursor: &Cursor| Condition::Unchanged {
        since: cursor.clone(),
        scope: Scope::Everything,
    };
    let overtaken = append(&journal, event(20).only_if(since(&early.cursor)));
    let first = Box::new(appended.get(5).expect(ok).clone());
    assert_eq!(overtaken, Err(JournalError::Overtaken { by: first }));
    let overtaken = append(&journal, event(20).only_if(since(&Cursor::default())));
    assert!(matches!(overtaken, Err(JournalError::Overtaken { .. })));
    assert_eq!(all(&journal, &late.cursor), []);
    let taken = append(&journal, event(20).only_if(since(&late.cursor))).expect(ok);
    assert_eq!(all(&journal, &late.cursor), std::slice::from_ref(&taken));

    // Events of a model are visible to a condition on that model.
    let about = |cursor: &Cursor, scope: Scope| Condition::Unchanged {
        since: cursor.clone(),
        scope,
    };
    let own = append(&journal, event(21)).expect(ok);
    let scoped = append(&journal, event(22).only_if(about(&taken.cursor, place())));
    let by = Box::new(own.clone());
    assert_eq!(scoped, Err(JournalError::Overtaken { by }));
    let scoped = append(&journal, event(22).only_if(about(&own.cursor, place())));
    let scoped = scoped.expect(ok);

    // The same key gives the same event, whatever its condition says by now.
    let key = IdempotencyKey::new("decision-7").expect(ok);
    let keyed = event(23).only_if(since(&scoped.cursor)).key(key.clone());
    let once = append(&journal, keyed.clone()).expect(ok);
    assert_eq!(append(&journal, keyed.clone()), Ok(once.clone()));
    append(&journal, event(24)).expect(ok);
    assert_eq!(append(&journal, keyed.clone()), Ok(once.clone()));
    let journal = reopen(journal);
    assert_eq!(append(&journal, keyed), Ok(once.clone()));
    let by = once.cursor.clone();
    let reused = append(&journal, event(25).key(key.clone()));
    assert_eq!(reused, Err(JournalError::KeyReused { by }));
    let after = all(&journal, &scoped.cursor);
    assert_eq!(after.len(), 2, "one event per key: {after:?}");
    assert_eq!(after.first().expect(ok).key, Some(key));

    // An event that is too large is refused, and nothing of it stays.
    let end = after.last().expect(ok).cursor.clone();
    let mut large = event(26);
    large.body = json!({"text": "x".repeat(9 * 1024 * 1024)});
    let refused = append(&journal, large);
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
    assert_eq!(all(&journal, &end), []);

    // A cursor that the journal did not give is not taken for the beginning.
    for text in [
        "",
        "x",
        "-1",
        "99999999999999999999999",
        "18446744073709551615",
    ] {
        let cursor = Cursor::new(text);
        let unknown = |result: Result<(), JournalError>| match result {
            Err(JournalError::UnknownCursor { cursor: told }) => assert_eq!(told, cursor),
            other => panic!("cursor {text:?} gave {other:?}"),
        };
        unknown(block_on(journal.read(&cursor)).map(drop));
        unknown(block_on(journal.wait(&cursor)));
        unknown(append(&journal, event(27).only_if(since(&cursor))).map(drop));
    }

    // Of those that decide at the same time, one succeeds.
    let journal = Arc::new(journal);
    let racing = (0..8).map(|number| {
        let (journal, due) = (Arc::clone(&journal), since(&end));
        thread::spawn(move || block_on(journal.append(event(30 + number).only_if(due))))
    });
    let racing: Vec<_> = racing.collect();
    let done: Vec<_> = racing
        .into_iter()
        .map(|racer| racer.join().expect(ok))
        .collect();
    let won: Vec<_> = done.iter().filter_map(|it| it.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{done:?}");
    let winner = won.into_iter().next().expect(ok).clone();
    assert_eq!(all(&*journal, &end), std::slice::from_ref(&winner));
    for lost in done.into_iter().filter_map(Result::err) {
        let by = Box::new(winner.clone());
        assert_eq!(lost, JournalError::Overtaken { by });
    }

    // A waiting call returns at the next event.
    block_on(journal.wait(&end)).expect(ok);
    let waiting = {
        let (journal, after) = (Arc::clone(&journal), winner.cursor.clone());
        thread::spawn(move || {
            loop {
                block_on(journal.wait(&after)).expect(ok);
                let found = all(&*journal, &after);
                if !found.is_empty() {
                    return found;
                }
            }
        })
    };
    let next = append(&journal, event(40)).expect(ok);
    assert_eq!(waiting.join().expect(ok), [next]);
}

/// All events after a cursor.
#[expect(
    clippy::expect_used,
    reason = "a journal that does not conform should fail its test"
)]
fn all<J: Journal>(journal: &J, after: &Cursor) -> Vec<Recorded> {
    let (mut events, mut at) = (Vec::new(), after.clone());
    loop {
        let page = block_on(journal.read(&at)).expect("the journal can be read");
        for item in page.items {
            if let Item::Event(recorded) = item {
                events.push(recorded);
            }
        }
        at = page.end;
        if !page.has_more {
            return events;
        }
    }
}

fn event(number: u32) -> Append {
    let body = json!({"number": number, "text": "\u{e9}\n\"", "list": [1, null]});
    Append::new(kind(), place(), body)
}

#[expect(clippy::expect_used, reason = "the names are valid")]
fn kind() -> EventKind {
    EventKind::new("promotion.tested").expect("a kind")
}

#[expect(clippy::expect_used, reason = "the names are valid")]
fn place() -> Scope {
    Scope::Model {
        model: "acme/sentiment".parse().expect("a model"),
        environment: "production".parse().expect("an environment"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_in_memory_conforms() {
        check_journal(MemoryJournal::new, |journal| journal);
    }

    #[test]
    fn kinds_and_keys_are_checked() {
        for word in ["", "promotion", "access.reloaded", "ledger.opened"] {
            assert!(EventKind::new(word).is_err(), "{word}");
        }
        assert!(EventKind::new("promotions.kept").is_ok());
        let long = "x".repeat(IdempotencyKey::MAX_BYTES + 1);
        for key in ["", "a b", "é", "a\n", &long] {
            assert!(IdempotencyKey::new(key).is_err(), "{key}");
        }
    }
}
