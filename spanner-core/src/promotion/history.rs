//! The history of promotions: what is in force, and since which steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::event::{ChangeEntry, Event, Step};
use super::fault::{EventFault, StepFault};
use super::life::Promotion;
use super::standing::Standing;
use crate::PromotionId;
use crate::name::{Environment, ModelName};

/// The state after the events: every promotion, and what is in force.
#[derive(Debug, Clone, Default)]
pub struct HistoryState {
    promotions: BTreeMap<PromotionId, Promotion>,
    events: Vec<Event>,
    /// The indices of each promotion's events.
    steps: HashMap<PromotionId, Vec<usize>>,
    /// The promotions that came into force in an environment and were not rolled back, the last one
    /// last.
    in_force: HashMap<(ModelName, Environment), Vec<PromotionId>>,
    /// The promotions that wait for approvals or for being promoted.
    open: BTreeSet<PromotionId>,
    /// The latest manifest and difference, which are often repeated.
    recent: HashMap<(ModelName, Environment), Recent>,
}

type Recent = (Arc<str>, Arc<[ChangeEntry]>);

impl HistoryState {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state of a promotion after an event, if that were the next one.
    ///
    /// # Errors
    /// A [`StepFault`] if the event is not possible.
    pub fn check(&self, event: &Event) -> Result<Promotion, StepFault> {
        let known = self.promotions.get(&event.promotion);
        let after = match known {
            Some(promotion) => promotion.after(event)?,
            None => Promotion::begin(event)?,
        };
        let latest = self.current(&after.candidate().model, &after.plan().into);
        let latest = latest.map(Promotion::id);
        match event.step {
            Step::RolledBack { .. } if latest != Some(event.promotion) => {
                Err(EventFault::Replaced.into())
            }
            Step::Promoted { .. } if latest != after.plan().base => Err(StepFault::Superseded),
            Step::Adopted { .. } if latest.is_some() => Err(EventFault::InForceAlready.into()),
            Step::Proposed {
                restores: Some(restores),
                ..
            } if !self.was_in_force(restores, &after) => Err(EventFault::NotInForceBefore.into()),
            _ => Ok(after),
        }
    }

    /// Applies the next event.
    ///
    /// # Errors
    /// A [`StepFault`] if the event is not possible. The history is unchanged then.
    pub fn take(&mut self, mut event: Event) -> Result<&Promotion, StepFault> {
        self.check(&event)?;
        self.share(&mut event);
        let after = self.check(&event)?;
        Ok(self.enter(event, after))
    }

    /// Applies the next event even if it is not possible, for reports on a ledger. An event of an
    /// unknown promotion is skipped. Returns the fault of the event.
    pub fn take_doubtful(&mut self, mut event: Event) -> Option<StepFault> {
        let doubt = self.check(&event).err();
        self.share(&mut event);
        let known = self.promotions.get(&event.promotion).cloned();
        let after = match known {
            Some(mut promotion) => {
                promotion.apply(&event);
                promotion
            }
            None => match Promotion::begun(&event) {
                Ok(begun) => begun,
                Err(fault) => return Some(fault),
            },
        };
        self.enter(event, after);
        doubt
    }

    fn enter(&mut self, event: Event, after: Promotion) -> &Promotion {
        let place = (after.candidate().model.clone(), after.plan().into.clone());
        let stack = self.in_force.entry(place).or_default();
        let id = event.promotion;
        match event.step {
            Step::Promoted { .. } | Step::Adopted { .. } => stack.push(id),
            Step::RolledBack { .. } => stack.retain(|it| *it != id),
            Step::Proposed { .. }
            | Step::Approved { .. }
            | Step::Voided { .. }
            | Step::Rejected { .. }
            | Step::Withdrawn => {}
        }
        match after.standing() {
            Standing::Open => self.open.insert(id),
            _ => self.open.remove(&id),
        };
        if after.is_over() {
            self.forget_manifest(id);
        }
        self.steps.entry(id).or_default().push(self.events.len());
        self.events.push(event);
        &*self
            .promotions
            .entry(id)
            .and_modify(|promotion| promotion.clone_from(&after))
            .or_insert(after)
    }

    /// Shares equal texts between events: the manifest of repeated proposals, and the difference at
    /// each step of a promotion.
    fn share(&mut self, event: &mut Event) {
        let place = match self.promotions.get(&event.promotion) {
            Some(known) => (known.candidate().model.clone(), known.plan().into.clone()),
            None => match Promotion::begun(event) {
                Ok(begun) => (begun.candidate().model.clone(), begun.plan().into.clone()),
                Err(_) => return,
            },
        };
        let (text, changes) = self.recent.entry(place).or_default();
        if let Step::Adopted { manifest, .. } | Step::Proposed { manifest, .. } = &mut event.step {
            match manifest == text {
                true => *manifest = Arc::clone(text),
                false => *text = Arc::clone(manifest),
            }
        }
        if let Step::Proposed { difference, .. }
        | Step::Approved { difference, .. }
        | Step::Promoted { difference, .. }
        | Step::RolledBack { difference, .. } = &mut event.step
        {
            match difference == changes {
                true => *difference = Arc::clone(changes),
                false => *changes = Arc::clone(difference),
            }
        }
    }

    /// Frees the text of a manifest that cannot come into force again.
    fn forget_manifest(&mut self, id: PromotionId) {
        let first = self.steps.get(&id).and_then(|steps| steps.first());
        if let Some(event) = first.and_then(|first| self.events.get_mut(*first))
            && let Step::Adopted { manifest, .. } | Step::Proposed { manifest, .. } =
                &mut event.step
        {
            *manifest = Arc::default();
        }
    }

    /// Whether a promotion was in force with what another one proposes, in the same environment.
    fn was_in_force(&self, restores: PromotionId, proposed: &Promotion) -> bool {
        let (candidate, into) = (proposed.candidate(), &proposed.plan().into);
        let mut earlier = self.stack(&candidate.model, into);
        earlier.any(|it| it.id() == restores && it.candidate() == candidate)
    }

    /// A promotion.
    #[must_use]
    pub fn promotion(&self, id: PromotionId) -> Option<&Promotion> {
        self.promotions.get(&id)
    }

    /// The promotion under which a model is served in an environment; `None` if there is none, or
    /// if each was rolled back.
    #[must_use]
    pub fn current(&self, model: &ModelName, environment: &Environment) -> Option<&Promotion> {
        let stack = self.in_force.get(&(model.clone(), environment.clone()))?;
        self.promotions.get(stack.last()?)
    }

    /// All promotions in force.
    pub fn in_force(&self) -> impl Iterator<Item = &Promotion> {
        let latest = self.in_force.values().filter_map(|stack| stack.last());
        latest.filter_map(|id| self.promotions.get(id))
    }

    /// The promotion that would be in force after a rollback of the current one, if there is one.
    #[must_use]
    pub fn before(&self, model: &ModelName, environment: &Environment) -> Option<&Promotion> {
        let stack = self.in_force.get(&(model.clone(), environment.clone()))?;
        self.promotions.get(stack.iter().rev().nth(1)?)
    }

    /// The promotions that came into force in an environment and were not rolled back, the last one
    /// first.
    pub fn stack(
        &self,
        model: &ModelName,
        environment: &Environment,
    ) -> impl Iterator<Item = &Promotion> {
        let stack = self.in_force.get(&(model.clone(), environment.clone()));
        let ids = stack.into_iter().flatten().rev();
        ids.filter_map(|id| self.promotions.get(id))
    }

    /// The promotions that wait for approvals or for being promoted, the oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Promotion> {
        self.open.iter().filter_map(|id| self.promotions.get(id))
    }

    /// All promotions, the oldest first.
    pub fn promotions(&self) -> impl Iterator<Item = &Promotion> {
        self.promotions.values()
    }

    /// The steps of one promotion, in order. The manifest is left out if the promotion is over.
    pub fn steps(&self, id: PromotionId) -> impl Iterator<Item = &Event> {
        let places = self.steps.get(&id).into_iter().flatten();
        places.filter_map(|place| self.events.get(*place))
    }

    /// All events of a model in order, in one environment or in all.
    pub fn of<'h>(
        &'h self,
        model: &'h ModelName,
        environment: Option<&'h Environment>,
    ) -> impl Iterator<Item = (&'h Event, &'h Promotion)> {
        let told = self.events.iter().filter_map(|event| {
            let promotion = self.promotions.get(&event.promotion)?;
            Some((event, promotion))
        });
        told.filter(move |(_, promotion)| {
            let here = environment.is_none_or(|wanted| promotion.plan().into == *wanted);
            promotion.candidate().model == *model && here
        })
    }
}
