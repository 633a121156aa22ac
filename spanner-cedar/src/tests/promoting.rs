//! What a rule of promotion gives, and whom it names.

use spanner_core::{Action, Caller, Effect, Environment};

use super::{ask_one, caller, principal, role};
use crate::{Cedar, Existing, PromotionRule};

const ORGANIZATION: &str = r#"
environments = ["staging", "production"]
groups = ["nlp", "governance"]
issuers = ["corp"]

[promotion.production]
from = "staging"
approvals = 2
approvers = ["group:governance", "user:omar", "role:auditor"]
existing = "refuse"
"#;

const MANIFEST: &str = r#"
model = "acme/sentiment"
owner = "group:nlp"
[grants.production]
approver = ["group:nlp"]
"#;

fn access() -> (Cedar, PromotionRule) {
    let files = [
        ("organization.toml", ORGANIZATION),
        ("models/acme/sentiment.toml", MANIFEST),
    ];
    let cedar = Cedar::from_files(files).unwrap();
    let production = Environment::new("production").unwrap();
    let rule = cedar.promotion(&production).unwrap();
    (cedar, rule)
}

#[test]
fn an_approver_may_see_and_sign_every_model_there_and_nothing_else() {
    let (cedar, rule) = access();
    assert_eq!(rule.existing, Existing::Refuse);
    let gina = caller("user:corp/gina", &["governance"]);
    for model in ["acme/sentiment", "acme/unheard-of"] {
        for action in Action::ALL {
            let verdict = ask_one(&cedar, &gina, action, model, "production");
            let gets = [Action::List, Action::Read, Action::Approve].contains(&action);
            assert_eq!(verdict.effect == Effect::Allow, gets, "{action} {model}");
            if gets {
                let policy = "grant/production/*/approver/group:corp/governance";
                assert_eq!(*verdict.policies[0], *policy);
            }
            let staging = ask_one(&cedar, &gina, action, model, "staging");
            assert_eq!(staging.effect, Effect::Deny);
        }
    }
}

#[test]
fn a_rule_names_whom_it_lists_and_nobody_whom_a_manifest_grants() {
    let (cedar, rule) = access();
    let auditor = Caller::assertion(principal("user:corp/ada")).roles([role("auditor")]);
    let rows = [
        (caller("user:corp/gina", &["governance"]), true),
        (caller("user:corp/omar", &[]), true),
        (auditor.caller().unwrap(), true),
        (caller("service:corp/omar", &[]), false),
        (caller("user:okta/omar", &[]), false),
        (caller("user:corp/nina", &["nlp"]), false),
        (caller("user:corp/ada", &["auditor"]), false),
    ];
    for (who, named) in rows {
        assert_eq!(rule.names(who.subject()), named, "{who}");
    }
    let nina = caller("user:corp/nina", &["nlp"]);
    let verdict = ask_one(
        &cedar,
        &nina,
        Action::Approve,
        "acme/sentiment",
        "production",
    );
    assert_eq!(verdict.effect, Effect::Allow);
}

#[test]
fn what_an_approver_gets_is_granted_once() {
    let organization =
        format!("{ORGANIZATION}[grants.production]\napprover = [\"group:governance\"]\n");
    let both = Cedar::from_files([("organization.toml", organization)]).unwrap();
    assert_eq!(both.status().grants, 3);
}
