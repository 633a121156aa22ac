//! One promotion, and which steps it can take.

use std::sync::Arc;

use super::candidate::{Candidate, Digest};
use super::event::{CandidateEntry, ChangeEntry, Event, SignatoryEntry, Step, TermsEntry};
use crate::action::Action;
use crate::caller::{Caller, CallerKind};
use crate::gate::Permit;
use crate::name::{Environment, ModelName};
use crate::record::PrincipalEntry;
use crate::target::{Pair, Target};
use crate::text::can_be_seen;
use crate::{PromotionId, Timestamp};

/// A promotion as its events left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    id: PromotionId,
    candidate: Candidate,
    plan: Plan,
    manifest: Option<Arc<str>>,
    difference: Arc<[ChangeEntry]>,
    proposer: Option<PrincipalEntry>,
    /// What the approvals cover besides the candidate.
    terms: Option<TermsEntry>,
    approvals: Vec<PrincipalEntry>,
    void: Option<Void>,
    standing: Standing,
}

/// Approvals that count no more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Void {
    /// Who gave them, in order.
    pub approvals: Vec<PrincipalEntry>,
    /// Why the last of them count no more, in words.
    pub because: String,
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

/// What somebody who takes a step has before them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
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
    /// Approvals were given, and are void.
    #[error(
        "its approvals are void, since {because}: it has {given} of the {needed} approvals that it needs"
    )]
    Void {
        /// How many count.
        given: usize,
        /// How many it needs.
        needed: u8,
        /// What changed.
        because: String,
    },
    /// A rollback would give somebody more than they have.
    #[error(
        "this rollback would give somebody more than they have now, which takes approvals as a promotion does"
    )]
    Widens,
    /// There are not enough approvals.
    #[error("it has {given} of the {needed} approvals that it needs")]
    Approvals {
        /// How many there are.
        given: usize,
        /// How many it needs.
        needed: u8,
    },
    /// A step that is explained by words has none that can be seen.
    #[error("say why, in words that can be seen")]
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

impl Shown {
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
        id: PromotionId,
        proposal: &Proposal,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        let Proposal {
            candidate,
            plan,
            manifest,
            terms,
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

    /// The promotion that an event proposes or adopts.
    ///
    /// # Errors
    /// [`Fault::Event`] if it does neither.
    pub fn begin(event: &Event) -> Result<Self, Fault> {
        let environment = |name: &str| Environment::new(name).map_err(|_| NO_NAMES);
        let begun = |candidate: &CandidateEntry, plan, manifest: &Arc<str>| {
            let candidate = read(candidate)?;
            if Digest::of(manifest.as_bytes()) != candidate.manifest {
                return Err(Fault::Event("its manifest has another digest"));
            }
            Ok(Self {
                id: event.promotion,
                candidate,
                plan,
                manifest: Some(Arc::clone(manifest)),
                difference: Arc::default(),
                proposer: event.by.as_ref().map(|by| by.subject.clone()),
                terms: None,
                approvals: Vec::new(),
                void: None,
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
                restores,
                terms,
                manifest,
                difference,
            } => {
                if event.by.is_none() {
                    return Err(NOBODY);
                }
                let plan = Plan::new(environment(from)?, environment(into)?, *approvals);
                let plan = plan.instead_of(*base).restoring(*restores);
                let proposed = begun(candidate, plan, manifest)?;
                Ok(Self {
                    terms: terms.clone(),
                    difference: Arc::clone(difference),
                    ..proposed
                })
            }
            Step::Approved { .. }
            | Step::Voided { .. }
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
            terms: shown.terms.clone(),
            difference: Arc::clone(&shown.difference),
        };
        self.taken(by, step, now)
    }

    /// Notes that what the approvals covered is no longer what would happen. Nobody has to ask
    /// for it.
    ///
    /// # Errors
    /// A [`Fault`] if it is over, or has no approvals.
    pub fn void_approvals(
        &self,
        reason: impl Into<String>,
        terms: Option<TermsEntry>,
        now: Timestamp,
    ) -> Result<Event, Fault> {
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
    /// A [`Fault`] if it is over, or nothing is said.
    pub fn reject(&self, reason: &str, permit: &Permit, now: Timestamp) -> Result<Event, Fault> {
        let by = self.permitted_there(permit, Action::Approve)?;
        let reason = given(reason)?;
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
            terms: shown.terms.clone(),
            difference: Arc::clone(&shown.difference),
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
            emergency: Some(given(reason)?),
            terms: shown.terms.clone(),
            difference: Arc::clone(&shown.difference),
        };
        self.taken(by, step, now)
    }

    /// Ends what was promoted. The permit is for `promote` in the environment that it came from,
    /// or in the one that it is in.
    ///
    /// # Errors
    /// A [`Fault`] if it is not in force, or nothing is said, or it takes approvals: then propose
    /// what was in force before, or take it back [in an emergency](Self::roll_back_in_emergency).
    pub fn roll_back(
        &self,
        reason: &str,
        undo: impl Into<Undo>,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        let by = self
            .plan
            .permitted(permit, Action::Promote, &self.candidate.model)?;
        let Undo {
            difference,
            needs_approvals,
        } = undo.into();
        let step = Step::RolledBack {
            reason: given(reason)?,
            emergency: false,
            difference,
        };
        let event = self.taken(by, step, now)?;
        match needs_approvals {
            true => Err(Fault::Widens),
            false => Ok(event),
        }
    }

    /// Ends what was promoted without waiting for approvals, whatever that gives to whom. The
    /// permit is for `administer` in the environment that it is in.
    ///
    /// # Errors
    /// A [`Fault`] if it is not in force, or nothing is said.
    pub fn roll_back_in_emergency(
        &self,
        reason: &str,
        undo: impl Into<Undo>,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Event, Fault> {
        let by = self.permitted_there(permit, Action::Administer)?;
        let step = Step::RolledBack {
            reason: given(reason)?,
            emergency: true,
            difference: undo.into().difference,
        };
        self.taken(by, step, now)
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
        if let Step::Voided { reason, terms } = &event.step {
            self.is(Standing::Open)?;
            if event.by.is_some() || self.approvals.is_empty() {
                return Err(Fault::Event("there is no approval to be void"));
            }
            after.void_all(reason);
            after.terms.clone_from(terms);
            return Ok(after);
        }
        let by = event.by.as_ref().ok_or(NOBODY)?;
        after.standing = match &event.step {
            Step::Proposed { .. } | Step::Adopted { .. } => {
                return Err(Fault::Event("it is there already"));
            }
            Step::Voided { .. } => Standing::Open,
            Step::Approved {
                candidate, terms, ..
            } => {
                self.check_approval(candidate, terms.as_ref(), by)?;
                if !self.covers(terms.as_ref()) {
                    after.void_all(CHANGED);
                    after.terms.clone_from(terms);
                }
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
                emergency: None,
                terms,
                ..
            } => {
                self.is(Standing::Open)?;
                self.check_approvals(terms.as_ref())?;
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
        if after.is_over() {
            after.manifest = None;
        }
        Ok(after)
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
    pub const fn void(&self) -> Option<&Void> {
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
    /// have taken its place; see [`History`](super::History).
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

    /// No approval counts any more.
    fn void_all(&mut self, because: &str) {
        if self.approvals.is_empty() {
            return;
        }
        let mut approvals = self.void.take().map(|it| it.approvals).unwrap_or_default();
        approvals.append(&mut self.approvals);
        let because = because.to_owned();
        self.void = Some(Void { approvals, because });
    }

    fn check_approval(
        &self,
        shown: &CandidateEntry,
        terms: Option<&TermsEntry>,
        by: &SignatoryEntry,
    ) -> Result<(), Fault> {
        self.is(Standing::Open)?;
        if by.subject.kind != CallerKind::User || !by.actors.is_empty() {
            return Err(Fault::NotAPerson);
        }
        if Some(&by.subject) == self.proposer.as_ref() {
            return Err(Fault::OwnProposal);
        }
        if self.approvals.contains(&by.subject) && self.covers(terms) {
            return Err(Fault::Twice);
        }
        match *shown == CandidateEntry::from(&self.candidate) {
            true => Ok(()),
            false => Err(Fault::Changed),
        }
    }

    /// Whether enough approvals cover what would happen.
    fn check_approvals(&self, terms: Option<&TermsEntry>) -> Result<(), Fault> {
        let needed = terms.map_or(self.plan.approvals, |terms| terms.approvals);
        let given = match self.covers(terms) {
            true => self.approvals.len(),
            false => 0,
        };
        if given >= usize::from(needed) {
            return Ok(());
        }
        let void = self.void.as_ref().map(|void| &*void.because);
        let void = match self.covers(terms) || self.approvals.is_empty() {
            true => void,
            false => Some(CHANGED),
        };
        Err(match void.map(str::to_owned) {
            Some(because) => Fault::Void {
                given,
                needed,
                because,
            },
            None => Fault::Approvals { given, needed },
        })
    }
}

/// Why approvals are void where nobody noted more.
const CHANGED: &str = "what they covered changed";

const NO_NAMES: Fault = Fault::Event("its names are none");
const NOBODY: Fault = Fault::Event("it does not say who took the step");

fn event(promotion: PromotionId, by: &Caller, step: Step, time: Timestamp) -> Event {
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

/// A reason, if it can be seen. Events of earlier versions are held to less.
fn given(reason: &str) -> Result<String, Fault> {
    match can_be_seen(reason) {
        true => Ok(reason.to_owned()),
        false => Err(Fault::NoReason),
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
