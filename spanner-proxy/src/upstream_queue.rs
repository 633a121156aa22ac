//! A fair queue for the slots of one upstream.
//!
//! 1. A caller below its share gets any free slot, and waits ahead of the others.
//! 2. A caller at its share gets more only while a reserve stays free: a single caller may use
//!    three quarters of an upstream.
//! 3. Only a few requests of callers at their share may wait. Further ones are refused at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spanner_core::Principal;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The queue. Cheap to clone; clones share the slots.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// How many slots one caller may hold while others wait.
    share: usize,
    /// How many slots are kept free for callers below their share.
    reserve: usize,
    /// How many requests of callers at their share may wait.
    max_waiting: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    held: HashMap<Principal, usize>,
    below: VecDeque<Waiter>,
    above: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    caller: Principal,
    granted: oneshot::Sender<UpstreamSlot>,
}

/// A slot. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct UpstreamSlot {
    owner: Option<(Arc<Shared>, Principal)>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// The caller holds its share.
    Share,
    /// All are taken.
    Busy,
}

impl UpstreamQueue {
    /// A queue for this many slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                share: (slots / SHARES).max(1),
                reserve: slots / RESERVE,
                max_waiting: (slots / RESERVE).max(MIN_WAITING),
                state: Mutex::new(State {
                    free: slots,
                    held: HashMap::new(),
                    below: VecDeque::new(),
                    above: VecDeque::new(),
                }),
            }),
        }
    }

    /// Takes a slot, or waits for one.
    pub(crate) async fn take(
        &self,
        caller: &Principal,
        wait: Duration,
    ) -> Result<UpstreamSlot, NoSlot> {
        let waiting = match self.ask(caller)? {
            Ok(slot) => return Ok(slot),
            Err(waiting) => waiting,
        };
        match timeout(wait, waiting).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(NoSlot::Busy),
        }
    }

    fn ask(
        &self,
        caller: &Principal,
    ) -> Result<Result<UpstreamSlot, oneshot::Receiver<UpstreamSlot>>, NoSlot> {
        let mut state = self.shared.state();
        if self.shared.may_take(&state, caller) {
            return Ok(Ok(self.shared.grant(&mut state, caller.clone())));
        }
        let is_below = state.count(caller) < self.shared.share;
        let queue = match is_below {
            true => &mut state.below,
            false => &mut state.above,
        };
        // Requests that stopped waiting do not count.
        queue.retain(|waiter| !waiter.granted.is_closed());
        if !is_below && queue.len() >= self.shared.max_waiting {
            return Err(NoSlot::Share);
        }
        let (granted, waiting) = oneshot::channel();
        let caller = caller.clone();
        queue.push_back(Waiter { caller, granted });
        Ok(Err(waiting))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_take(&self, state: &State, caller: &Principal) -> bool {
        match state.count(caller) < self.share {
            true => state.free > 0,
            false => state.free > self.reserve,
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State, caller: Principal) -> UpstreamSlot {
        state.free -= 1;
        *state.held.entry(caller.clone()).or_default() += 1;
        let owner = Some((Arc::clone(self), caller));
        UpstreamSlot { owner }
    }

    /// Grants the free slots to waiting requests.
    fn grant_free(
        self: &Arc<Self>,
        state: &mut State,
    ) -> Vec<(UpstreamSlot, oneshot::Sender<UpstreamSlot>)> {
        let mut granted_slots = Vec::new();
        loop {
            let fits = |queue: &VecDeque<Waiter>| {
                let fits = |waiter: &Waiter| self.may_take(state, &waiter.caller);
                queue.iter().position(fits)
            };
            let next = match fits(&state.below) {
                Some(at) => state.below.remove(at),
                None => fits(&state.above).and_then(|at| state.above.remove(at)),
            };
            let Some(Waiter { caller, granted }) = next else {
                return granted_slots;
            };
            if !granted.is_closed() {
                granted_slots.push((self.grant(state, caller), granted));
            }
        }
    }
}

impl State {
    fn count(&self, caller: &Principal) -> usize {
        self.held.get(caller).copied().unwrap_or_default()
    }
}

impl Drop for UpstreamSlot {
    fn drop(&mut self) {
        let Some((shared, caller)) = self.owner.take() else {
            return;
        };
        let mut state = shared.state();
        state.free += 1;
        if let Some(count) = state.held.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&caller);
            }
        }
        let slots = shared.grant_free(&mut state);
        drop(state);
        for (slot, granted) in slots {
            // If the request left meanwhile, the slot comes back and is dropped, which frees it.
            drop(granted.send(slot));
        }
    }
}

/// A caller's share is an eighth: seven others are served beside a greedy one.
const SHARES: usize = 8;
/// The reserve is a quarter: a single caller still gets most of an upstream.
const RESERVE: usize = 4;
/// How many requests of callers at their share may wait at a small upstream: a batch client sends
/// as many at once.
const MIN_WAITING: usize = 16;

#[cfg(test)]
mod tests {
    use spanner_core::{CallerKind, IssuerAlias, SubjectId};

    use super::*;

    fn caller(name: &str) -> Principal {
        let issuer = IssuerAlias::new("corp").unwrap();
        Principal::new(issuer, CallerKind::User, SubjectId::new(name).unwrap())
    }

    async fn take(queue: &UpstreamQueue, name: &str) -> Result<UpstreamSlot, NoSlot> {
        queue.take(&caller(name), Duration::from_millis(1)).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_leaves_a_reserve_to_others() {
        let queue = UpstreamQueue::new(16);
        let mut greedy = Vec::new();
        while let Ok(slot) = take(&queue, "greedy").await {
            greedy.push(slot);
        }
        assert_eq!(greedy.len(), 12);
        let mut held = Vec::new();
        for name in ["a", "b"] {
            for _ in 0..2 {
                held.push(take(&queue, name).await.unwrap());
            }
            assert_eq!(take(&queue, name).await.unwrap_err(), NoSlot::Busy);
        }
        assert_eq!(take(&queue, "c").await.unwrap_err(), NoSlot::Busy);
        drop((greedy, held));
        assert!(queue.shared.state().held.is_empty());
        assert_eq!(queue.shared.state().free, 16);
    }

    #[tokio::test]
    async fn a_caller_below_its_share_goes_first() {
        let queue = UpstreamQueue::new(4);
        let mut greedy = Vec::new();
        for _ in 0..3 {
            greedy.push(take(&queue, "greedy").await.unwrap());
        }
        let other = take(&queue, "a").await.unwrap();
        let mut more = queue.ask(&caller("greedy")).unwrap().unwrap_err();
        let mut small = queue.ask(&caller("b")).unwrap().unwrap_err();
        greedy.pop();
        let small = small.try_recv().unwrap();
        assert!(more.try_recv().is_err());
        drop((small, other, greedy));
        assert!(more.try_recv().is_ok());
    }

    #[tokio::test]
    async fn few_requests_of_a_caller_at_its_share_may_wait() {
        let queue = UpstreamQueue::new(1);
        let only = take(&queue, "greedy").await.unwrap();
        let waiting: Vec<_> = (0..16)
            .map(|_| queue.ask(&caller("greedy")).unwrap().unwrap_err())
            .collect();
        assert_eq!(queue.ask(&caller("greedy")).unwrap_err(), NoSlot::Share);
        assert!(queue.ask(&caller("b")).unwrap().is_err());
        // Requests that stopped waiting do not count.
        drop(waiting);
        assert!(queue.ask(&caller("greedy")).unwrap().is_err());
        drop(only);
        assert_eq!(queue.shared.state().free, 1);
    }
}
