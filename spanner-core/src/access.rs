//! The whole question, and the traits of those who answer it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::caller::Caller;
use crate::few::Few;
use crate::name::Environment;
use crate::party::Party;
use crate::spelling::Spelling;
use crate::target::Resource;
use crate::{PromotionId, Timestamp};

/// What a policy may read of a request besides who, what and where. Flat, and computed
/// before any policy is asked: policies do no arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The wall clock when the request was decided.
    pub now: Timestamp,
    /// How old the credential is; zero if unknown.
    pub token_age: Duration,
    /// Assurance of the sign-in, 0 to 3.
    pub assurance: u8,
    /// How long ago the person signed in; zero if that is in the future, `None` if it is
    /// not known.
    pub auth_age: Option<Duration>,
    /// Whether the subject's groups are all known.
    pub groups_complete: bool,
    /// Number of actors between the subject and the request; 0 is a direct call.
    pub delegation_depth: usize,
}

impl Context {
    /// The context of a caller's request at a time.
    #[must_use]
    pub fn of(caller: &Caller, now: Timestamp) -> Self {
        Self {
            now,
            token_age: caller.credential().age(now),
            assurance: caller.assurance(),
            auth_age: caller.authenticated_at().map(|time| since(time, now)),
            groups_complete: caller.groups_complete(),
            delegation_depth: caller.depth(),
        }
    }

    /// The same circumstances without anybody in between: what a subject is asked about
    /// that must be allowed on its own.
    #[must_use]
    pub fn direct(&self) -> Self {
        Self {
            delegation_depth: 0,
            ..self.clone()
        }
    }
}

/// How long ago a time was; zero if it is in the future.
fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or(Duration::ZERO)
}

/// One question to an authorizer: may this party do this action on this resource here?
///
/// A request with an actor, or with several pairs, is several questions; all must be
/// answered with [`Effect::Allow`]. With an actor, the subject is asked about in the
/// circumstances of the call and once more in those of a direct one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Question<'a> {
    /// The party that must be allowed on its own.
    pub party: &'a Party,
    /// The whole caller, for scopes and the like; not for identity.
    pub caller: &'a Caller,
    /// What is to be done.
    pub action: Action,
    /// To what.
    pub resource: &'a Resource,
    /// Where.
    pub environment: &'a Environment,
    /// Under which circumstances.
    pub context: &'a Context,
}

impl<'a> Question<'a> {
    /// A question about one party of a caller.
    #[must_use]
    pub const fn new(
        caller: &'a Caller,
        party: &'a Party,
        action: Action,
        resource: &'a Resource,
        environment: &'a Environment,
        context: &'a Context,
    ) -> Self {
        Self {
            party,
            caller,
            action,
            resource,
            environment,
            context,
        }
    }
}

/// Allowed or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// It may be done.
    Allow,
    /// It may not.
    Deny,
}

/// Why an authorizer answered as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerdictReason {
    /// A grant or a permitting guardrail allows it.
    Granted,
    /// Nothing grants it.
    NoGrant,
    /// A guardrail forbids it.
    Forbidden,
    /// A policy could not be evaluated; what it would have said is not known.
    PolicyError,
    /// The question does not fit the schema: this action is never done to such a resource
    /// or by such a party.
    NotApplicable,
}

/// What would have to change for a refusal to become an allowance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// The guardrail's own words (`@reason`), if one forbade it.
    pub reason: Option<String>,
    /// The guardrail's own advice (`@advice`).
    pub text: Option<String>,
    /// The narrowest role that would allow it.
    pub role: Option<String>,
    /// The model's owner, whom to ask; only where the party may know of the model.
    pub owner: Option<String>,
    /// The sign-in that would lift the refusal, where one would and nothing else refuses.
    pub step_up: Option<StepUp>,
    /// The OAuth scopes that would lift it, where they would and nothing else refuses.
    pub scopes: Vec<String>,
}

impl Advice {
    /// Whether another credential of the same caller would be allowed.
    #[must_use]
    pub const fn names_a_credential(&self) -> bool {
        self.step_up.is_some() || !self.scopes.is_empty()
    }

    /// Takes over what another advice demands of the credential, so that one that fits
    /// both is named.
    pub fn demand(&mut self, other: &Self) {
        if let Some(step_up) = &other.step_up {
            self.step_up.get_or_insert_default().demand(step_up);
        }
        extend(&mut self.scopes, &other.scopes);
    }
}

/// A sign-in that would be enough where the present one is not (RFC 9470 §3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepUp {
    /// Authentication context class references (`acr`), the preferred one first; each of
    /// them is enough. Empty: any is.
    pub acr_values: Vec<String>,
    /// How long ago the sign-in may have been at most, in whole seconds; `None`: any time.
    pub max_age: Option<Duration>,
}

impl StepUp {
    /// A sign-in with one of these `acr` values, at most so long ago.
    #[must_use]
    pub const fn new(acr_values: Vec<String>, max_age: Option<Duration>) -> Self {
        Self {
            acr_values,
            max_age,
        }
    }

    /// The values that both accept and the lesser age. Where no value is in both, all of
    /// them: which of them implies another, only the identity provider knows.
    fn demand(&mut self, other: &Self) {
        self.max_age = match (self.max_age, other.max_age) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        let both = |value: &&String| other.acr_values.contains(value);
        let both: Vec<String> = self.acr_values.iter().filter(both).cloned().collect();
        if both.is_empty() {
            extend(&mut self.acr_values, &other.acr_values);
        } else {
            self.acr_values = both;
        }
    }
}

fn extend(words: &mut Vec<String>, more: &[String]) {
    for word in more {
        if !words.contains(word) {
            words.push(word.clone());
        }
    }
}

/// The ids of policies that took part in an answer: mostly one, and rarely more than two.
pub type PolicyIds = Few<Arc<str>, 2>;

/// The answer to one [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Allowed or refused.
    pub effect: Effect,
    /// Why.
    pub reason: VerdictReason,
    /// The policies that decided it, by id, sorted.
    pub policies: PolicyIds,
    /// The policies that could not be evaluated, by id, sorted.
    pub errors: PolicyIds,
    /// The policies in shadow mode that would have decided otherwise, by id, sorted.
    pub shadows: PolicyIds,
    /// For a refusal: what to do about it.
    pub advice: Advice,
    /// The promotion under which the model is served in the environment, where promotions
    /// decide what is in force there.
    pub promotion: Option<PromotionId>,
}

impl Verdict {
    /// An allowance by these policies.
    #[must_use]
    pub fn allow(policies: Vec<Arc<str>>) -> Self {
        Self::allow_by(policies.into())
    }

    /// An allowance by these policies, which need no memory from the heap.
    #[must_use]
    pub fn allow_by(policies: PolicyIds) -> Self {
        Self {
            effect: Effect::Allow,
            reason: VerdictReason::Granted,
            policies,
            errors: PolicyIds::new(),
            shadows: PolicyIds::new(),
            advice: Advice::default(),
            promotion: None,
        }
    }

    /// A refusal for a reason.
    #[must_use]
    pub fn deny(reason: VerdictReason) -> Self {
        Self {
            effect: Effect::Deny,
            reason,
            policies: PolicyIds::new(),
            errors: PolicyIds::new(),
            shadows: PolicyIds::new(),
            advice: Advice::default(),
            promotion: None,
        }
    }
}

/// The answers to all questions of one request, from one and the same access in force.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verdicts {
    /// The digest of the access that answered, as text; it goes into the record.
    pub digest: Arc<str>,
    /// One verdict per question, in their order.
    pub verdicts: Few<Verdict, 1>,
    /// What an access that is tried out answers to the same questions. It decides nothing;
    /// records say where it would have decided otherwise.
    pub candidate: Option<Box<Self>>,
}

impl Verdicts {
    /// Answers under an access with this digest.
    #[must_use]
    pub fn new(digest: Arc<str>, verdicts: Vec<Verdict>) -> Self {
        Self::of(digest, verdicts)
    }

    /// The same, of answers that come one after the other; a single one needs no memory from
    /// the heap.
    #[must_use]
    pub fn of(digest: Arc<str>, verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        Self {
            digest,
            verdicts: verdicts.into_iter().collect(),
            candidate: None,
        }
    }

    /// The same, with the answers of an access that is tried out beside this one.
    #[must_use]
    pub fn beside(self, candidate: Self) -> Self {
        Self {
            candidate: Some(Box::new(candidate)),
            ..self
        }
    }
}

/// Answers questions of access. `spanner-cedar` ships the implementation that teams use.
///
/// Called once per request (and once per further model on a stream), on the request's own
/// path: it must not block.
///
/// # Security
/// What this answers with [`Effect::Allow`] is served. Each question must be answered on
/// its own: the gate, not the authorizer, sees to it that every party and every pair is
/// allowed, and it refuses a request whose answers are not as many as its questions. All
/// answers of one call must come from one state of the access, so that a reload in between
/// cannot mix two.
pub trait Authorize: Send + Sync + 'static {
    /// Answers every question, in order.
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts;

    /// Learns how the surfaces of a guard read names, and compares the names that its policies
    /// mention. A guard calls this once, when it is built; it may block. Default: any name goes.
    ///
    /// # Errors
    /// One sentence for each name that no request is about, or that a surface reads as another
    /// one, so that a policy about it would not hold. The guard is not built then.
    fn learn_spellings(
        &self,
        environment: &Environment,
        spellings: &[Spelling],
    ) -> Result<(), Vec<String>> {
        let _ = (environment, spellings);
        Ok(())
    }
}

impl<T: Authorize + ?Sized> Authorize for Arc<T> {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        (**self).authorize(questions)
    }

    fn learn_spellings(
        &self,
        environment: &Environment,
        spellings: &[Spelling],
    ) -> Result<(), Vec<String>> {
        (**self).learn_spellings(environment, spellings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_time_since_the_sign_in() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let age = |seconds: Option<i64>| {
            let alice = Caller::for_test("alice").subject().principal.clone();
            let mut assertion = Caller::assertion(alice);
            if let Some(seconds) = seconds {
                let time = Timestamp::from_second(now.as_second() - seconds).unwrap();
                assertion = assertion.authenticated_at(time);
            }
            Context::of(&assertion.caller().unwrap(), now).auth_age
        };
        assert_eq!(age(None), None);
        assert_eq!(age(Some(90)), Some(Duration::from_secs(90)));
        assert_eq!(age(Some(-90)), Some(Duration::ZERO));
    }
}
