//! One question for the solver, about one kind of party, action and kind of resource.

use std::collections::BTreeSet;

use cedar_policy::{Effect, EntityUid, Policy, PolicyId, PolicySet};

use super::ProveError;
use super::kindred::Kindred;
use super::statement::{Statement, Statements, read};
use crate::fact::Fact;
use crate::schema::{Schema, Types};

/// The question whether `wider` allows everything that `narrower` allows.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) narrower: PolicySet,
    pub(super) wider: PolicySet,
}

impl Query {
    /// The same question restricted to such circumstances, for a readable counterexample.
    pub(super) fn plainly(&self, circumstances: &str) -> Result<Self, ProveError> {
        let mut narrower = self.narrower.clone();
        narrower
            .add(read("plain", circumstances)?)
            .map_err(|error| ProveError::Solver(error.to_string()))?;
        Ok(Self {
            narrower,
            wider: self.wider.clone(),
        })
    }
}

/// The question whether `wider` allows everything that `narrower` allows, except what `shown`
/// names. `None` if the answer is trivially yes.
///
/// If `narrower` has every forbid of `wider`, a permit that both have cannot cause a difference.
/// Then the question covers only the permits that `narrower` alone has.
pub(super) fn implies(
    kindred: &Kindred,
    narrower: &Statements,
    shown: &[Statement],
    wider: &Statements,
) -> Result<Option<Query>, ProveError> {
    let here = |statement: &&Statement| statement.fits(kindred);
    let of = |statements: &'_ Statements, effect: Effect| -> BTreeSet<String> {
        let all = statements.all.iter().filter(here);
        let all = all.filter(|statement| statement.policy.effect() == effect);
        all.map(|statement| statement.text.clone()).collect()
    };
    let forbids_too = of(wider, Effect::Forbid).is_subset(&of(narrower, Effect::Forbid))
        && narrower
            .environments
            .iter()
            .all(|name| wider.environments.contains(name));
    let common = match forbids_too {
        true => of(wider, Effect::Permit),
        false => BTreeSet::new(),
    };
    let matters = |statement: &&Statement| {
        statement.policy.effect() == Effect::Forbid || !common.contains(&statement.text)
    };
    let ours: Vec<&Statement> = narrower.all.iter().filter(here).filter(matters).collect();
    let permits = || ours.iter().filter(|s| s.policy.effect() == Effect::Permit);
    if permits().next().is_none() {
        return Ok(None);
    }
    // A grant on one model is irrelevant for another.
    let near = |statement: &&Statement| {
        statement.endpoint.is_none()
            || permits().any(|s| s.endpoint.is_none() || s.endpoint == statement.endpoint)
    };
    let theirs: Vec<&Statement> = wider.all.iter().filter(here).filter(near).collect();
    let shown = shown.iter().filter(here).filter(near);
    let mut one: Vec<Policy> = ours.iter().map(|s| s.policy.clone()).collect();
    one.extend(shown.map(|s| s.policy.clone()));
    let two: Vec<Policy> = theirs.iter().map(|s| s.policy.clone()).collect();
    one.extend(facts(kindred, &one, &two, narrower, wider)?);
    one.push(environments(&narrower.environments)?);
    let mut two = two;
    two.push(environments(&wider.environments)?);
    Ok(Some(Query {
        narrower: set(one)?,
        wider: set(two)?,
    }))
}

/// Forbids that exclude the requests that no guard makes.
fn facts(
    kindred: &Kindred,
    one: &[Policy],
    two: &[Policy],
    narrower: &Statements,
    wider: &Statements,
) -> Result<Vec<Policy>, ProveError> {
    let types = &Schema::shared().types;
    let literals = one.iter().chain(two).flat_map(Policy::entity_literals);
    let literals: BTreeSet<EntityUid> = literals.collect();
    let mut texts = vec![circumstances()];
    for uid in &literals {
        texts.extend(issuers(types, kindred, uid));
        if kindred.on_models {
            texts.extend(places(types, uid));
        }
    }
    let known: BTreeSet<&str> = narrower
        .environments
        .iter()
        .chain(&wider.environments)
        .map(String::as_str)
        .collect();
    for (number, first) in known.iter().enumerate() {
        for second in known.iter().skip(number + 1) {
            texts.push(format!(
                "forbid (principal, action, resource in {}) when {{ resource in {} }};",
                types.environment_named(first),
                types.environment_named(second),
            ));
        }
    }
    texts.iter().map(|text| read("a fact", text)).collect()
}

/// A party's groups, roles and name belong to the issuer of its credential.
fn issuers(types: &Types, kindred: &Kindred, uid: &EntityUid) -> Option<String> {
    let holder = types.holder(uid)?;
    let relation = match holder.kind() {
        None => "in",
        Some(kind) if kind == kindred.kind => "==",
        Some(_) => return None,
    };
    let (issuer, _) = uid.id().unescaped().split_once('/')?;
    Some(format!(
        "forbid (principal {relation} {uid}, action, resource) unless {{ context.issuer == \"{issuer}\" }};"
    ))
}

/// An endpoint belongs to its model and its environment, is the only one of this model there, and
/// has the model's name.
fn places(types: &Types, uid: &EntityUid) -> Vec<String> {
    let id = uid.id().unescaped();
    if *uid.type_name() == types.model {
        let name = cedar_text(id);
        return vec![
            format!(
                "forbid (principal, action, resource is Spanner::Endpoint in {uid}) unless {{ resource.name == {name} }};"
            ),
            format!(
                "forbid (principal, action, resource is Spanner::Endpoint) when {{ resource.name == {name} && !(resource in {uid}) }};"
            ),
        ];
    }
    let Some((environment, model)) = id
        .split_once('/')
        .filter(|_| *uid.type_name() == types.endpoint)
    else {
        return Vec::new();
    };
    let environment = types.environment_named(environment);
    let (model, name) = (types.model_named(model), cedar_text(model));
    vec![
        format!(
            "forbid (principal, action, resource == {uid}) unless {{ resource in {environment} && resource in {model} && resource.name == {name} }};"
        ),
        format!(
            "forbid (principal, action, resource is Spanner::Endpoint in {environment}) when {{ resource.name == {name} && resource != {uid} }};"
        ),
    ]
}

/// A text as a Cedar string. Rust and Cedar escape every character of a model's name in the same
/// way.
fn cedar_text(text: &str) -> String {
    format!("{text:?}")
}

/// An access refuses everything outside its own environments.
fn environments(names: &[String]) -> Result<Policy, ProveError> {
    let types = &Schema::shared().types;
    let all: Vec<String> = names
        .iter()
        .map(|name| format!("resource in {}", types.environment_named(name)))
        .collect();
    let text = format!(
        "forbid (principal, action, resource) unless {{ {} }};",
        all.join(" || ")
    );
    read("the environments", &text)
}

fn set(policies: Vec<Policy>) -> Result<PolicySet, ProveError> {
    let numbered = policies.into_iter().enumerate();
    let numbered =
        numbered.map(|(number, policy)| policy.new_id(PolicyId::new(format!("p{number}"))));
    PolicySet::from_policies(numbered).map_err(|error| ProveError::Solver(error.to_string()))
}

/// The ranges of the facts of a request.
fn circumstances() -> String {
    let ranges: Vec<&str> = Fact::ALL.iter().filter_map(|fact| fact.range()).collect();
    let ranges = ranges.join("\n  && ");
    format!("forbid (principal, action, resource) unless {{\n  {ranges}\n}};")
}

/// Circumstances that make a counterexample readable, the simplest first: a direct call with a
/// credential that was just issued, on 1 January 2026; then any call at that time.
pub(super) const PLAIN: [&str; 2] = [
    "forbid (principal, action, resource) unless {
  context.now == 1767225600
  && context.tokenAgeSeconds == 0 && context.tokenAgeKnown
  && context.assurance == 3 && context.authAgeSeconds == 0 && context.authAgeKnown
  && context.delegationDepth == 0
  && !(context has tenant) && !(context has origin)
};",
    "forbid (principal, action, resource) unless {
  context.now == 1767225600
  && context.tokenAgeSeconds <= 2592000 && context.tokenAgeKnown
  && context.authAgeSeconds <= 2592000 && context.authAgeKnown
  && !(context has tenant) && !(context has origin)
};",
];
