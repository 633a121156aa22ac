//! A pool of slots that evicts idle holders.
//!
//! When all slots are taken, the holder that has been idle for the longest time is evicted: a
//! request whose body does not arrive, or a connection without a request. Honest holders are idle
//! only briefly, so they keep their slots however many an attacker takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The pool. Cheap to clone; clones share the slots.
#[derive(Debug, Clone)]
pub(crate) struct SlotPool {
    slots: Arc<Semaphore>,
    idle: Arc<Mutex<IdleHolders>>,
}

/// The idle holders. The lowest rank is evicted first; within a rank, the longest idle.
#[derive(Debug, Default)]
struct IdleHolders {
    next: u64,
    by_age: BTreeMap<Key, CancellationToken>,
    /// Requests for a slot that found no idle holder to evict.
    wanted: BTreeSet<u64>,
}

type Key = (u8, u64);

/// A slot. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct PoolSlot {
    _permit: OwnedSemaphorePermit,
    idle: Arc<Mutex<IdleHolders>>,
    /// Cancelled when the holder is evicted.
    evicted: CancellationToken,
    /// When the holder became idle, as a sequence number.
    age: Option<u64>,
    key: Option<Key>,
}

/// How long to wait for a slot. An evicted holder frees its slot within milliseconds, unless the
/// process is overloaded.
const ACQUIRE: Duration = Duration::from_secs(5);

impl SlotPool {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
            idle: Arc::default(),
        }
    }

    /// Takes a slot, evicting an idle holder if necessary. `evicted` is cancelled when the new holder
    /// must give the slot up itself. `None` if no holder becomes idle in time.
    pub(crate) async fn acquire(&self, evicted: CancellationToken) -> Option<PoolSlot> {
        let permit = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _wanted = Wanted::register(&self.idle);
                let permit = Arc::clone(&self.slots).acquire_owned();
                timeout(ACQUIRE, permit).await.ok()?.ok()?
            }
        };
        Some(PoolSlot {
            _permit: permit,
            idle: Arc::clone(&self.idle),
            evicted,
            age: None,
            key: None,
        })
    }

    /// Whether none of its `slots` is taken.
    pub(crate) fn is_unused(&self, slots: usize) -> bool {
        self.slots.available_permits() >= slots
    }
}

/// A request for a slot. It evicts an idle holder, now or as soon as there is one.
struct Wanted<'p> {
    idle: &'p Mutex<IdleHolders>,
    id: u64,
}

impl IdleHolders {
    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Evicts the next holder. Returns whether there was one.
    fn evict(&mut self) -> bool {
        let next = self.by_age.pop_first();
        next.map(|(_, holder)| holder.cancel()).is_some()
    }
}

impl<'p> Wanted<'p> {
    fn register(idle: &'p Mutex<IdleHolders>) -> Self {
        let mut guard = lock(idle);
        let id = guard.next();
        if !guard.evict() {
            guard.wanted.insert(id);
        }
        Self { idle, id }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        lock(self.idle).wanted.remove(&self.id);
    }
}

impl PoolSlot {
    /// The holder is idle from now on.
    pub(crate) fn mark_idle(&mut self) {
        self.mark_busy();
        self.age = None;
        self.mark_waiting(0);
    }

    /// The holder is idle, and counts as idle since the first such call. A higher rank is evicted
    /// later.
    pub(crate) fn mark_waiting(&mut self, rank: u8) {
        let mut idle = lock(&self.idle);
        let age = *self.age.get_or_insert_with(|| idle.next());
        if self.key.is_none() && !self.evicted.is_cancelled() {
            self.key = Some((rank, age));
            idle.by_age.insert((rank, age), self.evicted.clone());
            if idle.wanted.pop_first().is_some() {
                idle.evict();
            }
        }
    }

    /// The holder is busy.
    pub(crate) fn mark_busy(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.idle).by_age.remove(&key);
        }
    }
}

impl Drop for PoolSlot {
    fn drop(&mut self) {
        self.mark_busy();
    }
}

fn lock(idle: &Mutex<IdleHolders>) -> MutexGuard<'_, IdleHolders> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a slot whose holder frees it as soon as it is evicted.
    async fn acquire(pool: &SlotPool, rank: Option<u8>) -> Option<CancellationToken> {
        let token = CancellationToken::new();
        let mut slot = pool.acquire(token.clone()).await?;
        if let Some(rank) = rank {
            slot.mark_waiting(rank);
        }
        let evicted = token.clone();
        tokio::spawn(async move {
            evicted.cancelled().await;
            drop(slot);
        });
        Some(token)
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_holder_is_evicted_first() {
        let pool = SlotPool::new(3);
        let busy = acquire(&pool, None).await.unwrap();
        let first = acquire(&pool, Some(0)).await.unwrap();
        let second = acquire(&pool, Some(0)).await.unwrap();
        let third = acquire(&pool, Some(1)).await.unwrap();
        assert!(first.is_cancelled() && !second.is_cancelled());
        let fourth = acquire(&pool, Some(0)).await.unwrap();
        assert!(second.is_cancelled() && !third.is_cancelled());
        // A higher rank is evicted later although it is older.
        acquire(&pool, None).await.unwrap();
        assert!(fourth.is_cancelled() && !third.is_cancelled());
        acquire(&pool, None).await.unwrap();
        assert!(third.is_cancelled() && !busy.is_cancelled());
        assert!(acquire(&pool, None).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_becomes_idle_is_evicted_for_a_waiting_request() {
        let pool = SlotPool::new(1);
        let token = CancellationToken::new();
        let mut slot = pool.acquire(token.clone()).await.unwrap();
        let next = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire(CancellationToken::new()).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!token.is_cancelled());
        slot.mark_waiting(0);
        assert!(token.is_cancelled());
        drop(slot);
        assert!(next.await.unwrap());
        assert!(lock(&pool.idle).wanted.is_empty());
    }

    #[tokio::test]
    async fn a_busy_holder_is_not_evicted() {
        let pool = SlotPool::new(2);
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let mut eldest = pool.acquire(first.clone()).await.unwrap();
        let mut other = pool.acquire(second.clone()).await.unwrap();
        eldest.mark_idle();
        other.mark_idle();
        eldest.mark_busy();
        eldest.mark_idle();
        lock(&pool.idle).evict();
        assert!(second.is_cancelled() && !first.is_cancelled());
        eldest.mark_busy();
        lock(&pool.idle).evict();
        assert!(!first.is_cancelled());
        drop((eldest, other));
        assert!(pool.is_unused(2));
    }
}
