//! One promotion, and which steps it can take.

use super::candidate::Candidate;
use super::event::{CandidateEntry, Event, SignatoryEntry, Step};
use crate::access::{Effect, Verdict};
use crate::caller::{Caller, CallerKind};
use crate::name::Environment;
use crate::record::PrincipalEntry;
use crate::{RecordId, Timestamp};

/// A promotion as its events left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    id: RecordId,
    candidate: Candidate,
    plan: Plan,
    proposer: PrincipalEntry,
    approvals: Vec<PrincipalEntry>,
    standing: Standing,
}

/// From where to where, and how many must approve.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The environment that the candidate comes from.
    pub from: Environment,
    /// The environment that it is to go into.
    pub into: Environment,
    /// How many approvals it needs.
    pub approvals: u8,
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
    /// Whoever asks may not do this in the environment.
    #[error("you may not do this in the environment that it is promoted into")]
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
    /// A plan.
    #[must_use]
    pub const fn new(from: Environment, into: Environment, approvals: u8) -> Self {
        Self {
            from,
            into,
            approvals,
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
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::RolledBack => "rolled back",
        }
    }
}

impl Promotion {
    /// Proposes a candidate. The verdict is about `promote` in the environment that it comes from.
    ///
    /// # Errors
    /// [`Fault::NotPermitted`], [`Fault::SameEnvironment`].
    pub fn propose(
        id: RecordId,
        candidate: &Candidate,
        plan: &Plan,
        by: &Caller,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        permitted(verdict)?;
        if plan.from == plan.into {
            return Err(Fault::SameEnvironment(plan.into.clone()));
        }
        let step = Step::Proposed {
            candidate: CandidateEntry::from(candidate),
            from: plan.from.to_string(),
            into: plan.into.to_string(),
            approvals: plan.approvals,
        };
        Ok(event(id, by, step, now))
    }

    /// The promotion that an event proposes.
    ///
    /// # Errors
    /// [`Fault::Event`] if it proposes none.
    pub fn begin(event: &Event) -> Result<Self, Fault> {
        let Step::Proposed {
            candidate,
            from,
            into,
            approvals,
        } = &event.step
        else {
            return Err(Fault::Event("the first one proposes"));
        };
        let environment = |name: &str| Environment::new(name).map_err(|_| NO_NAMES);
        Ok(Self {
            id: event.promotion,
            candidate: read(candidate)?,
            plan: Plan::new(environment(from)?, environment(into)?, *approvals),
            proposer: event.by.subject.clone(),
            approvals: Vec::new(),
            standing: Standing::Open,
        })
    }

    /// Approves what was shown. The verdict is about `approve` in the environment that it goes
    /// into.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, the approver is no person, or the proposer, or approved
    /// already, or was shown something else.
    pub fn approve(
        &self,
        shown: &Candidate,
        by: &Caller,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        permitted(verdict)?;
        let step = Step::Approved {
            candidate: CandidateEntry::from(shown),
        };
        self.taken(by, step, now)
    }

    /// Turns it down. The verdict is about `approve` in the environment that it goes into.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, or nothing is said.
    pub fn reject(
        &self,
        reason: &str,
        by: &Caller,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        permitted(verdict)?;
        let reason = reason.to_owned();
        self.taken(by, Step::Rejected { reason }, now)
    }

    /// Takes it back.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, or somebody else proposed it.
    pub fn withdraw(&self, by: &Caller, now: Timestamp) -> Result<Event, Fault> {
        self.taken(by, Step::Withdrawn, now)
    }

    /// Puts the candidate in force, if it still is what was approved. The verdict is about
    /// `promote` in the environment that it goes into.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, changed, or lacks approvals.
    pub fn promote(
        &self,
        current: &Candidate,
        by: &Caller,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        permitted(verdict)?;
        self.unchanged(current)?;
        self.taken(by, Step::Promoted { emergency: None }, now)
    }

    /// Puts the candidate in force without waiting for approvals. The verdict is about
    /// `administer` in the environment that it goes into.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, changed, or nothing is said.
    pub fn promote_in_emergency(
        &self,
        current: &Candidate,
        reason: &str,
        by: &Caller,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        permitted(verdict)?;
        self.unchanged(current)?;
        let emergency = Some(reason.to_owned());
        self.taken(by, Step::Promoted { emergency }, now)
    }

    /// Ends what was promoted. The verdict is about `promote` in the environment.
    ///
    /// # Errors
    /// A [`Fault`] if it is not in force, or nothing is said.
    pub fn roll_back(
        &self,
        reason: &str,
        by: &Caller,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        permitted(verdict)?;
        let reason = reason.to_owned();
        self.taken(by, Step::RolledBack { reason }, now)
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
        let mut after = self.clone();
        after.standing = match &event.step {
            Step::Proposed { .. } => return Err(Fault::Event("it is proposed already")),
            Step::Approved { candidate } => {
                self.check_approval(candidate, &event.by)?;
                after.approvals.push(event.by.subject.clone());
                Standing::Open
            }
            Step::Rejected { reason } => {
                self.is(Standing::Open)?;
                said(reason)?;
                Standing::Rejected
            }
            Step::Withdrawn => {
                self.is(Standing::Open)?;
                if event.by.subject != self.proposer {
                    return Err(Fault::NotProposer);
                }
                Standing::Withdrawn
            }
            Step::Promoted { emergency: None } => {
                self.is(Standing::Open)?;
                self.check_approvals()?;
                Standing::Promoted
            }
            Step::Promoted {
                emergency: Some(reason),
            } => {
                self.is(Standing::Open)?;
                said(reason)?;
                Standing::Emergency
            }
            Step::RolledBack { reason } => {
                if !self.is_in_force() {
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

    /// Who proposed it.
    #[must_use]
    pub const fn proposer(&self) -> &PrincipalEntry {
        &self.proposer
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

    /// Whether it was promoted and not rolled back. A later promotion of the same model may
    /// have taken its place; see [`History`](super::History).
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        matches!(self.standing, Standing::Promoted | Standing::Emergency)
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

    fn unchanged(&self, current: &Candidate) -> Result<(), Fault> {
        match *current == self.candidate {
            true => Ok(()),
            false => Err(Fault::Changed),
        }
    }

    fn check_approval(&self, shown: &CandidateEntry, by: &SignatoryEntry) -> Result<(), Fault> {
        self.is(Standing::Open)?;
        if by.subject.kind != CallerKind::User || !by.actors.is_empty() {
            return Err(Fault::NotAPerson);
        }
        if by.subject == self.proposer {
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

fn event(promotion: RecordId, by: &Caller, step: Step, time: Timestamp) -> Event {
    Event {
        promotion,
        time,
        by: SignatoryEntry::of(by),
        step,
    }
}

fn permitted(verdict: &Verdict) -> Result<(), Fault> {
    match verdict.effect {
        Effect::Allow => Ok(()),
        Effect::Deny => Err(Fault::NotPermitted),
    }
}

fn said(reason: &str) -> Result<(), Fault> {
    match reason.trim().is_empty() {
        true => Err(Fault::NoReason),
        false => Ok(()),
    }
}

fn read(entry: &CandidateEntry) -> Result<Candidate, Fault> {
    Ok(Candidate {
        model: entry.model.parse().map_err(|_| NO_NAMES)?,
        revision: entry.revision.parse().map_err(|_| NO_NAMES)?,
        content: entry.content.parse().map_err(|_| NO_NAMES)?,
        manifest: entry.manifest.parse().map_err(|_| NO_NAMES)?,
    })
}
