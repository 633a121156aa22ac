//! The book of promotions: the ledger's events, and what they put in force.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex as Lock, PoisonError};

use spanner_cedar::{Cedar, Existing, LoadError, Promoted, PromotedManifests, PromotionRule};
use spanner_core::promotion::{
    Candidate, ChangeEntry, Digest, Event, Fault, History, Plan, Promotion, Proposal, Shown,
    Standing, TermsEntry, Undo,
};
use spanner_core::record::PrincipalEntry;
use spanner_core::{Environment, Host, ModelName, Permit, PromotionId, Revision, SinkFault};
use spanner_ledger::{Ledger, MAX_ENTRY_BYTES};
use spanner_tower::{Reauthorize, SystemHost};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use crate::error::{OpenError, StepError};
use crate::journal::{self, Told};

/// Keeps the promotions of a ledger, and puts in force what they say. Cheap to clone.
///
/// Reload the access through [`Promotions::reload`], so that a change of it and a promotion
/// cannot get in each other's way.
#[derive(Clone)]
pub struct Promotions {
    shared: Arc<Shared>,
}

struct Shared {
    cedar: Cedar,
    ledger: Ledger,
    host: Box<dyn Host>,
    /// One step at a time.
    book: Arc<Mutex<Book>>,
    /// How many models are in force that nobody approved, by environment.
    unapproved: Lock<BTreeMap<Environment, usize>>,
    /// What open promotions would change, each with the digest of the access that it is of.
    previews: Lock<HashMap<PromotionId, (Arc<str>, Preview)>>,
}

/// What was told so far.
struct Book {
    told: Told,
    /// Whether the ledger may have more, since an event was not acknowledged.
    is_stale: bool,
}

/// What a promotion would change in what is in force now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// Who would gain and lose what.
    pub difference: Arc<[ChangeEntry]>,
    /// What an approval would cover besides the candidate.
    pub terms: TermsEntry,
}

/// What is to be proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proposed {
    /// The model.
    pub model: ModelName,
    /// Where it is to go.
    pub environment: Environment,
    /// Its revision; `None` to move its access alone.
    pub revision: Option<Revision>,
    /// The digest of what the revision is, if it is known.
    pub content: Option<Digest>,
    /// The earlier promotion that is to be in force again, instead of what the environment
    /// before has.
    pub restores: Option<PromotionId>,
}

/// What somebody who approves says was shown. What is left out is taken as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claimed {
    /// The revision.
    pub revision: Option<Revision>,
    /// The digest of what it is.
    pub content: Option<Digest>,
    /// The digest of the manifest.
    pub manifest: Option<Digest>,
    /// The digest of the terms: who gains and loses what, and what decides it.
    pub terms: Option<Digest>,
}

impl Proposed {
    /// A model's access, on its way into an environment.
    #[must_use]
    pub const fn new(model: ModelName, environment: Environment) -> Self {
        Self {
            model,
            environment,
            revision: None,
            content: None,
            restores: None,
        }
    }

    /// What was in force before, by the promotion that put it there.
    #[must_use]
    pub fn restoring(self, promotion: PromotionId) -> Self {
        Self {
            restores: Some(promotion),
            ..self
        }
    }

    /// With this revision, and the digest of what it is, if that is known.
    #[must_use]
    pub fn revision(self, revision: Revision, content: Option<Digest>) -> Self {
        Self {
            revision: Some(revision),
            content,
            ..self
        }
    }
}

/// The largest manifest that can be promoted, in bytes. Its event must fit into an entry of the
/// ledger as well, with the difference that it makes.
pub(crate) const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// What the body of an event may take of an entry of the ledger; the rest says what it is.
const MAX_EVENT_BYTES: usize = MAX_ENTRY_BYTES - 1024;

/// Open promotions of one proposer, and of all: more than any team was seen to have under way.
/// Each is kept in memory, with its manifest and its difference, until it is decided.
const MAX_OPEN_EACH: usize = 100;
const MAX_OPEN: usize = 500;

/// The manifests and differences of the open promotions of one proposer, and of all, in bytes.
const MAX_OPEN_BYTES_EACH: usize = 8 * 1024 * 1024;
const MAX_OPEN_BYTES: usize = 32 * 1024 * 1024;

impl Promotions {
    /// Reads what a ledger says of promotions, adopts what is in force where nothing was said
    /// yet, and puts in force what was promoted.
    ///
    /// # Errors
    /// [`OpenError`]; the access is in force as it was.
    pub async fn open(cedar: Cedar, ledger: Ledger) -> Result<Self, OpenError> {
        let told = read(&ledger).await?;
        let book = Book {
            told,
            is_stale: false,
        };
        let shared = Arc::new(Shared {
            cedar,
            ledger,
            host: Box::new(SystemHost),
            book: Arc::new(Mutex::new(book)),
            unapproved: Lock::default(),
            previews: Lock::default(),
        });
        let mut book = Arc::clone(&shared.book).lock_owned().await;
        shared.begin_keeping(&mut book).await?;
        shared.put_in_force(&book.told).await?;
        Arc::clone(&shared)
            .void_changed(&mut book, |_| true)
            .await?;
        drop(book);
        Ok(Self { shared })
    }

    /// Reads the access directory again, as [`Cedar::reload`] does, and begins to keep
    /// promotions where it has a new rule for them.
    ///
    /// # Errors
    /// [`OpenError`]; with [`OpenError::Access`] what was in force stays.
    pub async fn reload(&self) -> Result<(), OpenError> {
        let shared = Arc::clone(&self.shared);
        let mut book = Arc::clone(&shared.book).lock_owned().await;
        let cedar = shared.cedar.clone();
        let reloaded = spawn_blocking(move || cedar.reload()).await;
        reloaded.map_err(|_| OpenError::Abandoned)??;
        if shared.begin_keeping(&mut book).await? {
            shared.put_in_force(&book.told).await?;
        }
        Arc::clone(&shared).void_changed(&mut book, |_| true).await
    }

    /// How many models are in force that were adopted and that nobody has approved, for each
    /// environment that the organization has a rule of promotion for.
    #[must_use]
    pub fn unapproved(&self) -> BTreeMap<Environment, usize> {
        let counted = self.shared.unapproved.lock();
        let counted = counted.unwrap_or_else(PoisonError::into_inner).clone();
        let rules = self.shared.cedar.promotions().into_iter();
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
        &self.shared.cedar
    }

    /// The rule of an environment.
    ///
    /// # Errors
    /// [`StepError::NoRule`].
    pub fn rule(&self, into: &Environment) -> Result<PromotionRule, StepError> {
        self.shared.rule(into)
    }

    /// Looks something up in the history. Steps wait meanwhile.
    ///
    /// # Errors
    /// [`StepError::Unavailable`] if the ledger had to be read again, and could not be.
    pub async fn look<T>(&self, up: impl FnOnce(&History) -> T) -> Result<T, StepError> {
        let book = self.shared.book().await?;
        Ok(up(&book.told.history))
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
        let (shared, promotion) = (Arc::clone(&self.shared), promotion.clone());
        let previewed = spawn_blocking(move || shared.preview(&promotion)).await;
        previewed.map_err(|_| abandoned())?
    }

    /// Proposes a model, as it is in force in the environment that comes before.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn propose(&self, what: Proposed, permit: Permit) -> Result<Promotion, StepError> {
        self.take(None, permit, move |shared, history, permit| {
            let into = &what.environment;
            let rule = shared.rule(into)?;
            let (candidate, manifest) = shared.candidate(history, &what, &rule.from)?;
            let id = shared.host.promotion_id();
            let base = history.current(&what.model, into).map(Promotion::id);
            let plan = Plan::new(rule.from, into.clone(), rule.approvals)
                .instead_of(base)
                .restoring(what.restores);
            let one = Promoted::new(id, what.model.clone(), into.clone(), Arc::clone(&manifest));
            let Preview { difference, terms } = shared.work_out(one)?;
            check_open(history, permit, size(&manifest, &difference))?;
            let proposal = Proposal::new(candidate, plan, manifest, difference).terms(terms);
            Ok(Promotion::propose(
                id,
                &proposal,
                permit,
                shared.host.now(),
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
        claimed: Claimed,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(Some(id), permit, move |shared, history, permit| {
            let promotion = known(history, id)?;
            let now = shared.host.now();
            let terms = claimed.terms.clone();
            let mut shown = Shown::new(
                claimed.over(promotion.candidate()),
                Arc::clone(promotion.difference()),
            );
            shown.terms = promotion.terms().cloned();
            // What the life cycle objects to says more than what comes after.
            promotion.approve(&shown, permit, now)?;
            shared.check_listed(promotion, permit)?;
            promotion.unchanged(&shared.current(history, promotion)?)?;
            check_base(history, promotion)?;
            shared.show(promotion, &mut shown)?;
            let is =
                |terms: &Digest| shown.terms.as_ref().map(|it| &*it.digest) == Some(terms.as_str());
            if !terms.as_ref().is_none_or(is) {
                return Err(Fault::Changed.into());
            }
            Ok(promotion.approve(&shown, permit, now)?)
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
        self.take(None, permit, move |shared, history, permit| {
            let promotion = known(history, id)?;
            let event = promotion.reject(&reason, permit, shared.host.now())?;
            shared.check_listed(promotion, permit)?;
            Ok(event)
        })
        .await
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn withdraw(&self, id: PromotionId, permit: Permit) -> Result<Promotion, StepError> {
        self.take(None, permit, move |shared, history, permit| {
            let promotion = known(history, id)?;
            Ok(promotion.withdraw(permit, shared.host.now())?)
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
        self.take(Some(id), permit, move |shared, history, permit| {
            let promotion = known(history, id)?;
            let current = shared.current(history, promotion)?;
            let (mut shown, now) = (Shown::new(current, Vec::new()), shared.host.now());
            shown.terms = promotion.terms().cloned();
            match &emergency {
                Some(reason) => promotion.promote_in_emergency(&shown, reason, permit, now)?,
                None => promotion.promote(&shown, permit, now)?,
            };
            check_base(history, promotion)?;
            shared.show(promotion, &mut shown)?;
            Ok(match &emergency {
                Some(reason) => promotion.promote_in_emergency(&shown, reason, permit, now)?,
                None => promotion.promote(&shown, permit, now)?,
            })
        })
        .await
    }

    /// Ends what was promoted last for a model; what was in force before is again. Where that
    /// gives anybody more than they have, it takes the approvals of the rule: propose
    /// [what was there before](Proposed::restoring), or [do it in an
    /// emergency](Self::roll_back_in_emergency).
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn roll_back(
        &self,
        model: ModelName,
        environment: Environment,
        reason: String,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(None, permit, move |shared, history, permit| {
            let (current, undo) = shared.undo(history, &model, &environment)?;
            let widens = undo.needs_approvals.then(|| gainers(&undo.difference));
            let taken = current.roll_back(&reason, undo, permit, shared.host.now());
            taken.map_err(|fault| match (fault, widens) {
                (Fault::Widens, Some(gainers)) => StepError::Widens {
                    gainers,
                    before: history.before(&model, &environment).map(Promotion::id),
                },
                (fault, _) => fault.into(),
            })
        })
        .await
    }

    /// The same, whatever that gives to whom: with the reason for not waiting for approvals,
    /// which is marked for ever.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn roll_back_in_emergency(
        &self,
        model: ModelName,
        environment: Environment,
        reason: String,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(None, permit, move |shared, history, permit| {
            let (current, undo) = shared.undo(history, &model, &environment)?;
            let now = shared.host.now();
            Ok(current.roll_back_in_emergency(&reason, undo, permit, now)?)
        })
        .await
    }

    /// Takes a step to its end, whoever waits for it: what the ledger has is in force. The
    /// approvals of the promotion that it counts on are looked at first.
    async fn take(
        &self,
        counts_on: Option<PromotionId>,
        permit: Permit,
        step: impl FnOnce(&Shared, &History, &Permit) -> Result<Event, StepError> + Send + 'static,
    ) -> Result<Promotion, StepError> {
        let shared = Arc::clone(&self.shared);
        let taken = tokio::spawn(async move { shared.take(counts_on, permit, step).await });
        taken.await.map_err(|_| abandoned())?
    }
}

impl Shared {
    async fn take(
        self: Arc<Self>,
        counts_on: Option<PromotionId>,
        permit: Permit,
        step: impl FnOnce(&Self, &History, &Permit) -> Result<Event, StepError> + Send + 'static,
    ) -> Result<Promotion, StepError> {
        let mut book = match self.book().await {
            Ok(book) => book,
            Err(error) => return Err(decline(permit, error)),
        };
        if let Some(id) = counts_on {
            let voided = Arc::clone(&self).void_changed(&mut book, move |it| it.id() == id);
            if let Err(error) = voided.await {
                let error = StepError::Unavailable(error.to_string());
                return Err(decline(permit, error));
            }
        }
        let shared = Arc::clone(&self);
        let worked = spawn_blocking(move || {
            let event = step(&shared, &book.told.history, &permit);
            (book, permit, event)
        });
        let (mut book, permit, event) = worked.await.map_err(|_| abandoned())?;
        let taken = match event {
            Ok(event) => self.enter(&mut book, event).await,
            Err(error) => Err(error),
        };
        match taken {
            Ok(promotion) => {
                Reauthorize::done(permit, 200);
                let place = (
                    promotion.candidate().model.clone(),
                    promotion.plan().into.clone(),
                );
                let beside = move |it: &Promotion| {
                    (&it.candidate().model, &it.plan().into) == (&place.0, &place.1)
                };
                // The step is taken; what it makes void is looked at again before it counts.
                if let Err(error) = self.void_changed(&mut book, beside).await {
                    tracing::warn!(%error, "whether approvals are void is not found out yet");
                }
                Ok(promotion)
            }
            Err(error) => Err(decline(permit, error)),
        }
    }

    /// Notes which approvals of open promotions are void, since what they covered is no longer
    /// what would happen.
    async fn void_changed(
        self: Arc<Self>,
        book: &mut OwnedMutexGuard<Book>,
        which: impl Fn(&Promotion) -> bool + Send,
    ) -> Result<(), OpenError> {
        let open = book.told.history.open();
        let approved = open.filter(|it| !it.approvals().is_empty() && which(it));
        let ids: Vec<PromotionId> = approved.map(Promotion::id).collect();
        for id in ids {
            let history = &book.told.history;
            let Some(promotion) = history.promotion(id) else {
                continue;
            };
            let outdated = self.outdated(history, promotion);
            let preview = match outdated {
                Some(_) => None,
                None => {
                    let (shared, promotion) = (Arc::clone(&self), promotion.clone());
                    let previewed = spawn_blocking(move || shared.preview(&promotion)).await;
                    Some(previewed.map_err(|_| OpenError::Abandoned)?)
                }
            };
            let Some((reason, terms)) = outdated.or_else(|| stale(promotion, preview)) else {
                continue;
            };
            let event = promotion.void_approvals(reason, terms, self.host.now());
            let sequence = 0;
            let event = event.map_err(|fault| OpenError::Event { sequence, fault })?;
            if let Err(fault) = self.write(&event).await {
                book.is_stale = true;
                return Err(fault.into());
            }
            let taken = book.told.history.take(event);
            taken.map_err(|fault| OpenError::Event { sequence, fault })?;
        }
        Ok(())
    }

    /// Why what was approved cannot be promoted any more, whatever the terms are.
    fn outdated(
        &self,
        history: &History,
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

    /// Writes an event, and puts in force what it says.
    async fn enter(&self, book: &mut Book, event: Event) -> Result<Promotion, StepError> {
        book.told.history.check(&event)?;
        check_size(&event)?;
        if let Err(fault) = self.write(&event).await {
            book.is_stale = true;
            return Err(StepError::Record(fault));
        }
        let moves = event.step.puts_in_force();
        let after = book.told.history.take(event)?.clone();
        if moves {
            let put = self.put_in_force(&book.told).await;
            put.map_err(|error| StepError::Unavailable(error.to_string()))?;
        }
        Ok(after)
    }

    async fn write(&self, event: &Event) -> Result<(), SinkFault> {
        let body = serde_json::to_value(event).map_err(|error| SinkFault::NotDurable {
            reason: error.to_string(),
        })?;
        self.ledger.event(&journal::word(&event.step), body)?.await
    }

    /// The book, with everything that the ledger has.
    async fn book(&self) -> Result<OwnedMutexGuard<Book>, StepError> {
        let mut book = Arc::clone(&self.book).lock_owned().await;
        if book.is_stale {
            let unavailable = |error: OpenError| StepError::Unavailable(error.to_string());
            book.told = read(&self.ledger).await.map_err(unavailable)?;
            self.put_in_force(&book.told).await.map_err(unavailable)?;
            book.is_stale = false;
        }
        Ok(book)
    }

    /// Begins to keep promotions wherever there is a rule. Whether it is somewhere new.
    async fn begin_keeping(&self, book: &mut Book) -> Result<bool, OpenError> {
        let rules = self.cedar.promotions().into_iter();
        let new: Vec<PromotionRule> = rules
            .filter(|rule| !book.told.kept.contains(&rule.environment))
            .collect();
        for rule in &new {
            let environment = rule.environment.as_str();
            match rule.existing {
                Existing::Adopt => {
                    let history = &mut book.told.history;
                    let manifests = self.adopt(history, &rule.environment).await?;
                    tracing::warn!(
                        environment,
                        manifests,
                        "this ledger has no promotions into the environment: what the files say is adopted, and nobody approved it; if promotions were kept before, stop and bring their ledger back, or set `existing = \"refuse\"`"
                    );
                }
                _ => tracing::warn!(
                    environment,
                    "this ledger has no promotions into the environment: no manifest is in force there until it is promoted (`existing = \"refuse\"`)"
                ),
            }
            let kept = journal::Kept {
                environment: rule.environment.to_string(),
                existing: rule.existing.to_string(),
            };
            let body = serde_json::to_value(kept).unwrap_or_default();
            self.ledger.event(journal::KEPT, body)?.await?;
            book.told.kept.insert(rule.environment.clone());
        }
        Ok(!new.is_empty())
    }

    /// Keeps what the files have in force; returns how many manifests that are.
    async fn adopt(&self, history: &mut History, into: &Environment) -> Result<usize, OpenError> {
        let mut count = 0;
        for (model, manifest) in self.cedar.claiming(into) {
            if history.current(&model, into).is_some() {
                continue;
            }
            let (id, now) = (self.host.promotion_id(), self.host.now());
            let event = Promotion::adopt(id, model.clone(), &manifest, into, now);
            if let Err(StepError::TooLarge { bytes, limit }) = check_size(&event) {
                return Err(OpenError::TooLarge {
                    model,
                    bytes,
                    limit,
                });
            }
            self.write(&event).await?;
            count += 1;
            let sequence = 0;
            let taken = history.take(event);
            taken.map_err(|fault| OpenError::Event { sequence, fault })?;
        }
        Ok(count)
    }

    async fn put_in_force(&self, told: &Told) -> Result<(), OpenError> {
        let mut unapproved: BTreeMap<Environment, usize> = BTreeMap::new();
        let in_force = told.history.in_force();
        for adopted in in_force.filter(|it| it.standing() == Standing::Adopted) {
            *unapproved.entry(adopted.plan().into.clone()).or_default() += 1;
        }
        let counted = self.unapproved.lock();
        *counted.unwrap_or_else(PoisonError::into_inner) = unapproved;
        let (cedar, kept) = (
            self.cedar.clone(),
            PromotedManifests::of(&told.history, told.kept.clone()),
        );
        if *cedar.kept() == kept {
            return Ok(());
        }
        let put: Result<Result<(), LoadError>, _> = spawn_blocking(move || cedar.keep(kept)).await;
        Ok(put.map_err(|_| OpenError::Abandoned)??)
    }

    fn rule(&self, into: &Environment) -> Result<PromotionRule, StepError> {
        let rule = self.cedar.promotion(into);
        rule.ok_or_else(|| StepError::NoRule(into.clone()))
    }

    /// What would be promoted: what is in force where it comes from, or what was in force before.
    fn candidate(
        &self,
        history: &History,
        what: &Proposed,
        from: &Environment,
    ) -> Result<(Candidate, Arc<str>), StepError> {
        if let Some(id) = what.restores {
            let mut stack = history.stack(&what.model, &what.environment).skip(1);
            let earlier = stack.find(|it| it.id() == id);
            let found = earlier.and_then(|it| Some((it.candidate().clone(), it.manifest()?)));
            let (candidate, manifest) = found.ok_or(StepError::NotRestorable(id))?;
            return Ok((candidate, Arc::clone(manifest)));
        }
        let manifest = self.manifest(&what.model, from)?;
        let digest = Digest::of(manifest.as_bytes());
        let mut candidate = Candidate::new(what.model.clone(), digest);
        if let Some(revision) = &what.revision {
            check_revision(history, &what.model, from, revision)?;
            candidate = candidate.revision(revision.clone(), what.content.clone());
        }
        Ok((candidate, manifest))
    }

    /// The manifest that would be promoted.
    fn manifest(&self, model: &ModelName, from: &Environment) -> Result<Arc<str>, StepError> {
        let manifest = self.cedar.manifest(model, from);
        let manifest = manifest.ok_or_else(|| StepError::NoManifest {
            model: model.clone(),
            environment: from.clone(),
        })?;
        match manifest.len() {
            0..=MAX_MANIFEST_BYTES => Ok(manifest),
            bytes => Err(StepError::ManifestTooLarge {
                bytes,
                limit: MAX_MANIFEST_BYTES,
            }),
        }
    }

    /// What a promotion is of, as it is there now.
    fn current(&self, history: &History, promotion: &Promotion) -> Result<Candidate, StepError> {
        let (candidate, from) = (promotion.candidate(), &promotion.plan().from);
        if promotion.plan().restores.is_some() {
            // What was in force is in the ledger and does not change.
            return Ok(candidate.clone());
        }
        let manifest = self.cedar.manifest(&candidate.model, from);
        let manifest = manifest.ok_or(Fault::Changed)?;
        let mut current = candidate.clone();
        current.manifest = Digest::of(manifest.as_bytes());
        if let Some(revision) = &candidate.revision {
            let checked = check_revision(history, &candidate.model, from, revision);
            checked.map_err(|_| Fault::Changed)?;
        }
        Ok(current)
    }

    /// Who signs is listed by the organization, whatever a manifest grants.
    fn check_listed(&self, promotion: &Promotion, permit: &Permit) -> Result<(), StepError> {
        let into = &promotion.plan().into;
        let rule = self.rule(into)?;
        let listed = permit.caller().map(|caller| rule.names(caller.subject()));
        match listed {
            Some(true) => Ok(()),
            _ => Err(StepError::NotListed(into.clone())),
        }
    }

    /// What a promotion would change now. It must come from where the rule says by now.
    fn preview(&self, promotion: &Promotion) -> Result<Preview, StepError> {
        let plan = promotion.plan();
        let rule = self.rule(&plan.into)?;
        if rule.from != plan.from {
            return Err(StepError::From {
                into: plan.into.clone(),
                from: rule.from,
                asked: plan.from.clone(),
            });
        }
        let digest = self.cedar.digest();
        let known = self.previews.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some((of, preview)) = known.get(&promotion.id())
            && *of == digest
        {
            return Ok(preview.clone());
        }
        drop(known);
        let one = promoted(promotion).ok_or_else(|| Fault::Standing(promotion.standing()))?;
        let preview = self.work_out(one)?;
        if promotion.standing() == Standing::Open && self.cedar.digest() == digest {
            let known = self.previews.lock();
            let mut known = known.unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, (of, _)| *of == digest);
            known.insert(promotion.id(), (digest, preview.clone()));
        }
        Ok(preview)
    }

    /// What it would change if this were in force.
    fn work_out(&self, one: Promoted) -> Result<Preview, StepError> {
        let (model, environment) = (one.model.clone(), one.environment.clone());
        let preview = self.cedar.preview_of(&model, &environment, Some(one))?;
        let difference = difference(&self.cedar, &preview, &model, &environment);
        let terms = self
            .cedar
            .terms(&preview, &model, &environment, &difference);
        let terms = terms.ok_or(StepError::NoRule(environment))?;
        Ok(Preview { difference, terms })
    }

    /// Puts before whoever takes a step what it would change now.
    fn show(&self, promotion: &Promotion, shown: &mut Shown) -> Result<(), StepError> {
        let Preview { difference, terms } = self.preview(promotion)?;
        shown.difference = difference;
        shown.terms = Some(terms);
        Ok(())
    }

    /// What was promoted last, and what it would change to have back what was before.
    fn undo<'h>(
        &self,
        history: &'h History,
        model: &ModelName,
        environment: &Environment,
    ) -> Result<(&'h Promotion, Undo), StepError> {
        let rule = self.rule(environment)?;
        let current = history.current(model, environment);
        let current = current.ok_or_else(|| StepError::NothingPromoted {
            model: model.clone(),
            environment: environment.clone(),
        })?;
        let before = history.before(model, environment).and_then(promoted);
        let preview = self.cedar.preview_again(model, environment, before)?;
        let difference = difference(&self.cedar, &preview, model, environment);
        let widens = difference.iter().any(|change| !change.gains.is_empty())
            || self.cedar.grants_more(&preview, model, environment);
        Ok((current, Undo::new(difference, widens && rule.approvals > 0)))
    }
}

/// Who gains and loses what on a model.
fn difference(
    before: &Cedar,
    after: &Cedar,
    model: &ModelName,
    environment: &Environment,
) -> Arc<[ChangeEntry]> {
    let changes = before.diff_on(after, model, environment);
    let entries = changes
        .into_iter()
        .map(|it| ChangeEntry::new(it.holder, it.gains, it.loses).only(it.kind));
    entries.collect()
}

/// Why approvals are void, if what they covered is not what would happen now.
fn stale(
    promotion: &Promotion,
    preview: Option<Result<Preview, StepError>>,
) -> Option<(String, Option<TermsEntry>)> {
    match preview? {
        Ok(preview) if promotion.covers(Some(&preview.terms)) => None,
        Ok(Preview { terms, .. }) => {
            let before = promotion.terms();
            let reason = match before {
                Some(before) => terms.changes_since(before).join("; "),
                None => "it was not recorded what they covered".to_owned(),
            };
            Some((reason, Some(terms)))
        }
        // It may be so again once that is mended, and is approved anew then.
        Err(error) => Some((plain(&error.to_string()), None)),
    }
}

/// An error in one line of bounded length.
fn plain(text: &str) -> String {
    const MOST: usize = 300;
    text.replace(char::is_control, " ")
        .chars()
        .take(MOST)
        .collect()
}

/// Who would gain something, as far as that fits into a sentence.
fn gainers(difference: &[ChangeEntry]) -> String {
    const MOST: usize = 5;
    let gaining = difference.iter().filter(|change| !change.gains.is_empty());
    let names: Vec<&str> = gaining.map(|change| &*change.holder).collect();
    let more = names.len().saturating_sub(MOST);
    let mut text = names
        .iter()
        .take(MOST)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// How much memory a proposal takes, about.
fn size(manifest: &str, difference: &[ChangeEntry]) -> usize {
    let changes = difference.iter();
    let changes = changes.map(|it| it.holder.len() + 64 + it.gains.len() + it.loses.len());
    manifest.len() + changes.sum::<usize>()
}

/// Whether there is room for one more open promotion of this size.
fn check_open(history: &History, permit: &Permit, bytes: usize) -> Result<(), StepError> {
    let proposer = permit
        .caller()
        .map(|caller| PrincipalEntry::from(&caller.subject().principal));
    let (mut own, mut all) = ((1, bytes), (1, bytes));
    for open in history.open() {
        let size = size(
            open.manifest().map(|it| &**it).unwrap_or_default(),
            open.difference(),
        );
        all = (all.0 + 1, all.1 + size);
        if open.proposer() == proposer.as_ref() {
            own = (own.0 + 1, own.1 + size);
        }
    }
    let over = |(count, bytes), most, most_bytes| count > most || bytes > most_bytes;
    if over(own, MAX_OPEN_EACH, MAX_OPEN_BYTES_EACH) {
        return Err(StepError::TooManyOpen {
            whose: "that you proposed",
            most: MAX_OPEN_EACH,
            bytes: MAX_OPEN_BYTES_EACH,
        });
    }
    match over(all, MAX_OPEN, MAX_OPEN_BYTES) {
        true => Err(StepError::TooManyOpen {
            whose: "in all",
            most: MAX_OPEN,
            bytes: MAX_OPEN_BYTES,
        }),
        false => Ok(()),
    }
}

/// Whether an event fits into an entry of the ledger.
fn check_size(event: &Event) -> Result<(), StepError> {
    let bytes = serde_json::to_string(event).map_or(usize::MAX, |text| text.len());
    match bytes {
        0..=MAX_EVENT_BYTES => Ok(()),
        _ => Err(StepError::TooLarge {
            bytes,
            limit: MAX_EVENT_BYTES,
        }),
    }
}

/// Ends the record of a step that is not taken.
fn decline(permit: Permit, error: StepError) -> StepError {
    Reauthorize::declined(permit, error.status(), error.code());
    error
}

impl Claimed {
    /// What was shown, by somebody who says only this much of it.
    fn over(self, candidate: &Candidate) -> Candidate {
        let mut shown = candidate.clone();
        shown.revision = self.revision.or(shown.revision);
        shown.content = self.content.or(shown.content);
        shown.manifest = self.manifest.unwrap_or(shown.manifest);
        shown
    }
}

fn known(history: &History, id: PromotionId) -> Result<&Promotion, StepError> {
    history.promotion(id).ok_or(StepError::Unknown(id))
}

fn promoted(promotion: &Promotion) -> Option<Promoted> {
    let (model, into) = (&promotion.candidate().model, &promotion.plan().into);
    let manifest = Arc::clone(promotion.manifest()?);
    Some(Promoted::new(
        promotion.id(),
        model.clone(),
        into.clone(),
        manifest,
    ))
}

/// Where promotions decide what is there, only the revision that is there goes on.
fn check_revision(
    history: &History,
    model: &ModelName,
    from: &Environment,
    revision: &Revision,
) -> Result<(), StepError> {
    let current = history.current(model, from);
    let there = current.and_then(|promotion| promotion.candidate().revision.as_ref());
    match there {
        Some(there) if there != revision => Err(StepError::Revision {
            revision: revision.clone(),
            environment: from.clone(),
            there: there.clone(),
        }),
        _ => Ok(()),
    }
}

/// What it replaces must still be there, or the difference that was shown is another.
fn check_base(history: &History, promotion: &Promotion) -> Result<(), StepError> {
    let current = history.current(&promotion.candidate().model, &promotion.plan().into);
    match current.map(Promotion::id) == promotion.plan().base {
        true => Ok(()),
        false => Err(Fault::Superseded.into()),
    }
}

async fn read(ledger: &Ledger) -> Result<Told, OpenError> {
    let dir = ledger.dir().to_owned();
    let told = spawn_blocking(move || journal::read(&dir)).await;
    told.map_err(|_| OpenError::Abandoned)?
}

fn abandoned() -> StepError {
    StepError::Unavailable("the step was abandoned".to_owned())
}

impl fmt::Debug for Promotions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promotions")
            .field("access", &self.shared.cedar)
            .field("ledger", &self.shared.ledger)
            .finish_non_exhaustive()
    }
}
