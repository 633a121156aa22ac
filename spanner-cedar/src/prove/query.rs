//! One question for the solver: for one kind of party, action and kind of resource.

use std::collections::BTreeSet;

use cedar_policy::{Effect, EntityUid, Policy, PolicyId, PolicySet};

use super::ProveError;
use super::kindred::Kindred;
use super::statement::{Statement, Statements, read};
use crate::fact::Fact;
use crate::schema::{Schema, Types};

/// What the narrower set allows, the wider one should.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) narrower: PolicySet,
    pub(super) wider: PolicySet,
}

impl Query {
    /// The same about nothing but such circumstances, in which a counterexample reads best.
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

/// That whatever `narrower` allows and `shown` does not name, `wider` allows. `None` where
/// that is plain to see.
///
/// Where every forbid of the wider stands in the narrower too, a permit that both have cannot
/// be what tells them apart, and only the narrower's own permits are asked about.
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
    // A grant on one model says nothing of another.
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

/// Everything that a guard's requests never are, as forbids.
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

/// A party's groups, roles and name are its issuer's, which vouches for it.
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

/// A model in an environment stands in these two and is the only one that does; it has the
/// model's name.
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

/// A text as Cedar writes it. Names of models have no character that would need more.
fn cedar_text(text: &str) -> String {
    format!("{text:?}")
}

/// An access answers about its own environments alone.
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

/// What the facts of a request can be.
fn circumstances() -> String {
    let ranges: Vec<&str> = Fact::ALL.iter().filter_map(|fact| fact.range()).collect();
    let ranges = ranges.join("\n  && ");
    format!("forbid (principal, action, resource) unless {{\n  {ranges}\n}};")
}

/// The circumstances in which a counterexample reads best, the plainest first: a direct call
/// with a credential of this moment, on the first day of 2026; any call on that day.
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
