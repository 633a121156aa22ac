//! One promotion and its steps.

use std::sync::Arc;

use super::candidate::{Candidate, Digest};
use super::event::{CandidateEntry, ChangeEntry, Event, SignatoryEntry, Step, TermsEntry};
use super::fault::StepFault;
use super::plan::{Basis, Plan, Proposal, Undo, permitted};
use super::standing::Standing;
use crate::action::Action;
use crate::caller::Caller;
use crate::gate::Permit;
use crate::name::{Environment, ModelName};
use crate::record::PrincipalEntry;
use crate::text::can_be_seen;
use crate::{PromotionId, Timestamp};

/// The state of a promotion after its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    pub(super) id: PromotionId,
    pub(super) candidate: Candidate,
    pub(super) plan: Plan,
    pub(super) manifest: Option<Arc<str>>,
    pub(super) difference: Arc<[ChangeEntry]>,
    pub(super) proposer: Option<PrincipalEntry>,
    /// What the approvals cover besides the candidate.
    pub(super) terms: Option<TermsEntry>,
    pub(super) approvals: Vec<PrincipalEntry>,
    pub(super) void: Option<VoidApprovals>,
    pub(super) standing: Standing,
}

/// Approvals that were voided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VoidApprovals {
    /// Who gave them, in order.
    pub approvals: Vec<PrincipalEntry>,
    /// Why the last of them were voided, in words.
    pub because: String,
}

/// Whether a step waits for the approvals that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a step either waits for approvals or does not"
)]
pub enum Urgency {
    /// It waits.
    Regular,
    /// It does not wait, which is recorded permanently.
    Emergency,
}

impl Promotion {
    /// Proposes a candidate. The permit is for `promote` in the source or the target environment.
    ///
    /// # Errors
    /// [`StepFault::NotPermitted`], [`StepFault::SameEnvironment`], and [`StepFault::Event`] if the
    /// manifest does not have the digest in the candidate.
    pub fn propose(
        id: PromotionId,
        proposal: &Proposal,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, StepFault> {
        let Proposal {
            candidate,
            plan,
            manifest,
            terms,
            difference,
        } = proposal;
        if plan.from == plan.into {
            return Err(StepFault::SameEnvironment(plan.into.clone()));
        }
        let by = plan.permitted(permit, Action::Promote, &candidate.model)?;
        let step = Step::Proposed {
            candidate: CandidateEntry::from(candidate),
            from: plan.from.to_string(),
            into: plan.into.to_string(),
            approvals: plan.approvals,
            base: plan.base,
            restores: plan.restores,
            terms: terms.clone(),
            manifest: Arc::clone(manifest),
            difference: Arc::clone(difference),
        };
        let event = event(id, by, step, now);
        Self::begin(&event).map(|_| event)
    }

    /// Adopts a manifest that was in force in an environment before promotions were recorded there.
    /// Nobody proposed or approved it.
    #[must_use]
    pub fn adopt(
        id: PromotionId,
        model: ModelName,
        manifest: &str,
        into: &Environment,
        now: Timestamp,
    ) -> Event {
        let candidate = Candidate::new(model, Digest::of(manifest.as_bytes()));
        Event {
            promotion: id,
            time: now,
            by: None,
            step: Step::Adopted {
                candidate: CandidateEntry::from(&candidate),
                into: into.to_string(),
                manifest: manifest.into(),
            },
        }
    }

    /// Approves what was shown. The permit is for `approve` in the target environment.
    ///
    /// # Errors
    /// A [`StepFault`] if the promotion is over, or the approver is not a person, is the proposer,
    /// has approved already, or was shown something else.
    pub fn approve(
        &self,
        basis: &Basis,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, StepFault> {
        let by = self.permitted_there(permit, Action::Approve)?;
        let step = Step::Approved {
            candidate: CandidateEntry::from(&basis.candidate),
            terms: basis.terms.clone(),
            difference: Arc::clone(&basis.difference),
        };
        self.taken(by, step, now)
    }

    /// Voids the approvals, because what they covered has changed. No permit is needed.
    ///
    /// # Errors
    /// A [`StepFault`] if the promotion is over or has no approvals.
    pub fn void_approvals(
        &self,
        reason: impl Into<String>,
        terms: Option<TermsEntry>,
        now: Timestamp,
    ) -> Result<Event, StepFault> {
        let reason = reason.into();
        let event = Event {
            promotion: self.id,
            time: now,
            by: None,
            step: Step::Voided { reason, terms },
        };
        self.after(&event).map(|_| event)
    }

    /// Rejects it. The permit is for `approve` in the target environment.
    ///
    /// # Errors
    /// A [`StepFault`] if the promotion is over or the reason is empty.
    pub fn reject(
        &self,
        reason: &str,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, StepFault> {
        let by = self.permitted_there(permit, Action::Approve)?;
        let reason = given(reason)?;
        self.taken(by, Step::Rejected { reason }, now)
    }

    /// Withdraws it. Any permit identifies the caller.
    ///
    /// # Errors
    /// A [`StepFault`] if the promotion is over or somebody else proposed it.
    pub fn withdraw(&self, permit: &Permit, now: Timestamp) -> Result<Event, StepFault> {
        let by = permit.caller().ok_or(StepFault::NotPermitted)?;
        self.taken(by, Step::Withdrawn, now)
    }

    /// Puts the candidate in force, if it is still the approved one. The permit is for `promote` in
    /// the source or the target environment.
    ///
    /// # Errors
    /// A [`StepFault`] if the promotion is over, has changed, or lacks approvals.
    pub fn promote(
        &self,
        basis: &Basis,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, StepFault> {
        let by = self
            .plan
            .permitted(permit, Action::Promote, &self.candidate.model)?;
        self.unchanged(&basis.candidate)?;
        let step = Step::Promoted {
            emergency: None,
            terms: basis.terms.clone(),
            difference: Arc::clone(&basis.difference),
        };
        self.taken(by, step, now)
    }

    /// Puts the candidate in force without waiting for approvals. The permit is for `administer` in
    /// the target environment.
    ///
    /// # Errors
    /// A [`StepFault`] if the promotion is over, has changed, or the reason is empty.
    pub fn promote_in_emergency(
        &self,
        basis: &Basis,
        reason: &str,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, StepFault> {
        let by = self.permitted_there(permit, Action::Administer)?;
        self.unchanged(&basis.candidate)?;
        let step = Step::Promoted {
            emergency: Some(given(reason)?),
            terms: basis.terms.clone(),
            difference: Arc::clone(&basis.difference),
        };
        self.taken(by, step, now)
    }

    /// Rolls it back. The permit is for `promote` in the source or the target environment; in an
    /// emergency, for `administer` in the target environment.
    ///
    /// # Errors
    /// A [`StepFault`] if the promotion is not in force or the reason is empty.
    /// [`StepFault::Widens`] if the rollback needs approvals and is not an emergency: propose the
    /// earlier candidate instead.
    pub fn roll_back(
        &self,
        reason: &str,
        urgency: Urgency,
        undo: impl Into<Undo>,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, StepFault> {
        let model = &self.candidate.model;
        let by = match urgency {
            Urgency::Regular => self.plan.permitted(permit, Action::Promote, model)?,
            Urgency::Emergency => self.permitted_there(permit, Action::Administer)?,
        };
        let Undo {
            difference,
            needs_approvals,
        } = undo.into();
        let step = Step::RolledBack {
            reason: given(reason)?,
            emergency: urgency == Urgency::Emergency,
            difference,
        };
        let event = self.taken(by, step, now)?;
        match needs_approvals && urgency == Urgency::Regular {
            true => Err(StepFault::Widens),
            false => Ok(event),
        }
    }

    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> PromotionId {
        self.id
    }

    /// The candidate.
    #[must_use]
    pub const fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// The source and the target environment, and how many approvals are needed.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The whole manifest; `None` once it can no longer come into force. The ledger still has it.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Arc<str>> {
        self.manifest.as_ref()
    }

    /// The access that parties would gain and lose, as of the proposal.
    #[must_use]
    pub const fn difference(&self) -> &Arc<[ChangeEntry]> {
        &self.difference
    }

    /// The proposer; `None` if it was adopted.
    #[must_use]
    pub const fn proposer(&self) -> Option<&PrincipalEntry> {
        self.proposer.as_ref()
    }

    /// The people whose approvals are valid, in order.
    #[must_use]
    pub fn approvals(&self) -> &[PrincipalEntry] {
        &self.approvals
    }

    /// The approvals that were voided, if there are any.
    #[must_use]
    pub const fn void(&self) -> Option<&VoidApprovals> {
        self.void.as_ref()
    }

    /// The terms that its approvals cover; without approvals, those of the proposal.
    #[must_use]
    pub const fn terms(&self) -> Option<&TermsEntry> {
        self.terms.as_ref()
    }

    /// The number of approvals that it needs.
    #[must_use]
    pub fn needed(&self) -> u8 {
        let terms = self.terms.as_ref();
        terms.map_or(self.plan.approvals, |terms| terms.approvals)
    }

    /// Whether its approvals cover these terms.
    #[must_use]
    pub fn covers(&self, terms: Option<&TermsEntry>) -> bool {
        self.terms.as_ref() == terms
    }

    /// Its standing.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it was promoted or adopted, and not rolled back. A later promotion of the same model
    /// may have replaced it; see [`HistoryState`](super::HistoryState).
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        matches!(
            self.standing,
            Standing::Promoted | Standing::Emergency | Standing::Adopted
        )
    }

    /// Whether it was rejected, withdrawn or rolled back, so that it cannot come into force again.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(
            self.standing,
            Standing::Rejected | Standing::Withdrawn | Standing::RolledBack
        )
    }

    /// Checks that the model and its manifest are still those that were proposed.
    ///
    /// # Errors
    /// [`StepFault::Changed`] if they are not.
    pub fn unchanged(&self, current: &Candidate) -> Result<(), StepFault> {
        match *current == self.candidate {
            true => Ok(()),
            false => Err(StepFault::Changed),
        }
    }

    /// The caller of the permit, if it is for this action in the target environment.
    fn permitted_there<'p>(
        &self,
        permit: &'p Permit,
        action: Action,
    ) -> Result<&'p Caller, StepFault> {
        match *permit.environment() == self.plan.into {
            true => permitted(permit, action, &self.candidate.model),
            false => Err(StepFault::NotPermitted),
        }
    }

    /// The event of a step, if the step is possible.
    fn taken(&self, by: &Caller, step: Step, now: Timestamp) -> Result<Event, StepFault> {
        let event = event(self.id, by, step, now);
        self.after(&event).map(|_| event)
    }
}

fn event(promotion: PromotionId, by: &Caller, step: Step, time: Timestamp) -> Event {
    Event {
        promotion,
        time,
        by: Some(SignatoryEntry::of(by)),
        step,
    }
}

/// A reason, if it has visible characters. Events of earlier versions need not fulfil this.
fn given(reason: &str) -> Result<String, StepFault> {
    match can_be_seen(reason) {
        true => Ok(reason.to_owned()),
        false => Err(StepFault::NoReason),
    }
}
