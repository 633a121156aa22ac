//! A decision that is looked up takes no memory from the heap. An allocator that counts is of
//! the whole program, so this is a program of its own.

use std::alloc::System;

use spanner_cedar::Cedar;
use spanner_core::{
    Action, Authorize as _, Caller, CallerKind, Context, Effect, Environment, Group, GroupName,
    IssuerAlias, ModelName, Principal, Question, Resource, SubjectId,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ORGANIZATION: &str = r#"
environments = ["staging", "production"]
groups = ["nlp", "support", "contractors"]
issuers = ["corp"]
[grants.production]
reader = ["group:support"]
"#;

const MANIFEST: &str = r#"
model = "acme/sentiment"
owner = "group:nlp"
[grants.production]
caller = ["group:support", "group:nlp"]
"#;

/// Those with conditions are about somebody, something or somewhere else.
const GUARDRAILS: &str = r#"
@id("staging") @reason("r") forbid (principal, action, resource in Spanner::Environment::"staging")
when { context.assurance < 3 };
@id("deleting") @reason("r") forbid (principal, action == Spanner::Action::"delete", resource)
when { context.assurance < 3 };
@id("agents") @reason("r") forbid (principal is Spanner::Agent, action, resource)
when { context.assurance < 3 };
@id("contractors") @reason("r") forbid (principal in Spanner::Group::"corp/contractors", action, resource)
when { context.assurance < 3 };
@id("another") @reason("r") forbid (principal, action, resource in Spanner::Model::"acme/another")
when { context.assurance < 3 };
@id("scope") permit (principal in Spanner::Group::"corp/nlp", action, resource);
"#;

#[test]
fn a_decision_by_scope_allocates_nothing() {
    let cedar = Cedar::from_files([
        ("organization.toml", ORGANIZATION),
        ("models/acme/sentiment.toml", MANIFEST),
        ("policies/guardrails.cedar", GUARDRAILS),
    ])
    .unwrap();
    let corp = IssuerAlias::new("corp").unwrap();
    let group = |name: &str| Group::new(corp.clone(), GroupName::new(name).unwrap());
    let somebody = Principal::new(
        corp.clone(),
        CallerKind::User,
        SubjectId::new("ann").unwrap(),
    );
    let others = (0..500).map(|number| group(&format!("g{number}")));
    let here = Environment::new("production").unwrap();
    let sentiment = Resource::model(ModelName::new("acme/sentiment").unwrap());
    let elsewhere = Resource::model(ModelName::new("acme/else").unwrap());
    for (groups, resource, action, deciding) in [
        (vec![group("support")], &sentiment, Action::Generate, 1),
        (vec![group("support")], &sentiment, Action::Read, 2),
        (vec![group("support")], &elsewhere, Action::Download, 1),
        (vec![group("nlp")], &sentiment, Action::Generate, 2),
        (
            others.chain([group("support")]).collect(),
            &sentiment,
            Action::Generate,
            1,
        ),
    ] {
        let caller = Caller::assertion(somebody.clone())
            .groups(groups)
            .caller()
            .unwrap();
        let context = Context::of(&caller, "2026-01-01T00:00:00Z".parse().unwrap());
        let question = Question::new(&caller, caller.subject(), action, resource, &here, &context);
        // A thread's first look at what is in force leaves a note of the thread.
        drop(cedar.authorize(std::slice::from_ref(&question)));
        let before = Region::new(HEAP);
        let verdicts = cedar.authorize(std::slice::from_ref(&question));
        let change = before.change();
        assert_eq!(verdicts.verdicts[0].effect, Effect::Allow);
        assert_eq!(verdicts.verdicts[0].policies.len(), deciding);
        assert_eq!(
            (change.allocations, change.reallocations),
            (0, 0),
            "{action} on {resource:?}: {change:?}"
        );
    }
}
