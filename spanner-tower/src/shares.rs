//! What one caller may hold of a guard at once.
//!
//! From the verification of its token to the end of its answer, each request counts as one of
//! its caller's. The bytes of its body that wait for the decision count as well. A caller that
//! has used up its share is refused at once: letting it wait would take from others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spanner_core::{Principal, Share};

use crate::resolve::Limits;

/// What all callers of a guard hold, and may hold.
#[derive(Debug)]
pub(crate) struct Shares {
    per_caller: usize,
    bytes_per_caller: usize,
    budget: BodyBudget,
    held: Mutex<HashMap<Arc<Principal>, Used>>,
}

/// How many bytes of bodies may wait for a decision at a time, in all guards that share it.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    held: AtomicUsize,
}

impl BodyBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let held = AtomicUsize::new(0);
        Self(Arc::new(Budget { limit, held }))
    }

    /// How many bytes wait now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Result<(), Share> {
        let Budget { limit, held } = &*self.0;
        let more = |held: usize| held.checked_add(bytes).filter(|held| held <= limit);
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map_or(Err(Share::Bytes), |_| Ok(()))
    }

    fn give_back(&self, bytes: usize) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one caller holds.
#[derive(Debug, Default)]
struct Used {
    requests: usize,
    bytes: usize,
}

/// One request of a caller; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    shares: Arc<Shares>,
    caller: Arc<Principal>,
}

/// The bytes that are kept of one body; given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Absent where nobody counts.
    of: Option<(Arc<Shares>, Arc<Principal>)>,
    arrived: usize,
    kept: usize,
}

/// What of each body is not counted, so that small requests are decided whatever is held:
/// the number of requests bounds it.
const UNCOUNTED: usize = 64 * 1024;

impl Shares {
    pub(crate) fn new(limits: &Limits, budget: BodyBudget) -> Arc<Self> {
        Arc::new(Self {
            per_caller: limits.per_caller,
            bytes_per_caller: limits.bytes_per_caller,
            budget,
            held: Mutex::default(),
        })
    }

    /// Counts one more request of a caller.
    ///
    /// # Errors
    /// [`Share::Caller`] if it has as many as it may.
    pub(crate) fn take(self: &Arc<Self>, caller: &Principal) -> Result<Taken, Share> {
        let mut held = self.held();
        let caller = match held.get_key_value(caller) {
            Some((caller, _)) => Arc::clone(caller),
            None => Arc::new(caller.clone()),
        };
        let used = held.entry(Arc::clone(&caller)).or_default();
        if used.requests >= self.per_caller {
            return Err(Share::Caller);
        }
        used.requests += 1;
        drop(held);
        let shares = Arc::clone(self);
        Ok(Taken { shares, caller })
    }

    fn keep(&self, caller: &Principal, bytes: usize) -> Result<(), Share> {
        let mut held = self.held();
        let Some(used) = held.get_mut(caller) else {
            return self.budget.take(bytes);
        };
        let own = used.bytes.saturating_add(bytes);
        if own > self.bytes_per_caller {
            return Err(Share::CallerBytes);
        }
        self.budget.take(bytes)?;
        used.bytes = own;
        Ok(())
    }

    fn give_back(&self, caller: &Arc<Principal>, requests: usize, bytes: usize) {
        let mut held = self.held();
        self.budget.give_back(bytes);
        if let Some(used) = held.get_mut(caller) {
            used.requests = used.requests.saturating_sub(requests);
            used.bytes = used.bytes.saturating_sub(bytes);
            if used.requests == 0 && used.bytes == 0 {
                held.remove(caller);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Arc<Principal>, Used>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Where the bytes of the request's body are counted.
    pub(crate) fn room(&self) -> Room {
        Room {
            of: Some((Arc::clone(&self.shares), Arc::clone(&self.caller))),
            ..Room::default()
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shares.give_back(&self.caller, 1, 0);
    }
}

impl Room {
    /// Counts bytes that have arrived and are kept.
    ///
    /// # Errors
    /// The [`Share`] that is used up.
    pub(crate) fn keep(&mut self, bytes: usize) -> Result<(), Share> {
        let before = self.arrived.saturating_sub(UNCOUNTED);
        self.arrived = self.arrived.saturating_add(bytes);
        let more = self.arrived.saturating_sub(UNCOUNTED) - before;
        if let Some((shares, caller)) = &self.of
            && more > 0
        {
            shares.keep(caller, more)?;
            self.kept += more;
        }
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some((shares, caller)) = &self.of
            && self.kept > 0
        {
            shares.give_back(caller, 0, self.kept);
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

    fn shares() -> Arc<Shares> {
        let limits = Limits {
            per_caller: 2,
            bytes_per_caller: 100,
            ..Limits::default()
        };
        Shares::new(&limits, BodyBudget::new(150))
    }

    #[test]
    fn one_caller_takes_no_more_than_its_share_and_nothing_from_another() {
        let shares = shares();
        let (first, second) = (shares.take(&caller("a")), shares.take(&caller("a")));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(shares.take(&caller("a")).unwrap_err(), Share::Caller);
        assert!(shares.take(&caller("b")).is_ok());
        drop(first);
        assert!(shares.take(&caller("a")).is_ok());
        drop(second);
        assert!(shares.held().is_empty());
    }

    #[test]
    fn bytes_are_counted_beyond_what_every_request_may_have() {
        let shares = shares();
        let taken = shares.take(&caller("a")).unwrap();
        let mut room = taken.room();
        assert_eq!(room.keep(UNCOUNTED), Ok(()));
        assert_eq!(room.keep(90), Ok(()));
        assert_eq!(taken.room().keep(UNCOUNTED), Ok(()));
        assert_eq!(taken.room().keep(UNCOUNTED + 11), Err(Share::CallerBytes));
        let other = shares.take(&caller("b")).unwrap();
        assert_eq!(other.room().keep(UNCOUNTED + 61), Err(Share::Bytes));
        drop((room, taken));
        assert_eq!(other.room().keep(UNCOUNTED + 61), Ok(()));
        drop(other);
        assert!(shares.held().is_empty());
        assert_eq!(shares.budget.held(), 0);
    }
}
