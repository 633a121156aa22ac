//! Manifests as promoted, in the place of what the files say by now.

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

/// What is promoted, where the organization has promotions.
pub(super) struct Overlay {
    pub(super) kept: Arc<PromotedManifests>,
    environments: BTreeSet<Environment>,
    pub(super) manifests: Vec<(Environment, PromotionId, Manifest)>,
    /// What the manifests name and the organization does not have any more.
    pub(super) void: Vec<VoidGrant>,
}

impl Overlay {
    /// Promotions rule where they are kept and the organization has a rule for them.
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

    /// Whether only promoted manifests count there.
    pub(super) fn rules(&self, environment: &Environment) -> bool {
        self.environments.contains(environment)
    }

    /// Reads every manifest again, as far as it is about its environment. What it names may have
    /// gone since it was promoted: that part of it is void, and the rest stays in force. Grants
    /// only give, so that nobody gains thereby, and one group that is removed takes nothing from
    /// anybody else.
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

    /// What the digest of the access has of it.
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
