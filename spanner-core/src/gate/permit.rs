//! The proof that a request may be forwarded.

use std::fmt;
use std::sync::Arc;

use super::attempt::{Attempt, Open};
use super::decided::Decided;
use super::settlement::{Meter, Settlement};
use super::{Arrival, Gate};
use crate::RecordId;
use crate::caller::Caller;
use crate::name::Environment;
use crate::target::Target;

/// The proof that a request was allowed and that this stands in the record. Whoever calls
/// an inner service takes one, by value.
///
/// It can be made in no other way than by [`Decided::recorded`] (or, for public routes,
/// [`Attempt::pass`]), and it cannot be copied:
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

    /// Who was allowed; `None` on public and exempted routes.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.open.caller.as_ref()
    }

    /// What was allowed; `None` on public and exempted routes.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.open.target.as_ref()
    }

    /// Where.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        self.open.gate.environment()
    }

    /// Counts the bytes of the request's body as they pass.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.settlement.meter()
    }

    /// A handle by which later messages of the same request are decided; `None` on public
    /// and exempted routes.
    #[must_use]
    pub fn inquiry(&self) -> Option<Inquiry> {
        self.open.caller.clone().map(|caller| Inquiry {
            gate: self.open.gate.clone(),
            caller,
            parent: self.open.id,
            arrival: Arc::clone(&self.open.arrival),
            surface: self.open.surface.clone(),
            route: self.open.route.clone(),
        })
    }

    /// Spends the permit: the request is being forwarded. What comes back settles it.
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

/// Decides further messages of a stream, each with a record of its own that names the
/// request's as its parent.
#[derive(Clone)]
pub struct Inquiry {
    gate: Gate,
    caller: Caller,
    parent: RecordId,
    arrival: Arc<Arrival>,
    surface: Option<Arc<str>>,
    route: Option<Arc<str>>,
}

impl Inquiry {
    /// Decides what a further message touches.
    pub fn ask(&self, target: Target) -> Decided {
        self.attempt().decide(self.caller.clone(), target)
    }

    /// Whether all of a target would be allowed now. Nothing is recorded, and nothing may be
    /// done on the strength of it.
    #[must_use]
    pub fn would_allow(&self, target: &Target) -> bool {
        let answer = self.gate.answer(&self.caller, target, self.gate.now());
        answer.refusal.is_none()
    }

    /// The same in another environment, for what a request asks to be done there.
    #[must_use]
    pub fn within(&self, environment: &Environment) -> Self {
        Self {
            gate: self.gate.within(environment),
            ..self.clone()
        }
    }

    /// Who asks.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Records that a further message is refused before it could be decided.
    pub fn refuse(&self, refusal: crate::Refusal) -> Decided {
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
        attempt
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inquiry({})", self.parent)
    }
}
