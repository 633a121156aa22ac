//! Manifests in the models' own folders, each of which fails alone.
//!
//! A team's broken file must not keep what the organization changed from taking effect. So before
//! the rest is read, each own manifest is read by itself. One with a problem is replaced by what it
//! was before, as far as that still fits the organization as it is now, or by nothing. A manifest
//! only grants, so that a part of it never allows what the whole did not.

use std::collections::HashMap;

use spanner_core::ModelName;

use super::grants::Vocabulary;
use super::manifest::{self, Manifest};
use super::problem::{Problem, Source, no_problems, quoted};
use super::{BrokenManifests, Program};
use crate::documents::{Document, Documents};
use crate::index::Policies;
use crate::spelling::Served;

/// Puts aside what is wrong with own manifests, and what was in force in its place.
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
            // What is wrong with it is told with the rest.
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
            // Whatever of it the organization does not know any more grants nothing.
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

/// Several manifests are about one model: the one of the organization rules, then the one that was
/// in force. Where there is neither, none of them grants anything.
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

/// A manifest without a problem, or what is wrong with it.
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

/// A manifest as it is in force.
fn last<'a>(access: &'a Policies, name: &str) -> Option<&'a Document> {
    let mut documents = access.documents.manifests.iter();
    documents.find(|it| it.name == name && !it.text.is_empty())
}
