//! The public API of promotions: reading them and taking steps.

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

use crate::effect::{Preview, check_base, gaining_holders, known};
use crate::engine::{PromotionEngine, abandoned};
use crate::error::{OpenError, StepError};
use crate::proposal::{Preconditions, ProposalRequest, check_room, size};

/// Manages the promotions of a journal and puts them in force. Cheap to clone.
///
/// Reload the access configuration through [`Promotions::reload`], which is synchronized with
/// steps.
#[derive(Clone)]
pub struct Promotions {
    engine: Arc<PromotionEngine>,
}

/// The delay before [`Promotions::follow`] retries after a failure: short, and harmless for a
/// store that is down.
const RETRY: Duration = Duration::from_secs(1);

impl Promotions {
    /// Reads the promotions of a journal, adopts existing manifests in newly governed
    /// environments, and puts the promoted manifests in force. A `Ledger` is a journal, and so is
    /// an `Arc<dyn Journal>`.
    ///
    /// # Errors
    /// [`OpenError`]. The access in force has not changed.
    pub async fn open(cedar: Cedar, journal: impl Journal) -> Result<Self, OpenError> {
        let engine = PromotionEngine::open(cedar, Arc::new(journal)).await?;
        Ok(Self { engine })
    }

    /// Reloads the access directory like [`Cedar::reload`], and begins to govern environments
    /// with a new rule.
    ///
    /// # Errors
    /// [`OpenError`]. After [`OpenError::Access`], the access in force has not changed.
    pub async fn reload(&self) -> Result<(), OpenError> {
        self.engine.reload().await
    }

    /// Puts in force what other processes append to the journal. Runs until the future is
    /// dropped. Not needed if only one process manages promotions, as with a ledger. Failures are
    /// logged and retried; the access in force does not change meanwhile.
    pub async fn follow(&self) -> std::convert::Infallible {
        loop {
            if let Err(error) = self.engine.follow().await {
                tracing::warn!(%error, "cannot follow the promotions of other processes; will retry");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// The number of adopted models in force that nobody approved, for each environment with a
    /// promotion rule.
    #[must_use]
    pub fn unapproved(&self) -> BTreeMap<Environment, usize> {
        let counted = self.engine.unapproved.lock();
        let counted = counted.unwrap_or_else(PoisonError::into_inner).clone();
        let rules = self.engine.cedar.promotions().into_iter();
        rules
            .map(|rule| {
                let count = counted.get(&rule.environment).copied();
                (rule.environment, count.unwrap_or_default())
            })
            .collect()
    }

    /// The access configuration that the promotions govern.
    #[must_use]
    pub fn access(&self) -> &Cedar {
        &self.engine.cedar
    }

    /// The promotion rule of an environment.
    ///
    /// # Errors
    /// [`StepError::NoRule`] if there is none.
    pub fn rule(&self, into: &Environment) -> Result<PromotionRule, StepError> {
        self.engine.rule(into)
    }

    /// Reads the history. Steps wait while `read` runs.
    ///
    /// # Errors
    /// [`StepError::Unavailable`] if the journal cannot be read.
    pub async fn with_history<T>(
        &self,
        read: impl FnOnce(&HistoryState) -> T,
    ) -> Result<T, StepError> {
        let replica = self.engine.replica().await?;
        Ok(read(replica.history()))
    }

    /// Returns a promotion.
    ///
    /// # Errors
    /// [`StepError::Unknown`] if there is none by this identifier, [`StepError::Unavailable`] if
    /// the journal cannot be read.
    pub async fn promotion(&self, id: PromotionId) -> Result<Promotion, StepError> {
        let found = self
            .with_history(|history| history.promotion(id).cloned())
            .await?;
        found.ok_or(StepError::Unknown(id))
    }

    /// Computes the current effect of an open promotion, and the terms that an approval would
    /// cover.
    ///
    /// # Errors
    /// [`StepError::Access`] if it could not be put in force at present, [`StepError::NoRule`] if
    /// its environment has no rule any more.
    pub async fn preview(&self, promotion: &Promotion) -> Result<Preview, StepError> {
        let (engine, promotion) = (Arc::clone(&self.engine), promotion.clone());
        let previewed = spawn_blocking(move || engine.preview(&promotion)).await;
        previewed.map_err(|_| abandoned())?
    }

    /// Proposes to promote a model from the source environment of the rule.
    ///
    /// # Errors
    /// The [`StepError`] that prevented the step.
    pub async fn propose(
        &self,
        request: ProposalRequest,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(None, permit, move |engine, history, permit| {
            let into = &request.environment;
            let rule = engine.rule(into)?;
            let (candidate, manifest) = engine.candidate(history, &request, &rule.from)?;
            let id = engine.host.promotion_id();
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
            let Preview { difference, terms } = engine.compute_preview(one)?;
            check_room(history, permit, size(&manifest, &difference))?;
            let proposal = Proposal::new(candidate, plan, manifest, difference).terms(terms);
            Ok(Promotion::propose(
                id,
                &proposal,
                permit,
                engine.host.now(),
            )?)
        })
        .await
    }

    /// Approves a promotion. Fails if it differs from `expected`.
    ///
    /// # Errors
    /// The [`StepError`] that prevented the step.
    pub async fn approve(
        &self,
        id: PromotionId,
        expected: Preconditions,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(Some(id), permit, move |engine, history, permit| {
            let promotion = known(history, id)?;
            let now = engine.host.now();
            let terms = &expected.terms;
            let mut basis = Basis::new(
                expected.candidate(promotion.candidate()),
                Arc::clone(promotion.difference()),
            );
            basis.terms = promotion.terms().cloned();
            // Errors of the life cycle are more specific than those of the checks below.
            promotion.approve(&basis, permit, now)?;
            engine.check_listed(promotion, permit)?;
            promotion.unchanged(&engine.current(history, promotion)?)?;
            check_base(history, promotion)?;
            engine.show(promotion, &mut basis)?;
            let is =
                |terms: &Digest| basis.terms.as_ref().map(|it| &*it.digest) == Some(terms.as_str());
            if !terms.as_ref().is_none_or(is) {
                return Err(StepFault::Changed.into());
            }
            Ok(promotion.approve(&basis, permit, now)?)
        })
        .await
    }

    /// Rejects a promotion.
    ///
    /// # Errors
    /// The [`StepError`] that prevented the step.
    pub async fn reject(
        &self,
        id: PromotionId,
        reason: String,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(None, permit, move |engine, history, permit| {
            let promotion = known(history, id)?;
            let event = promotion.reject(&reason, permit, engine.host.now())?;
            engine.check_listed(promotion, permit)?;
            Ok(event)
        })
        .await
    }

    /// Withdraws a promotion.
    ///
    /// # Errors
    /// The [`StepError`] that prevented the step.
    pub async fn withdraw(&self, id: PromotionId, permit: Permit) -> Result<Promotion, StepError> {
        self.take(None, permit, move |engine, history, permit| {
            let promotion = known(history, id)?;
            Ok(promotion.withdraw(permit, engine.host.now())?)
        })
        .await
    }

    /// Puts a promotion in force. Requires its approvals, or the reason for an emergency.
    ///
    /// # Errors
    /// The [`StepError`] that prevented the step.
    pub async fn promote(
        &self,
        id: PromotionId,
        emergency: Option<String>,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(Some(id), permit, move |engine, history, permit| {
            let promotion = known(history, id)?;
            let current = engine.current(history, promotion)?;
            let (mut basis, now) = (Basis::new(current, Vec::new()), engine.host.now());
            basis.terms = promotion.terms().cloned();
            match &emergency {
                Some(reason) => promotion.promote_in_emergency(&basis, reason, permit, now)?,
                None => promotion.promote(&basis, permit, now)?,
            };
            check_base(history, promotion)?;
            engine.show(promotion, &mut basis)?;
            Ok(match &emergency {
                Some(reason) => promotion.promote_in_emergency(&basis, reason, permit, now)?,
                None => promotion.promote(&basis, permit, now)?,
            })
        })
        .await
    }

    /// Rolls back the last promotion of a model and restores the previous one.
    ///
    /// A rollback that adds access for anybody needs the approvals of the rule. Propose [the
    /// earlier state](ProposalRequest::restoring) instead, or use an
    /// [emergency](Urgency::Emergency), which the record marks permanently.
    ///
    /// # Errors
    /// The [`StepError`] that prevented the step.
    pub async fn roll_back(
        &self,
        model: ModelName,
        environment: Environment,
        reason: String,
        urgency: Urgency,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(None, permit, move |engine, history, permit| {
            let (current, undo) = engine.undo(history, &model, &environment)?;
            let widens = undo
                .needs_approvals
                .then(|| gaining_holders(&undo.difference));
            let now = engine.host.now();
            let taken = current.roll_back(&reason, urgency, undo, permit, now);
            taken.map_err(|fault| match (fault, widens) {
                (StepFault::Widens, Some(gaining_holders)) => StepError::Widens {
                    gaining_holders,
                    before: history.before(&model, &environment).map(Promotion::id),
                },
                (fault, _) => fault.into(),
            })
        })
        .await
    }

    /// Takes a step to its end, even if the caller's future is dropped.
    async fn take(
        &self,
        counts_on: Option<PromotionId>,
        permit: Permit,
        step: impl Fn(&PromotionEngine, &HistoryState, &Permit) -> Result<Event, StepError>
        + Send
        + Sync
        + 'static,
    ) -> Result<Promotion, StepError> {
        let engine = Arc::clone(&self.engine);
        let step = Arc::new(step);
        let taken = tokio::spawn(async move { engine.take(counts_on, permit, step).await });
        taken.await.map_err(|_| abandoned())?
    }
}

impl fmt::Debug for Promotions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promotions")
            .field("access", &self.engine.cedar)
            .field("journal", &self.engine.journal)
            .finish_non_exhaustive()
    }
}
