//! An access as plain Cedar policies, and what its change is meant to change.

use std::collections::BTreeSet;

use cedar_policy::{Effect, EntityUid, Policy, PolicyId};
use spanner_core::{Action, CallerKind, ModelName};

use super::ProveError;
use super::query::Kindred;
use crate::diff::{Change, Difference};
use crate::guardrail::{Mode, Site};
use crate::index::Access;
use crate::role::ActionSet;
use crate::schema::Schema;

/// Every policy that decides.
pub(super) struct Statements {
    pub(super) all: Vec<Statement>,
    pub(super) environments: Vec<String>,
}

/// One policy with what it can be about.
pub(super) struct Statement {
    /// What it says, without its id and annotations.
    pub(super) text: String,
    pub(super) policy: Policy,
    /// `None`: any.
    kind: Option<CallerKind>,
    actions: ActionSet,
    /// The one model in an environment that it is about; `None`: it may be about others.
    pub(super) endpoint: Option<EntityUid>,
}

impl Statements {
    pub(super) fn of(access: &Access) -> Result<Self, ProveError> {
        let types = &Schema::shared().types;
        let mut all = Vec::new();
        for given in access.grants.iter() {
            let Some(holder) = types.holder(&given.holder) else {
                continue;
            };
            let endpoint = given
                .model
                .map(|model| types.endpoint(given.environment, model));
            let place = match &endpoint {
                Some(uid) => format!("resource == {uid}"),
                None => format!("resource in {}", types.environment(given.environment)),
            };
            let text = format!(
                "permit (principal in {holder}, action in [{}], {place});",
                listed(given.grant.actions)
            );
            all.push(Statement {
                policy: read(&given.grant.id, &text)?,
                text,
                kind: given.holder.kind(),
                actions: given.grant.actions,
                endpoint,
            });
        }
        for guardrail in access.guardrails.iter() {
            if guardrail.mode == Mode::Shadow {
                continue;
            }
            let Some(policy) = guardrail.policy.policies().next() else {
                continue;
            };
            all.push(Statement {
                text: bare(policy),
                policy: policy.clone(),
                kind: None,
                actions: guardrail.actions,
                endpoint: endpoint(&guardrail.site),
            });
        }
        Ok(Self {
            all,
            environments: access
                .environments
                .iter()
                .map(ToString::to_string)
                .collect(),
        })
    }
}

impl Statement {
    pub(super) fn fits(&self, kindred: &Kindred) -> bool {
        self.kind.is_none_or(|kind| kind == kindred.kind)
            && self.actions.contains(kindred.action)
            && (kindred.on_models || self.endpoint.is_none())
    }
}

fn endpoint(site: &Site) -> Option<EntityUid> {
    let types = &Schema::shared().types;
    let (environment, model) = site.environment.as_ref().zip(site.model.as_ref())?;
    Some(types.endpoint(environment, model))
}

/// Every model that one of these names.
pub(super) fn models(accesses: &[&Access]) -> BTreeSet<ModelName> {
    let mut models = BTreeSet::new();
    for access in accesses {
        models.extend(access.owners.keys().cloned());
        models.extend(
            access
                .grants
                .iter()
                .filter_map(|given| given.model.cloned()),
        );
    }
    models
}

/// What a difference shows to change, as forbids.
pub(super) fn intents(
    difference: &Difference,
    models: &BTreeSet<ModelName>,
    side: impl Fn(&Change) -> &Vec<Action>,
) -> Result<Vec<Statement>, ProveError> {
    let types = &Schema::shared().types;
    let mut intents = Vec::new();
    for change in &difference.changes {
        let actions: ActionSet = side(change).iter().copied().collect();
        let holder = types.written(&change.holder);
        let Some(holder) = holder.filter(|_| !actions.is_empty()) else {
            continue;
        };
        let endpoint = change
            .model
            .as_ref()
            .map(|model| types.endpoint(&change.environment, model));
        let (place, except) = match &endpoint {
            Some(uid) => (format!("resource == {uid}"), String::new()),
            None => {
                let named: Vec<String> = models
                    .iter()
                    .map(|model| types.model(model).to_string())
                    .collect();
                (
                    format!("resource in {}", types.environment(&change.environment)),
                    format!(" unless {{ resource in [{}] }}", named.join(", ")),
                )
            }
        };
        let except = match models.is_empty() {
            true => String::new(),
            false => except,
        };
        let text = format!(
            "forbid (principal in {holder}, action in [{}], {place}){except};",
            listed(actions)
        );
        intents.push(Statement {
            policy: read("the difference", &text)?,
            text,
            kind: None,
            actions,
            endpoint,
        });
    }
    Ok(intents)
}

fn listed(actions: ActionSet) -> String {
    let types = &Schema::shared().types;
    let actions: Vec<String> = actions
        .iter()
        .map(|action| types.action(action).to_string())
        .collect();
    actions.join(", ")
}

/// What a guardrail says: the policy without its annotations.
fn bare(policy: &Policy) -> String {
    let text = policy.to_cedar().unwrap_or_else(|| policy.to_string());
    let word = match policy.effect() {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    };
    // Annotations are texts in parentheses before the word, and may contain it; what differs
    // in them alone is then asked about, which does no harm.
    let begins = text.find(&format!("\n{word}")).map_or(0, |at| at + 1);
    text.get(begins..).unwrap_or(&text).to_owned()
}

/// Reads a policy that was written here.
pub(super) fn read(id: &str, text: &str) -> Result<Policy, ProveError> {
    Policy::parse(Some(PolicyId::new(id)), text).map_err(|error| ProveError::Policy {
        policy: id.to_owned(),
        why: error.to_string(),
    })
}
