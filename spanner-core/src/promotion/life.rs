//! One promotion, and which steps it can take.

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

/// A promotion as its events left it.
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

/// Approvals that count no more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VoidApprovals {
    /// Who gave them, in order.
    pub approvals: Vec<PrincipalEntry>,
    /// Why the last of them count no more, in words.
    pub because: String,
}

/// Whether a step waits for the approvals that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a step either waits for approvals or does not"
)]
pub enum Urgency {
    /// It waits.
    Regular,
    /// It does not wait, which is marked for ever.
    Emergency,
}

impl Promotion {
    /// Proposes a candidate. The permit is for `promote` in the environment that it comes from,
    /// or in the one that it goes into.
    ///
    /// # Errors
    /// [`StepFault::NotPermitted`], [`StepFault::SameEnvironment`], and [`StepFault::Event`] if the
    /// manifest is not the one whose digest the candidate has.
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

    /// Keeps what was found in force when promotions began to be kept in an environment.
    /// There is nobody to ask, and nobody has approved it.
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

    /// Approves what was shown. The permit is for `approve` in the environment that it goes
    /// into.
    ///
    /// # Errors
    /// A [`StepFault`] if it is over, the approver is no person, or the proposer, or approved
    /// already, or was shown something else.
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

    /// Notes that what the approvals covered is no longer what would happen. Nobody has to ask
    /// for it.
    ///
    /// # Errors
    /// A [`StepFault`] if it is over, or has no approvals.
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

    /// Turns it down. The permit is for `approve` in the environment that it goes into.
    ///
    /// # Errors
    /// A [`StepFault`] if it is over, or nothing is said.
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

    /// Takes it back. Any permit says who asks.
    ///
    /// # Errors
    /// A [`StepFault`] if it is over, or somebody else proposed it.
    pub fn withdraw(&self, permit: &Permit, now: Timestamp) -> Result<Event, StepFault> {
        let by = permit.caller().ok_or(StepFault::NotPermitted)?;
        self.taken(by, Step::Withdrawn, now)
    }

    /// Puts the candidate in force, if it still is what was approved. The permit is for `promote`
    /// in the environment that it comes from, or in the one that it goes into.
    ///
    /// # Errors
    /// A [`StepFault`] if it is over, changed, or lacks approvals.
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

    /// Puts the candidate in force without waiting for approvals. The permit is for
    /// `administer` in the environment that it goes into.
    ///
    /// # Errors
    /// A [`StepFault`] if it is over, changed, or nothing is said.
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

    /// Ends what was promoted. The permit is for `promote` in the environment that it came from,
    /// or in the one that it is in; in an emergency, for `administer` in the latter.
    ///
    /// # Errors
    /// A [`StepFault`] if it is not in force, or nothing is said. [`StepFault::Widens`] if it is no
    /// emergency and takes approvals: propose what was in force before instead.
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

    /// What is promoted.
    #[must_use]
    pub const fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// From where to where.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The manifest, whole; `None` once it can no longer come into force: the ledger has it.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Arc<str>> {
        self.manifest.as_ref()
    }

    /// Who would gain and lose what, as it was when it was proposed.
    #[must_use]
    pub const fn difference(&self) -> &Arc<[ChangeEntry]> {
        &self.difference
    }

    /// Who proposed it; `None` if it was adopted.
    #[must_use]
    pub const fn proposer(&self) -> Option<&PrincipalEntry> {
        self.proposer.as_ref()
    }

    /// Who approved it, in order, as far as that counts.
    #[must_use]
    pub fn approvals(&self) -> &[PrincipalEntry] {
        &self.approvals
    }

    /// The approvals that count no more, if there were any.
    #[must_use]
    pub const fn void(&self) -> Option<&VoidApprovals> {
        self.void.as_ref()
    }

    /// What its approvals cover besides the candidate; without any, what was proposed.
    #[must_use]
    pub const fn terms(&self) -> Option<&TermsEntry> {
        self.terms.as_ref()
    }

    /// How many approvals it needs.
    #[must_use]
    pub fn needed(&self) -> u8 {
        let terms = self.terms.as_ref();
        terms.map_or(self.plan.approvals, |terms| terms.approvals)
    }

    /// Whether what its approvals cover is still what would happen.
    #[must_use]
    pub fn covers(&self, terms: Option<&TermsEntry>) -> bool {
        self.terms.as_ref() == terms
    }

    /// Where it stands.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it was promoted or adopted, and not rolled back. A later promotion of the same model may
    /// have taken its place; see [`HistoryState`](super::HistoryState).
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        matches!(
            self.standing,
            Standing::Promoted | Standing::Emergency | Standing::Adopted
        )
    }

    /// Whether it was rejected, withdrawn or rolled back: it cannot come into force again.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(
            self.standing,
            Standing::Rejected | Standing::Withdrawn | Standing::RolledBack
        )
    }

    /// Whether the model and its manifest still are what was proposed.
    ///
    /// # Errors
    /// [`StepFault::Changed`] if they are not.
    pub fn unchanged(&self, current: &Candidate) -> Result<(), StepFault> {
        match *current == self.candidate {
            true => Ok(()),
            false => Err(StepFault::Changed),
        }
    }

    /// Who holds the permit, if it is for this in the environment that it goes into.
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

    /// An event, if its step can be taken.
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

/// A reason, if it can be seen. Events of earlier versions are held to less.
fn given(reason: &str) -> Result<String, StepFault> {
    match can_be_seen(reason) {
        true => Ok(reason.to_owned()),
        false => Err(StepFault::NoReason),
    }
}
