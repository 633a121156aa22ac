//! The places at one upstream, which callers share.
//!
//! 1. A caller below its share gets any free place, and waits ahead of the others.
//! 2. A caller at its share gets more only while a reserve stays free for others: a caller
//!    alone may use three quarters of a server.
//! 3. Only a few requests of callers at their share may wait. Further ones are refused at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spanner_core::Principal;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The places. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What one caller may hold although others want more.
    share: usize,
    /// What is kept free for callers below their share.
    reserve: usize,
    /// How many requests of callers at their share may wait.
    patient: usize,
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
    answer: oneshot::Sender<Place>,
}

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Option<(Arc<Shared>, Principal)>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The caller has its share.
    Share,
    /// All are taken.
    Busy,
}

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                share: (places / 8).max(1),
                reserve: places / 4,
                patient: (places / 4).max(16),
                state: Mutex::new(State {
                    free: places,
                    held: HashMap::new(),
                    below: VecDeque::new(),
                    above: VecDeque::new(),
                }),
            }),
        }
    }

    /// Takes a place, or waits for one.
    pub(crate) async fn take(&self, caller: &Principal, wait: Duration) -> Result<Place, NoPlace> {
        let waiting = match self.ask(caller)? {
            Ok(place) => return Ok(place),
            Err(waiting) => waiting,
        };
        match timeout(wait, waiting).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(NoPlace::Busy),
        }
    }

    fn ask(&self, caller: &Principal) -> Result<Result<Place, oneshot::Receiver<Place>>, NoPlace> {
        let mut state = self.shared.state();
        if self.shared.may_take(&state, caller) {
            return Ok(Ok(self.shared.seat(&mut state, caller.clone())));
        }
        let is_below = state.count(caller) < self.shared.share;
        let line = match is_below {
            true => &mut state.below,
            false => &mut state.above,
        };
        // Who gave up waiting is told by its receiver.
        line.retain(|waiter| !waiter.answer.is_closed());
        if !is_below && line.len() >= self.shared.patient {
            return Err(NoPlace::Share);
        }
        let (answer, waiting) = oneshot::channel();
        let caller = caller.clone();
        line.push_back(Waiter { caller, answer });
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

    fn seat(self: &Arc<Self>, state: &mut State, caller: Principal) -> Place {
        state.free -= 1;
        *state.held.entry(caller.clone()).or_default() += 1;
        let of = Some((Arc::clone(self), caller));
        Place { of }
    }

    /// Gives what is free to those who wait.
    fn hand_out(self: &Arc<Self>, state: &mut State) -> Vec<(Place, oneshot::Sender<Place>)> {
        let mut given = Vec::new();
        loop {
            let fits = |line: &VecDeque<Waiter>| {
                let fits = |waiter: &Waiter| self.may_take(state, &waiter.caller);
                line.iter().position(fits)
            };
            let next = match fits(&state.below) {
                Some(at) => state.below.remove(at),
                None => fits(&state.above).and_then(|at| state.above.remove(at)),
            };
            let Some(Waiter { caller, answer }) = next else {
                return given;
            };
            if !answer.is_closed() {
                given.push((self.seat(state, caller), answer));
            }
        }
    }
}

impl State {
    fn count(&self, caller: &Principal) -> usize {
        self.held.get(caller).copied().unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((shared, caller)) = self.of.take() else {
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
        let given = shared.hand_out(&mut state);
        drop(state);
        for (place, answer) in given {
            // Who left meanwhile gives it back by the same way.
            drop(answer.send(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use spanner_core::{CallerKind, IssuerAlias, SubjectId};

    use super::*;

    fn caller(name: &str) -> Principal {
        let issuer = IssuerAlias::new("corp").unwrap();
        Principal::new(issuer, CallerKind::User, SubjectId::new(name).unwrap())
    }

    async fn take(places: &Places, name: &str) -> Result<Place, NoPlace> {
        places.take(&caller(name), Duration::from_millis(1)).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_leaves_a_part_to_others() {
        let places = Places::new(16);
        let mut greedy = Vec::new();
        while let Ok(place) = take(&places, "greedy").await {
            greedy.push(place);
        }
        assert_eq!(greedy.len(), 12);
        let mut held = Vec::new();
        for name in ["a", "b"] {
            for _ in 0..2 {
                held.push(take(&places, name).await.unwrap());
            }
            assert_eq!(take(&places, name).await.unwrap_err(), NoPlace::Busy);
        }
        assert_eq!(take(&places, "c").await.unwrap_err(), NoPlace::Busy);
        drop((greedy, held));
        assert!(places.shared.state().held.is_empty());
        assert_eq!(places.shared.state().free, 16);
    }

    #[tokio::test]
    async fn who_has_less_goes_first() {
        let places = Places::new(4);
        let mut greedy = Vec::new();
        for _ in 0..3 {
            greedy.push(take(&places, "greedy").await.unwrap());
        }
        let other = take(&places, "a").await.unwrap();
        let mut more = places.ask(&caller("greedy")).unwrap().unwrap_err();
        let mut small = places.ask(&caller("b")).unwrap().unwrap_err();
        greedy.pop();
        let small = small.try_recv().unwrap();
        assert!(more.try_recv().is_err());
        drop((small, other, greedy));
        assert!(more.try_recv().is_ok());
    }

    #[tokio::test]
    async fn few_who_have_their_share_may_wait() {
        let places = Places::new(1);
        let only = take(&places, "greedy").await.unwrap();
        let waiting: Vec<_> = (0..16)
            .map(|_| places.ask(&caller("greedy")).unwrap().unwrap_err())
            .collect();
        assert_eq!(places.ask(&caller("greedy")).unwrap_err(), NoPlace::Share);
        assert!(places.ask(&caller("b")).unwrap().is_err());
        // Who gave up waiting is not counted.
        drop(waiting);
        assert!(places.ask(&caller("greedy")).unwrap().is_err());
        drop(only);
        assert_eq!(places.shared.state().free, 1);
    }
}
