//! Refusals that another credential would lift, and the facts that such guardrails read.

use spanner_core::{Action, Advice, Assertion, Caller, Timestamp, VerdictReason};

use super::{NOW, ask_one, group, principal, role, with};

/// What a refusal asks of the next credential, in one line.
fn asks(advice: &Advice) -> String {
    let step_up = advice.step_up.clone().unwrap_or_default();
    let age = step_up.max_age.map(|age| age.as_secs().to_string());
    let parts = [
        ("acr", step_up.acr_values.join(" ")),
        ("age", age.unwrap_or_default()),
        ("scope", advice.scopes.join(" ")),
    ];
    let parts = parts.iter().filter(|(_, value)| !value.is_empty());
    let parts: Vec<String> = parts
        .map(|(word, value)| format!("{word} {value}"))
        .collect();
    parts.join(", ")
}

/// Somebody who may infer, as far as grants go.
fn ann() -> Assertion {
    Caller::assertion(principal("user:corp/ann")).groups([group("support")])
}

fn signed_in(seconds_ago: i64) -> Assertion {
    let now: Timestamp = NOW.parse().unwrap();
    ann().authenticated_at(Timestamp::from_second(now.as_second() - seconds_ago).unwrap())
}

#[test]
fn names_the_credential_that_would_satisfy_every_guardrail() {
    let cedar = with(
        r#"@id("fresh") @reason("sign in within five minutes") @step_up_max_age("300")
forbid (principal is Spanner::User, action == Spanner::Action::"generate", resource) when { context.authAgeSeconds > 300 };
@id("strong") @reason("two factors") @step_up_acr("urn:phr urn:mfa")
forbid (principal, action == Spanner::Action::"generate", resource) unless { context.assurance >= 2 };
@id("scope") @reason("a scope") @scope("models.infer models.read")
forbid (principal, action == Spanner::Action::"embed", resource) unless { context.scopes.contains("models.infer") };
@id("scope-too") @reason("a scope") @scope("models.infer")
forbid (principal, action == Spanner::Action::"embed", resource) when { context.scopes.containsAny(["none"]) };
@id("never") @reason("not on the server") @advice("elsewhere")
forbid (principal, action in Spanner::Action::"infer", resource is Spanner::Server);
@id("trial") @mode("shadow") @reason("r") @step_up_acr("urn:shadow")
forbid (principal, action, resource);
@id("anyone") permit (principal, action == Spanner::Action::"generate", resource is Spanner::Server);
"#,
    );
    let rows = [
        (
            signed_in(300).assurance(2),
            Action::Generate,
            "acme/sentiment",
            "granted",
        ),
        (
            signed_in(301).assurance(2),
            Action::Generate,
            "acme/sentiment",
            "age 300",
        ),
        // A sign-in of unknown age is older than any.
        (
            ann().assurance(3),
            Action::Generate,
            "acme/sentiment",
            "age 300",
        ),
        (
            signed_in(300),
            Action::Generate,
            "acme/sentiment",
            "acr urn:phr urn:mfa",
        ),
        (
            ann(),
            Action::Generate,
            "acme/sentiment",
            "acr urn:phr urn:mfa, age 300",
        ),
        (
            ann(),
            Action::Embed,
            "acme/sentiment",
            "scope models.infer models.read",
        ),
        (
            ann().scopes(["models.infer".to_owned()]),
            Action::Embed,
            "acme/sentiment",
            "granted",
        ),
        (
            ann().scopes(["none".to_owned()]),
            Action::Embed,
            "acme/sentiment",
            "scope models.infer models.read",
        ),
        // Another credential would not help: another guardrail forbids, nothing permits,
        // or a group that matters is not known.
        (ann(), Action::Generate, "the server", ""),
        (ann(), Action::Embed, "acme/other", ""),
    ];
    for (assertion, action, model, expected) in rows {
        let caller = assertion.caller().unwrap();
        let verdict = ask_one(&cedar, &caller, action, model, "production");
        let found = match verdict.reason {
            VerdictReason::Granted => "granted".to_owned(),
            _ => asks(&verdict.advice),
        };
        assert_eq!(found, expected, "{action} {model}: {verdict:?}");
    }
}

#[test]
fn asks_for_nothing_where_a_guardrail_is_uncertain() {
    let cedar = with(
        r#"@id("strong") @reason("two factors") @step_up_acr("urn:mfa")
forbid (principal, action, resource) unless { context.assurance >= 2 };
@id("contractors") @reason("contractors only look")
forbid (principal in Spanner::Group::"corp/contractors", action in Spanner::Action::"infer", resource);
"#,
    );
    let on = |assertion: Assertion| {
        let caller = assertion.caller().unwrap();
        let verdict = ask_one(
            &cedar,
            &caller,
            Action::Embed,
            "acme/sentiment",
            "production",
        );
        (verdict.reason, asks(&verdict.advice))
    };
    let asked = (VerdictReason::Forbidden, "acr urn:mfa".to_owned());
    assert_eq!(on(ann()), asked);
    let not_asked = (VerdictReason::Forbidden, String::new());
    assert_eq!(on(ann().groups_incomplete()), not_asked);
}

#[test]
fn gives_what_roles_of_the_issuer_are_granted_and_no_more() {
    let manifest = format!(
        "{}contributor = [\"role:corp/realm:admin\", \"role:models/writer\"]\n",
        super::SENTIMENT
    );
    let cedar = crate::Cedar::from_files([
        ("organization.toml", super::ORGANIZATION),
        ("models/m.toml", &manifest),
        (
            "policies/g.cedar",
            r#"@id("ops") permit (principal in Spanner::Role::"corp/ops", action == Spanner::Action::"administer", resource);
@id("interns") @reason("interns look") forbid (principal, action == Spanner::Action::"propose", resource) when { principal in Spanner::Role::"corp/intern" };
"#,
        ),
    ])
    .unwrap();
    let granted = "grant/production/acme/sentiment/contributor/role:corp/realm:admin";
    let rows: [(&[&str], &[&str], Action, &str); 8] = [
        (&["realm:admin"], &[], Action::Propose, granted),
        (
            &["realm:admin", "realm:admin"],
            &[],
            Action::Propose,
            granted,
        ),
        (
            &["realm:admin", "intern"],
            &[],
            Action::Propose,
            "Forbidden",
        ),
        (
            &["models/writer"],
            &[],
            Action::Propose,
            "grant/production/acme/sentiment/contributor/role:corp/models/writer",
        ),
        (&["ops"], &[], Action::Administer, "ops"),
        // A group of the same name is no role, and a role no group.
        (&[], &["realm:admin", "ops"], Action::Propose, "NoGrant"),
        (&[], &["ops"], Action::Administer, "NoGrant"),
        (&["support"], &[], Action::Embed, "NoGrant"),
    ];
    for (roles, groups, action, expected) in rows {
        let caller = Caller::assertion(principal("service:corp/x"))
            .roles(roles.iter().map(|name| role(name)))
            .groups(groups.iter().map(|name| group(name)))
            .caller()
            .unwrap();
        let verdict = ask_one(&cedar, &caller, action, "acme/sentiment", "production");
        let found = match verdict.reason {
            VerdictReason::Granted => verdict.policies.join(" "),
            reason => format!("{reason:?}"),
        };
        assert_eq!(found, expected, "{roles:?} {groups:?}");
    }
    // Roles are all known where groups are not.
    let unsure = |roles: &[&str]| {
        let caller = Caller::assertion(principal("user:corp/x"))
            .roles(roles.iter().map(|name| role(name)))
            .groups_incomplete()
            .caller()
            .unwrap();
        ask_one(
            &cedar,
            &caller,
            Action::Propose,
            "acme/sentiment",
            "production",
        )
        .reason
    };
    assert_eq!(unsure(&["realm:admin"]), VerdictReason::Granted);
    assert_eq!(unsure(&["realm:admin", "intern"]), VerdictReason::Forbidden);
}

#[test]
fn lets_guardrails_read_the_tenant_and_the_origin_where_they_are_known() {
    let cedar = with(
        r#"@id("tenant") @reason("another tenant")
forbid (principal, action == Spanner::Action::"embed", resource) unless { context has tenant && context.tenant == "t-1" };
@id("pipelines") @reason("pipelines do not generate")
forbid (principal, action == Spanner::Action::"generate", resource) when { context has origin && context.origin == "pipeline" };
@id("known") @reason("the sign-in must be known")
forbid (principal, action == Spanner::Action::"predict", resource) unless { context.authAgeKnown };
"#,
    );
    let rows = [
        (ann().tenant("t-1"), Action::Embed, true),
        (ann().tenant("t-2"), Action::Embed, false),
        (ann(), Action::Embed, false),
        (ann().origin("pipeline"), Action::Generate, false),
        (ann().origin("workload"), Action::Generate, true),
        (ann(), Action::Generate, true),
        (ann(), Action::Predict, false),
        (signed_in(100_000), Action::Predict, true),
    ];
    for (assertion, action, allowed) in rows {
        let caller = assertion.caller().unwrap();
        let verdict = ask_one(&cedar, &caller, action, "acme/sentiment", "production");
        assert_eq!(
            verdict.reason == VerdictReason::Granted,
            allowed,
            "{action}"
        );
    }
}
