//! The authorizer that teams use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use smallvec::SmallVec;
use spanner_core::{
    Authorize, Environment, IssuerAlias, ModelName, Party, Question, Spelling, Verdicts,
};

use crate::explain::Explanation;
use crate::index::{PartyNames, Policies};
use crate::load::{self, BrokenManifests, LoadError, Problem, Program};
use crate::promotion::{Promoted, PromotedManifests, PromotionRule, VoidGrant};
use crate::review::Review;
use crate::spelling::{self, Served, Spellings};

/// Authorizes requests by an access directory: the grants of its manifests and the organization's
/// guardrails. Cheap to clone; clones share the access in force.
#[derive(Clone)]
pub struct Cedar {
    shared: Arc<Shared>,
}

/// A [`Cedar`] under construction.
#[derive(Debug, Clone, Default)]
#[must_use = "a builder is nothing until it is given an access"]
pub struct Builder {
    issuers: Vec<IssuerAlias>,
    models: Vec<PathBuf>,
    broken: BrokenManifests,
    spellings: Vec<Served>,
}

/// The state of a [`Cedar`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The digest of the access in force, as records carry it: `sha256:…`.
    pub digest: Arc<str>,
    /// The environments, in their order.
    pub environments: Vec<Environment>,
    /// The number of models with a manifest.
    pub models: usize,
    /// The number of grants.
    pub grants: usize,
    /// The number of guardrails, including those in shadow mode.
    pub guardrails: usize,
    /// The digest of the shadow candidate, if there is one ([`Cedar::shadow`]).
    pub candidate: Option<Arc<str>>,
    /// Grants of promoted manifests that name something the organization no longer has. They
    /// grant nothing.
    pub void: Vec<VoidGrant>,
    /// Why the last reload failed; `None` if it succeeded.
    pub last_error: Option<Arc<LoadError>>,
    /// The problems of broken manifests in the models' own folders, whose current version is not in
    /// force ([`Builder::broken_manifests`]).
    pub broken: Vec<Problem>,
}

/// A model's name that no request can have, with the spelling to use instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreachableName {
    /// What is wrong: `no request through the surface … is ever about …`.
    pub what: String,
    /// What to write instead.
    pub advice: String,
}

impl fmt::Display for UnreachableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.advice)
    }
}

impl std::error::Error for UnreachableName {}

struct Shared {
    builder: Builder,
    source: Option<PathBuf>,
    current: ArcSwap<Policies>,
    last_error: ArcSwapOption<LoadError>,
    candidate: ArcSwapOption<Cedar>,
    changing: Mutex<()>,
}

impl Cedar {
    /// Reads an access directory: `organization.toml`, `models/**/*.toml`,
    /// `policies/**/*.cedar`. Blocks on the file system.
    ///
    /// Symbolic links are followed within the directory; a link that leads out of it is a problem.
    /// Hidden files, `*.md` and `cases/` are skipped. Any other file in `models` or `policies` is a
    /// problem.
    ///
    /// # Errors
    /// [`LoadError`] with every problem found.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::builder().from_dir(dir)
    }

    /// Reads the files of an access directory from memory, each with its name relative to the
    /// directory: `models/acme/sentiment.toml`.
    ///
    /// # Errors
    /// [`LoadError`] with every problem found.
    pub fn from_files<N: Into<String>, T: Into<Vec<u8>>>(
        files: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, LoadError> {
        Self::builder().from_files(files)
    }

    /// A builder, for further options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Reads the same directory again and puts it in force at once. If it has a problem, the access
    /// in force stays and [`Cedar::status`] has the error. Blocks on the file system.
    ///
    /// # Errors
    /// [`LoadError`] with every problem found, or if the access came from memory; use
    /// [`Cedar::replace_with`] then.
    pub fn reload(&self) -> Result<(), LoadError> {
        let shared = &*self.shared;
        shared.change(|| match &shared.source {
            Some(dir) => load::from_dir(dir, &shared.program(), &shared.kept()),
            None => Err(load::no_directory()),
        })
    }

    /// Puts other files in force. As with [`Cedar::reload`], either all take effect or none.
    ///
    /// # Errors
    /// [`LoadError`] with every problem found.
    pub fn replace_with<N: Into<String>, T: Into<Vec<u8>>>(
        &self,
        files: impl IntoIterator<Item = (N, T)>,
    ) -> Result<(), LoadError> {
        let shared = &*self.shared;
        shared.change(|| load::from_memory(files, &shared.program(), &shared.kept()))
    }

    /// Puts promoted manifests in force instead of those in the files. They stay in force across
    /// reloads, until the next call.
    ///
    /// A grant of a promoted manifest that names something the organization does not have grants
    /// nothing: [`Status::void`] lists it, and it is logged. The rest of the manifest is in force.
    ///
    /// # Errors
    /// [`LoadError`] if a manifest is about another model. The access in force stays.
    pub fn keep(&self, kept: PromotedManifests) -> Result<(), LoadError> {
        let shared = &*self.shared;
        let kept = Arc::new(kept);
        shared.change(|| load::again(&shared.current.load(), &shared.program(), &kept))
    }

    /// The promoted manifests in force.
    #[must_use]
    pub fn kept(&self) -> Arc<PromotedManifests> {
        self.shared.kept()
    }

    /// The access that [`Cedar::keep`] would put in force, without changing the one in force.
    ///
    /// # Errors
    /// As [`Cedar::keep`].
    pub fn preview(&self, kept: PromotedManifests) -> Result<Self, LoadError> {
        let builder = self.shared.builder.clone();
        let current = self.shared.current.load();
        let access = load::again(&current, &self.shared.program(), &Arc::new(kept))?;
        Ok(builder.with(access, None))
    }

    /// The access that would result if this manifest, or none, were in force for a model in an
    /// environment. The result has only what concerns this model.
    ///
    /// # Errors
    /// As [`Cedar::keep`], and if the manifest names something that the organization does not have.
    pub fn preview_of(
        &self,
        model: &ModelName,
        environment: &Environment,
        one: Option<Promoted>,
    ) -> Result<Self, LoadError> {
        let preview = self.preview_again(model, environment, one)?;
        let access = preview.current();
        let here = |void: &&VoidGrant| void.environment == *environment;
        let mut void = access.void.iter().filter(here).peekable();
        match void.peek() {
            None => Ok(preview),
            Some(_) => Err(LoadError::of(void.map(|void| void.problem.clone()))),
        }
    }

    /// The same for a manifest that was in force before. Its grants that name something the
    /// organization no longer has grant nothing.
    ///
    /// # Errors
    /// As [`Cedar::keep`].
    pub fn preview_again(
        &self,
        model: &ModelName,
        environment: &Environment,
        one: Option<Promoted>,
    ) -> Result<Self, LoadError> {
        let builder = self.shared.builder.clone();
        let current = self.shared.current.load();
        let kept = current.kept.with(model, environment, one);
        let access = load::about(&current, &builder.from(), model, kept)?;
        Ok(builder.with(access, None))
    }

    /// The digest of the access in force, as in records. It covers every file that was read, the
    /// promoted manifests, the issuers' aliases and the schema.
    #[must_use]
    pub fn digest(&self) -> Arc<str> {
        Arc::clone(&self.shared.current.load().digest)
    }

    /// An access that does not come from a directory.
    #[cfg(test)]
    pub(crate) fn of(access: Policies) -> Self {
        Self::builder().with(access, None)
    }

    /// The directory that it came from, if any.
    pub(crate) fn source(&self) -> Option<&Path> {
        self.shared.source.as_deref()
    }

    /// The current state, for readiness checks and operators.
    #[must_use]
    pub fn status(&self) -> Status {
        let access = self.shared.current.load();
        Status {
            digest: Arc::clone(&access.digest),
            environments: access.environments.clone(),
            models: access.owners.len(),
            grants: access.grants.len(),
            guardrails: access.guardrails.iter().count(),
            candidate: self.candidate().map(|candidate| candidate.digest()),
            void: access.void.clone(),
            last_error: self.shared.last_error.load_full(),
            broken: access.broken().cloned().collect(),
        }
    }

    /// The rule of promotion of an environment; `None` if the organization has none for it.
    #[must_use]
    pub fn promotion(&self, into: &Environment) -> Option<PromotionRule> {
        self.shared.current.load().promotions.get(into).cloned()
    }

    /// All rules of promotion, sorted by the name of the environment.
    #[must_use]
    pub fn promotions(&self) -> Vec<PromotionRule> {
        let access = self.shared.current.load();
        access.promotions.values().cloned().collect()
    }

    /// The models that have a manifest, in the files or promoted, sorted. Each has its owner,
    /// written as in manifests.
    #[must_use]
    pub fn models(&self) -> Vec<(ModelName, Option<String>)> {
        let access = self.shared.current.load();
        let owners = access.owners.iter();
        let named = owners.map(|(model, owner)| {
            let owner = owner.as_ref().map(ToString::to_string);
            (model.clone(), owner)
        });
        let mut models: Vec<_> = named.collect();
        models.sort();
        models
    }

    /// The manifest of a model that is in force in an environment: the promoted one if only
    /// promoted manifests count there, otherwise the one in the files. `None` if there is none.
    #[must_use]
    pub fn manifest(&self, model: &ModelName, environment: &Environment) -> Option<Arc<str>> {
        let access = self.shared.current.load();
        if access.is_kept(environment) {
            let here = |it: &&Promoted| it.model == *model && it.environment == *environment;
            let promoted = access.kept.promoted.iter().find(here)?;
            return Some(Arc::clone(&promoted.manifest));
        }
        access.file_of(model).map(Arc::from)
    }

    /// The manifests in the files that grant something in an environment, in force or not,
    /// sorted by model.
    #[must_use]
    pub fn claiming(&self, environment: &Environment) -> Vec<(ModelName, Arc<str>)> {
        let access = self.shared.current.load();
        let claims = access.claims.iter();
        let here = claims.filter(|(_, claim)| claim.environments.contains(environment));
        let texts = here.filter_map(|(model, _)| {
            let text = access.file_of(model)?;
            Some((model.clone(), Arc::from(text)))
        });
        let mut texts: Vec<_> = texts.collect();
        texts.sort();
        texts
    }

    /// The access matrix: everything that is granted, for an access review.
    #[must_use]
    pub fn review(&self) -> Review {
        self.shared.current.load().review()
    }

    /// Sets another access as the shadow candidate, or removes it. The candidate answers every
    /// question too, but does not affect decisions. Where it would decide differently, records have
    /// its decision as `candidate`. Each decision then takes twice the time.
    ///
    /// Reloads of this access do not affect the candidate; it can be reloaded itself.
    pub fn shadow(&self, candidate: Option<Self>) {
        let other = candidate.filter(|other| !Arc::ptr_eq(&other.shared, &self.shared));
        self.shared.candidate.store(other.map(Arc::new));
    }

    /// The shadow candidate, if there is one.
    #[must_use]
    pub fn candidate(&self) -> Option<Self> {
        let candidate = self.shared.candidate.load();
        candidate.as_deref().cloned()
    }

    /// Checks that a request can have this model's name, given how the surfaces read names, in one
    /// environment or in all.
    ///
    /// # Errors
    /// [`UnreachableName`] if no request can have it.
    pub fn check_name(
        &self,
        model: &ModelName,
        environment: Option<&Environment>,
    ) -> Result<(), UnreachableName> {
        let served = self.shared.current.load().spellings.known();
        match spelling::unreachable(&served, model, environment) {
            None => Ok(()),
            Some((what, advice)) => Err(UnreachableName { what, advice }),
        }
    }

    pub(crate) fn current(&self) -> Arc<Policies> {
        self.shared.current.load_full()
    }

    /// Answers a question with everything that led to the answer. For operators: it is slower than
    /// [`Authorize::authorize`] and must not be shown to callers.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        self.shared.current.load().explain(question)
    }
}

impl Builder {
    /// The aliases of the issuers whose tokens the program accepts. Default: those that
    /// `organization.toml` lists as `issuers`. If both are given, the file may list only issuers
    /// that are given here.
    pub fn issuers(mut self, issuers: impl IntoIterator<Item = IssuerAlias>) -> Self {
        self.issuers = issuers.into_iter().collect();
        self
    }

    /// Adds a folder that contains the models' own folders. Each `access.toml` in it, up to 11
    /// folders deep, is the manifest of the model that it names. May be called several times.
    /// Default: manifests are read only from `models/` in the access directory.
    ///
    /// Everything else in such a folder is skipped, including hidden files and dangling links. A
    /// model's own folder may be a symbolic link to another place. Below it, links out of the
    /// folder are skipped, and an `access.toml` that is such a link is a problem. Two manifests for
    /// one model are a problem that names both files.
    ///
    /// # Security
    /// Anyone who can write an `access.toml` there controls access to the model that it names. That
    /// can be any model that has no other manifest.
    pub fn models_dir(mut self, dir: impl AsRef<Path>) -> Self {
        let dir = dir.as_ref();
        let absolute = std::path::absolute(dir);
        self.models
            .push(absolute.unwrap_or_else(|_| dir.to_path_buf()));
        self
    }

    /// How to handle an `access.toml` in a [models' folder](Self::models_dir) that has a problem.
    /// Default: the whole access is rejected, as for any other problem.
    ///
    /// With [`BrokenManifests::KeepLast`] or [`BrokenManifests::Close`] the failure is isolated:
    /// one team's mistake does not prevent changes of the organization or of other teams from
    /// taking effect. [`Status::broken`] and the log have the problem. The files of the access
    /// directory itself always take effect together or not at all.
    pub fn broken_manifests(mut self, broken: BrokenManifests) -> Self {
        self.broken = broken;
        self
    }

    /// How a surface that serves an environment reads models' names. A name in a manifest,
    /// guardrail or case is a problem if no request there can have it. A name in a guardrail is
    /// also a problem if some surface reads it as another one that no guardrail covers. Default:
    /// names are compared as written, until a guard is built and reports its surfaces
    /// ([`Authorize::learn_spellings`](spanner_core::Authorize::learn_spellings)).
    pub fn spelling(mut self, environment: Environment, spelling: Spelling) -> Self {
        self.spellings.push((environment, spelling));
        self
    }

    /// See [`Cedar::from_dir`].
    ///
    /// # Errors
    /// [`LoadError`] with every problem found.
    pub fn from_dir(self, dir: impl AsRef<Path>) -> Result<Cedar, LoadError> {
        let dir = dir.as_ref();
        let access = load::from_dir(dir, &self.from(), &Arc::default())?;
        access.tell_broken();
        Ok(self.with(access, Some(dir.to_path_buf())))
    }

    /// See [`Cedar::from_files`].
    ///
    /// # Errors
    /// [`LoadError`] with every problem found.
    pub fn from_files<N: Into<String>, T: Into<Vec<u8>>>(
        self,
        files: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Cedar, LoadError> {
        let access = load::from_memory(files, &self.from(), &Arc::default())?;
        Ok(self.with(access, None))
    }

    fn from(&self) -> Program<'_> {
        Program {
            issuers: &self.issuers,
            models: &self.models,
            broken: self.broken,
            spellings: Spellings::of(self.spellings.clone()),
            before: None,
        }
    }

    fn with(self, access: Policies, source: Option<PathBuf>) -> Cedar {
        Cedar {
            shared: Arc::new(Shared {
                builder: self,
                source,
                current: ArcSwap::from_pointee(access),
                last_error: ArcSwapOption::empty(),
                candidate: ArcSwapOption::empty(),
                changing: Mutex::new(()),
            }),
        }
    }
}

impl Shared {
    /// What the program contributes, and the access currently in force.
    fn program(&self) -> Program<'_> {
        let current = self.current.load_full();
        Program {
            spellings: current.spellings.clone(),
            before: Some(current),
            ..self.builder.from()
        }
    }

    fn kept(&self) -> Arc<PromotedManifests> {
        Arc::clone(&self.current.load().kept)
    }

    /// Puts another access in force if it loads. Changes are serialized, so that the last one
    /// requested wins.
    fn change(&self, load: impl FnOnce() -> Result<Policies, LoadError>) -> Result<(), LoadError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match load() {
            Ok(access) => {
                let before = Arc::clone(&self.current.load().digest);
                match access.digest == before {
                    true => tracing::info!(digest = %access.digest, "the access is as it was"),
                    false => {
                        tracing::info!(digest = %access.digest, "another access is in force");
                        for void in &access.void {
                            tracing::error!("{void}");
                        }
                    }
                }
                access.tell_broken();
                self.current.store(Arc::new(access));
                self.last_error.store(None);
                Ok(())
            }
            Err(error) => {
                let digest = Arc::clone(&self.current.load().digest);
                tracing::error!(%error, in_force = %digest, "the access was not reloaded");
                self.last_error.store(Some(Arc::new(error.clone())));
                Err(error)
            }
        }
    }
}

impl Authorize for Cedar {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        let verdicts = self.shared.current.load().authorize(questions);
        match &*self.shared.candidate.load() {
            None => verdicts,
            Some(other) => verdicts.beside(other.shared.current.load().authorize(questions)),
        }
    }

    fn learn_spellings(
        &self,
        environment: &Environment,
        spellings: &[Spelling],
    ) -> Result<(), Vec<String>> {
        let _one = self.shared.changing.lock();
        let access = self.current();
        let served = access.spellings.with(environment, spellings);
        if served.len() == access.spellings.known().len() {
            return Ok(());
        }
        let mut problems = load::no_problems();
        access.mentions.check(&served, &mut problems);
        match problems.is_empty() {
            true => {
                access.spellings.set(served);
                Ok(())
            }
            false => {
                let found = problems.all().to_vec();
                Err(found.iter().map(ToString::to_string).collect())
            }
        }
    }
}

impl Policies {
    /// Logs the problems of broken manifests in the models' own folders.
    fn tell_broken(&self) {
        for problem in self.broken() {
            tracing::error!(%problem, "a model's own manifest is not in force as it is");
        }
    }
}

impl Authorize for Policies {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        let access = self;
        let mut parties: SmallVec<[(&Party, Option<PartyNames>); 2]> = SmallVec::new();
        for question in questions {
            if !parties
                .iter()
                .any(|(party, _)| std::ptr::eq(*party, question.party))
            {
                parties.push((question.party, access.place(question.party)));
            }
        }
        let verdict = |question: &Question<'_>| {
            let party = parties
                .iter()
                .find(|(party, _)| std::ptr::eq(*party, question.party));
            access.decide(question, party.and_then(|(_, placed)| placed.as_ref()))
        };
        Verdicts::of(Arc::clone(&access.digest), questions.iter().map(verdict))
    }
}

impl fmt::Debug for Cedar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cedar")
            .field("source", &self.shared.source)
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}
