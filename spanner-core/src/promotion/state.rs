//! The state machine: which events are possible, and the state of a promotion after each.

use std::sync::Arc;

use super::candidate::{Candidate, Digest};
use super::event::{CandidateEntry, Event, SignatoryEntry, Step, TermsEntry};
use super::fault::{EventFault, StepFault};
use super::life::{Promotion, VoidApprovals};
use super::plan::Plan;
use super::standing::Standing;
use crate::name::Environment;
use crate::party::CallerKind;

impl Promotion {
    /// The promotion that an event proposes or adopts.
    ///
    /// # Errors
    /// [`StepFault::Event`] if the event does neither.
    pub fn begin(event: &Event) -> Result<Self, StepFault> {
        let begun = Self::begun(event)?;
        let manifest = begun.manifest.as_deref().unwrap_or_default();
        if Digest::of(manifest.as_bytes()) != begun.candidate.manifest {
            return Err(EventFault::OtherManifest.into());
        }
        match begun.standing == Standing::Open && event.by.is_none() {
            true => Err(EventFault::Nobody.into()),
            false => Ok(begun),
        }
    }

    /// The promotion of the first event, without a check whether the event is possible.
    pub(super) fn begun(event: &Event) -> Result<Self, StepFault> {
        let environment = |name: &str| Environment::new(name).map_err(|_| EventFault::Names);
        let begun = |candidate: &CandidateEntry, plan, manifest: &Arc<str>, standing| {
            Ok(Self {
                id: event.promotion,
                candidate: read(candidate)?,
                plan,
                manifest: Some(Arc::clone(manifest)),
                difference: Arc::default(),
                proposer: event.by.as_ref().map(|by| by.subject.clone()),
                terms: None,
                approvals: Vec::new(),
                void: None,
                standing,
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
                begun(candidate, plan, manifest, Standing::Adopted)
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
                let plan = Plan::new(environment(from)?, environment(into)?, *approvals);
                let plan = plan.instead_of(*base).restoring(*restores);
                Ok(Self {
                    terms: terms.clone(),
                    difference: Arc::clone(difference),
                    ..begun(candidate, plan, manifest, Standing::Open)?
                })
            }
            Step::Approved { .. }
            | Step::Voided { .. }
            | Step::Rejected { .. }
            | Step::Withdrawn
            | Step::Promoted { .. }
            | Step::RolledBack { .. } => Err(EventFault::NotBegun.into()),
        }
    }

    /// The promotion after an event. All rules are checked again, except those that only the
    /// authorizer or the model's store can check.
    ///
    /// # Errors
    /// A [`StepFault`] if the step is not possible.
    pub fn after(&self, event: &Event) -> Result<Self, StepFault> {
        self.check(event)?;
        let mut after = self.clone();
        after.apply(event);
        Ok(after)
    }

    /// Checks that this can be the next event.
    fn check(&self, event: &Event) -> Result<(), StepFault> {
        if event.promotion != self.id {
            return Err(EventFault::OtherPromotion.into());
        }
        let signed = || event.by.as_ref().ok_or(EventFault::Nobody);
        match &event.step {
            Step::Proposed { .. } | Step::Adopted { .. } => {
                signed()?;
                Err(EventFault::BegunTwice.into())
            }
            Step::Voided { .. } => {
                self.is(Standing::Open)?;
                match event.by.is_some() || self.approvals.is_empty() {
                    true => Err(EventFault::NothingToVoid.into()),
                    false => Ok(()),
                }
            }
            Step::Approved {
                candidate, terms, ..
            } => self.check_approval(candidate, terms.as_ref(), signed()?),
            Step::Rejected { reason } => {
                signed()?;
                self.is(Standing::Open)?;
                said(reason)
            }
            Step::Withdrawn => {
                let by = signed()?;
                self.is(Standing::Open)?;
                match Some(&by.subject) == self.proposer.as_ref() {
                    true => Ok(()),
                    false => Err(StepFault::NotProposer),
                }
            }
            Step::Promoted {
                emergency, terms, ..
            } => {
                signed()?;
                self.is(Standing::Open)?;
                match emergency {
                    Some(reason) => said(reason),
                    None => self.check_approvals(terms.as_ref()),
                }
            }
            Step::RolledBack { reason, .. } => {
                signed()?;
                match self.standing {
                    Standing::Promoted | Standing::Emergency => said(reason),
                    Standing::Open
                    | Standing::Adopted
                    | Standing::Rejected
                    | Standing::Withdrawn
                    | Standing::RolledBack => Err(StepFault::Standing(self.standing)),
                }
            }
        }
    }

    /// Applies an event, without a check whether it is possible.
    pub(super) fn apply(&mut self, event: &Event) {
        match &event.step {
            // The first event is in effect already.
            Step::Proposed { .. } | Step::Adopted { .. } => {}
            Step::Approved { terms, .. } => {
                if !self.covers(terms.as_ref()) {
                    self.void_all(CHANGED);
                    self.terms.clone_from(terms);
                }
                let by = event.by.as_ref().map(|by| by.subject.clone());
                self.approvals.extend(by);
            }
            Step::Voided { reason, terms } => {
                self.void_all(reason);
                self.terms.clone_from(terms);
            }
            Step::Rejected { .. } => self.standing = Standing::Rejected,
            Step::Withdrawn => self.standing = Standing::Withdrawn,
            Step::Promoted { emergency, .. } => {
                self.standing = match emergency {
                    None => Standing::Promoted,
                    Some(_) => Standing::Emergency,
                };
            }
            Step::RolledBack { .. } => self.standing = Standing::RolledBack,
        }
        if self.is_over() {
            self.manifest = None;
        }
    }

    /// Voids all approvals.
    fn void_all(&mut self, because: &str) {
        if self.approvals.is_empty() {
            return;
        }
        let mut approvals = self.void.take().map(|it| it.approvals).unwrap_or_default();
        approvals.append(&mut self.approvals);
        let because = because.to_owned();
        self.void = Some(VoidApprovals { approvals, because });
    }

    fn check_approval(
        &self,
        shown: &CandidateEntry,
        terms: Option<&TermsEntry>,
        by: &SignatoryEntry,
    ) -> Result<(), StepFault> {
        self.is(Standing::Open)?;
        if by.subject.kind != CallerKind::User || !by.actors.is_empty() {
            return Err(StepFault::NotAPerson);
        }
        if Some(&by.subject) == self.proposer.as_ref() {
            return Err(StepFault::OwnProposal);
        }
        if self.approvals.contains(&by.subject) && self.covers(terms) {
            return Err(StepFault::Twice);
        }
        match *shown == CandidateEntry::from(&self.candidate) {
            true => Ok(()),
            false => Err(StepFault::Changed),
        }
    }

    /// Checks that enough approvals cover the terms.
    fn check_approvals(&self, terms: Option<&TermsEntry>) -> Result<(), StepFault> {
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
            Some(because) => StepFault::Void {
                given,
                needed,
                because,
            },
            None => StepFault::Approvals { given, needed },
        })
    }
    fn is(&self, standing: Standing) -> Result<(), StepFault> {
        match self.standing == standing {
            true => Ok(()),
            false => Err(StepFault::Standing(self.standing)),
        }
    }
}

/// The reason for void approvals if none was recorded.
const CHANGED: &str = "what they covered changed";

fn said(reason: &str) -> Result<(), StepFault> {
    match reason.trim().is_empty() {
        true => Err(StepFault::NoReason),
        false => Ok(()),
    }
}

fn read(entry: &CandidateEntry) -> Result<Candidate, StepFault> {
    let revision = entry.revision.as_ref().map(|name| name.parse());
    let content = entry.content.as_ref().map(|digest| digest.parse());
    Ok(Candidate {
        model: entry.model.parse().map_err(|_| EventFault::Names)?,
        revision: revision.transpose().map_err(|_| EventFault::Names)?,
        content: content.transpose().map_err(|_| EventFault::Names)?,
        manifest: entry.manifest.parse().map_err(|_| EventFault::Names)?,
    })
}
