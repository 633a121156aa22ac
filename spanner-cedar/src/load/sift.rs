//! Isolates failures of manifests in the models' own folders.
//!
//! A team's broken file must not prevent the organization's changes from taking effect. Each such
//! manifest is therefore read on its own before everything else. A manifest with a problem is
//! replaced by its last good version, or by nothing. Grants of the last good version that the
//! current organization does not support are dropped. This is safe: a manifest only grants, so a
//! part of it never allows more than the whole.

use std::collections::HashMap;

use spanner_core::ModelName;

use super::grants::Vocabulary;
use super::manifest::{self, Manifest};
use super::problem::{Problem, Source, no_problems, quoted};
use super::{BrokenManifests, Program};
use crate::documents::{Document, Documents};
use crate::index::Policies;
use crate::spelling::Served;

/// Moves the problems of own manifests to their documents, and replaces the broken text.
pub(super) fn sift(
    documents: &mut Documents,
    vocabulary: &Vocabulary<'_>,
    served: &[Served],
    program: &Program<'_>,
) {
    let before = program.before.as_deref();
    let keeps = program.broken == BrokenManifests::KeepLast;
    let read = |source: Source<'_>| read(source, vocabulary, served);
    let mut claims: HashMap<ModelName, Vec<usize>> = HashMap::new();
    for (number, document) in documents.manifests.iter_mut().enumerate() {
        if !document.own {
            // Its problems are reported when all files are compiled.
            if let Some(manifest) =
                manifest::read(document.source(), vocabulary, &mut no_problems())
            {
                claims.entry(manifest.model).or_default().push(number);
            }
            continue;
        }
        let found = match document.is_void() {
            true => Err(std::mem::take(&mut document.fault)),
            false => read(document.source()),
        };
        let found = found.or_else(|fault| {
            document.fault = fault;
            document.text.clear();
            let last = before
                .filter(|_| keeps)
                .and_then(|it| last(it, &document.name));
            document.text.push_str(last.map_or("", |last| &last.text));
            // Grants that name something the organization no longer has are dropped.
            let last = manifest::read(document.source(), vocabulary, &mut no_problems());
            last.ok_or_else(|| document.text.clear())
        });
        if let Ok(manifest) = found {
            claims.entry(manifest.model).or_default().push(number);
        }
    }
    for (model, claims) in claims {
        if claims.len() > 1 {
            settle(documents, &model, &claims, before);
        }
    }
}

/// Chooses among several manifests for one model. The access directory's own manifest wins, then
/// the one that was in force. If there is neither, none of them grants anything.
fn settle(
    documents: &mut Documents,
    model: &ModelName,
    claims: &[usize],
    before: Option<&Policies>,
) {
    let rules = |number: &&usize| {
        let document = documents.manifests.get(**number);
        document.is_some_and(|it| !it.own)
    };
    let held = before.and_then(|access| {
        let claim = access.claims.get(model)?;
        Some(&access.documents.manifests.get(claim.document)?.name)
    });
    let stood = |number: &&usize| {
        let document = documents.manifests.get(**number);
        document.is_some_and(|it| Some(&it.name) == held)
    };
    let winner = claims
        .iter()
        .find(rules)
        .or_else(|| claims.iter().find(stood));
    let winner = winner.copied();
    for number in claims {
        let others = claims.iter().filter(|other| *other != number);
        let names = others.filter_map(|other| Some(documents.manifests.get(*other)?.name.clone()));
        let names: Vec<String> = names.collect();
        if let Some(document) = documents.manifests.get_mut(*number)
            && document.own
            && Some(*number) != winner
        {
            let what = format!(
                "{} already has a manifest, {}",
                quoted(model.as_str()),
                names.join(", ")
            );
            let mut problems = no_problems();
            problems.at(document.source(), 0, what, "join the two");
            document.fault = problems.all().to_vec();
            document.text.clear();
        }
    }
}

/// Reads a manifest, or returns its problems.
fn read(
    source: Source<'_>,
    vocabulary: &Vocabulary<'_>,
    served: &[Served],
) -> Result<Manifest, Vec<Problem>> {
    let mut problems = no_problems();
    let manifest = manifest::read(source, vocabulary, &mut problems);
    if let Some(manifest) = &manifest {
        manifest.titled(source).check(served, &mut problems);
    }
    match manifest {
        Some(manifest) if problems.is_empty() => Ok(manifest),
        _ => Err(problems.all().to_vec()),
    }
}

/// The version of a manifest that is in force.
fn last<'a>(access: &'a Policies, name: &str) -> Option<&'a Document> {
    let mut documents = access.documents.manifests.iter();
    documents.find(|it| it.name == name && !it.text.is_empty())
}
