//! A request that has arrived and is not yet decided.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::decided::Decided;
use super::settlement::Settlement;
use super::{Answer, Arrival, Gate};
use crate::caller::Caller;
use crate::record::{CallerEntry, CredentialEntry, Decision, PairEntry, PrincipalEntry};
use crate::refusal::{Outage, Refusal};
use crate::sink::Count;
use crate::target::Target;
use crate::vouch::Vouch;
use crate::{RecordId, Timestamp};

/// A request for which a record is owed and no decision was made yet.
///
/// Dropping it records a refusal with the reason `guard.abandoned`.
#[must_use = "dropping an attempt refuses the request"]
pub struct Attempt {
    open: Option<Open>,
}

/// What is known about the request so far.
pub(super) struct Open {
    pub(super) gate: Gate,
    pub(super) id: RecordId,
    pub(super) time: Timestamp,
    /// The same moment by the monotonic clock.
    pub(super) arrived: Duration,
    pub(super) parent: Option<RecordId>,
    pub(super) arrival: Arc<Arrival>,
    pub(super) caller: Option<Caller>,
    pub(super) credential: Option<CredentialEntry>,
    pub(super) vouch: Option<Arc<dyn Vouch>>,
    pub(super) target: Option<Target>,
    pub(super) surface: Option<Arc<str>>,
    pub(super) route: Option<Arc<str>>,
}

impl Attempt {
    pub(super) fn new(
        gate: Gate,
        id: RecordId,
        time: Timestamp,
        parent: Option<RecordId>,
        arrival: Arc<Arrival>,
    ) -> Self {
        let arrived = gate.shared.host.monotonic();
        Self {
            open: Some(Open {
                gate,
                arrived,
                id,
                time,
                parent,
                arrival,
                caller: None,
                credential: None,
                vouch: None,
                target: None,
                surface: None,
                route: None,
            }),
        }
    }

    /// The record's identifier. It is nil only after the attempt has ended.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.open.as_ref().map_or(RecordId::NIL, |open| open.id)
    }

    /// Sets the API and the route for the record.
    pub fn route(&mut self, surface: Arc<str>, route: Arc<str>) {
        if let Some(open) = &mut self.open {
            open.surface = Some(surface);
            open.route = Some(route);
        }
    }

    /// Sets the caller for the record.
    pub fn identify(&mut self, caller: &Caller) {
        if let Some(open) = &mut self.open {
            open.caller = Some(caller.clone());
        }
    }

    /// Sets the [`Vouch`] that tells whether the caller's credential is still valid. Without one,
    /// only the times of the credential are checked again.
    pub fn vouch(&mut self, vouch: Arc<dyn Vouch>) {
        if let Some(open) = &mut self.open {
            open.vouch = Some(vouch);
        }
    }

    /// Sets the refused credential for the record. It is ignored once a caller is identified.
    pub fn refused_credential(&mut self, credential: CredentialEntry) {
        if let Some(open) = &mut self.open {
            open.credential = Some(credential);
        }
    }

    /// Decides whether the caller may do everything in the target, and passes the decision to the
    /// sink. A credential that expired or was revoked since it was accepted is refused.
    pub fn decide(mut self, caller: Caller, target: Target) -> Decided {
        let Some(open) = &mut self.open else {
            return Decided::never(Outage::Abandoned.into());
        };
        let caller = open.caller.insert(caller);
        let target = open.target.insert(target);
        let answer = match open.gate.check(caller, open.vouch.as_deref()) {
            Ok(()) => open.gate.answer(caller, target, open.time),
            Err(refusal) => Answer::refused(refusal),
        };
        self.conclude(answer)
    }

    /// Admits a caller to a route that every authenticated caller may use and that concerns no
    /// model (`whoami`), and passes that decision to the sink.
    pub fn admit(mut self, caller: Caller) -> Decided {
        let Some(open) = &mut self.open else {
            return Decided::never(Outage::Abandoned.into());
        };
        let answer = Answer::welcome(open.caller.insert(caller));
        self.conclude(answer)
    }

    /// Refuses the request, and passes that decision to the sink.
    pub fn refuse(self, refusal: Refusal) -> Decided {
        self.conclude(Answer::refused(refusal))
    }

    /// Lets a request to a public or exempted route pass. No decision is made, and the request is
    /// counted instead of recorded.
    ///
    /// # Security
    /// The inner service is called without a decision. Use it only for routes that the operator
    /// declared public or exempted.
    pub fn pass(mut self, what: Count) -> Decided {
        match self.open.take() {
            Some(open) => {
                open.gate.shared.sink.count(what);
                open.unrecorded(None)
            }
            None => Decided::never(Outage::Abandoned.into()),
        }
    }

    fn conclude(mut self, answer: Answer) -> Decided {
        match self.open.take() {
            Some(open) => open.conclude(answer),
            None => Decided::never(answer.refusal.unwrap_or_else(|| Outage::Abandoned.into())),
        }
    }
}

impl Open {
    fn conclude(self, answer: Answer) -> Decided {
        let decision = self.decision(&answer);
        match self.gate.shared.sink.record(decision) {
            Ok(receipt) => {
                let settlement = Settlement::new(
                    self.gate.clone(),
                    self.id,
                    self.arrived,
                    (receipt.room, self.arrival.enforcement),
                );
                Decided::new(self, receipt.acknowledged, settlement, answer.refusal)
            }
            Err(_) => {
                self.gate.shared.sink.count(Count::ShedRefusal);
                let refusal = answer.refusal.unwrap_or_else(|| Outage::Record.into());
                self.unrecorded(Some(refusal))
            }
        }
    }

    /// A decision that is counted instead of recorded.
    fn unrecorded(self, refusal: Option<Refusal>) -> Decided {
        let settlement = Settlement::unrecorded(self.gate.clone(), self.id, self.arrived);
        Decided::new(
            self,
            Box::pin(std::future::ready(Ok(()))),
            settlement,
            refusal,
        )
    }

    fn decision(&self, answer: &Answer) -> Decision {
        let refusal = answer.refusal.as_ref();
        Decision {
            id: self.id,
            enforcement: self.arrival.enforcement,
            parent: self.parent,
            time: self.time,
            service: self.gate.shared.service.clone(),
            instance: self.gate.shared.instance.clone(),
            environment: self.gate.environment.to_string(),
            caller: self
                .caller
                .as_ref()
                .map(|caller| CallerEntry::of(caller, self.time)),
            credential: match self.caller {
                Some(_) => None,
                None => self.credential.clone(),
            },
            target: self
                .target
                .iter()
                .flat_map(Target::pairs)
                .map(|pair| PairEntry {
                    promotion: answer.promotion(&pair.resource),
                    ..PairEntry::from(pair)
                })
                .collect(),
            surface: self.surface.as_deref().map(str::to_owned),
            route: self.route.as_deref().map(str::to_owned),
            effect: answer.effect(),
            reason: answer.reason().to_owned(),
            fault: refusal.map(Refusal::fault),
            denied: answer.denied().map(PrincipalEntry::from),
            policies: answer.policies.clone(),
            policy_errors: answer.errors.clone(),
            shadows: answer.shadows.clone(),
            candidate: answer.candidate.clone(),
            access: answer.digest.clone(),
            request_id: self.arrival.request_id.clone(),
            trace_id: self.arrival.trace_id.clone(),
            peer: self.arrival.peer,
            asserted: self.arrival.asserted.clone(),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            drop(open.conclude(Answer::refused(Outage::Abandoned.into())));
        }
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempt({})", self.id())
    }
}
