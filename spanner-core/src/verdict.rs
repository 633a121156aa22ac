//! The answers to questions of access.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::PromotionId;
use crate::few::Few;

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

/// The answer to one [`Question`](crate::Question).
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
