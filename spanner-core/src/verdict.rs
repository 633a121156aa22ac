//! The answers of an authorizer.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::PromotionId;
use crate::few::Few;

/// Whether something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// It is allowed.
    Allow,
    /// It is denied.
    Deny,
}

/// The reason for a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerdictReason {
    /// A grant or a permitting guardrail allows the request.
    Granted,
    /// No grant allows the request.
    NoGrant,
    /// A guardrail forbids the request.
    Forbidden,
    /// A policy could not be evaluated, so its answer is unknown.
    PolicyError,
    /// The question does not fit the schema: the action does not apply to this kind of resource or
    /// party.
    NotApplicable,
}

/// What would have to change for a denied request to be allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// The reason that the forbidding guardrail states (`@reason`), if there is one.
    pub reason: Option<String>,
    /// The advice that the guardrail states (`@advice`).
    pub text: Option<String>,
    /// The role with the fewest permissions that would allow the request.
    pub role: Option<String>,
    /// The model's owner, whom to ask. Set only if the party may know that the model exists.
    pub owner: Option<String>,
    /// The sign-in that would allow the request, if one would.
    pub step_up: Option<StepUp>,
    /// The OAuth scopes that would allow the request, if they would.
    pub scopes: Vec<String>,
}

impl Advice {
    /// Whether the same caller would be allowed with another credential.
    #[must_use]
    pub const fn names_a_credential(&self) -> bool {
        self.step_up.is_some() || !self.scopes.is_empty()
    }

    /// Adds the demands of another advice on the credential, so that a credential that satisfies
    /// both is named.
    pub fn demand(&mut self, other: &Self) {
        if let Some(step_up) = &other.step_up {
            self.step_up.get_or_insert_default().demand(step_up);
        }
        extend(&mut self.scopes, &other.scopes);
    }
}

/// A sign-in that would be sufficient where the present one is not (RFC 9470 §3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepUp {
    /// Authentication context class references (`acr`), the preferred one first. Each of them is
    /// sufficient. Empty: any is.
    pub acr_values: Vec<String>,
    /// The greatest time since the sign-in, in whole seconds; `None`: any.
    pub max_age: Option<Duration>,
}

impl StepUp {
    /// A sign-in with one of these `acr` values, at most `max_age` ago.
    #[must_use]
    pub const fn new(acr_values: Vec<String>, max_age: Option<Duration>) -> Self {
        Self {
            acr_values,
            max_age,
        }
    }

    /// Keeps the values that both accept, and the lesser age. If no value is in both, all are kept:
    /// only the identity provider knows which of them implies another.
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

/// The ids of the policies behind an answer: usually one, rarely more than two.
pub type PolicyIds = Few<Arc<str>, 2>;

/// The answer to one [`Question`](crate::Question).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether it is allowed.
    pub effect: Effect,
    /// The reason.
    pub reason: VerdictReason,
    /// The ids of the policies that decided it, sorted.
    pub policies: PolicyIds,
    /// The ids of the policies that could not be evaluated, sorted.
    pub errors: PolicyIds,
    /// The ids of the policies in shadow mode that would have decided otherwise, sorted.
    pub shadows: PolicyIds,
    /// For a denial: what the caller can do about it.
    pub advice: Advice,
    /// The promotion under which the model is served in the environment, if promotions decide what
    /// is in force there.
    pub promotion: Option<PromotionId>,
}

impl Verdict {
    /// The request is allowed by these policies.
    #[must_use]
    pub fn allow(policies: Vec<Arc<str>>) -> Self {
        Self::allow_by(policies.into())
    }

    /// The request is allowed by these policies, given without a heap allocation.
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

    /// The request is denied for a reason.
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

/// The answers to all questions of one request, from one state of the access.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verdicts {
    /// The digest of the access that answered, for the record.
    pub digest: Arc<str>,
    /// One verdict per question, in the same order.
    pub verdicts: Few<Verdict, 1>,
    /// The answers of a candidate access to the same questions. They decide nothing; the record
    /// tells where the candidate would have decided otherwise.
    pub candidate: Option<Box<Self>>,
}

impl Verdicts {
    /// Verdicts of an access with this digest.
    #[must_use]
    pub fn new(digest: Arc<str>, verdicts: Vec<Verdict>) -> Self {
        Self::of(digest, verdicts)
    }

    /// The same, from an iterator. A single verdict needs no heap allocation.
    #[must_use]
    pub fn of(digest: Arc<str>, verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        Self {
            digest,
            verdicts: verdicts.into_iter().collect(),
            candidate: None,
        }
    }

    /// The same, with the answers of a candidate access.
    #[must_use]
    pub fn beside(self, candidate: Self) -> Self {
        Self {
            candidate: Some(Box::new(candidate)),
            ..self
        }
    }
}
