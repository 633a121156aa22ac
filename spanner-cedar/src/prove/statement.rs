//! An access as plain Cedar policies, and its intended changes as forbids.

use std::collections::BTreeSet;

use cedar_policy::{Effect, EntityUid, Policy, PolicyId};
use spanner_core::{Action, CallerKind, ModelName};

use super::ProveError;
use super::kindred::Kindred;
use crate::diff::{Change, Difference};
use crate::guardrail::{Mode, Site};
use crate::index::Policies;
use crate::role::ActionSet;
use crate::schema::Schema;

/// Every policy that affects decisions.
pub(super) struct Statements {
    pub(super) all: Vec<Statement>,
    pub(super) environments: Vec<String>,
}

/// One policy with the requests that it can match.
pub(super) struct Statement {
    /// Its text, without its id and annotations.
    pub(super) text: String,
    pub(super) policy: Policy,
    /// The kind of party; `None` for any.
    kind: Option<CallerKind>,
    actions: ActionSet,
    /// The only endpoint that it can match; `None` if it may match several.
    pub(super) endpoint: Option<EntityUid>,
}

impl Statements {
    pub(super) fn of(access: &Policies) -> Result<Self, ProveError> {
        let types = &Schema::shared().types;
        let mut all = Vec::new();
        for given in access.grants.iter() {
            let Some(holder) = types.entity(&given.holder) else {
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

/// Every model that one of the accesses names.
pub(super) fn models(accesses: &[&Policies]) -> BTreeSet<ModelName> {
    let mut models = BTreeSet::new();
    for access in accesses {
        models.extend(access.owners.keys().cloned());
        let granted = access.grants.iter();
        models.extend(granted.filter_map(|given| given.model.cloned()));
        for guardrail in access.guardrails.iter() {
            models.extend(guardrail.named(access.schema).1);
        }
    }
    models
}

/// The changes that a difference shows, as forbids.
pub(super) fn intents(
    difference: &Difference,
    models: &BTreeSet<ModelName>,
    side: impl Fn(&Change) -> &Vec<Action>,
) -> Result<Vec<Statement>, ProveError> {
    let types = &Schema::shared().types;
    let mut intents = Vec::new();
    for change in &difference.changes {
        let actions: ActionSet = side(change).iter().copied().collect();
        if actions.is_empty() {
            continue;
        }
        let endpoint = change
            .model
            .as_ref()
            .map(|model| types.endpoint(&change.environment, model));
        let environment = types.environment(&change.environment);
        let place = match (&endpoint, change.server) {
            (Some(uid), _) => format!("resource == {uid}"),
            (None, true) => format!("resource is {} in {environment}", types.server),
            (None, false) => format!("resource is {} in {environment}", types.endpoint),
        };
        let (principal, condition) = whom(change)?;
        let text = format!(
            "forbid ({principal}, action in [{}], {place}){condition}{};",
            listed(actions),
            match (&endpoint, change.server) {
                (None, false) => except(models),
                _ => String::new(),
            }
        );
        intents.push(Statement {
            policy: read("the difference", &text)?,
            text,
            kind: change.kind,
            actions,
            endpoint,
        });
    }
    Ok(intents)
}

/// The parties that a change affects, as a policy's scope and condition.
fn whom(change: &Change) -> Result<(String, String), ProveError> {
    let types = &Schema::shared().types;
    let kind = change.kind.and_then(|kind| types.of(kind));
    let is = kind.map_or_else(String::new, |kind| format!(" is {kind}"));
    let (word, id) = change
        .holder
        .split_once(':')
        .unwrap_or((&change.holder, ""));
    let kind = match word {
        "anybody" if id.is_empty() => return Ok((format!("principal{is}"), String::new())),
        "anybody" => {
            let condition = format!(" when {{ context.issuer == \"{id}\" }}");
            return Ok((format!("principal{is}"), condition));
        }
        "group" => &types.group,
        "role" => &types.role,
        "user" => &types.user,
        "service" => &types.service,
        "agent" => &types.agent,
        _ => {
            return Err(ProveError::Policy {
                policy: "the difference".to_owned(),
                why: format!("nobody is called `{}`", change.holder),
            });
        }
    };
    let holder = types.named(kind, id);
    Ok((format!("principal{is} in {holder}"), String::new()))
}

/// Excludes the models that one of the accesses names: each has its own changes.
fn except(models: &BTreeSet<ModelName>) -> String {
    let types = &Schema::shared().types;
    if models.is_empty() {
        return String::new();
    }
    let named: Vec<String> = models
        .iter()
        .map(|model| types.model(model).to_string())
        .collect();
    format!(" unless {{ resource in [{}] }}", named.join(", "))
}

fn listed(actions: ActionSet) -> String {
    let types = &Schema::shared().types;
    let actions: Vec<String> = actions
        .iter()
        .map(|action| types.action(action).to_string())
        .collect();
    actions.join(", ")
}

/// The text of a guardrail without its annotations.
fn bare(policy: &Policy) -> String {
    let text = policy.to_cedar().unwrap_or_else(|| policy.to_string());
    let word = match policy.effect() {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    };
    // An annotation may contain the word itself. Then the text keeps a part of the annotations, and
    // the solver is asked about policies that differ only there, which is harmless.
    let begins = text.find(&format!("\n{word}")).map_or(0, |at| at + 1);
    text.get(begins..).unwrap_or(&text).to_owned()
}

/// Parses a policy that was generated here.
pub(super) fn read(id: &str, text: &str) -> Result<Policy, ProveError> {
    Policy::parse(Some(PolicyId::new(id)), text).map_err(|error| ProveError::Policy {
        policy: id.to_owned(),
        why: error.to_string(),
    })
}
