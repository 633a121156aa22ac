//! Explains why a request is allowed or refused, and how to obtain permission.

use serde::Deserialize;
use serde_json::{Value, json};
use spanner_cedar::Cedar;
use spanner_core::{
    Action, Caller, CallerKind, Context, Environment, Group, GroupName, IssuerAlias, ModelName,
    Party, Principal, Question, Resource, Role, SubjectId, Timestamp, Verdict,
};

use super::reply::Reply;

/// The body of a request for an explanation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainRequest {
    model: String,
    action: Action,
    environment: Option<String>,
    caller: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
    actor: Option<String>,
}

/// The decision to explain.
pub(super) struct ExplainQuery {
    pub(super) model: ModelName,
    pub(super) environment: Environment,
    action: Action,
    /// The caller to explain it for, if it is not the caller of the API.
    pub(super) about: Option<Caller>,
}

impl ExplainRequest {
    pub(super) fn read(self, here: &Environment) -> Result<ExplainQuery, Reply> {
        let about = match &self.caller {
            Some(text) => Some(self.about(text)?),
            None if self.groups.is_empty() && self.roles.is_empty() && self.actor.is_none() => None,
            None => {
                let what = "there are `groups`, `roles` or an `actor`, and no `caller`";
                return Err(Reply::malformed("caller", &what, "say whose they are"));
            }
        };
        let malformed = |what: &'static str, error: &dyn std::fmt::Display| {
            Reply::malformed(
                what,
                &format!("`{what}` is not valid: {error}"),
                "correct it",
            )
        };
        let environment = match &self.environment {
            Some(text) => Environment::new(text).map_err(|e| malformed("environment", &e))?,
            None => here.clone(),
        };
        Ok(ExplainQuery {
            model: ModelName::new(&self.model).map_err(|error| malformed("model", &error))?,
            environment,
            action: self.action,
            about,
        })
    }

    fn about(&self, text: &str) -> Result<Caller, Reply> {
        let principal = principal("caller", text)?;
        let issuer = principal.issuer.clone();
        let mut groups = Vec::new();
        for name in &self.groups {
            let (issuer, name) = owned("groups", &issuer, name)?;
            groups.push(Group::new(issuer, name));
        }
        let mut roles = Vec::new();
        for name in &self.roles {
            let (issuer, name) = owned("roles", &issuer, name)?;
            roles.push(Role::new(issuer, name));
        }
        let actor = self
            .actor
            .as_deref()
            .map(|text| self::principal("actor", text));
        let assertion = Caller::assertion(principal)
            .groups(groups)
            .roles(roles)
            .actors(actor.transpose()?);
        let caller = assertion.caller();
        caller.map_err(|error| Reply::malformed("actor", &error, "name a different principal"))
    }
}

/// Parses a principal such as `user:corp/ann`.
fn principal(what: &'static str, text: &str) -> Result<Principal, Reply> {
    let wrong = || {
        let wrong = format!("`{what}` is not a principal");
        let advice =
            "write it as `user:corp/ann`, `service:…` or `agent:…`, with the issuer's alias";
        Reply::malformed(what, &wrong, advice)
    };
    let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
    let kind = match kind {
        "user" => CallerKind::User,
        "service" => CallerKind::Service,
        "agent" => CallerKind::Agent,
        _ => return Err(wrong()),
    };
    let (issuer, subject) = rest.split_once('/').ok_or_else(wrong)?;
    let issuer = IssuerAlias::new(issuer).map_err(|_| wrong())?;
    let subject = SubjectId::new(subject).map_err(|_| wrong())?;
    Ok(Principal::new(issuer, kind, subject))
}

/// Parses `support` or `corp/support`. Without an alias, the name belongs to the caller's issuer.
fn owned(
    what: &'static str,
    issuer: &IssuerAlias,
    text: &str,
) -> Result<(IssuerAlias, GroupName), Reply> {
    let own = || (issuer.clone(), text);
    let (issuer, name) = match text.split_once('/') {
        Some((alias, name)) if alias == issuer.as_str() => (issuer.clone(), name),
        _ => own(),
    };
    let wrong = |error| Reply::malformed(what, &error, "write each as its issuer does");
    Ok((issuer, GroupName::new(name).map_err(wrong)?))
}

/// Returns the explanation for each party, all of which must be allowed, and the overall effect.
/// Unless `full` is set, it contains only what the guard's refusal would. It names the promotion
/// under which the model is served only if the caller may know of the model there.
pub(super) fn answer(
    access: &Cedar,
    caller: &Caller,
    asked: &ExplainQuery,
    knows: bool,
    full: bool,
) -> Value {
    let caller = asked.about.as_ref().unwrap_or(caller);
    let (resource, now) = (Resource::model(asked.model.clone()), Timestamp::now());
    let context = Context::of(caller, now);
    let question = |party| {
        Question::new(
            caller,
            party,
            asked.action,
            &resource,
            &asked.environment,
            &context,
        )
    };
    let parties: Vec<(&Party, _)> = caller
        .parties()
        .map(|party| (party, access.explain(&question(party))))
        .collect();
    let allowed = parties
        .iter()
        .all(|(_, explanation)| explanation.verdict.effect == spanner_core::Effect::Allow);
    let views: Vec<Value> = parties
        .iter()
        .map(|(party, explanation)| {
            let mut view = brief(party, &explanation.verdict, knows);
            if full && let Some(members) = view.as_object_mut() {
                members.insert("explanation".to_owned(), json!(explanation));
                members.insert("text".to_owned(), json!(explanation.to_string()));
            }
            view
        })
        .collect();
    json!({
        "model": asked.model.as_str(),
        "environment": asked.environment.as_str(),
        "action": asked.action,
        "effect": if allowed { "allow" } else { "deny" },
        "parties": views,
    })
}

fn brief(party: &Party, verdict: &Verdict, knows: bool) -> Value {
    json!({
        "party": party.principal.to_string(),
        "effect": verdict.effect,
        "reason": verdict.advice.reason,
        "advice": verdict.advice.text,
        "lacks_role": verdict.advice.role,
        "ask": verdict.advice.owner,
        "promotion": verdict.promotion.filter(|_| knows),
    })
}
