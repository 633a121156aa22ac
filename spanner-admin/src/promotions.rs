//! Promotions over a journal, and the steps that people take.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use spanner_cedar::{Cedar, Promoted, PromotionRule};
use spanner_core::journal::Journal;
use spanner_core::promotion::{
    Basis, Digest, Event, HistoryState, Plan, Promotion, Proposal, StepFault, Urgency,
};
use spanner_core::{Environment, ModelName, Permit, PromotionId};
use tokio::task::spawn_blocking;

use crate::effect::{Preview, check_base, gainers, known};
use crate::error::{OpenError, StepError};
use crate::keeper::{Keeper, abandoned};
use crate::proposal::{Preconditions, ProposalRequest, check_room, size};

/// Keeps the promotions of a journal, and puts in force what they say. Cheap to clone.
///
/// Reload the access through [`Promotions::reload`], so that a change of it and a promotion
/// cannot get in each other's way.
#[derive(Clone)]
pub struct Promotions {
    keeper: Arc<Keeper>,
}

/// How long [`Promotions::follow`] waits after a failure before it reads again.
const RETRY: Duration = Duration::from_secs(1);

impl Promotions {
    /// Reads what a journal says of promotions, adopts what is in force where nothing was said
    /// yet, and puts in force what was promoted. A `Ledger` is a journal; an `Arc<dyn Journal>`
    /// is one too, where the store is chosen at run time.
    ///
    /// # Errors
    /// [`OpenError`]; the access is in force as it was.
    pub async fn open(cedar: Cedar, journal: impl Journal) -> Result<Self, OpenError> {
        let keeper = Keeper::open(cedar, Arc::new(journal)).await?;
        Ok(Self { keeper })
    }

    /// Reads the access directory again, as [`Cedar::reload`] does, and begins to keep
    /// promotions where it has a new rule for them.
    ///
    /// # Errors
    /// [`OpenError`]; with [`OpenError::Access`] what was in force stays.
    pub async fn reload(&self) -> Result<(), OpenError> {
        self.keeper.reload().await
    }

    /// Puts in force what other processes append to the same journal, until it is dropped. Where
    /// one process keeps the promotions, as with a ledger, there is nothing to follow. A failure
    /// is logged, and what is in force stays.
    pub async fn follow(&self) -> std::convert::Infallible {
        loop {
            if let Err(error) = self.keeper.follow().await {
                tracing::warn!(%error, "promotions of other processes are not followed");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// How many models are in force that were adopted and that nobody has approved, for each
    /// environment that the organization has a rule of promotion for.
    #[must_use]
    pub fn unapproved(&self) -> BTreeMap<Environment, usize> {
        let counted = self.keeper.unapproved.lock();
        let counted = counted.unwrap_or_else(PoisonError::into_inner).clone();
        let rules = self.keeper.cedar.promotions().into_iter();
        rules
            .map(|rule| {
                let count = counted.get(&rule.environment).copied();
                (rule.environment, count.unwrap_or_default())
            })
            .collect()
    }

    /// The access in which it is put in force.
    #[must_use]
    pub fn access(&self) -> &Cedar {
        &self.keeper.cedar
    }

    /// The rule of an environment.
    ///
    /// # Errors
    /// [`StepError::NoRule`].
    pub fn rule(&self, into: &Environment) -> Result<PromotionRule, StepError> {
        self.keeper.rule(into)
    }

    /// Looks something up in the history. Steps wait meanwhile.
    ///
    /// # Errors
    /// [`StepError::Unavailable`] if the ledger had to be read again, and could not be.
    pub async fn look<T>(&self, up: impl FnOnce(&HistoryState) -> T) -> Result<T, StepError> {
        let book = self.keeper.book().await?;
        Ok(up(book.history()))
    }

    /// A promotion.
    ///
    /// # Errors
    /// [`StepError::Unknown`], [`StepError::Unavailable`].
    pub async fn promotion(&self, id: PromotionId) -> Result<Promotion, StepError> {
        let found = self.look(|history| history.promotion(id).cloned()).await?;
        found.ok_or(StepError::Unknown(id))
    }

    /// What an open promotion would change in what is in force now, and what an approval of it
    /// would cover.
    ///
    /// # Errors
    /// [`StepError::Access`] if it could not be put in force as the organization is by now;
    /// [`StepError::NoRule`].
    pub async fn preview(&self, promotion: &Promotion) -> Result<Preview, StepError> {
        let (keeper, promotion) = (Arc::clone(&self.keeper), promotion.clone());
        let previewed = spawn_blocking(move || keeper.preview(&promotion)).await;
        previewed.map_err(|_| abandoned())?
    }

    /// Proposes a model, as it is in force in the environment that comes before.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn propose(
        &self,
        request: ProposalRequest,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(None, permit, move |keeper, history, permit| {
            let into = &request.environment;
            let rule = keeper.rule(into)?;
            let (candidate, manifest) = keeper.candidate(history, &request, &rule.from)?;
            let id = keeper.host.promotion_id();
            let base = history.current(&request.model, into).map(Promotion::id);
            let plan = Plan::new(rule.from, into.clone(), rule.approvals)
                .instead_of(base)
                .restoring(request.restores);
            let one = Promoted::new(
                id,
                request.model.clone(),
                into.clone(),
                Arc::clone(&manifest),
            );
            let Preview { difference, terms } = keeper.work_out(one)?;
            check_room(history, permit, size(&manifest, &difference))?;
            let proposal = Proposal::new(candidate, plan, manifest, difference).terms(terms);
            Ok(Promotion::propose(
                id,
                &proposal,
                permit,
                keeper.host.now(),
            )?)
        })
        .await
    }

    /// Approves what was shown.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn approve(
        &self,
        id: PromotionId,
        expected: Preconditions,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(Some(id), permit, move |keeper, history, permit| {
            let promotion = known(history, id)?;
            let now = keeper.host.now();
            let terms = &expected.terms;
            let mut basis = Basis::new(
                expected.candidate(promotion.candidate()),
                Arc::clone(promotion.difference()),
            );
            basis.terms = promotion.terms().cloned();
            // What the life cycle objects to says more than what comes after.
            promotion.approve(&basis, permit, now)?;
            keeper.check_listed(promotion, permit)?;
            promotion.unchanged(&keeper.current(history, promotion)?)?;
            check_base(history, promotion)?;
            keeper.show(promotion, &mut basis)?;
            let is =
                |terms: &Digest| basis.terms.as_ref().map(|it| &*it.digest) == Some(terms.as_str());
            if !terms.as_ref().is_none_or(is) {
                return Err(StepFault::Changed.into());
            }
            Ok(promotion.approve(&basis, permit, now)?)
        })
        .await
    }

    /// Turns it down.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn reject(
        &self,
        id: PromotionId,
        reason: String,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(None, permit, move |keeper, history, permit| {
            let promotion = known(history, id)?;
            let event = promotion.reject(&reason, permit, keeper.host.now())?;
            keeper.check_listed(promotion, permit)?;
            Ok(event)
        })
        .await
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn withdraw(&self, id: PromotionId, permit: Permit) -> Result<Promotion, StepError> {
        self.take(None, permit, move |keeper, history, permit| {
            let promotion = known(history, id)?;
            Ok(promotion.withdraw(permit, keeper.host.now())?)
        })
        .await
    }

    /// Puts it in force, with its approvals or, with the reason for it, in an emergency.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn promote(
        &self,
        id: PromotionId,
        emergency: Option<String>,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(Some(id), permit, move |keeper, history, permit| {
            let promotion = known(history, id)?;
            let current = keeper.current(history, promotion)?;
            let (mut basis, now) = (Basis::new(current, Vec::new()), keeper.host.now());
            basis.terms = promotion.terms().cloned();
            match &emergency {
                Some(reason) => promotion.promote_in_emergency(&basis, reason, permit, now)?,
                None => promotion.promote(&basis, permit, now)?,
            };
            check_base(history, promotion)?;
            keeper.show(promotion, &mut basis)?;
            Ok(match &emergency {
                Some(reason) => promotion.promote_in_emergency(&basis, reason, permit, now)?,
                None => promotion.promote(&basis, permit, now)?,
            })
        })
        .await
    }

    /// Ends what was promoted last for a model, and puts in force again what was before. Where
    /// that gives anybody more than they have, it takes the approvals of the rule: propose
    /// [what was there before](ProposalRequest::restoring), or do it in an
    /// [emergency](Urgency::Emergency), which is marked for ever.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn roll_back(
        &self,
        model: ModelName,
        environment: Environment,
        reason: String,
        urgency: Urgency,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(None, permit, move |keeper, history, permit| {
            let (current, undo) = keeper.undo(history, &model, &environment)?;
            let widens = undo.needs_approvals.then(|| gainers(&undo.difference));
            let now = keeper.host.now();
            let taken = current.roll_back(&reason, urgency, undo, permit, now);
            taken.map_err(|fault| match (fault, widens) {
                (StepFault::Widens, Some(gainers)) => StepError::Widens {
                    gainers,
                    before: history.before(&model, &environment).map(Promotion::id),
                },
                (fault, _) => fault.into(),
            })
        })
        .await
    }

    /// Takes a step to its end, whether or not anybody still waits for it.
    async fn take(
        &self,
        counts_on: Option<PromotionId>,
        permit: Permit,
        step: impl Fn(&Keeper, &HistoryState, &Permit) -> Result<Event, StepError>
        + Send
        + Sync
        + 'static,
    ) -> Result<Promotion, StepError> {
        let keeper = Arc::clone(&self.keeper);
        let step = Arc::new(step);
        let taken = tokio::spawn(async move { keeper.take(counts_on, permit, step).await });
        taken.await.map_err(|_| abandoned())?
    }
}

impl fmt::Debug for Promotions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promotions")
            .field("access", &self.keeper.cedar)
            .field("journal", &self.keeper.journal)
            .finish_non_exhaustive()
    }
}
