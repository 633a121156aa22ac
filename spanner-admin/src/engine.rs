//! Manages promotions: takes one step at a time, appends its event, and puts the resulting state
//! in force.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};

use spanner_cedar::{Cedar, Existing, LoadError, PromotionRule};
use spanner_core::journal::{Journal, JournalError};
use spanner_core::promotion::{Event, HistoryState, Promotion, Standing, TermsEntry};
use spanner_core::{Environment, Host, Permit, PromotionId};
use spanner_tower::{Reauthorize, SystemHost};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use crate::effect::{Previews, check_base, stale};
use crate::error::{OpenError, StepError};
use crate::replica::{AppendFault, Replica};

/// The promotions of a journal and the access configuration that they govern.
pub(crate) struct PromotionEngine {
    pub(crate) cedar: Cedar,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) host: Box<dyn Host>,
    /// The promotions. The lock serializes steps.
    pub(crate) replica: Arc<Mutex<Replica>>,
    /// The number of models in force without any approval, by environment.
    pub(crate) unapproved: Lock<BTreeMap<Environment, usize>>,
    pub(crate) previews: Previews,
}

/// Computes the event of a step. Called again if another process appends first.
pub(crate) type Step =
    dyn Fn(&PromotionEngine, &HistoryState, &Permit) -> Result<Event, StepError> + Send + Sync;

type ReplicaGuard = OwnedMutexGuard<Replica>;

/// The number of attempts at a step when other processes append first. Each failed attempt means
/// that another step succeeded, so the limit is reached only if many people act on one journal
/// within a second.
const MAX_ATTEMPTS: usize = 8;

impl PromotionEngine {
    pub(crate) async fn open(
        cedar: Cedar,
        journal: Arc<dyn Journal>,
    ) -> Result<Arc<Self>, OpenError> {
        let replica = Replica::open(Arc::clone(&journal)).await?;
        let engine = Arc::new(Self {
            cedar,
            journal,
            host: Box::new(SystemHost),
            replica: Arc::new(Mutex::new(replica)),
            unapproved: Lock::default(),
            previews: Previews::default(),
        });
        let mut replica = Arc::clone(&engine.replica).lock_owned().await;
        engine.govern_new_environments(&mut replica).await?;
        engine.put_in_force(&mut replica).await?;
        engine.settle_approvals(&mut replica).await?;
        drop(replica);
        Ok(engine)
    }

    /// Reloads the access directory.
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<(), OpenError> {
        let mut replica = Arc::clone(&self.replica).lock_owned().await;
        let cedar = self.cedar.clone();
        let reloaded = spawn_blocking(move || cedar.reload()).await;
        reloaded.map_err(|_| OpenError::Abandoned)??;
        if self.govern_new_environments(&mut replica).await? {
            self.put_in_force(&mut replica).await?;
        }
        self.settle_approvals(&mut replica).await
    }

    /// Waits for events of other processes and puts them in force.
    pub(crate) async fn follow(&self) -> Result<(), OpenError> {
        let cursor = self.replica.lock().await.cursor().clone();
        self.journal.wait(&cursor).await?;
        let mut replica = Arc::clone(&self.replica).lock_owned().await;
        self.catch_up(&mut replica).await
    }

    /// Reads the events that the journal has by now and puts them in force.
    async fn catch_up(&self, replica: &mut Replica) -> Result<(), OpenError> {
        replica.catch_up().await?;
        match replica.is_applied() {
            true => Ok(()),
            false => self.put_in_force(replica).await,
        }
    }

    /// Takes a step. First checks the approvals of the promotion `counts_on`, if the step depends
    /// on them.
    pub(crate) async fn take(
        self: Arc<Self>,
        counts_on: Option<PromotionId>,
        mut permit: Permit,
        step: Arc<Step>,
    ) -> Result<Promotion, StepError> {
        let mut attempts = 0;
        let (mut replica, promotion) = loop {
            let replica = match self.replica().await {
                Ok(replica) => replica,
                Err(error) => return Err(decline(permit, error)),
            };
            let attempt = self.attempt(replica, counts_on, permit, Arc::clone(&step));
            let (replica, back, taken) = attempt.await?;
            permit = back;
            attempts += 1;
            match taken {
                Ok(promotion) => break (replica, promotion),
                Err(StepError::Overtaken(_)) if attempts < MAX_ATTEMPTS => {}
                Err(error) => return Err(decline(permit, error)),
            }
        };
        Reauthorize::done(permit, 200);
        let place = (
            promotion.candidate().model.clone(),
            promotion.plan().into.clone(),
        );
        let beside =
            move |it: &Promotion| (&it.candidate().model, &it.plan().into) == (&place.0, &place.1);
        // The step is taken. Approvals that it voids are checked again before they count.
        if let Err(error) = self.void_changed(&mut replica, beside).await {
            tracing::warn!(%error, "cannot check yet whether approvals are void");
        }
        Ok(promotion)
    }

    async fn attempt(
        self: &Arc<Self>,
        mut replica: ReplicaGuard,
        counts_on: Option<PromotionId>,
        permit: Permit,
        step: Arc<Step>,
    ) -> Result<(ReplicaGuard, Permit, Result<Promotion, StepError>), StepError> {
        if let Some(id) = counts_on
            && let Err(error) = self
                .void_changed(&mut replica, move |it| it.id() == id)
                .await
        {
            let error = match error {
                OpenError::Journal(fault @ JournalError::Overtaken { .. }) => {
                    StepError::Overtaken(fault)
                }
                error => StepError::Unavailable(error.to_string()),
            };
            return Ok((replica, permit, Err(error)));
        }
        let engine = Arc::clone(self);
        let worked = spawn_blocking(move || {
            let event = step(&engine, replica.history(), &permit);
            (replica, permit, event)
        });
        let (mut replica, permit, event) = worked.await.map_err(|_| abandoned())?;
        let taken = match event {
            Ok(event) => self.append_and_apply(&mut replica, event).await,
            Err(error) => Err(error),
        };
        Ok((replica, permit, taken))
    }

    /// Appends an event and puts its effect in force.
    async fn append_and_apply(
        &self,
        replica: &mut Replica,
        event: Event,
    ) -> Result<Promotion, StepError> {
        let after = replica.append(event).await?.clone();
        let put = self.put_in_force(replica).await;
        put.map_err(|error| StepError::Unavailable(error.to_string()))?;
        Ok(after)
    }

    /// The promotions, up to date with the journal.
    pub(crate) async fn replica(&self) -> Result<ReplicaGuard, StepError> {
        let mut replica = Arc::clone(&self.replica).lock_owned().await;
        let caught_up = self.catch_up(&mut replica).await;
        caught_up.map_err(|error| StepError::Unavailable(error.to_string()))?;
        Ok(replica)
    }

    /// Voids all approvals that no longer cover the current effect. Retries if other processes
    /// append.
    async fn settle_approvals(self: &Arc<Self>, replica: &mut Replica) -> Result<(), OpenError> {
        for _ in 1..MAX_ATTEMPTS {
            match self.void_changed(replica, |_| true).await {
                Err(OpenError::Journal(JournalError::Overtaken { .. })) => {
                    replica.catch_up().await?
                }
                settled => return settled,
            }
        }
        self.void_changed(replica, |_| true).await
    }

    /// Voids the approvals of the selected open promotions that no longer cover the current
    /// effect.
    async fn void_changed(
        self: &Arc<Self>,
        replica: &mut Replica,
        which: impl Fn(&Promotion) -> bool + Send,
    ) -> Result<(), OpenError> {
        let open = replica.history().open();
        let approved = open.filter(|it| !it.approvals().is_empty() && which(it));
        let ids: Vec<PromotionId> = approved.map(Promotion::id).collect();
        for id in ids {
            let history = replica.history();
            let Some(promotion) = history.promotion(id) else {
                continue;
            };
            let outdated = self.outdated(history, promotion);
            let preview = match outdated {
                Some(_) => None,
                None => {
                    let (engine, promotion) = (Arc::clone(self), promotion.clone());
                    let previewed = spawn_blocking(move || engine.preview(&promotion)).await;
                    Some(previewed.map_err(|_| OpenError::Abandoned)?)
                }
            };
            let Some((reason, terms)) = outdated.or_else(|| stale(promotion, preview)) else {
                continue;
            };
            let event = promotion.void_approvals(reason, terms, self.host.now());
            let event = event.map_err(AppendFault::Step)?;
            replica.append(event).await?;
        }
        Ok(())
    }

    /// Why the approved promotion can no longer take effect, regardless of its terms.
    fn outdated(
        &self,
        history: &HistoryState,
        promotion: &Promotion,
    ) -> Option<(String, Option<TermsEntry>)> {
        let terms = || promotion.terms().cloned();
        if check_base(history, promotion).is_err() {
            let reason = "another promotion has come into force in its place".to_owned();
            return Some((reason, terms()));
        }
        let current = self.current(history, promotion).ok();
        if current.as_ref() != Some(promotion.candidate()) {
            let from = &promotion.plan().from;
            let reason = format!("the model or its manifest in `{from}` changed");
            return Some((reason, terms()));
        }
        None
    }

    /// Begins to govern every environment that has a rule. Returns whether there is a new one.
    async fn govern_new_environments(&self, replica: &mut Replica) -> Result<bool, OpenError> {
        let (mut is_new, mut overtaken) = (false, 0);
        loop {
            let rules = self.cedar.promotions().into_iter();
            let new = rules
                .into_iter()
                .find(|rule| !replica.governs(&rule.environment));
            let Some(rule) = new else {
                return Ok(is_new);
            };
            is_new = true;
            match self.govern(replica, &rule).await {
                Ok(()) => {}
                Err(OpenError::Journal(JournalError::Overtaken { .. }))
                    if overtaken < MAX_ATTEMPTS =>
                {
                    overtaken += 1;
                    replica.catch_up().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn govern(&self, replica: &mut Replica, rule: &PromotionRule) -> Result<(), OpenError> {
        let environment = rule.environment.as_str();
        match rule.existing {
            Existing::Adopt => {
                let manifests = self.adopt(replica, &rule.environment).await?;
                tracing::warn!(
                    environment,
                    manifests,
                    "this ledger has no promotions into the environment: the manifests in the files are adopted without approval; if an earlier ledger has promotions, stop and restore it, or set `existing = \"refuse\"`"
                );
            }
            _ => tracing::warn!(
                environment,
                "this ledger has no promotions into the environment: no manifest is in force there until it is promoted (`existing = \"refuse\"`)"
            ),
        }
        Ok(replica.begin(rule).await?)
    }

    /// Adopts the manifests that the files put in force. Returns their number.
    async fn adopt(&self, replica: &mut Replica, into: &Environment) -> Result<usize, OpenError> {
        let mut count = 0;
        for (model, manifest) in self.cedar.claiming(into) {
            if replica.history().current(&model, into).is_some() {
                continue;
            }
            let (id, now) = (self.host.promotion_id(), self.host.now());
            let event = Promotion::adopt(id, model.clone(), &manifest, into, now);
            match replica.append(event).await {
                Ok(_) => count += 1,
                Err(AppendFault::Journal(JournalError::TooLarge { bytes, limit })) => {
                    return Err(OpenError::TooLarge {
                        model,
                        bytes,
                        limit,
                    });
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(count)
    }

    async fn put_in_force(&self, replica: &mut Replica) -> Result<(), OpenError> {
        let mut unapproved: BTreeMap<Environment, usize> = BTreeMap::new();
        let in_force = replica.history().in_force();
        for adopted in in_force.filter(|it| it.standing() == Standing::Adopted) {
            *unapproved.entry(adopted.plan().into.clone()).or_default() += 1;
        }
        let counted = self.unapproved.lock();
        *counted.unwrap_or_else(PoisonError::into_inner) = unapproved;
        let (cedar, kept) = (self.cedar.clone(), replica.promoted_manifests());
        if *cedar.kept() != kept {
            let put: Result<Result<(), LoadError>, _> =
                spawn_blocking(move || cedar.keep(kept)).await;
            put.map_err(|_| OpenError::Abandoned)??;
        }
        replica.set_applied();
        Ok(())
    }
}

/// Completes the record of a step that failed.
fn decline(permit: Permit, error: StepError) -> StepError {
    Reauthorize::declined(permit, error.status(), error.code());
    error
}

pub(crate) fn abandoned() -> StepError {
    StepError::Unavailable("the step was abandoned".to_owned())
}

impl From<AppendFault> for OpenError {
    fn from(fault: AppendFault) -> Self {
        match fault {
            AppendFault::Step(fault) => Self::Step(fault),
            AppendFault::Journal(fault) => Self::Journal(fault),
        }
    }
}

impl From<AppendFault> for StepError {
    fn from(fault: AppendFault) -> Self {
        match fault {
            AppendFault::Step(fault) => Self::Fault(fault),
            AppendFault::Journal(JournalError::TooLarge { bytes, limit }) => {
                Self::TooLarge { bytes, limit }
            }
            AppendFault::Journal(fault @ JournalError::Overtaken { .. }) => Self::Overtaken(fault),
            AppendFault::Journal(fault) => Self::Record(fault),
        }
    }
}
