//! Translates a counterexample to a request and decides it again.

use std::fmt::Write as _;
use std::time::Duration;

use cedar_policy::{Context as Facts, EntityUid, EvalResult};
use cedar_policy_symcc::Env;
use spanner_core::{
    Action, Authorize as _, Caller, Context, Credential, Effect, Environment, Group, IssuerAlias,
    ModelName, Principal, Question, Resource, Role, SubjectId, Timestamp, Verdict,
};

use super::kindred::Kindred;
use crate::cedar::Cedar;
use crate::fact::Fact;
use crate::holder::Holder;
use crate::schema::Schema;

/// A request that one access allows and the other refuses, and that the difference does not show.
/// Both accesses have confirmed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counterexample {
    /// The principal: `user:corp/alice`, or `user:corp/somebody` if no policy names it.
    pub principal: String,
    /// Its groups and roles: `group:corp/qa`, `role:corp/admin`.
    pub parents: Vec<String>,
    /// The action.
    pub action: Action,
    /// The resource; an arbitrary model name if the name does not matter.
    pub resource: Resource,
    /// The environment.
    pub environment: Environment,
    /// The context of the request.
    pub context: Context,
    /// Further facts that policies may read, if they are set: `tenant`, `origin`, `scopes`.
    pub besides: Vec<(String, String)>,
    /// The verdict of the old access.
    pub before: Verdict,
    /// The verdict of the new access.
    pub after: Verdict,
}

impl Counterexample {
    /// The same request with the two verdicts swapped.
    pub(super) fn reversed(self) -> Self {
        Self {
            before: self.after,
            after: self.before,
            ..self
        }
    }

    /// As a sentence, with `can` or `can no longer`.
    pub(super) fn sentence(&self, can: &str) -> String {
        let mut text = self.principal.clone();
        if !self.parents.is_empty() {
            let _: std::fmt::Result = write!(text, " in {}", self.parents.join(", "));
        }
        let resource = match self.resource.name() {
            Some(name) => name.as_str(),
            None => "the server",
        };
        let _: std::fmt::Result = write!(
            text,
            " {can} {} on {resource} in {} (at {}, {}",
            self.action,
            self.environment,
            self.context.now,
            circumstances(&self.context)
        );
        for (name, value) in &self.besides {
            let _: std::fmt::Result = write!(text, ", {name} {value}");
        }
        let by = match self.after.effect {
            Effect::Allow => &self.after.policies,
            _ => &self.before.policies,
        };
        let by: Vec<&str> = by.iter().map(AsRef::as_ref).collect();
        let _: std::fmt::Result = write!(text, "), by {}", by.join(", "));
        text
    }
}

fn circumstances(context: &Context) -> String {
    let signed_in = match context.auth_age {
        Some(age) => format!("signed in {} s ago", age.as_secs()),
        None => "sign-in unknown".to_owned(),
    };
    format!(
        "token {} s old, assurance {}, {signed_in}, {} in between",
        context.token_age.as_secs(),
        context.assurance,
        context.delegation_depth
    )
}

/// Decides the solver's counterexample again with both accesses: `from` should refuse it and `to`
/// allow it.
///
/// # Errors
/// If no guard could make the request, or an access decides differently.
pub(super) fn replay(
    env: &Env,
    kindred: &Kindred,
    from: &Cedar,
    to: &Cedar,
) -> Result<Counterexample, String> {
    let facts = env.request.context().ok_or("a request without a context")?;
    let who = env.request.principal().ok_or("a request without a party")?;
    let (caller, context, besides) = caller(env, kindred, who, facts)?;
    let resource = resource(env, kindred)?;
    let environment = environment(env, &[from, to])?;
    let question = Question::new(
        &caller,
        caller.subject(),
        kindred.action,
        &resource,
        &environment,
        &context,
    );
    let ask = |cedar: &Cedar| {
        let answers = cedar.authorize(std::slice::from_ref(&question)).verdicts;
        answers.into_iter().next().ok_or("no answer")
    };
    let (before, after) = (ask(from)?, ask(to)?);
    if (before.effect, after.effect) != (Effect::Deny, Effect::Allow) {
        return Err(format!(
            "the solver found {} on {resource:?} in {environment}, which is decided otherwise than it says",
            caller.subject().principal
        ));
    }
    let subject = caller.subject();
    let groups = subject.groups.iter().map(ToString::to_string);
    let roles = subject.roles.iter().map(ToString::to_string);
    Ok(Counterexample {
        principal: subject.principal.to_string(),
        parents: groups.chain(roles).collect(),
        action: kindred.action,
        resource,
        environment,
        context,
        besides,
        before,
        after,
    })
}

type Besides = Vec<(String, String)>;

/// The party as a caller with a matching credential and context, and its further facts.
fn caller(
    env: &Env,
    kindred: &Kindred,
    who: &EntityUid,
    facts: &Facts,
) -> Result<(Caller, Context, Besides), String> {
    let types = &Schema::shared().types;
    let issuer = text(facts, "issuer").and_then(|name| IssuerAlias::new(&name).ok());
    let (mut groups, mut roles): (Vec<Group>, Vec<Role>) = (Vec::new(), Vec::new());
    for uid in env.entities.ancestors(who).into_iter().flatten() {
        match types.holder(uid) {
            Some(Holder::Group(group)) => groups.push(group),
            Some(Holder::Role(role)) => roles.push(role),
            _ => {}
        }
    }
    groups.sort();
    roles.sort();
    let principal = match types.holder(who) {
        Some(Holder::Party(principal)) => principal,
        // No policy names the party, so its name is arbitrary.
        _ => Principal::new(
            issuer
                .map_or_else(|| IssuerAlias::new("somewhere"), Ok)
                .map_err(|e| e.to_string())?,
            kindred.kind,
            SubjectId::new("somebody").map_err(|error| error.to_string())?,
        ),
    };
    let now = Timestamp::from_second(long(facts, "now")?).map_err(|error| error.to_string())?;
    let ago = |name: &str| -> Result<Timestamp, String> {
        let then = now.as_second().saturating_sub(long(facts, name)?);
        Timestamp::from_second(then).map_err(|error| error.to_string())
    };
    let mut assertion = Caller::assertion(principal).groups(groups).roles(roles);
    let mut besides = Vec::new();
    for fact in Fact::ALL {
        let name = fact.name();
        match fact {
            // These are not attributes of the caller, or are set together with another fact.
            Fact::Now
            | Fact::Issuer
            | Fact::TokenAgeSeconds
            | Fact::AuthAgeSeconds
            | Fact::DelegationDepth
            | Fact::GroupsComplete => {}
            Fact::Assurance => {
                let assurance = u8::try_from(long(facts, name)?).unwrap_or(3);
                assertion = assertion.assurance(assurance);
            }
            Fact::TokenAgeKnown if flag(facts, name) => {
                let mut credential = Credential::unknown();
                credential.issued_at = Some(ago(Fact::TokenAgeSeconds.name())?);
                assertion = assertion.credential(credential);
            }
            Fact::TokenAgeKnown => besides.push(("token age".to_owned(), "unknown".to_owned())),
            Fact::AuthAgeKnown => {
                if flag(facts, name) {
                    let time = ago(Fact::AuthAgeSeconds.name())?;
                    assertion = assertion.authenticated_at(time);
                }
            }
            Fact::Scopes => {
                let scopes = texts(facts, name);
                if !scopes.is_empty() {
                    besides.push((name.to_owned(), format!("{scopes:?}")));
                    assertion = assertion.scopes(scopes);
                }
            }
            Fact::Tenant => {
                if let Some(tenant) = text(facts, name) {
                    besides.push((name.to_owned(), format!("{tenant:?}")));
                    assertion = assertion.tenant(tenant);
                }
            }
            Fact::Origin => {
                if let Some(origin) = text(facts, name) {
                    let known = ORIGINS.into_iter().find(|known| *known == origin);
                    let known =
                        known.ok_or_else(|| format!("no provider tells the origin {origin:?}"))?;
                    besides.push((name.to_owned(), format!("{known:?}")));
                    assertion = assertion.origin(known);
                }
            }
        }
    }
    let caller = assertion.caller().map_err(|error| error.to_string())?;
    let mut context = Context::of(&caller, now);
    context.delegation_depth =
        usize::try_from(long(facts, "delegationDepth")?).map_err(|error| error.to_string())?;
    context.token_age = Duration::from_secs(
        u64::try_from(long(facts, "tokenAgeSeconds")?).map_err(|error| error.to_string())?,
    );
    Ok((caller, context, besides))
}

fn resource(env: &Env, kindred: &Kindred) -> Result<Resource, String> {
    if !kindred.on_models {
        return Ok(Resource::Server);
    }
    let uid = env
        .request
        .resource()
        .ok_or("a request without a resource")?;
    let entity = env.entities.get(uid).ok_or("a resource that is nothing")?;
    let Some(Ok(EvalResult::String(name))) = entity.attr("name") else {
        return Err("a model without a name".to_owned());
    };
    // An invalid name is one that no policy compares with, so any other name will do.
    let name = ModelName::new(&name).or_else(|_| ModelName::new(OTHER));
    name.map(Resource::model).map_err(|error| error.to_string())
}

fn environment(env: &Env, accesses: &[&Cedar]) -> Result<Environment, String> {
    let types = &Schema::shared().types;
    let uid = env
        .request
        .resource()
        .ok_or("a request without a resource")?;
    let parents: Vec<&EntityUid> = env.entities.ancestors(uid).into_iter().flatten().collect();
    let known = accesses
        .iter()
        .flat_map(|cedar| cedar.status().environments);
    let mut within = known.filter(|name| parents.contains(&&types.environment(name)));
    within
        .next()
        .ok_or_else(|| "no environment that is known".to_owned())
}

fn long(facts: &Facts, name: &str) -> Result<i64, String> {
    match facts.get(name) {
        Some(EvalResult::Long(number)) => Ok(number),
        _ => Err(format!("a context without `{name}`")),
    }
}

fn flag(facts: &Facts, name: &str) -> bool {
    facts.get(name) == Some(EvalResult::Bool(true))
}

fn text(facts: &Facts, name: &str) -> Option<String> {
    match facts.get(name) {
        Some(EvalResult::String(text)) => Some(text),
        _ => None,
    }
}

fn texts(facts: &Facts, name: &str) -> Vec<String> {
    let Some(EvalResult::Set(set)) = facts.get(name) else {
        return Vec::new();
    };
    let texts = set.iter().filter_map(|value| match value {
        EvalResult::String(text) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

/// The origins that providers report.
const ORIGINS: [&str; 2] = ["workload", "pipeline"];

/// A name that no manifest has.
const OTHER: &str = "some/other-model";
