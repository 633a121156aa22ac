//! The book of promotions: the ledger's events, and what they put in force.

use std::fmt;
use std::sync::Arc;

use spanner_cedar::{Cedar, Existing, Kept, LoadError, Promoted, PromotionRule};
use spanner_core::promotion::{
    Candidate, ChangeEntry, Digest, Event, Fault, History, Plan, Promotion, Proposal, Shown,
    Standing,
};
use spanner_core::{Environment, Host, ModelName, Permit, RecordId, Revision, SinkFault};
use spanner_ledger::Ledger;
use spanner_tower::{Further, SystemHost};
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
}

/// What was told so far.
struct Book {
    told: Told,
    /// Whether the ledger may have more, since an event was not acknowledged.
    is_stale: bool,
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

/// The largest manifest that can be promoted, in bytes: its event must fit into an entry of
/// the ledger, with the difference that it makes.
pub(crate) const MAX_MANIFEST_BYTES: usize = 256 * 1024;

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
        });
        let mut book = Arc::clone(&shared.book).lock_owned().await;
        shared.begin_keeping(&mut book).await?;
        shared.put_in_force(&book.told).await?;
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
        Ok(())
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
    pub async fn promotion(&self, id: RecordId) -> Result<Promotion, StepError> {
        let found = self.look(|history| history.promotion(id).cloned()).await?;
        found.ok_or(StepError::Unknown(id))
    }

    /// What a promotion changes in what is in force now: who gains and loses what. For one that
    /// is over, what it changed when it was proposed.
    ///
    /// # Errors
    /// [`StepError::Access`] if it could not be put in force as the organization is by now.
    pub async fn difference(&self, promotion: &Promotion) -> Result<Vec<ChangeEntry>, StepError> {
        if promotion.standing() != Standing::Open {
            return Ok(promotion.difference().to_vec());
        }
        let (shared, next) = (Arc::clone(&self.shared), Next::of(promotion));
        let changed = spawn_blocking(move || shared.change(next)).await;
        changed.map_err(|_| abandoned())?
    }

    /// Proposes a model, as it is in force in the environment that comes before.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn propose(&self, what: Proposed, permit: Permit) -> Result<Promotion, StepError> {
        self.take(permit, move |shared, history, permit| {
            let into = &what.environment;
            let rule = shared.rule(into)?;
            let manifest = shared.manifest(&what.model, &rule.from)?;
            let digest = Digest::of(manifest.as_bytes());
            let mut candidate = Candidate::new(what.model.clone(), digest);
            if let Some(revision) = what.revision {
                check_revision(history, &what.model, &rule.from, &revision)?;
                candidate = candidate.revision(revision, what.content);
            }
            let id = shared.host.record_id();
            let base = history.current(&what.model, into).map(Promotion::id);
            let plan = Plan::new(rule.from, into.clone(), rule.approvals).instead_of(base);
            let one = Promoted::new(id, what.model.clone(), into.clone(), Arc::clone(&manifest));
            let difference = shared.change(Next {
                model: what.model,
                environment: into.clone(),
                one: Some(one),
            })?;
            let proposal = Proposal::new(candidate, plan, manifest, difference);
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
        id: RecordId,
        claimed: Claimed,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(permit, move |shared, history, permit| {
            let promotion = known(history, id)?;
            let now = shared.host.now();
            let mut shown = Shown::new(
                claimed.over(promotion.candidate()),
                promotion.difference().to_vec(),
            );
            // What the life cycle objects to says more than what comes after.
            promotion.approve(&shown, permit, now)?;
            shared.check_listed(promotion, permit)?;
            promotion.unchanged(&shared.current(history, promotion)?)?;
            check_base(history, promotion)?;
            shown.difference = shared.change(Next::of(promotion))?;
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
        id: RecordId,
        reason: String,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(permit, move |shared, history, permit| {
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
    pub async fn withdraw(&self, id: RecordId, permit: Permit) -> Result<Promotion, StepError> {
        self.take(permit, move |shared, history, permit| {
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
        id: RecordId,
        emergency: Option<String>,
        permit: Permit,
    ) -> Result<Promotion, StepError> {
        self.take(permit, move |shared, history, permit| {
            let promotion = known(history, id)?;
            let current = shared.current(history, promotion)?;
            let (mut shown, now) = (Shown::new(current, Vec::new()), shared.host.now());
            match &emergency {
                Some(reason) => promotion.promote_in_emergency(&shown, reason, permit, now)?,
                None => promotion.promote(&shown, permit, now)?,
            };
            check_base(history, promotion)?;
            shown.difference = shared.change(Next::of(promotion))?;
            Ok(match &emergency {
                Some(reason) => promotion.promote_in_emergency(&shown, reason, permit, now)?,
                None => promotion.promote(&shown, permit, now)?,
            })
        })
        .await
    }

    /// Ends what was promoted last for a model; what was in force before is again.
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
        self.take(permit, move |shared, history, permit| {
            let nothing = || StepError::NothingPromoted {
                model: model.clone(),
                environment: environment.clone(),
            };
            let current = history.current(&model, &environment).ok_or_else(nothing)?;
            let before = history.before(&model, &environment).map(promoted);
            let difference = shared.change(Next {
                model: model.clone(),
                environment: environment.clone(),
                one: before,
            })?;
            let now = shared.host.now();
            Ok(current.roll_back(&reason, difference, permit, now)?)
        })
        .await
    }

    /// Takes a step to its end, whoever waits for it: what the ledger has is in force.
    async fn take(
        &self,
        permit: Permit,
        step: impl FnOnce(&Shared, &History, &Permit) -> Result<Event, StepError> + Send + 'static,
    ) -> Result<Promotion, StepError> {
        let shared = Arc::clone(&self.shared);
        let taken = tokio::spawn(async move { shared.take(permit, step).await });
        taken.await.map_err(|_| abandoned())?
    }
}

/// What would be in force of one model.
struct Next {
    model: ModelName,
    environment: Environment,
    one: Option<Promoted>,
}

impl Next {
    fn of(promotion: &Promotion) -> Self {
        Self {
            model: promotion.candidate().model.clone(),
            environment: promotion.plan().into.clone(),
            one: Some(promoted(promotion)),
        }
    }
}

impl Shared {
    async fn take(
        self: Arc<Self>,
        permit: Permit,
        step: impl FnOnce(&Self, &History, &Permit) -> Result<Event, StepError> + Send + 'static,
    ) -> Result<Promotion, StepError> {
        let book = self.book().await?;
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
        let status = taken.as_ref().map_or_else(StepError::status, |_| 200);
        Further::done(permit, status);
        taken
    }

    /// Writes an event, and puts in force what it says.
    async fn enter(&self, book: &mut Book, event: Event) -> Result<Promotion, StepError> {
        book.told.history.check(&event)?;
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
            if rule.existing == Existing::Adopt {
                self.adopt(&mut book.told.history, &rule.environment)
                    .await?;
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

    /// Keeps what the files have in force.
    async fn adopt(&self, history: &mut History, into: &Environment) -> Result<(), OpenError> {
        for (model, manifest) in self.cedar.claiming(into) {
            if history.current(&model, into).is_some() {
                continue;
            }
            let (id, now) = (self.host.record_id(), self.host.now());
            let event = Promotion::adopt(id, model, &manifest, into, now);
            self.write(&event).await?;
            let sequence = 0;
            let taken = history.take(event);
            taken.map_err(|fault| OpenError::Event { sequence, fault })?;
        }
        Ok(())
    }

    async fn put_in_force(&self, told: &Told) -> Result<(), OpenError> {
        let (cedar, kept) = (
            self.cedar.clone(),
            Kept::of(&told.history, told.kept.clone()),
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

    /// The manifest that would be promoted.
    fn manifest(&self, model: &ModelName, from: &Environment) -> Result<Arc<str>, StepError> {
        let manifest = self.cedar.manifest(model, from);
        let manifest = manifest.ok_or_else(|| StepError::NoManifest {
            model: model.clone(),
            environment: from.clone(),
        })?;
        match manifest.len() {
            0..=MAX_MANIFEST_BYTES => Ok(manifest),
            bytes => Err(StepError::TooLarge {
                bytes,
                limit: MAX_MANIFEST_BYTES,
            }),
        }
    }

    /// What a promotion is of, as it is there now.
    fn current(&self, history: &History, promotion: &Promotion) -> Result<Candidate, StepError> {
        let (candidate, from) = (promotion.candidate(), &promotion.plan().from);
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

    /// Who would gain and lose what.
    fn change(&self, next: Next) -> Result<Vec<ChangeEntry>, StepError> {
        let Next {
            model,
            environment,
            one,
        } = next;
        let kept = self.cedar.kept().with(&model, &environment, one);
        let preview = self.cedar.preview(kept)?;
        let changes = self.cedar.diff_on(&preview, &model, &environment);
        let entries = changes
            .into_iter()
            .map(|it| ChangeEntry::new(it.holder, it.gains, it.loses).only(it.kind));
        Ok(entries.collect())
    }
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

fn known(history: &History, id: RecordId) -> Result<&Promotion, StepError> {
    history.promotion(id).ok_or(StepError::Unknown(id))
}

fn promoted(promotion: &Promotion) -> Promoted {
    let (model, into) = (&promotion.candidate().model, &promotion.plan().into);
    let manifest = Arc::clone(promotion.manifest());
    Promoted::new(promotion.id(), model.clone(), into.clone(), manifest)
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
