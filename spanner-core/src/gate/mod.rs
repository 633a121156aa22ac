//! The one gate that every request passes.
//!
//! 1. [`Gate::open`] is called when a request arrives. From here a record is owed.
//! 2. The [`Attempt`] it returns ends in [`Attempt::decide`] or [`Attempt::refuse`]; both
//!    put one decision into the sink and reserve room for its outcome.
//! 3. [`Decided::recorded`] waits until that decision is durable. A [`Permit`] exists only after
//!    that, and only if the decision allows the request. Without this proof no inner service is
//!    called.
//! 4. The permit becomes a [`Settlement`], which records the outcome when it is dropped, with
//!    everything that was reported to it until then.
//!
//! Dropping any of them early (a client that left, a panic, a shutdown) still records the outcome:
//! *a record is owed from arrival*, and it is written exactly once.
//!
//! # Caveats
//! Requests to public or exempted routes have no record. They are counted ([`Attempt::pass`]).
//!
//! A decision for another enforcement point ([`Enforcement::External`]) owes no outcome. Its
//! settlement records one only if somebody reports how the request ended.
//!
//! # Example
//! ```
//! use spanner_core::testing::{Fixed, MemorySink, Rules, wait};
//! use spanner_core::{Action, Arrival, Caller, Gate, Refusal, Resource, Target};
//!
//! let sink = MemorySink::new();
//! let rules = Rules::allow(|question| question.action == Action::Generate);
//! let host = Fixed::at("2026-11-23T12:00:00Z");
//! let gate = Gate::new("chat", "production".parse()?, rules, sink.clone(), host);
//! let model = Resource::model("acme/sentiment".parse()?);
//!
//! let attempt = gate.open(Arrival::new());
//! let decided = attempt.decide(Caller::for_test("alice"), Target::one(Action::Generate, model.clone()));
//! let permit = wait(decided.recorded()).map_err(|refused| refused.refusal().clone())?;
//! drop(permit.forward());
//!
//! let attempt = gate.open(Arrival::new());
//! let decided = attempt.decide(Caller::for_test("alice"), Target::one(Action::Delete, model));
//! let refused = wait(decided.recorded()).unwrap_err();
//! assert_eq!(refused.refusal().code(), "authz.no_permit");
//! drop(refused);
//!
//! assert_eq!((sink.decisions().len(), sink.outcomes().len()), (2, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attempt;
mod decided;
mod denial;
mod permit;
mod settlement;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Authorize, Context, Question};
use crate::caller::Caller;
use crate::host::Host;
use crate::name::Environment;
use crate::party::{CallerKind, Party, Principal};
use crate::record::{Asserted, CandidateAnswer, Enforcement};
use crate::refusal::{Denial, Obstacle, Outage, Refusal};
use crate::sink::AuditSink;
use crate::target::{Resource, Target};
use crate::verdict::{Effect, Verdicts};
use crate::vouch::Vouch;
use crate::{PromotionId, Timestamp};

pub use attempt::Attempt;
pub use decided::{Decided, Refused};
pub use permit::{Inquiry, Permit};
pub use settlement::{Meter, Settlement, Usage};

/// Decides requests with an authorizer and records them in a sink, for one service in one
/// environment. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
    environment: Environment,
}

struct Shared {
    service: String,
    instance: Option<String>,
    authorizer: Box<dyn Authorize>,
    sink: Box<dyn AuditSink>,
    host: Box<dyn Host>,
}

impl Gate {
    /// A gate for one service in one environment.
    #[must_use]
    pub fn new(
        service: impl Into<String>,
        environment: Environment,
        authorizer: impl Authorize,
        sink: impl AuditSink,
        host: impl Host,
    ) -> Self {
        Self::of(service.into(), None, environment, authorizer, sink, host)
    }

    /// A gate for one of several processes of a service. Every decision has the name of the
    /// instance.
    #[must_use]
    pub fn of_instance(
        (service, instance): (impl Into<String>, impl Into<String>),
        environment: Environment,
        authorizer: impl Authorize,
        sink: impl AuditSink,
        host: impl Host,
    ) -> Self {
        let instance = Some(instance.into());
        Self::of(
            service.into(),
            instance,
            environment,
            authorizer,
            sink,
            host,
        )
    }

    fn of(
        service: String,
        instance: Option<String>,
        environment: Environment,
        authorizer: impl Authorize,
        sink: impl AuditSink,
        host: impl Host,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                service,
                instance,
                authorizer: Box::new(authorizer),
                sink: Box::new(sink),
                host: Box::new(host),
            }),
            environment,
        }
    }

    /// The same gate in another environment, for a service whose requests concern several
    /// environments.
    fn within(&self, environment: &Environment) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            environment: environment.clone(),
        }
    }

    /// Starts the processing of a request. From here a record is owed.
    pub fn open(&self, arrival: Arrival) -> Attempt {
        let id = self.shared.host.record_id();
        Attempt::new(self.clone(), id, self.now(), None, Arc::new(arrival))
    }

    /// The environment in which requests are authorized.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The wall clock of the gate's host.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.host.now()
    }

    /// The microseconds since an earlier moment of the host's monotonic clock.
    fn micros_since(&self, moment: Duration) -> u64 {
        let now = self.shared.host.monotonic();
        u64::try_from(now.saturating_sub(moment).as_micros()).unwrap_or(u64::MAX)
    }

    /// Checks whether a caller's credential is still valid.
    fn check(&self, caller: &Caller, vouch: Option<&dyn Vouch>) -> Result<(), Refusal> {
        let now = self.now();
        caller.credential().check(now)?;
        vouch.map_or(Ok(()), |vouch| vouch.check(caller, now))
    }

    /// Decides every pair for every party. *Agents never exceed*: each party of a chain must be
    /// allowed on its own, and one denial denies the request. If there is an actor, the subject
    /// must also be allowed to call directly, so that no policy gives an agent more than its
    /// principal has.
    fn answer(&self, caller: &Caller, target: &Target, now: Timestamp) -> Answer {
        let welcome = Answer::welcome(caller);
        if welcome.refusal.is_some() {
            return welcome;
        }
        let context = Context::of(caller, now);
        let direct = context.direct();
        let questions = questions(caller, target, self.environment(), [&context, &direct]);
        Answer::to(&questions, self.shared.authorizer.authorize(&questions))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("service", &self.shared.service)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

/// What is known about a request when it arrives, apart from its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// The address at the other end of the connection.
    pub peer: Option<IpAddr>,
    /// The request's identifier at the proxy in front.
    pub request_id: Option<String>,
    /// The W3C trace identifier, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// What the client states and nobody verified.
    pub asserted: Asserted,
    /// Who enforces the decision. Default: the guard, which then owes an outcome.
    pub enforcement: Enforcement,
}

impl Arrival {
    /// An arrival about which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The questions about a caller and a target: one for each party and pair, in the given context. If
/// there is an actor, the subject is also asked about in the direct context.
pub(crate) fn questions<'a>(
    caller: &'a Caller,
    target: &'a Target,
    environment: &'a Environment,
    [context, direct]: [&'a Context; 2],
) -> Vec<Question<'a>> {
    let asked = move || {
        let alone = caller.actor().map(|_| (caller.subject(), direct));
        let parties = caller.parties().map(move |party| (party, context));
        parties.chain(alone)
    };
    let pairs = target.pairs().iter();
    let each = pairs.flat_map(|pair| asked().map(move |asked| (pair, asked)));
    each.map(|(pair, (party, context))| {
        Question::new(
            caller,
            party,
            pair.action,
            &pair.resource,
            environment,
            context,
        )
    })
    .collect()
}

/// All verdicts of one request, combined into one.
pub(crate) struct Answer {
    pub(crate) refusal: Option<Refusal>,
    /// The reason if the request is allowed.
    allowed: &'static str,
    pub(crate) policies: Vec<String>,
    pub(crate) errors: Vec<String>,
    shadows: Vec<String>,
    pub(crate) digest: Option<String>,
    /// The answer of the candidate access, if it differs.
    candidate: Option<CandidateAnswer>,
    /// The promotion under which each model is served.
    promotions: Vec<(Resource, PromotionId)>,
}

impl Answer {
    const fn of(refusal: Option<Refusal>) -> Self {
        Self {
            refusal,
            allowed: "granted",
            policies: Vec::new(),
            errors: Vec::new(),
            shadows: Vec::new(),
            digest: None,
            candidate: None,
            promotions: Vec::new(),
        }
    }

    const fn refused(refusal: Refusal) -> Self {
        Self::of(Some(refusal))
    }

    /// Admits every caller that a rule of its issuer classified.
    pub(crate) fn welcome(caller: &Caller) -> Self {
        let stranger = |party: &Party| party.principal.kind == CallerKind::Unclassified;
        let stranger = caller.parties().any(stranger);
        Self {
            allowed: "admitted",
            ..Self::of(stranger.then(|| Obstacle::Unclassified.into()))
        }
    }

    /// Combines the verdicts on these questions, and adds the answer of the candidate if it
    /// differs.
    pub(crate) fn to(questions: &[Question<'_>], mut answers: Verdicts) -> Self {
        if answers.verdicts.len() != questions.len() {
            return Self::refused(Outage::Access.into());
        }
        let candidate = answers.candidate.take();
        let mut answer = Self::fold(questions, answers);
        let candidate = candidate.map(|verdicts| Self::to(questions, *verdicts));
        let otherwise = candidate.filter(|other| other.effect() != answer.effect());
        answer.candidate = otherwise.and_then(|other| {
            Some(CandidateAnswer {
                effect: other.effect(),
                reason: other.reason().to_owned(),
                policies: other.policies,
                access: other.digest?,
            })
        });
        answer
    }

    pub(crate) const fn effect(&self) -> Effect {
        match self.refusal {
            Some(_) => Effect::Deny,
            None => Effect::Allow,
        }
    }

    /// The reason code of the record.
    pub(crate) fn reason(&self) -> &'static str {
        self.refusal.as_ref().map_or(self.allowed, Refusal::code)
    }

    /// The party that is denied.
    pub(crate) fn denied(&self) -> Option<&Principal> {
        match &self.refusal {
            Some(Refusal::Permission(denial)) => Some(&denial.principal),
            _ => None,
        }
    }

    fn fold(questions: &[Question<'_>], answers: Verdicts) -> Self {
        let mut answer = Self::of(None);
        answer.digest = Some(answers.digest.to_string());
        let mut denied = Vec::new();
        for (question, verdict) in questions.iter().zip(answers.verdicts) {
            collect(&mut answer.policies, &verdict.policies);
            collect(&mut answer.errors, &verdict.errors);
            collect(&mut answer.shadows, &verdict.shadows);
            if let Some(promotion) = verdict.promotion
                && answer.promotion(question.resource).is_none()
            {
                let served = (question.resource.clone(), promotion);
                answer.promotions.push(served);
            }
            if verdict.effect != Effect::Allow {
                denied.push((question, verdict));
            }
        }
        answer.refusal = Denial::of(&denied).map(|denial| Refusal::Permission(Box::new(denial)));
        answer
    }

    fn promotion(&self, resource: &Resource) -> Option<PromotionId> {
        let served = self.promotions.iter().find(|(other, _)| other == resource);
        served.map(|(_, promotion)| *promotion)
    }
}

fn collect(into: &mut Vec<String>, ids: &[Arc<str>]) {
    for id in ids {
        if !into.iter().any(|known| **known == **id) {
            into.push(id.to_string());
        }
    }
}
