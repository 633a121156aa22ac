//! The proof that a request may be forwarded.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, Open};
use super::decided::{Decided, Refused};
use super::settlement::{Meter, Settlement};
use super::{Arrival, Gate};
use crate::caller::Caller;
use crate::name::Environment;
use crate::record::{Enforcement, OutcomeClass};
use crate::refusal::Refusal;
use crate::target::{Pair, Target};
use crate::vouch::Vouch;
use crate::{RecordId, Timestamp};

/// The proof that a request was allowed and that this decision was recorded. Code that calls an
/// inner service takes a permit by value.
///
/// Only [`Decided::recorded`] makes permits (also for public routes, after [`Attempt::pass`]), and
/// they cannot be copied:
///
/// ```compile_fail
/// fn twice(permit: spanner_core::Permit) -> (spanner_core::Permit, spanner_core::Permit) {
///     (permit.clone(), permit)
/// }
/// ```
/// ```compile_fail
/// let forged: spanner_core::Permit = Default::default();
/// ```
/// ```compile_fail
/// let forged: spanner_core::Permit = serde_json::from_str("{}").unwrap();
/// ```
/// ```compile_fail
/// fn forge(settlement: spanner_core::Settlement) -> spanner_core::Permit {
///     spanner_core::Permit { settlement }
/// }
/// ```
#[must_use = "dropping a permit abandons the request"]
pub struct Permit {
    open: Open,
    settlement: Settlement,
}

impl Permit {
    pub(super) const fn new(open: Open, settlement: Settlement) -> Self {
        Self { open, settlement }
    }

    /// The record's identifier.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.open.id
    }

    /// The caller that was allowed; `None` on public and exempted routes.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.open.caller.as_ref()
    }

    /// What was allowed; `None` on public and exempted routes.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.open.target.as_ref()
    }

    /// The environment in which it was allowed.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        self.open.gate.environment()
    }

    /// Who enforces the decision.
    #[must_use]
    pub fn enforcement(&self) -> Enforcement {
        self.open.arrival.enforcement
    }

    /// Counts the bytes of the request's body as they pass.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.settlement.meter()
    }

    /// A handle that decides later messages of the same request; `None` on public and exempted
    /// routes.
    #[must_use]
    pub fn inquiry(&self) -> Option<Inquiry> {
        self.open.caller.clone().map(|caller| Inquiry {
            gate: self.open.gate.clone(),
            caller: Arc::new(caller),
            vouch: self.open.vouch.clone(),
            parent: self.open.id,
            arrival: Arc::clone(&self.open.arrival),
            surface: self.open.surface.clone(),
            route: self.open.route.clone(),
        })
    }

    /// Gives up the permit because the request contradicts what was decided. The outcome records
    /// that the request was refused.
    pub fn revoke(self, refusal: Refusal) -> Refused {
        let id = self.open.id;
        let mut settlement = self.forward();
        settlement.refused(&refusal);
        settlement.classify(OutcomeClass::Refused);
        Refused::of(refusal, id, settlement)
    }

    /// Spends the permit: the request is being forwarded. The response is reported to the
    /// settlement. If another point enforces the decision, the settlement may be dropped.
    pub fn forward(self) -> Settlement {
        let mut settlement = self.settlement;
        settlement.forwarded();
        settlement
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.open.id)
    }
}

/// Decides further messages of a stream. Each has its own record, whose parent is the record of the
/// request.
#[derive(Clone)]
pub struct Inquiry {
    gate: Gate,
    /// Shared, because several parts of a running request have an inquiry.
    caller: Arc<Caller>,
    vouch: Option<Arc<dyn Vouch>>,
    parent: RecordId,
    arrival: Arc<Arrival>,
    surface: Option<Arc<str>>,
    route: Option<Arc<str>>,
}

impl Inquiry {
    /// Decides the target of a further message. The caller's credential is checked again.
    pub fn ask(&self, target: Target) -> Decided {
        self.attempt().decide((*self.caller).clone(), target)
    }

    /// Whether the whole target would be allowed now. Nothing is recorded, and the answer permits
    /// nothing.
    #[must_use]
    pub fn would_allow(&self, target: &Target) -> bool {
        let standing = self.gate.check(&self.caller, self.vouch.as_deref());
        standing.is_ok() && self.refusal(target).is_none()
    }

    /// Checks whether an allowed request may continue: the credential must still be valid, and the
    /// access must still allow these pairs. Nothing is recorded. An expired credential ends the
    /// request only at its [end](Self::ends).
    ///
    /// # Errors
    /// Why the request may not continue. If the issuer or the authorizer cannot be asked now, the
    /// request continues.
    pub async fn may_go_on(&self, allowed: &[Pair], outlive: Duration) -> Result<(), Refusal> {
        let now = self.gate.now();
        if self.ends(outlive).is_some_and(|end| now >= end) {
            self.caller.credential().check(now)?;
        }
        if let Some(vouch) = &self.vouch {
            match vouch.check_again(&self.caller, now).await {
                Ok(()) | Err(Refusal::Unavailable(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let target = Target::of(allowed.iter().cloned());
        match target.and_then(|target| self.refusal(&target)) {
            None | Some(Refusal::Unavailable(_)) => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    /// When an allowed request must end, if it may outlive the credential by `outlive`.
    #[must_use]
    pub fn ends(&self, outlive: Duration) -> Option<Timestamp> {
        self.caller.credential().ends(outlive)
    }

    /// The time by the gate's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.gate.now()
    }

    fn refusal(&self, target: &Target) -> Option<Refusal> {
        let answer = self.gate.answer(&self.caller, target, self.gate.now());
        answer.refusal
    }

    /// The same in another environment, for a request that concerns several.
    #[must_use]
    pub fn within(&self, environment: &Environment) -> Self {
        Self {
            gate: self.gate.within(environment),
            ..self.clone()
        }
    }

    /// The caller of the request.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Records that a further message was refused before it could be decided.
    pub fn refuse(&self, refusal: Refusal) -> Decided {
        let mut attempt = self.attempt();
        attempt.identify(&self.caller);
        attempt.refuse(refusal)
    }

    fn attempt(&self) -> Attempt {
        let id = self.gate.shared.host.record_id();
        let now = self.gate.now();
        let mut attempt = Attempt::new(
            self.gate.clone(),
            id,
            now,
            Some(self.parent),
            Arc::clone(&self.arrival),
        );
        if let (Some(surface), Some(route)) = (&self.surface, &self.route) {
            attempt.route(Arc::clone(surface), Arc::clone(route));
        }
        if let Some(vouch) = &self.vouch {
            attempt.vouch(Arc::clone(vouch));
        }
        attempt
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inquiry({})", self.parent)
    }
}
