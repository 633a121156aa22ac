//! What is proposed, and what those who take a step have before them.

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

/// From where to where, how many must approve, and in whose place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The environment that the candidate comes from; where it was adopted, the one that it
    /// is in.
    pub from: Environment,
    /// The environment that it is to go into.
    pub into: Environment,
    /// How many approvals it needs.
    pub approvals: u8,
    /// The promotion in whose place it is to come. Once another one is there, the difference
    /// that approvers were shown is not what would happen.
    pub base: Option<PromotionId>,
    /// The earlier promotion that it restores, where the candidate is what was in force before
    /// and does not come from `from`.
    pub restores: Option<PromotionId>,
}

/// What is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proposal {
    /// What is to be promoted.
    pub candidate: Candidate,
    /// From where to where.
    pub plan: Plan,
    /// The manifest, whole, whose digest the candidate has.
    pub manifest: Arc<str>,
    /// What an approval covers besides the candidate.
    pub terms: Option<TermsEntry>,
    /// Who would gain and lose what.
    pub difference: Arc<[ChangeEntry]>,
}

/// What a step is based on: the candidate and its effect, as whoever takes the step sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Basis {
    /// The candidate, as it is there now.
    pub candidate: Candidate,
    /// What an approval covers besides the candidate, as it is now.
    pub terms: Option<TermsEntry>,
    /// Who would gain and lose what.
    pub difference: Arc<[ChangeEntry]>,
}

/// What a rollback would change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undo {
    /// Who would gain and lose what.
    pub difference: Arc<[ChangeEntry]>,
    /// Whether it takes approvals: somebody would gain something, and the rule of promotion asks
    /// for approvals.
    pub needs_approvals: bool,
}

impl Plan {
    /// A plan for a model of which nothing is in force yet.
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

    /// To restore what an earlier promotion had in force.
    #[must_use]
    pub fn restoring(self, restores: Option<PromotionId>) -> Self {
        Self { restores, ..self }
    }

    /// In the place of another promotion.
    #[must_use]
    pub fn instead_of(self, base: Option<PromotionId>) -> Self {
        Self { base, ..self }
    }

    /// Who holds the permit, if it is for this at either end of the way.
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
    /// A candidate and what it changes.
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
    /// A rollback that changes this, and takes approvals if `needs_approvals`.
    pub fn new(difference: impl Into<Arc<[ChangeEntry]>>, needs_approvals: bool) -> Self {
        Self {
            difference: difference.into(),
            needs_approvals,
        }
    }
}

/// A rollback takes approvals if somebody would gain something.
impl From<Vec<ChangeEntry>> for Undo {
    fn from(difference: Vec<ChangeEntry>) -> Self {
        let widens = difference.iter().any(|change| !change.gains.is_empty());
        Self::new(difference, widens)
    }
}

/// Who holds the permit, if it is for this.
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
