//! Promoted manifests, which replace those in the files.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use spanner_core::promotion::Digest;
use spanner_core::{Environment, PromotionId};

use super::grants::Vocabulary;
use super::manifest::{self, Manifest};
use super::organization::Organization;
use super::problem::{Problems, Source, no_problems, quoted};
use crate::promotion::{PromotedManifests, VoidGrant};

/// The promoted manifests of the environments that have a rule of promotion.
pub(super) struct Overlay {
    pub(super) kept: Arc<PromotedManifests>,
    environments: BTreeSet<Environment>,
    pub(super) manifests: Vec<(Environment, PromotionId, Manifest)>,
    /// Grants that name something the organization no longer has.
    pub(super) void: Vec<VoidGrant>,
}

impl Overlay {
    /// An environment uses promoted manifests if the ledger has promotions for it and the
    /// organization has a rule of promotion for it.
    pub(super) fn new(kept: &Arc<PromotedManifests>, organization: &Organization) -> Self {
        let ruled = |environment: &&Environment| organization.promotions.contains_key(*environment);
        let environments = kept.environments.iter().filter(ruled).cloned().collect();
        Self {
            kept: Arc::clone(kept),
            environments,
            manifests: Vec::new(),
            void: Vec::new(),
        }
    }

    /// Whether only promoted manifests count in an environment.
    pub(super) fn rules(&self, environment: &Environment) -> bool {
        self.environments.contains(environment)
    }

    /// Reads the part of every promoted manifest that concerns its environment. A grant whose group
    /// or role was removed after the promotion is void; the rest stays in force. Dropping a grant
    /// never allows more, and removing one group does not affect anybody else.
    pub(super) fn read(&mut self, vocabulary: &Vocabulary<'_>, problems: &mut Problems) {
        for promoted in &self.kept.promoted {
            if !self.environments.contains(&promoted.environment) {
                continue;
            }
            let name = format!("(promotion {})", promoted.promotion);
            let source = Source::new(&name, &promoted.manifest).visible_only();
            let here = Vocabulary {
                only: Some(&promoted.environment),
                ..*vocabulary
            };
            let mut gone = no_problems();
            let manifest = manifest::read(source, &here, &mut gone);
            if !gone.is_empty() {
                let void = gone.all().iter().map(|problem| VoidGrant {
                    promotion: promoted.promotion,
                    model: promoted.model.clone(),
                    environment: promoted.environment.clone(),
                    problem: problem.clone(),
                });
                self.void.extend(void);
            }
            let Some(manifest) = manifest else {
                continue;
            };
            if manifest.model != promoted.model {
                let what = format!(
                    "it is the manifest of {}, and {} was promoted",
                    quoted(manifest.model.as_str()),
                    quoted(promoted.model.as_str())
                );
                let advice = "promote the model with its own manifest";
                problems.at(source, manifest.at, what, advice);
                continue;
            }
            let place = (promoted.environment.clone(), promoted.promotion, manifest);
            self.manifests.push(place);
        }
    }

    /// What the digest of the access covers.
    pub(super) fn parts(&self) -> Vec<Cow<'_, str>> {
        let mut parts: Vec<Cow<'_, str>> = Vec::new();
        parts.extend(self.environments.iter().map(|it| it.as_str().into()));
        for promoted in &self.kept.promoted {
            if self.rules(&promoted.environment) {
                let manifest = Digest::of(promoted.manifest.as_bytes());
                parts.push(promoted.environment.as_str().into());
                parts.push(promoted.model.as_str().into());
                parts.push(manifest.as_str().to_owned().into());
            }
        }
        parts
    }
}
