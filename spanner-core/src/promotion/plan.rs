//! What is proposed, and what a step is based on.

use std::sync::Arc;

use super::candidate::Candidate;
use super::event::{ChangeEntry, TermsEntry};
use super::fault::StepFault;
use crate::PromotionId;
use crate::action::Action;
use crate::caller::Caller;
use crate::gate::Permit;
use crate::name::{Environment, ModelName};
use crate::target::{Pair, Target};

/// The source and the target environment, the number of approvals, and the promotion to replace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The environment that the candidate comes from. For an adopted one, it is the target
    /// environment.
    pub from: Environment,
    /// The target environment.
    pub into: Environment,
    /// How many approvals it needs.
    pub approvals: u8,
    /// The promotion that it is to replace. Once another one is in force, the difference that
    /// approvers were shown no longer applies.
    pub base: Option<PromotionId>,
    /// The earlier promotion that it restores, if the candidate was in force before and does not
    /// come from `from`.
    pub restores: Option<PromotionId>,
}

/// What is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proposal {
    /// The candidate.
    pub candidate: Candidate,
    /// The environments and the number of approvals.
    pub plan: Plan,
    /// The whole manifest, which must have the digest in the candidate.
    pub manifest: Arc<str>,
    /// What an approval covers besides the candidate.
    pub terms: Option<TermsEntry>,
    /// Who would gain and lose what.
    pub difference: Arc<[ChangeEntry]>,
}

/// What a step is based on: the candidate and its effect, as shown to the person who takes the
/// step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Basis {
    /// The present candidate.
    pub candidate: Candidate,
    /// The present terms.
    pub terms: Option<TermsEntry>,
    /// Who would gain and lose what.
    pub difference: Arc<[ChangeEntry]>,
}

/// The effect of a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undo {
    /// Who would gain and lose what.
    pub difference: Arc<[ChangeEntry]>,
    /// Whether it needs approvals: somebody would gain access, and the promotion rule demands
    /// approvals.
    pub needs_approvals: bool,
}

impl Plan {
    /// A plan for a model that has no manifest in force yet.
    #[must_use]
    pub const fn new(from: Environment, into: Environment, approvals: u8) -> Self {
        Self {
            from,
            into,
            approvals,
            base: None,
            restores: None,
        }
    }

    /// Restores an earlier promotion.
    #[must_use]
    pub fn restoring(self, restores: Option<PromotionId>) -> Self {
        Self { restores, ..self }
    }

    /// Replaces another promotion.
    #[must_use]
    pub fn instead_of(self, base: Option<PromotionId>) -> Self {
        Self { base, ..self }
    }

    /// The caller of the permit, if it is for this action in the source or the target environment.
    pub(super) fn permitted<'p>(
        &self,
        permit: &'p Permit,
        action: Action,
        model: &ModelName,
    ) -> Result<&'p Caller, StepFault> {
        let ends = [&self.from, &self.into];
        match ends.contains(&permit.environment()) {
            true => permitted(permit, action, model),
            false => Err(StepFault::NotPermitted),
        }
    }
}

impl Proposal {
    /// A proposal.
    pub fn new(
        candidate: Candidate,
        plan: Plan,
        manifest: impl Into<Arc<str>>,
        difference: impl Into<Arc<[ChangeEntry]>>,
    ) -> Self {
        Self {
            candidate,
            plan,
            manifest: manifest.into(),
            terms: None,
            difference: difference.into(),
        }
    }

    /// With what an approval covers besides the candidate.
    #[must_use]
    pub fn terms(self, terms: TermsEntry) -> Self {
        Self {
            terms: Some(terms),
            ..self
        }
    }
}

impl Basis {
    /// A candidate and its effect.
    pub fn new(candidate: Candidate, difference: impl Into<Arc<[ChangeEntry]>>) -> Self {
        Self {
            candidate,
            terms: None,
            difference: difference.into(),
        }
    }

    /// With what an approval covers besides the candidate.
    #[must_use]
    pub fn terms(self, terms: TermsEntry) -> Self {
        Self {
            terms: Some(terms),
            ..self
        }
    }
}

impl Undo {
    /// A rollback with this effect.
    pub fn new(difference: impl Into<Arc<[ChangeEntry]>>, needs_approvals: bool) -> Self {
        Self {
            difference: difference.into(),
            needs_approvals,
        }
    }
}

/// A rollback needs approvals if somebody would gain access.
impl From<Vec<ChangeEntry>> for Undo {
    fn from(difference: Vec<ChangeEntry>) -> Self {
        let widens = difference.iter().any(|change| !change.gains.is_empty());
        Self::new(difference, widens)
    }
}

/// The caller of the permit, if it is for this action on this model.
pub(super) fn permitted<'p>(
    permit: &'p Permit,
    action: Action,
    model: &ModelName,
) -> Result<&'p Caller, StepFault> {
    let pairs = permit.target().map_or(&[][..], Target::pairs);
    let fits = |pair: &Pair| pair.action == action && pair.resource.name() == Some(model);
    match pairs.iter().any(fits) {
        true => permit.caller().ok_or(StepFault::NotPermitted),
        false => Err(StepFault::NotPermitted),
    }
}
