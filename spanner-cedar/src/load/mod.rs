//! Compiles the files of an access into policies, or reports every problem with them.

mod case;
mod demand;
mod files;
mod grants;
mod guardrail;
mod lexer;
mod manifest;
mod organization;
mod overlay;
mod principal;
mod problem;
mod roles;
mod sift;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spanner_core::{Environment, IssuerAlias, ModelName, PromotionId, Timestamp};

pub(crate) use case::Case;
pub use problem::{LoadError, Problem};
pub(crate) use problem::{listed, quoted, suggestion};

use crate::documents::{Document, Documents};
use crate::guardrail::Guardrail;
use crate::index::{Claim, Grants, Guardrails, Policies};
use crate::promotion::PromotedManifests;
use crate::schema::{self, Schema};
use crate::spelling::{Mentions, Spellings};
use grants::Vocabulary;
use manifest::Manifest;
use organization::Organization;
use overlay::Overlay;
use principal::Directory;
pub(crate) use problem::{Problems, no_problems};

/// What the program contributes when an access is loaded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program<'p> {
    /// The aliases of the issuers whose tokens the program accepts.
    pub(crate) issuers: &'p [IssuerAlias],
    /// Folders that contain the models' own folders.
    pub(crate) models: &'p [PathBuf],
    /// How a broken manifest in a model's own folder is handled.
    pub(crate) broken: BrokenManifests,
    /// How the surfaces read model names.
    pub(crate) spellings: Spellings,
    /// The access currently in force, if any.
    pub(crate) before: Option<Arc<Policies>>,
}

/// How a manifest with a problem is handled if it lies in a model's own folder
/// ([`Builder::broken_manifests`](crate::Builder::broken_manifests)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BrokenManifests {
    /// The whole access is rejected, as for a problem in any other file. The default.
    #[default]
    Refuse,
    /// Everything else is put in force, and the last good version of this manifest stays in force.
    /// Its grants that name something the organization no longer has are dropped. After a restart
    /// there is no last good version, so the manifest grants nothing.
    KeepLast,
    /// Everything else is put in force, and this manifest grants nothing.
    Close,
}

/// Reads a directory.
pub(crate) fn from_dir(
    dir: &Path,
    program: &Program<'_>,
    kept: &Arc<PromotedManifests>,
) -> Result<Policies, LoadError> {
    let mut problems = no_problems();
    let documents = files::from_dir(dir, program.models, &mut problems);
    compile(documents.into(), true, program, kept, problems)
}

/// Reads files from memory.
pub(crate) fn from_memory<N: Into<String>, T: Into<Vec<u8>>>(
    files: impl IntoIterator<Item = (N, T)>,
    program: &Program<'_>,
    kept: &Arc<PromotedManifests>,
) -> Result<Policies, LoadError> {
    let mut problems = no_problems();
    let documents = files::from_memory(files, program.models, &mut problems);
    compile(documents.into(), true, program, kept, problems)
}

/// Compiles the same files with other promoted manifests.
pub(crate) fn again(
    access: &Policies,
    program: &Program<'_>,
    kept: &Arc<PromotedManifests>,
) -> Result<Policies, LoadError> {
    let documents = Arc::clone(&access.documents);
    compile(documents, false, program, kept, no_problems())
}

/// Compiles the parts of the same files that concern one model, with its promoted manifests. The
/// time does not depend on the number of other models.
pub(crate) fn about(
    access: &Policies,
    program: &Program<'_>,
    model: &ModelName,
    kept: PromotedManifests,
) -> Result<Policies, LoadError> {
    let claim = access.claims.get(model).map(|claim| claim.document);
    let documents = Arc::new(access.documents.about(claim));
    let about_it = kept.promoted.into_iter().filter(|it| it.model == *model);
    let kept = Arc::new(PromotedManifests {
        promoted: about_it.collect(),
        environments: kept.environments,
    });
    compile(documents, false, program, &kept, no_problems())
}

/// Reads the files of the cases in a directory.
pub(crate) fn cases_from_dir(dir: &Path) -> Result<Vec<Document>, LoadError> {
    let mut problems = no_problems();
    let documents = files::cases_from_dir(dir, &mut problems);
    problems.none_or(documents).map_err(LoadError::new)
}

/// Reads files of cases from memory.
pub(crate) fn cases_from_memory<N: Into<String>, T: Into<Vec<u8>>>(
    files: impl IntoIterator<Item = (N, T)>,
) -> Result<Vec<Document>, LoadError> {
    let mut problems = no_problems();
    let documents = files::cases_from_memory(files, &mut problems);
    problems.none_or(documents).map_err(LoadError::new)
}

/// Reads cases against an access, or reports every problem with them.
pub(crate) fn cases(
    documents: &[Document],
    access: &Policies,
    now: Timestamp,
) -> Result<Vec<Case>, LoadError> {
    let mut problems = Problems::new("the cases have");
    let reader = case::CaseReader::new(access, now);
    let read = |document: &Document| reader.read(document.source(), &mut problems);
    let cases = documents.iter().flat_map(read).collect();
    problems.none_or(cases).map_err(LoadError::new)
}

/// The error for reloading an access that did not come from a directory.
pub(crate) fn no_directory() -> LoadError {
    LoadError::one(
        ".",
        "the access did not come from a folder",
        "replace it with other files",
    )
}

/// Compiles documents into an access if none has a problem. Documents that were just read (`fresh`)
/// go through [`sift`] first.
fn compile(
    mut documents: Arc<Documents>,
    fresh: bool,
    program: &Program<'_>,
    kept: &Arc<PromotedManifests>,
    mut problems: Problems,
) -> Result<Policies, LoadError> {
    let schema = Schema::shared();
    let issuers = program.issuers;
    let organization = documents
        .organization
        .as_ref()
        .and_then(|document| organization::read(document.source(), issuers, schema, &mut problems));
    let Some(organization) = organization else {
        return Err(LoadError::new(problems));
    };
    let vocabulary = Vocabulary {
        only: None,
        environments: &organization.environments,
        roles: &organization.roles,
        directory: &organization.directory,
        schema,
    };
    let served = program.spellings.known();
    let sifts = fresh && program.broken != BrokenManifests::Refuse && problems.is_empty();
    if sifts && documents.manifests.iter().any(|it| it.own) {
        let mut own = Arc::unwrap_or_clone(documents);
        sift::sift(&mut own, &vocabulary, &served, program);
        documents = Arc::new(own);
    }
    let refuse = program.broken == BrokenManifests::Refuse;
    let manifests = manifests(&documents.manifests, &vocabulary, refuse, &mut problems);
    let mut overlay = Overlay::new(kept, &organization);
    overlay.read(&vocabulary, &mut problems);
    let mut reader = guardrail::GuardrailReader::new(&vocabulary);
    for document in &documents.guardrails {
        reader.read(document.source(), &mut problems);
    }
    let guardrails = reader.guardrails;
    let mut mentions = Mentions {
        manifests: Vec::new(),
        guardrails: reader.ruled,
    };
    for manifest in &manifests {
        let document = documents.manifests.get(manifest.document);
        if let Some(document) = document.filter(|it| it.fault.is_empty()) {
            mentions.manifests.push(manifest.titled(document.source()));
        }
    }
    mentions.check(&served, &mut problems);
    if !problems.is_empty() {
        return Err(LoadError::new(problems));
    }
    let mut digested: Vec<&str> = issuers.iter().map(IssuerAlias::as_str).collect();
    digested.push(schema::TEXT);
    let promoted = overlay.parts();
    digested.extend(promoted.iter().map(AsRef::as_ref));
    let digest = documents.digest(&digested);
    let parts = Parts {
        digest,
        documents,
        overlay,
        mentions,
        spellings: program.spellings.clone(),
    };
    Ok(assemble(parts, organization, manifests, guardrails))
}

/// The parts of an access other than the parsed content of its files.
struct Parts {
    digest: String,
    documents: Arc<Documents>,
    overlay: Overlay,
    mentions: Mentions,
    spellings: Spellings,
}

/// Reads all manifests. If two are about the same model, the later one is a problem.
fn manifests(
    documents: &[Document],
    vocabulary: &Vocabulary<'_>,
    refuse: bool,
    problems: &mut Problems,
) -> Vec<Manifest> {
    let mut first: HashMap<ModelName, &str> = HashMap::new();
    let mut manifests = Vec::new();
    for (number, document) in documents.iter().enumerate() {
        if document.is_void() {
            if refuse {
                let fault = document.fault.iter().cloned();
                fault.for_each(|it| problems.push(it));
            }
            continue;
        }
        // The text of a broken manifest is its last good version, whose problems are not reported.
        let mut aside = no_problems();
        let problems = match document.fault.is_empty() {
            true => &mut *problems,
            false => &mut aside,
        };
        let Some(mut manifest) = manifest::read(document.source(), vocabulary, problems) else {
            continue;
        };
        manifest.document = number;
        if let Some(other) = first.get(&manifest.model) {
            let what = format!(
                "{} already has a manifest, {other}",
                quoted(manifest.model.as_str())
            );
            problems.at(document.source(), manifest.at, what, "join the two");
            continue;
        }
        first.insert(manifest.model.clone(), &document.name);
        manifests.push(manifest);
    }
    manifests
}

/// Builds the index from files that have no problem.
fn assemble(
    parts: Parts,
    organization: Organization,
    manifests: Vec<Manifest>,
    guardrails: Vec<Guardrail>,
) -> Policies {
    let Parts {
        digest,
        documents,
        overlay,
        mentions,
        spellings,
    } = parts;
    let schema = Schema::shared();
    let mut grants = Grants::default();
    for grant in organization.grants {
        grants.add(None, grant);
    }
    let (mut owners, mut claims) = (HashMap::new(), HashMap::new());
    let mut individuals = HashMap::new();
    for manifest in manifests {
        let granted = manifest.grants.iter();
        let claim = Claim {
            document: manifest.document,
            environments: granted.map(|grant| grant.environment.clone()).collect(),
        };
        claims.insert(manifest.model.clone(), claim);
        if let Some(reason) = manifest.individuals {
            individuals.insert(manifest.model.clone(), reason);
        }
        for grant in manifest.grants {
            if !overlay.rules(&grant.environment) {
                grants.add(Some(&manifest.model), grant);
            }
        }
        owners.insert(manifest.model, manifest.owner);
    }
    let kept = Arc::clone(&overlay.kept);
    let mut served: HashMap<Environment, HashMap<ModelName, PromotionId>> = HashMap::new();
    for (environment, promotion, manifest) in overlay.manifests {
        for grant in manifest.grants {
            if grant.environment == environment {
                grants.add(Some(&manifest.model), grant);
            }
        }
        let here = served.entry(environment).or_default();
        here.insert(manifest.model.clone(), promotion);
        owners.entry(manifest.model).or_insert(manifest.owner);
    }
    let Directory { issuers, groups } = organization.directory;
    let mut index = Guardrails::default();
    for guardrail in guardrails {
        index.add(guardrail);
    }
    Policies {
        schema,
        digest: Arc::from(digest),
        documents,
        mentions,
        spellings,
        kept,
        served,
        claims,
        environments: organization.environments,
        issuers,
        directory: groups,
        roles: organization.roles,
        promotions: organization.promotions,
        void: overlay.void,
        owners,
        individuals,
        grants,
        guardrails: index,
    }
}

/// The keys of each kind of file.
#[cfg(test)]
pub(crate) mod keys {
    pub(crate) use super::case::{KEYS as CASE, REASONS};
    pub(crate) use super::manifest::KEYS as MANIFEST;
    pub(crate) use super::organization::{KEYS as ORGANIZATION, PROMOTION_KEYS as PROMOTION};
}
