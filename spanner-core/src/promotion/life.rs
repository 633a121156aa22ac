//! One promotion, and which steps it can take.

use std::sync::Arc;

use super::candidate::{Candidate, Digest};
use super::event::{CandidateEntry, ChangeEntry, Event, SignatoryEntry, Step};
use crate::action::Action;
use crate::caller::{Caller, CallerKind};
use crate::gate::Permit;
use crate::name::{Environment, ModelName};
use crate::record::PrincipalEntry;
use crate::target::{Pair, Target};
use crate::{RecordId, Timestamp};

/// A promotion as its events left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    id: RecordId,
    candidate: Candidate,
    plan: Plan,
    manifest: Arc<str>,
    difference: Vec<ChangeEntry>,
    proposer: Option<PrincipalEntry>,
    approvals: Vec<PrincipalEntry>,
    standing: Standing,
}

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
    pub base: Option<RecordId>,
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
    /// Who would gain and lose what.
    pub difference: Vec<ChangeEntry>,
}

/// What somebody who takes a step has before them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// The candidate, as it is there now.
    pub candidate: Candidate,
    /// Who would gain and lose what.
    pub difference: Vec<ChangeEntry>,
}

/// Where a promotion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// It waits for approvals, or to be promoted.
    Open,
    /// It was promoted with its approvals.
    Promoted,
    /// It was promoted without waiting for approvals.
    Emergency,
    /// It was in force before promotions were kept.
    Adopted,
    /// It was turned down.
    Rejected,
    /// It was taken back.
    Withdrawn,
    /// It was promoted, and is in force no more.
    RolledBack,
}

/// Why a step cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The permit is for something else.
    #[error("the permit is for something else, or for another model or environment")]
    NotPermitted,
    /// It is over, or was not promoted yet.
    #[error("the promotion is {}, so this cannot be done", .0.as_str())]
    Standing(Standing),
    /// A service, an agent, or a person through one.
    #[error("only people approve, and by themselves: not services, not agents")]
    NotAPerson,
    /// The proposer.
    #[error("whoever proposed it cannot approve it")]
    OwnProposal,
    /// Not the proposer.
    #[error("only whoever proposed it can withdraw it")]
    NotProposer,
    /// A second approval of the same person.
    #[error("you have approved it already")]
    Twice,
    /// What was shown, or what is there now, is not what was proposed.
    #[error(
        "the model or its manifest has changed since it was proposed, which voids the approvals: propose it anew"
    )]
    Changed,
    /// Another promotion has taken the place of the one that this was to replace.
    #[error(
        "another promotion has come into force since this was proposed, which voids the approvals: propose it anew"
    )]
    Superseded,
    /// There are not enough approvals.
    #[error("it has {given} of the {needed} approvals that it needs")]
    Approvals {
        /// How many there are.
        given: usize,
        /// How many it needs.
        needed: u8,
    },
    /// A step that is explained by words has none.
    #[error("say why")]
    NoReason,
    /// An environment cannot be promoted into from itself.
    #[error("`{0}` is where it comes from")]
    SameEnvironment(Environment),
    /// An event that is none of this promotion, or that no step could have given.
    #[error("the event is none that this promotion can have had: {0}")]
    Event(&'static str),
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
        }
    }

    /// In the place of another promotion.
    #[must_use]
    pub fn instead_of(self, base: Option<RecordId>) -> Self {
        Self { base, ..self }
    }

    /// Who holds the permit, if it is for this at either end of the way.
    fn permitted<'p>(
        &self,
        permit: &'p Permit,
        action: Action,
        model: &ModelName,
    ) -> Result<&'p Caller, Fault> {
        let ends = [&self.from, &self.into];
        match ends.contains(&permit.environment()) {
            true => permitted(permit, action, model),
            false => Err(Fault::NotPermitted),
        }
    }
}

impl Proposal {
    /// A proposal.
    pub fn new(
        candidate: Candidate,
        plan: Plan,
        manifest: impl Into<Arc<str>>,
        difference: Vec<ChangeEntry>,
    ) -> Self {
        Self {
            candidate,
            plan,
            manifest: manifest.into(),
            difference,
        }
    }
}

impl Shown {
    /// A candidate and what it changes.
    #[must_use]
    pub const fn new(candidate: Candidate, difference: Vec<ChangeEntry>) -> Self {
        Self {
            candidate,
            difference,
        }
    }
}

impl Standing {
    /// The word of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Promoted => "promoted",
            Self::Emergency => "promoted in an emergency",
            Self::Adopted => "adopted",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::RolledBack => "rolled back",
        }
    }
}

impl Promotion {
    /// Proposes a candidate. The permit is for `promote` in the environment that it comes from,
    /// or in the one that it goes into.
    ///
    /// # Errors
    /// [`Fault::NotPermitted`], [`Fault::SameEnvironment`], and [`Fault::Event`] if the
    /// manifest is not the one whose digest the candidate has.
    pub fn propose(
        id: RecordId,
        proposal: &Proposal,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        let Proposal {
            candidate,
            plan,
            manifest,
            difference,
        } = proposal;
        if plan.from == plan.into {
            return Err(Fault::SameEnvironment(plan.into.clone()));
        }
        let by = plan.permitted(permit, Action::Promote, &candidate.model)?;
        let step = Step::Proposed {
            candidate: CandidateEntry::from(candidate),
            from: plan.from.to_string(),
            into: plan.into.to_string(),
            approvals: plan.approvals,
            base: plan.base,
            manifest: manifest.to_string(),
            difference: difference.clone(),
        };
        let event = event(id, by, step, now);
        Self::begin(&event).map(|_| event)
    }

    /// Keeps what was found in force when promotions began to be kept in an environment.
    /// There is nobody to ask, and nobody has approved it.
    #[must_use]
    pub fn adopt(
        id: RecordId,
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
                manifest: manifest.to_owned(),
            },
        }
    }

    /// The promotion that an event proposes or adopts.
    ///
    /// # Errors
    /// [`Fault::Event`] if it does neither.
    pub fn begin(event: &Event) -> Result<Self, Fault> {
        let environment = |name: &str| Environment::new(name).map_err(|_| NO_NAMES);
        let begun = |candidate: &CandidateEntry, plan, manifest: &str| {
            let candidate = read(candidate)?;
            if Digest::of(manifest.as_bytes()) != candidate.manifest {
                return Err(Fault::Event("its manifest has another digest"));
            }
            Ok(Self {
                id: event.promotion,
                candidate,
                plan,
                manifest: manifest.into(),
                difference: Vec::new(),
                proposer: event.by.as_ref().map(|by| by.subject.clone()),
                approvals: Vec::new(),
                standing: Standing::Open,
            })
        };
        match &event.step {
            Step::Adopted {
                candidate,
                into,
                manifest,
            } => {
                let into = environment(into)?;
                let plan = Plan::new(into.clone(), into, 0);
                let adopted = begun(candidate, plan, manifest)?;
                Ok(Self {
                    standing: Standing::Adopted,
                    ..adopted
                })
            }
            Step::Proposed {
                candidate,
                from,
                into,
                approvals,
                base,
                manifest,
                difference,
            } => {
                if event.by.is_none() {
                    return Err(NOBODY);
                }
                let plan = Plan::new(environment(from)?, environment(into)?, *approvals);
                let proposed = begun(candidate, plan.instead_of(*base), manifest)?;
                Ok(Self {
                    difference: difference.clone(),
                    ..proposed
                })
            }
            Step::Approved { .. }
            | Step::Rejected { .. }
            | Step::Withdrawn
            | Step::Promoted { .. }
            | Step::RolledBack { .. } => Err(Fault::Event("the first one proposes")),
        }
    }

    /// Approves what was shown. The permit is for `approve` in the environment that it goes
    /// into.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, the approver is no person, or the proposer, or approved
    /// already, or was shown something else.
    pub fn approve(&self, shown: &Shown, permit: &Permit, now: Timestamp) -> Result<Event, Fault> {
        let by = self.permitted_there(permit, Action::Approve)?;
        let step = Step::Approved {
            candidate: CandidateEntry::from(&shown.candidate),
            difference: shown.difference.clone(),
        };
        self.taken(by, step, now)
    }

    /// Turns it down. The permit is for `approve` in the environment that it goes into.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, or nothing is said.
    pub fn reject(&self, reason: &str, permit: &Permit, now: Timestamp) -> Result<Event, Fault> {
        let by = self.permitted_there(permit, Action::Approve)?;
        let reason = reason.to_owned();
        self.taken(by, Step::Rejected { reason }, now)
    }

    /// Takes it back. Any permit says who asks.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, or somebody else proposed it.
    pub fn withdraw(&self, permit: &Permit, now: Timestamp) -> Result<Event, Fault> {
        let by = permit.caller().ok_or(Fault::NotPermitted)?;
        self.taken(by, Step::Withdrawn, now)
    }

    /// Puts the candidate in force, if it still is what was approved. The permit is for `promote`
    /// in the environment that it comes from, or in the one that it goes into.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, changed, or lacks approvals.
    pub fn promote(&self, shown: &Shown, permit: &Permit, now: Timestamp) -> Result<Event, Fault> {
        let by = self
            .plan
            .permitted(permit, Action::Promote, &self.candidate.model)?;
        self.unchanged(&shown.candidate)?;
        let step = Step::Promoted {
            emergency: None,
            difference: shown.difference.clone(),
        };
        self.taken(by, step, now)
    }

    /// Puts the candidate in force without waiting for approvals. The permit is for
    /// `administer` in the environment that it goes into.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, changed, or nothing is said.
    pub fn promote_in_emergency(
        &self,
        shown: &Shown,
        reason: &str,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        let by = self.permitted_there(permit, Action::Administer)?;
        self.unchanged(&shown.candidate)?;
        let step = Step::Promoted {
            emergency: Some(reason.to_owned()),
            difference: shown.difference.clone(),
        };
        self.taken(by, step, now)
    }

    /// Ends what was promoted. The permit is for `promote` in the environment that it came from,
    /// or in the one that it is in.
    ///
    /// # Errors
    /// A [`Fault`] if it is not in force, or nothing is said.
    pub fn roll_back(
        &self,
        reason: &str,
        difference: Vec<ChangeEntry>,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        let by = self
            .plan
            .permitted(permit, Action::Promote, &self.candidate.model)?;
        let reason = reason.to_owned();
        self.taken(by, Step::RolledBack { reason, difference }, now)
    }

    /// The promotion after an event. Every rule is looked at again, but for what only the
    /// authorizer and the model's store know.
    ///
    /// # Errors
    /// A [`Fault`] if no such step can be taken.
    pub fn after(&self, event: &Event) -> Result<Self, Fault> {
        if event.promotion != self.id {
            return Err(Fault::Event("it is another promotion's"));
        }
        let by = event.by.as_ref().ok_or(NOBODY)?;
        let mut after = self.clone();
        after.standing = match &event.step {
            Step::Proposed { .. } | Step::Adopted { .. } => {
                return Err(Fault::Event("it is there already"));
            }
            Step::Approved { candidate, .. } => {
                self.check_approval(candidate, by)?;
                after.approvals.push(by.subject.clone());
                Standing::Open
            }
            Step::Rejected { reason } => {
                self.is(Standing::Open)?;
                said(reason)?;
                Standing::Rejected
            }
            Step::Withdrawn => {
                self.is(Standing::Open)?;
                if Some(&by.subject) != self.proposer.as_ref() {
                    return Err(Fault::NotProposer);
                }
                Standing::Withdrawn
            }
            Step::Promoted {
                emergency: None, ..
            } => {
                self.is(Standing::Open)?;
                self.check_approvals()?;
                Standing::Promoted
            }
            Step::Promoted {
                emergency: Some(reason),
                ..
            } => {
                self.is(Standing::Open)?;
                said(reason)?;
                Standing::Emergency
            }
            Step::RolledBack { reason, .. } => {
                let promoted = matches!(self.standing, Standing::Promoted | Standing::Emergency);
                if !promoted {
                    return Err(Fault::Standing(self.standing));
                }
                said(reason)?;
                Standing::RolledBack
            }
        };
        Ok(after)
    }

    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> RecordId {
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

    /// The manifest, whole.
    #[must_use]
    pub fn manifest(&self) -> &Arc<str> {
        &self.manifest
    }

    /// Who would gain and lose what, as it was when it was proposed.
    #[must_use]
    pub fn difference(&self) -> &[ChangeEntry] {
        &self.difference
    }

    /// Who proposed it; `None` if it was adopted.
    #[must_use]
    pub const fn proposer(&self) -> Option<&PrincipalEntry> {
        self.proposer.as_ref()
    }

    /// Who approved it, in order.
    #[must_use]
    pub fn approvals(&self) -> &[PrincipalEntry] {
        &self.approvals
    }

    /// Where it stands.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it was promoted or adopted, and not rolled back. A later promotion of the same model may
    /// have taken its place; see [`History`](super::History).
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        matches!(
            self.standing,
            Standing::Promoted | Standing::Emergency | Standing::Adopted
        )
    }

    /// Whether the model and its manifest still are what was proposed.
    ///
    /// # Errors
    /// [`Fault::Changed`] if they are not.
    pub fn unchanged(&self, current: &Candidate) -> Result<(), Fault> {
        match *current == self.candidate {
            true => Ok(()),
            false => Err(Fault::Changed),
        }
    }

    /// Who holds the permit, if it is for this in the environment that it goes into.
    fn permitted_there<'p>(&self, permit: &'p Permit, action: Action) -> Result<&'p Caller, Fault> {
        match *permit.environment() == self.plan.into {
            true => permitted(permit, action, &self.candidate.model),
            false => Err(Fault::NotPermitted),
        }
    }

    /// An event, if its step can be taken.
    fn taken(&self, by: &Caller, step: Step, now: Timestamp) -> Result<Event, Fault> {
        let event = event(self.id, by, step, now);
        self.after(&event).map(|_| event)
    }

    fn is(&self, standing: Standing) -> Result<(), Fault> {
        match self.standing == standing {
            true => Ok(()),
            false => Err(Fault::Standing(self.standing)),
        }
    }

    fn check_approval(&self, shown: &CandidateEntry, by: &SignatoryEntry) -> Result<(), Fault> {
        self.is(Standing::Open)?;
        if by.subject.kind != CallerKind::User || !by.actors.is_empty() {
            return Err(Fault::NotAPerson);
        }
        if Some(&by.subject) == self.proposer.as_ref() {
            return Err(Fault::OwnProposal);
        }
        if self.approvals.contains(&by.subject) {
            return Err(Fault::Twice);
        }
        match *shown == CandidateEntry::from(&self.candidate) {
            true => Ok(()),
            false => Err(Fault::Changed),
        }
    }

    fn check_approvals(&self) -> Result<(), Fault> {
        let (given, needed) = (self.approvals.len(), self.plan.approvals);
        match given >= usize::from(needed) {
            true => Ok(()),
            false => Err(Fault::Approvals { given, needed }),
        }
    }
}

const NO_NAMES: Fault = Fault::Event("its names are none");
const NOBODY: Fault = Fault::Event("it does not say who took the step");

fn event(promotion: RecordId, by: &Caller, step: Step, time: Timestamp) -> Event {
    Event {
        promotion,
        time,
        by: Some(SignatoryEntry::of(by)),
        step,
    }
}

/// Who holds the permit, if it is for this.
fn permitted<'p>(
    permit: &'p Permit,
    action: Action,
    model: &ModelName,
) -> Result<&'p Caller, Fault> {
    let pairs = permit.target().map_or(&[][..], Target::pairs);
    let fits = |pair: &Pair| pair.action == action && pair.resource.name() == Some(model);
    match pairs.iter().any(fits) {
        true => permit.caller().ok_or(Fault::NotPermitted),
        false => Err(Fault::NotPermitted),
    }
}

fn said(reason: &str) -> Result<(), Fault> {
    match reason.trim().is_empty() {
        true => Err(Fault::NoReason),
        false => Ok(()),
    }
}

fn read(entry: &CandidateEntry) -> Result<Candidate, Fault> {
    let revision = entry.revision.as_ref().map(|name| name.parse());
    let content = entry.content.as_ref().map(|digest| digest.parse());
    Ok(Candidate {
        model: entry.model.parse().map_err(|_| NO_NAMES)?,
        revision: revision.transpose().map_err(|_| NO_NAMES)?,
        content: content.transpose().map_err(|_| NO_NAMES)?,
        manifest: entry.manifest.parse().map_err(|_| NO_NAMES)?,
    })
}
