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

/// Decides by an access directory: the grants of its manifests and the organization's
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

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The digest of the access in force, as records carry it: `sha256:…`.
    pub digest: Arc<str>,
    /// The environments, in their order.
    pub environments: Vec<Environment>,
    /// How many models have a manifest.
    pub models: usize,
    /// How many grants there are.
    pub grants: usize,
    /// How many guardrails there are, those in shadow mode included.
    pub guardrails: usize,
    /// The digest of the candidate that is tried out beside it, if there is one.
    pub candidate: Option<Arc<str>>,
    /// What promoted manifests name and the organization does not have any more: it grants
    /// nothing.
    pub void: Vec<VoidGrant>,
    /// Why the last reload was not put in force; `None` if it was.
    pub last_error: Option<Arc<LoadError>>,
    /// What is wrong with manifests in the models' own folders that are not in force as they
    /// are ([`Builder::broken_manifests`]).
    pub broken: Vec<Problem>,
}

/// A model's name that no surface has, with the spelling that it has instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreachableName {
    /// What is wrong: `no request through the surface … is ever about …`.
    pub what: String,
    /// What to write.
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
    /// Symbolic links are followed within the directory, and one that leads out of it is a
    /// problem; hidden files, `*.md` and `cases/` are passed over, and any other file in
    /// `models` or `policies` is a problem.
    ///
    /// # Errors
    /// [`LoadError`] with every problem found.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::builder().from_dir(dir)
    }

    /// Takes the files of an access directory from memory, each with its name relative to
    /// the directory: `models/acme/sentiment.toml`.
    ///
    /// # Errors
    /// [`LoadError`] with every problem found.
    pub fn from_files<N: Into<String>, T: Into<Vec<u8>>>(
        files: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, LoadError> {
        Self::builder().from_files(files)
    }

    /// Starts with options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Reads the same directory again and puts it in force at once. With a problem, the
    /// access in force stays, and [`Cedar::status`] tells why. Blocks on the file system.
    ///
    /// # Errors
    /// [`LoadError`] with every problem found; also if the access came from memory, which
    /// [`Cedar::replace_with`] replaces.
    pub fn reload(&self) -> Result<(), LoadError> {
        let shared = &*self.shared;
        shared.change(|| match &shared.source {
            Some(dir) => load::from_dir(dir, &shared.program(), &shared.kept()),
            None => Err(load::no_directory()),
        })
    }

    /// Puts other files in force, all or none of them, as [`Cedar::reload`] does.
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

    /// Puts in force what was promoted, in the place of what the files say, until something
    /// else is kept; also after a reload.
    ///
    /// What a promoted manifest names and the organization does not have (any more) grants
    /// nothing: [`Status::void`] lists it, and the log says it. The rest of the manifest is in
    /// force.
    ///
    /// # Errors
    /// [`LoadError`] if a manifest is another model's; what was in force stays.
    pub fn keep(&self, kept: PromotedManifests) -> Result<(), LoadError> {
        let shared = &*self.shared;
        let kept = Arc::new(kept);
        shared.change(|| load::again(&shared.current.load(), &shared.program(), &kept))
    }

    /// What is kept in force.
    #[must_use]
    pub fn kept(&self) -> Arc<PromotedManifests> {
        self.shared.kept()
    }

    /// The access that there would be if this were kept, apart from the one in force.
    ///
    /// # Errors
    /// As [`Cedar::keep`].
    pub fn preview(&self, kept: PromotedManifests) -> Result<Self, LoadError> {
        let builder = self.shared.builder.clone();
        let current = self.shared.current.load();
        let access = load::again(&current, &self.shared.program(), &Arc::new(kept))?;
        Ok(builder.with(access, None))
    }

    /// The access that there would be if this were in force of a model in an environment, or
    /// nothing of it; as far as it is about this model.
    ///
    /// # Errors
    /// As [`Cedar::keep`]; and, where something is to be in force, if it names what the
    /// organization does not have.
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

    /// The same for what was in force before, which counts as far as the organization still has
    /// what it names.
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

    /// The digest of the access in force, as records carry it: over every file that was
    /// read, the issuers' aliases and the schema.
    #[must_use]
    pub fn digest(&self) -> Arc<str> {
        Arc::clone(&self.shared.current.load().digest)
    }

    /// An access that no file says.
    #[cfg(test)]
    pub(crate) fn of(access: Policies) -> Self {
        Self::builder().with(access, None)
    }

    /// Where it came from, if that is a directory.
    pub(crate) fn source(&self) -> Option<&Path> {
        self.shared.source.as_deref()
    }

    /// What is in force, for readiness and for people.
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

    /// What a promotion into an environment asks for; `None` if the organization has no
    /// rule for it.
    #[must_use]
    pub fn promotion(&self, into: &Environment) -> Option<PromotionRule> {
        self.shared.current.load().promotions.get(into).cloned()
    }

    /// All rules of promotions, in the order of their environments' names.
    #[must_use]
    pub fn promotions(&self) -> Vec<PromotionRule> {
        let access = self.shared.current.load();
        access.promotions.values().cloned().collect()
    }

    /// The models that have a manifest, in the files or promoted, sorted, each with its owner as
    /// manifests write it.
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

    /// The manifest of a model that is in force in an environment: as promoted, where promotions
    /// are kept, otherwise its file's. `None` if there is none.
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

    /// The whole matrix of what is granted, for people to read.
    #[must_use]
    pub fn review(&self) -> Review {
        self.shared.current.load().review()
    }

    /// Tries another access out beside this one, or no more: it is asked whatever this one is
    /// asked, decides nothing, and records have as `candidate` what it would have decided
    /// where that is otherwise. Each decision then takes the time of two.
    ///
    /// The candidate stays what it is: reload it, and what it has loaded is tried out.
    pub fn shadow(&self, candidate: Option<Self>) {
        let other = candidate.filter(|other| !Arc::ptr_eq(&other.shared, &self.shared));
        self.shared.candidate.store(other.map(Arc::new));
    }

    /// The access that is tried out beside this one, if there is one.
    #[must_use]
    pub fn candidate(&self) -> Option<Self> {
        let candidate = self.shared.candidate.load();
        candidate.as_deref().cloned()
    }

    /// Compares a name that somebody asks about with how the surfaces read it, in one environment
    /// or in all.
    ///
    /// # Errors
    /// [`UnreachableName`] if no request is ever about it.
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

    /// Answers a question with everything that led to the answer. For people: slower than
    /// [`Authorize::authorize`], and not to be shown to callers.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        self.shared.current.load().explain(question)
    }
}

impl Builder {
    /// The aliases of the issuers that the program accepts tokens of. Default: those that
    /// `organization.toml` lists as `issuers`; with both, the file may list only some of
    /// these.
    pub fn issuers(mut self, issuers: impl IntoIterator<Item = IssuerAlias>) -> Self {
        self.issuers = issuers.into_iter().collect();
        self
    }

    /// A folder that models' own folders are in: each `access.toml` in it, up to 11 folders
    /// deep, is the manifest of the model that it names. May be said several times. Default:
    /// manifests stand in `models/` of the access alone.
    ///
    /// Everything else in such a folder is passed over, hidden files and links that lead
    /// nowhere included. A model's own folder may be a symbolic link to somewhere else; below
    /// that, links out of the folder are passed over, and an `access.toml` that is one is a
    /// problem. A model that has two manifests is a problem that names both files.
    ///
    /// # Security
    /// Who can write an `access.toml` there decides who may do what with the model that it
    /// names, whichever that is, as long as no other manifest is about it.
    pub fn models_dir(mut self, dir: impl AsRef<Path>) -> Self {
        let dir = dir.as_ref();
        let absolute = std::path::absolute(dir);
        self.models
            .push(absolute.unwrap_or_else(|_| dir.to_path_buf()));
        self
    }

    /// What becomes of an `access.toml` in a [models' folder](Self::models_dir) that has a
    /// problem. Default: with it, nothing is put in force, as with any other problem.
    ///
    /// With [`BrokenManifests::KeepLast`] or [`BrokenManifests::Close`] it fails alone, so that
    /// one team's mistake does not keep a change of the organization or of other teams from
    /// taking effect; [`Status::broken`] and the log say so. Files of the access directory itself
    /// are one whole all the same.
    pub fn broken_manifests(mut self, broken: BrokenManifests) -> Self {
        self.broken = broken;
        self
    }

    /// How a surface that serves an environment reads models' names. A name in a manifest, a
    /// guardrail or a case that no request is about there is a problem, and so is a guardrail's
    /// that some surface reads as another one. Default: names are compared as they are written;
    /// a guard tells its surfaces when it is built
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
    /// What the program brings, and what is in force by now.
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

    /// Puts another access in force if it loads. One change at a time, so that the last one
    /// asked for is the one that stays.
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
    /// Says which own manifests are not in force as they are.
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
