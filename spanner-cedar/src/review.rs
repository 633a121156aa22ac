//! The access matrix: who may do what, on which model, in which environment, and why.

mod hygiene;

use std::sync::Arc;

use serde::Serialize;
use spanner_core::{Action, CallerKind, Effect, Environment, ModelName};

use crate::guardrail::{Mode, Site};
use crate::holder::Holder;
use crate::index::{Given, Policies};

pub use hygiene::{Emergency, Hygiene, Usage};

/// Everything that an access grants, by environment, model and holder. The crate `spanner-report`
/// renders it.
///
/// It lists grants and guardrails, not decisions: a guardrail may forbid what a grant allows, and
/// may depend on the context of a request. What the ledger knows is added by
/// [`Review::with_decisions`] and [`Review::with_history`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Review {
    /// The digest of the access.
    pub digest: Arc<str>,
    /// The environments, in their order.
    pub environments: Vec<String>,
    /// The models that have a manifest, sorted.
    pub models: Vec<Governed>,
    /// The grants, sorted.
    pub grants: Vec<Granted>,
    /// The guardrails of the organization, sorted by id.
    pub guardrails: Vec<Guarding>,
    /// Findings that deserve attention.
    pub hygiene: Hygiene,
}

/// A model with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Governed {
    /// Its name.
    pub model: String,
    /// Who is accountable for it.
    pub owner: Option<String>,
}

/// One role granted to one holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Granted {
    /// The environment.
    #[serde(serialize_with = "shown")]
    pub environment: Environment,
    /// The model; `None` if the grant covers every model.
    #[serde(serialize_with = "shown_if_any")]
    pub model: Option<ModelName>,
    /// The holder, as in manifests: `group:corp/support`.
    pub holder: String,
    /// Whether the holder is one person, rather than a group, a role, a service or an agent.
    pub individual: bool,
    /// The role.
    pub role: Arc<str>,
    /// The actions that the role allows.
    pub actions: Vec<Action>,
    /// Who is accountable for the model.
    pub owner: Option<String>,
    /// The stated reason why an individual holds it.
    pub reason: Option<Arc<str>>,
    /// The grant's id, as in records.
    pub policy: Arc<str>,
    /// How the grant was used; `None` if no ledger was read.
    pub usage: Option<Usage>,
}

/// One guardrail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Guarding {
    /// Its id, as in records.
    pub policy: Arc<str>,
    /// Whether it permits or forbids.
    pub effect: Effect,
    /// Whether it is in shadow mode: records say what it would have decided.
    pub shadow: bool,
    /// Its `@reason`.
    pub reason: Option<String>,
    /// The resource part of its scope.
    #[serde(skip)]
    site: Site,
    /// The models that it names.
    #[serde(skip)]
    models: Vec<ModelName>,
}

impl Guarding {
    /// Whether it can apply to a model in an environment, judging by its scope and the models that
    /// it names.
    #[must_use]
    pub fn applies_to(&self, model: &ModelName, environment: &Environment) -> bool {
        self.site.takes(environment, Some(model))
            && (self.models.is_empty() || self.models.contains(model))
    }
}

impl Policies {
    pub(crate) fn review(&self) -> Review {
        let place = |wanted: &Environment| self.environments.iter().position(|it| it == wanted);
        let mut grants: Vec<Granted> = self.grants.iter().map(|it| self.granted(&it)).collect();
        grants.sort_by(|a, b| {
            (place(&a.environment), &a.model, &a.holder, &a.role).cmp(&(
                place(&b.environment),
                &b.model,
                &b.holder,
                &b.role,
            ))
        });
        let mut guardrails: Vec<Guarding> = self
            .guardrails
            .iter()
            .map(|guardrail| Guarding {
                policy: Arc::clone(&guardrail.id),
                effect: match guardrail.effect {
                    cedar_policy::Effect::Permit => Effect::Allow,
                    cedar_policy::Effect::Forbid => Effect::Deny,
                },
                shadow: guardrail.mode == Mode::Shadow,
                reason: guardrail.advice.reason.clone(),
                site: guardrail.site.clone(),
                models: guardrail.named(self.schema).1,
            })
            .collect();
        guardrails.sort_by(|a, b| a.policy.cmp(&b.policy));
        let governed = self.owners.iter().map(|(model, owner)| Governed {
            model: model.to_string(),
            owner: owner.as_ref().map(ToString::to_string),
        });
        let mut models: Vec<Governed> = governed.collect();
        models.sort_by(|a, b| a.model.cmp(&b.model));
        Review {
            digest: Arc::clone(&self.digest),
            environments: self.environments.iter().map(ToString::to_string).collect(),
            models,
            grants,
            guardrails,
            hygiene: Hygiene::of(self),
        }
    }

    fn granted(&self, given: &Given<'_>) -> Granted {
        let owner = given
            .model
            .and_then(|model| self.owners.get(model)?.as_ref());
        let individual = given.holder.kind() == Some(CallerKind::User);
        let reason = given.model.and_then(|model| self.individuals.get(model));
        let by_rule = || {
            let rule = self.promotions.get(given.environment);
            let listed = rule.is_some_and(|rule| rule.approvers.contains(&given.holder));
            (given.model.is_none() && listed).then(|| "an approver of promotions".into())
        };
        Granted {
            environment: given.environment.clone(),
            owner: owner.map(Holder::to_string),
            model: given.model.cloned(),
            holder: given.holder.to_string(),
            individual,
            role: Arc::clone(&given.grant.role),
            actions: given.grant.actions.iter().collect(),
            reason: match individual {
                true => reason.cloned().or_else(by_rule),
                false => None,
            },
            policy: Arc::clone(&given.grant.id),
            usage: None,
        }
    }
}

impl Review {
    /// The grants to individual people, which an access review looks at first.
    pub fn individuals(&self) -> impl Iterator<Item = &Granted> {
        self.grants.iter().filter(|grant| grant.individual)
    }
}

fn shown<S: serde::Serializer>(name: &Environment, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(name)
}

fn shown_if_any<S: serde::Serializer>(name: &Option<ModelName>, s: S) -> Result<S::Ok, S::Error> {
    match name {
        Some(name) => s.collect_str(name),
        None => s.serialize_none(),
    }
}
