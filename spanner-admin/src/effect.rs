//! The effect of a step: the current candidate, and the change in access.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use spanner_cedar::{Cedar, Promoted, PromotionRule};
use spanner_core::promotion::{
    Basis, Candidate, ChangeEntry, Digest, HistoryState, Promotion, Standing, StepFault,
    TermsEntry, Undo,
};
use spanner_core::{Environment, ModelName, Permit, PromotionId, Revision};

use crate::engine::PromotionEngine;
use crate::error::StepError;
use crate::proposal::{MAX_MANIFEST_BYTES, ProposalRequest};

/// The effect of a promotion on the access in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// The change in access.
    pub difference: Arc<[ChangeEntry]>,
    /// What an approval covers in addition to the candidate.
    pub terms: TermsEntry,
}

/// The previews of open promotions, each with the digest of the access configuration that it was
/// computed from.
pub(crate) type Previews = Mutex<HashMap<PromotionId, (Arc<str>, Preview)>>;

impl PromotionEngine {
    pub(crate) fn rule(&self, into: &Environment) -> Result<PromotionRule, StepError> {
        let rule = self.cedar.promotion(into);
        rule.ok_or_else(|| StepError::NoRule(into.clone()))
    }

    /// The candidate of a proposal: the manifest in force in the source environment, or that of
    /// an earlier promotion.
    pub(crate) fn candidate(
        &self,
        history: &HistoryState,
        what: &ProposalRequest,
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

    /// The manifest in force in the source environment.
    pub(crate) fn manifest(
        &self,
        model: &ModelName,
        from: &Environment,
    ) -> Result<Arc<str>, StepError> {
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

    /// The promotion's candidate in its current state.
    pub(crate) fn current(
        &self,
        history: &HistoryState,
        promotion: &Promotion,
    ) -> Result<Candidate, StepError> {
        let (candidate, from) = (promotion.candidate(), &promotion.plan().from);
        if promotion.plan().restores.is_some() {
            // The manifest of an earlier promotion is in the journal and cannot change.
            return Ok(candidate.clone());
        }
        let manifest = self.cedar.manifest(&candidate.model, from);
        let manifest = manifest.ok_or(StepFault::Changed)?;
        let mut current = candidate.clone();
        current.manifest = Digest::of(manifest.as_bytes());
        if let Some(revision) = &candidate.revision {
            let checked = check_revision(history, &candidate.model, from, revision);
            checked.map_err(|_| StepFault::Changed)?;
        }
        Ok(current)
    }

    /// Checks that the organization lists the caller as an approver. Grants in manifests have no
    /// influence.
    pub(crate) fn check_listed(
        &self,
        promotion: &Promotion,
        permit: &Permit,
    ) -> Result<(), StepError> {
        let into = &promotion.plan().into;
        let rule = self.rule(into)?;
        let listed = permit.caller().map(|caller| rule.names(caller.subject()));
        match listed {
            Some(true) => Ok(()),
            _ => Err(StepError::NotListed(into.clone())),
        }
    }

    /// The current effect of a promotion. Fails if the rule now names a different source
    /// environment.
    pub(crate) fn preview(&self, promotion: &Promotion) -> Result<Preview, StepError> {
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
        let one = promoted(promotion).ok_or_else(|| StepFault::Standing(promotion.standing()))?;
        let preview = self.compute_preview(one)?;
        if promotion.standing() == Standing::Open && self.cedar.digest() == digest {
            let known = self.previews.lock();
            let mut known = known.unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, (of, _)| *of == digest);
            known.insert(promotion.id(), (digest, preview.clone()));
        }
        Ok(preview)
    }

    /// The effect of putting this manifest in force.
    pub(crate) fn compute_preview(&self, one: Promoted) -> Result<Preview, StepError> {
        let (model, environment) = (one.model.clone(), one.environment.clone());
        let preview = self.cedar.preview_of(&model, &environment, Some(one))?;
        let difference = difference(&self.cedar, &preview, &model, &environment);
        let terms = self
            .cedar
            .terms(&preview, &model, &environment, &difference);
        let terms = terms.ok_or(StepError::NoRule(environment))?;
        Ok(Preview { difference, terms })
    }

    /// Adds the current effect to the basis of a step.
    pub(crate) fn show(&self, promotion: &Promotion, basis: &mut Basis) -> Result<(), StepError> {
        let Preview { difference, terms } = self.preview(promotion)?;
        basis.difference = difference;
        basis.terms = Some(terms);
        Ok(())
    }

    /// The current promotion, and the effect of rolling it back.
    pub(crate) fn undo<'h>(
        &self,
        history: &'h HistoryState,
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

/// The change in access to a model.
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

/// Why approvals are void, if what they covered differs from the current effect.
pub(crate) fn stale(
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
        // The effect may be the same once the problem is solved, and then needs new approvals.
        Err(error) => Some((plain(&error.to_string()), None)),
    }
}

/// An error on one line of bounded length.
fn plain(text: &str) -> String {
    const MOST: usize = 300;
    text.replace(char::is_control, " ")
        .chars()
        .take(MOST)
        .collect()
}

/// The principals that would gain access, shortened to fit into a sentence.
pub(crate) fn gaining_holders(difference: &[ChangeEntry]) -> String {
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

pub(crate) fn known(history: &HistoryState, id: PromotionId) -> Result<&Promotion, StepError> {
    history.promotion(id).ok_or(StepError::Unknown(id))
}

pub(crate) fn promoted(promotion: &Promotion) -> Option<Promoted> {
    let (model, into) = (&promotion.candidate().model, &promotion.plan().into);
    let manifest = Arc::clone(promotion.manifest()?);
    Some(Promoted::new(
        promotion.id(),
        model.clone(),
        into.clone(),
        manifest,
    ))
}

/// If promotions govern the source environment, only the revision in force there can be promoted.
fn check_revision(
    history: &HistoryState,
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

/// Checks that the promotion to be replaced is still in force. Otherwise the change in access
/// differs from the one shown.
pub(crate) fn check_base(history: &HistoryState, promotion: &Promotion) -> Result<(), StepError> {
    let current = history.current(&promotion.candidate().model, &promotion.plan().into);
    match current.map(Promotion::id) == promotion.plan().base {
        true => Ok(()),
        false => Err(StepFault::Superseded.into()),
    }
}
