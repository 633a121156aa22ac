//! From files to an access that can be put in force, or every problem with them.

mod case;
mod demand;
mod fields;
mod files;
mod grants;
mod guardrail;
mod lexer;
mod manifest;
mod organization;
mod principal;
mod problem;
mod roles;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cedar_policy::EntityUid;
use spanner_core::{Group, GroupName, IssuerAlias, ModelName, Role, Timestamp};

pub(crate) use case::Case;
pub(crate) use files::Document;
pub(crate) use grants::RawGrant;
pub(crate) use principal::{Directory, Holder};
pub use problem::{LoadError, Problem};
pub(crate) use problem::{listed, quoted, suggestion};

use crate::guardrail::Guardrail;
use crate::index::{Access, Grants, Guardrails, Mentioned};
use crate::schema::{self, Schema};
use files::Documents;
use grants::Vocabulary;
use manifest::Manifest;
use organization::Organization;
use problem::Problems;

/// Reads a directory.
pub(crate) fn from_dir(
    dir: &Path,
    issuers: &[IssuerAlias],
    models: &[PathBuf],
) -> Result<Access, LoadError> {
    let mut problems = Problems::default();
    let documents = files::from_dir(dir, models, &mut problems);
    compile(&documents, issuers, problems)
}

/// Reads files from memory.
pub(crate) fn from_memory<N: Into<String>, T: Into<Vec<u8>>>(
    files: impl IntoIterator<Item = (N, T)>,
    issuers: &[IssuerAlias],
    models: &[PathBuf],
) -> Result<Access, LoadError> {
    let mut problems = Problems::default();
    let documents = files::from_memory(files, models, &mut problems);
    compile(&documents, issuers, problems)
}

/// Reads the files of the cases in a directory.
pub(crate) fn cases_from_dir(dir: &Path) -> Result<Vec<Document>, LoadError> {
    let mut problems = Problems::default();
    let documents = files::cases_from_dir(dir, &mut problems);
    problems.none_or(documents)
}

/// Takes files of cases from memory.
pub(crate) fn cases_from_memory<N: Into<String>, T: Into<Vec<u8>>>(
    files: impl IntoIterator<Item = (N, T)>,
) -> Result<Vec<Document>, LoadError> {
    let mut problems = Problems::default();
    let documents = files::cases_from_memory(files, &mut problems);
    problems.none_or(documents)
}

/// Reads cases against an access, or tells everything that is wrong with them.
pub(crate) fn cases(
    documents: &[Document],
    access: &Access,
    now: Timestamp,
) -> Result<Vec<Case>, LoadError> {
    let mut problems = Problems::of("cases");
    let reader = case::Reader::new(access, now);
    let read = |document: &Document| reader.read(document.page(), &mut problems);
    let cases = documents.iter().flat_map(read).collect();
    problems.none_or(cases)
}

/// There is no directory to read again.
pub(crate) fn no_directory() -> LoadError {
    LoadError::one(
        ".",
        "the access did not come from a folder",
        "replace it with other files",
    )
}

/// Makes an access of documents if nothing is wrong with any of them.
fn compile(
    documents: &Documents,
    issuers: &[IssuerAlias],
    mut problems: Problems,
) -> Result<Access, LoadError> {
    let schema = Schema::shared();
    let organization = documents
        .organization
        .as_ref()
        .and_then(|document| organization::read(document.page(), issuers, schema, &mut problems));
    let Some(organization) = organization else {
        return Err(problems.into_error());
    };
    let vocabulary = Vocabulary {
        environments: &organization.environments,
        roles: &organization.roles,
        directory: &organization.directory,
        schema,
    };
    let manifests = manifests(&documents.manifests, &vocabulary, &mut problems);
    let mut reader = guardrail::Reader::new(&vocabulary);
    for document in &documents.guardrails {
        reader.read(document.page(), &mut problems);
    }
    let guardrails = reader.guardrails;
    if !problems.is_empty() {
        return Err(problems.into_error());
    }
    let mut program: Vec<&str> = issuers.iter().map(IssuerAlias::as_str).collect();
    program.push(schema::TEXT);
    let digest = documents.digest(&program);
    Ok(assemble(&digest, organization, manifests, guardrails))
}

/// Reads all manifests; a model that two of them claim is a problem of the later one.
fn manifests(
    documents: &[Document],
    vocabulary: &Vocabulary<'_>,
    problems: &mut Problems,
) -> Vec<Manifest> {
    let mut first: HashMap<ModelName, &str> = HashMap::new();
    let mut manifests = Vec::new();
    for document in documents {
        let Some(manifest) = manifest::read(document.page(), vocabulary, problems) else {
            continue;
        };
        if let Some(other) = first.get(&manifest.model) {
            let what = format!(
                "{} already has a manifest, {other}",
                quoted(manifest.model.as_str())
            );
            problems.at(document.page(), manifest.at, what, "join the two");
            continue;
        }
        first.insert(manifest.model.clone(), &document.name);
        manifests.push(manifest);
    }
    manifests
}

/// Puts together what was found to be right.
pub(crate) fn assemble(
    digest: &str,
    organization: Organization,
    manifests: Vec<Manifest>,
    guardrails: Vec<Guardrail>,
) -> Access {
    let schema = Schema::shared();
    let mut grants = Grants::default();
    for grant in organization.grants {
        grants.add(None, grant);
    }
    let mut owners = HashMap::new();
    let mut individuals = HashMap::new();
    for manifest in manifests {
        if let Some(reason) = manifest.individuals {
            individuals.insert(manifest.model.clone(), reason);
        }
        for grant in manifest.grants {
            grants.add(Some(&manifest.model), grant);
        }
        owners.insert(manifest.model, manifest.owner);
    }
    let Directory { issuers, groups } = organization.directory;
    let mentioned = mentioned(schema, groups.iter().cloned(), &guardrails);
    let mut index = Guardrails::default();
    for guardrail in guardrails {
        index.add(guardrail);
    }
    Access {
        schema,
        digest: Arc::from(digest),
        environments: organization.environments,
        issuers,
        directory: groups,
        roles: organization.roles,
        promotions: organization.promotions,
        owners,
        individuals,
        grants,
        guardrails: index,
        mentioned,
    }
}

/// The groups and roles that guardrails mention, as entities.
fn mentioned(
    schema: &Schema,
    groups: impl IntoIterator<Item = Group>,
    guardrails: &[Guardrail],
) -> Mentioned {
    let groups = groups
        .into_iter()
        .map(|group| {
            let uid = schema.types.group(&group);
            (group, uid)
        })
        .filter(|(_, uid)| {
            guardrails
                .iter()
                .any(|guardrail| guardrail.groups.contains(uid))
        })
        .collect();
    let roles = guardrails.iter().flat_map(|guardrail| &guardrail.roles);
    let roles = roles
        .filter_map(|uid| Some((role_of(uid)?, uid.clone())))
        .collect();
    Mentioned { groups, roles }
}

/// The role that an entity stands for; there is no list of roles to look it up in.
fn role_of(uid: &EntityUid) -> Option<Role> {
    let (issuer, name) = uid.id().unescaped().split_once('/')?;
    Some(Role::new(
        IssuerAlias::new(issuer).ok()?,
        GroupName::new(name).ok()?,
    ))
}

/// The keys of each kind of file.
#[cfg(test)]
pub(crate) mod keys {
    pub(crate) use super::case::{KEYS as CASE, REASONS};
    pub(crate) use super::manifest::KEYS as MANIFEST;
    pub(crate) use super::organization::{KEYS as ORGANIZATION, PROMOTION_KEYS as PROMOTION};
}
