//! Limits what one caller may use of a guard at a time.
//!
//! Each request counts against its caller from the verification of the token to the end of the
//! response, and so do the bytes of its body that are held for the decision. A caller that has
//! used up its share is refused at once, because a waiting request would take resources from
//! others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spanner_core::{Principal, Share};

use crate::resolve::Limits;

/// The resources that the callers of a guard use, and their limits.
#[derive(Debug)]
pub(crate) struct Shares {
    per_caller: usize,
    bytes_per_caller: usize,
    budget: BodyBudget,
    /// The requests that each caller has in progress.
    requests: Mutex<HashMap<Arc<Principal>, usize>>,
}

/// Limits the bytes of bodies that are held for a decision, for all guards that share it: of all
/// callers together, and of each caller ([`Limits::bytes_per_caller`]). Cheap to clone.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    limit: usize,
    in_use: Mutex<BytesInUse>,
}

#[derive(Debug, Default)]
struct BytesInUse {
    all: usize,
    callers: HashMap<Arc<Principal>, usize>,
}

impl BodyBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let in_use = Mutex::default();
        Self(Arc::new(BudgetState { limit, in_use }))
    }

    /// The number of bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.in_use().all
    }

    fn take(&self, caller: &Arc<Principal>, bytes: usize, per_caller: usize) -> Result<(), Share> {
        let mut in_use = self.in_use();
        let own = in_use.callers.get(caller).copied().unwrap_or_default();
        let (own, all) = (own.saturating_add(bytes), in_use.all.saturating_add(bytes));
        if own > per_caller {
            return Err(Share::CallerBytes);
        }
        if all > self.0.limit {
            return Err(Share::Bytes);
        }
        in_use.all = all;
        in_use.callers.insert(Arc::clone(caller), own);
        Ok(())
    }

    fn give_back(&self, caller: &Arc<Principal>, bytes: usize) {
        let mut in_use = self.in_use();
        in_use.all = in_use.all.saturating_sub(bytes);
        if let Some(own) = in_use.callers.get_mut(caller) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                in_use.callers.remove(caller);
            }
        }
    }

    fn in_use(&self) -> MutexGuard<'_, BytesInUse> {
        self.0.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One concurrent request of a caller. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct CallerSlot {
    shares: Arc<Shares>,
    caller: Arc<Principal>,
}

/// The bytes held for one body. They are released when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct BodyReservation {
    /// `None` if the bytes are not counted.
    of: Option<(Arc<Shares>, Arc<Principal>)>,
    arrived: usize,
    kept: usize,
}

/// The bytes of each body that are not counted, so that small requests are decided under any
/// load. The limit on concurrent requests bounds them.
const UNCOUNTED: usize = 64 * 1024;

impl Shares {
    pub(crate) fn new(limits: &Limits, budget: BodyBudget) -> Arc<Self> {
        Arc::new(Self {
            per_caller: limits.per_caller,
            bytes_per_caller: limits.bytes_per_caller,
            budget,
            requests: Mutex::default(),
        })
    }

    /// Counts a further request of a caller.
    ///
    /// # Errors
    /// [`Share::Caller`] if the caller has reached its limit.
    pub(crate) fn take(self: &Arc<Self>, caller: &Principal) -> Result<CallerSlot, Share> {
        let mut requests = self.requests();
        let caller = match requests.get_key_value(caller) {
            Some((caller, _)) => Arc::clone(caller),
            None => Arc::new(caller.clone()),
        };
        let own = requests.entry(Arc::clone(&caller)).or_default();
        if *own >= self.per_caller {
            return Err(Share::Caller);
        }
        *own += 1;
        drop(requests);
        let shares = Arc::clone(self);
        Ok(CallerSlot { shares, caller })
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<Arc<Principal>, usize>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallerSlot {
    /// Returns the reservation that counts the bytes of the request's body.
    pub(crate) fn room(&self) -> BodyReservation {
        BodyReservation {
            of: Some((Arc::clone(&self.shares), Arc::clone(&self.caller))),
            ..BodyReservation::default()
        }
    }
}

impl Drop for CallerSlot {
    fn drop(&mut self) {
        let mut requests = self.shares.requests();
        if let Some(own) = requests.get_mut(&self.caller) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                requests.remove(&self.caller);
            }
        }
    }
}

impl BodyReservation {
    /// Counts bytes that have arrived and are held.
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
            shares.budget.take(caller, more, shares.bytes_per_caller)?;
            self.kept += more;
        }
        Ok(())
    }
}

impl Drop for BodyReservation {
    fn drop(&mut self) {
        if let Some((shares, caller)) = &self.of
            && self.kept > 0
        {
            shares.budget.give_back(caller, self.kept);
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
        sharing(BodyBudget::new(150))
    }

    fn sharing(budget: BodyBudget) -> Arc<Shares> {
        let limits = Limits {
            per_caller: 2,
            bytes_per_caller: 100,
            ..Limits::default()
        };
        Shares::new(&limits, budget)
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
        assert!(shares.requests().is_empty());
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
        assert!(shares.requests().is_empty());
        assert_eq!(shares.budget.held(), 0);
    }
    #[test]
    fn the_bytes_of_one_caller_are_counted_over_all_guards_that_share_a_budget() {
        let budget = BodyBudget::new(150);
        let guards = [sharing(budget.clone()), sharing(budget.clone())];
        let taken = guards.each_ref().map(|it| it.take(&caller("a")).unwrap());
        let mut first = taken[0].room();
        assert_eq!(first.keep(UNCOUNTED + 90), Ok(()));
        let mut second = taken[1].room();
        assert_eq!(second.keep(UNCOUNTED + 11), Err(Share::CallerBytes));
        drop(first);
        assert_eq!(taken[1].room().keep(UNCOUNTED + 100), Ok(()));
        assert_eq!(budget.held(), 0);
    }
}
