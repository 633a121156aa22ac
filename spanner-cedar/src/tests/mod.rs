//! The crate at its public boundary, and against plain Cedar.

mod asking;
mod attacks;
mod challenges;
mod decisions;
mod delegation;
mod diffing;
mod faults;
mod kept;
mod loading;
mod models;
mod plain;
mod promoting;
mod reloading;
mod reviewing;
mod schemas;
mod specification;
mod spelling;

use spanner_core::{
    Action, Authorize, Caller, CallerKind, Context, Credential, Environment, Group, GroupName,
    IssuerAlias, ModelName, Principal, Question, Resource, Role, SubjectId, Timestamp, Verdict,
};

use crate::Cedar;

/// A small organization in the shape that the documentation shows.
pub(crate) const ORGANIZATION: &str = r#"
environments = ["development", "staging", "production"]
groups = ["nlp", "qa", "support", "contractors"]
issuers = ["corp"]

[grants.staging]
caller = ["group:qa"]
"#;

pub(crate) const SENTIMENT: &str = r#"
model = "acme/sentiment"
owner = "group:nlp"

[grants.staging]
maintainer = ["group:nlp"]

[grants.production]
caller = ["group:support", "service:ticket-bot", "agent:triage-copilot"]
approver = ["group:nlp"]
"#;

/// The organization and its model, with these guardrails.
pub(crate) fn with(guardrails: &str) -> Cedar {
    Cedar::from_files([
        ("organization.toml", ORGANIZATION),
        ("models/acme/sentiment.toml", SENTIMENT),
        ("policies/guardrails.cedar", guardrails),
    ])
    .unwrap()
}

pub(crate) fn principal(text: &str) -> Principal {
    let (kind, rest) = text.split_once(':').unwrap();
    let (issuer, subject) = rest.split_once('/').unwrap();
    let kind = match kind {
        "user" => CallerKind::User,
        "service" => CallerKind::Service,
        "agent" => CallerKind::Agent,
        _ => CallerKind::Unclassified,
    };
    Principal::new(
        IssuerAlias::new(issuer).unwrap(),
        kind,
        SubjectId::new(subject).unwrap(),
    )
}

pub(crate) fn group(name: &str) -> Group {
    Group::new(
        IssuerAlias::new("corp").unwrap(),
        GroupName::new(name).unwrap(),
    )
}

pub(crate) fn role(name: &str) -> Role {
    Role::new(
        IssuerAlias::new("corp").unwrap(),
        GroupName::new(name).unwrap(),
    )
}

/// `user:corp/alice`, in these groups.
pub(crate) fn caller(text: &str, groups: &[&str]) -> Caller {
    Caller::assertion(principal(text))
        .groups(groups.iter().map(|name| group(name)))
        .caller()
        .unwrap()
}

/// The moment at which all tests ask.
pub(crate) const NOW: &str = "2026-01-01T00:00:00Z";

/// A credential issued some seconds before now.
pub(crate) fn issued(seconds: i64) -> Credential {
    let now: Timestamp = NOW.parse().unwrap();
    issued_at(Timestamp::from_second(now.as_second() - seconds).unwrap())
}

pub(crate) fn issued_at(time: Timestamp) -> Credential {
    let mut credential = Credential::unknown();
    credential.issued_at = Some(time);
    credential
}

pub(crate) fn resource(model: &str) -> Resource {
    match model {
        "the server" => Resource::Server,
        name => Resource::model(ModelName::new(name).unwrap()),
    }
}

/// The answers about each party of a caller.
pub(crate) fn ask(
    cedar: &Cedar,
    caller: &Caller,
    action: Action,
    model: &str,
    environment: &str,
) -> Vec<Verdict> {
    let resource = resource(model);
    let environment = Environment::new(environment).unwrap();
    let context = Context::of(caller, NOW.parse().unwrap());
    let questions: Vec<Question<'_>> = caller
        .parties()
        .map(|party| Question::new(caller, party, action, &resource, &environment, &context))
        .collect();
    cedar.authorize(&questions).verdicts.into_vec()
}

/// The answer about a caller that is one party.
pub(crate) fn ask_one(
    cedar: &Cedar,
    caller: &Caller,
    action: Action,
    model: &str,
    environment: &str,
) -> Verdict {
    let mut verdicts = ask(cedar, caller, action, model, environment);
    assert_eq!(verdicts.len(), 1);
    verdicts.remove(0)
}
