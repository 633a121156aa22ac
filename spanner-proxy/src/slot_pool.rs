//! A limited number of places, which idle holders cannot keep from others.
//!
//! When all places are taken, the one whose holder has been idle for the longest time is taken
//! back: a request whose body does not arrive, a connection without a request. Honest holders
//! are idle for moments only, so they keep theirs however many places an attacker holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Places. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    places: Arc<Semaphore>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Idle holders. Those of the lowest rank lose their places first; within a rank, the eldest.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<Key, CancellationToken>,
    /// Those who wait for a place and found no idle holder.
    wanted: BTreeSet<u64>,
}

type Key = (u8, u64);

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    _place: OwnedSemaphorePermit,
    waiting: Arc<Mutex<Waiting>>,
    /// Cancelled when the place must be given up.
    taken_back: CancellationToken,
    /// Since when the holder has been idle.
    age: Option<u64>,
    key: Option<Key>,
}

/// How long to wait for a place that is taken back or given up.
const MOMENT: Duration = Duration::from_secs(5);

impl Crowd {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            waiting: Arc::default(),
        }
    }

    /// Takes a place, which is taken back through this token; `None` if no holder is idle.
    pub(crate) async fn sit(&self, taken_back: CancellationToken) -> Option<Seat> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let _wanted = Wanted::of(&self.waiting);
                let place = Arc::clone(&self.places).acquire_owned();
                timeout(MOMENT, place).await.ok()?.ok()?
            }
        };
        Some(Seat {
            _place: place,
            waiting: Arc::clone(&self.waiting),
            taken_back,
            age: None,
            key: None,
        })
    }

    /// Whether nobody holds any of its `places`.
    pub(crate) fn is_empty(&self, places: usize) -> bool {
        self.places.available_permits() >= places
    }
}

/// Somebody who waits for a place. An idle holder gives one up, now or as soon as there is one.
struct Wanted<'c> {
    waiting: &'c Mutex<Waiting>,
    id: u64,
}

impl Waiting {
    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes the eldest place back; whether there was one.
    fn take_back(&mut self) -> bool {
        let eldest = self.by_age.pop_first();
        eldest.map(|(_, eldest)| eldest.cancel()).is_some()
    }
}

impl<'c> Wanted<'c> {
    fn of(waiting: &'c Mutex<Waiting>) -> Self {
        let mut guard = lock(waiting);
        let id = guard.next();
        if !guard.take_back() {
            guard.wanted.insert(id);
        }
        Self { waiting, id }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        lock(self.waiting).wanted.remove(&self.id);
    }
}

impl Seat {
    /// The holder is idle from now on.
    pub(crate) fn idle(&mut self) {
        self.busy();
        self.age = None;
        self.wait(0);
    }

    /// The holder is idle, counted from the first time. A higher rank loses its place later.
    pub(crate) fn wait(&mut self, rank: u8) {
        let mut waiting = lock(&self.waiting);
        let age = *self.age.get_or_insert_with(|| waiting.next());
        if self.key.is_none() && !self.taken_back.is_cancelled() {
            self.key = Some((rank, age));
            waiting.by_age.insert((rank, age), self.taken_back.clone());
            if waiting.wanted.pop_first().is_some() {
                waiting.take_back();
            }
        }
    }

    /// The holder is busy.
    pub(crate) fn busy(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.waiting).by_age.remove(&key);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.busy();
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a place whose holder gives it up as soon as it is taken back.
    async fn sit(crowd: &Crowd, rank: Option<u8>) -> Option<CancellationToken> {
        let token = CancellationToken::new();
        let mut seat = crowd.sit(token.clone()).await?;
        if let Some(rank) = rank {
            seat.wait(rank);
        }
        let taken_back = token.clone();
        tokio::spawn(async move {
            taken_back.cancelled().await;
            drop(seat);
        });
        Some(token)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longest_gives_its_place_to_the_next() {
        let crowd = Crowd::new(3);
        let busy = sit(&crowd, None).await.unwrap();
        let first = sit(&crowd, Some(0)).await.unwrap();
        let second = sit(&crowd, Some(0)).await.unwrap();
        let third = sit(&crowd, Some(1)).await.unwrap();
        assert!(first.is_cancelled() && !second.is_cancelled());
        let fourth = sit(&crowd, Some(0)).await.unwrap();
        assert!(second.is_cancelled() && !third.is_cancelled());
        // Of a higher rank, though it is older.
        sit(&crowd, None).await.unwrap();
        assert!(fourth.is_cancelled() && !third.is_cancelled());
        sit(&crowd, None).await.unwrap();
        assert!(third.is_cancelled() && !busy.is_cancelled());
        assert!(sit(&crowd, None).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_to_wait_gives_way_to_who_waits_for_a_place() {
        let crowd = Crowd::new(1);
        let token = CancellationToken::new();
        let mut seat = crowd.sit(token.clone()).await.unwrap();
        let next = tokio::spawn({
            let crowd = crowd.clone();
            async move { crowd.sit(CancellationToken::new()).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!token.is_cancelled());
        seat.wait(0);
        assert!(token.is_cancelled());
        drop(seat);
        assert!(next.await.unwrap());
        assert!(lock(&crowd.waiting).wanted.is_empty());
    }

    #[tokio::test]
    async fn who_goes_on_is_not_disturbed() {
        let crowd = Crowd::new(2);
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let mut eldest = crowd.sit(first.clone()).await.unwrap();
        let mut other = crowd.sit(second.clone()).await.unwrap();
        eldest.idle();
        other.idle();
        eldest.busy();
        eldest.idle();
        lock(&crowd.waiting).take_back();
        assert!(second.is_cancelled() && !first.is_cancelled());
        eldest.busy();
        lock(&crowd.waiting).take_back();
        assert!(!first.is_cancelled());
        drop((eldest, other));
        assert!(crowd.is_empty(2));
    }
}
