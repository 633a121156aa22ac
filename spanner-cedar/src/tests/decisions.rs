//! What is allowed, what is refused, and what is said about it.

use spanner_core::{Action, Advice, Caller, Effect, Verdict, VerdictReason};

use super::{ask, ask_one, caller, issued, principal, with};
use crate::Cedar;

/// A verdict in one line, to compare.
fn told(verdict: &Verdict) -> String {
    let Advice {
        reason,
        text,
        role,
        owner,
        ..
    } = &verdict.advice;
    let mut parts = vec![format!("{:?}", verdict.reason)];
    let ids = [
        ("by", &verdict.policies),
        ("errors", &verdict.errors),
        ("shadows", &verdict.shadows),
    ];
    for (word, ids) in ids {
        if !ids.is_empty() {
            parts.push(format!("{word} {}", ids.join(" ")));
        }
    }
    let advice = [
        ("because", reason),
        ("do", text),
        ("role", role),
        ("ask", owner),
    ];
    for (word, advice) in advice {
        if let Some(advice) = advice {
            parts.push(format!("{word} {advice}"));
        }
    }
    parts.join(", ")
}

#[track_caller]
fn check(
    cedar: &Cedar,
    caller: &Caller,
    (action, model, environment): (Action, &str, &str),
    expected: &str,
) {
    let verdict = ask_one(cedar, caller, action, model, environment);
    assert_eq!(told(&verdict), expected);
    let is_granted = verdict.reason == VerdictReason::Granted;
    assert_eq!(verdict.effect == Effect::Allow, is_granted);
}

#[test]
fn allows_what_a_grant_gives_and_nothing_more() {
    let cedar = with("");
    type Row = (
        &'static str,
        &'static [&'static str],
        Action,
        &'static str,
        &'static str,
        &'static str,
    );
    let rows: &[Row] = &[
        // A team's grant, on the model it was given for, in that environment, that action.
        (
            "user:corp/ann",
            &["support"],
            Action::Generate,
            "acme/sentiment",
            "production",
            "Granted, by grant/production/acme/sentiment/caller/group:corp/support",
        ),
        (
            "user:corp/ann",
            &["support"],
            Action::Download,
            "acme/sentiment",
            "production",
            "NoGrant, role reader, ask group:corp/nlp",
        ),
        (
            "user:corp/ann",
            &["support"],
            Action::Generate,
            "acme/sentiment",
            "staging",
            "NoGrant, role caller, ask group:corp/nlp",
        ),
        (
            "user:corp/ann",
            &["support"],
            Action::Generate,
            "acme/other",
            "production",
            "NoGrant, role caller",
        ),
        // A default grant reaches every model and the server, in its environment only.
        (
            "user:corp/bob",
            &["qa"],
            Action::Predict,
            "acme/unheard-of",
            "staging",
            "Granted, by grant/staging/*/caller/group:corp/qa",
        ),
        (
            "user:corp/bob",
            &["qa"],
            Action::List,
            "the server",
            "staging",
            "Granted, by grant/staging/*/caller/group:corp/qa",
        ),
        (
            "user:corp/bob",
            &["qa"],
            Action::Predict,
            "acme/unheard-of",
            "production",
            "NoGrant, role caller",
        ),
        (
            "user:corp/bob",
            &["qa"],
            Action::Administer,
            "the server",
            "staging",
            "NoGrant, role admin",
        ),
        // Several grants allow together; a group listed twice counts once.
        (
            "user:corp/cid",
            &["nlp", "qa", "nlp"],
            Action::Read,
            "acme/sentiment",
            "staging",
            "Granted, by grant/staging/*/caller/group:corp/qa grant/staging/acme/sentiment/maintainer/group:corp/nlp",
        ),
        // Services and agents, by name.
        (
            "service:corp/ticket-bot",
            &[],
            Action::Embed,
            "acme/sentiment",
            "production",
            "Granted, by grant/production/acme/sentiment/caller/service:corp/ticket-bot",
        ),
        (
            "agent:corp/triage-copilot",
            &[],
            Action::Embed,
            "acme/sentiment",
            "production",
            "Granted, by grant/production/acme/sentiment/caller/agent:corp/triage-copilot",
        ),
        // The same name of another kind or issuer is somebody else.
        (
            "user:corp/ticket-bot",
            &[],
            Action::Embed,
            "acme/sentiment",
            "production",
            "NoGrant, role caller",
        ),
        (
            "service:okta/ticket-bot",
            &[],
            Action::Embed,
            "acme/sentiment",
            "production",
            "NoGrant, role caller",
        ),
        (
            "user:corp/support",
            &[],
            Action::Embed,
            "acme/sentiment",
            "production",
            "NoGrant, role caller",
        ),
        // What cannot be asked at all.
        (
            "agent:corp/x",
            &["nlp"],
            Action::Promote,
            "acme/sentiment",
            "staging",
            "NotApplicable",
        ),
        (
            "service:corp/x",
            &["nlp"],
            Action::Approve,
            "acme/sentiment",
            "production",
            "NotApplicable",
        ),
        (
            "user:corp/x",
            &["nlp"],
            Action::Promote,
            "the server",
            "staging",
            "NotApplicable",
        ),
        (
            "user:corp/x",
            &["qa"],
            Action::Read,
            "acme/sentiment",
            "elsewhere",
            "NotApplicable",
        ),
        (
            "unclassified:corp/x",
            &["qa", "nlp"],
            Action::Read,
            "acme/sentiment",
            "staging",
            "NotApplicable",
        ),
        (
            "user:corp/x",
            &["nlp"],
            Action::Approve,
            "acme/sentiment",
            "production",
            "Granted, by grant/production/acme/sentiment/approver/group:corp/nlp",
        ),
        // Names are no syntax.
        (
            "user:corp/x\"; Group::\"nlp",
            &[],
            Action::Read,
            "acme/sentiment",
            "staging",
            "NoGrant, role reader",
        ),
    ];
    for (who, groups, action, model, environment, expected) in rows {
        check(
            &cedar,
            &caller(who, groups),
            (*action, model, environment),
            expected,
        );
    }
}

#[test]
fn answers_unknown_and_forbidden_models_alike() {
    let cedar = with(
        r#"@id("embargo") @reason("not before its launch")
forbid (principal, action, resource in Spanner::Model::"acme/sentiment");"#,
    );
    let stranger = caller("user:corp/eve", &[]);
    let known = ask_one(
        &cedar,
        &stranger,
        Action::Read,
        "acme/sentiment",
        "production",
    );
    let unknown = ask_one(
        &cedar,
        &stranger,
        Action::Read,
        "acme/unheard-of",
        "production",
    );
    assert_eq!(
        (known.reason, &known.advice),
        (unknown.reason, &unknown.advice)
    );
    assert_eq!(told(&known), "NoGrant, by embargo, role reader");
    let insider = caller("user:corp/ann", &["support"]);
    check(
        &cedar,
        &insider,
        (Action::Read, "acme/sentiment", "production"),
        "Forbidden, by embargo, because not before its launch",
    );
}

#[test]
fn forbids_whatever_is_granted() {
    let cedar = with(
        r#"@id("old") @reason("the credential is older than a week") @advice("sign in again")
forbid (principal, action, resource in Spanner::Environment::"production") when { context.tokenAgeSeconds > 604800 };
@id("no-agents-delete") @reason("agents never delete")
forbid (principal is Spanner::Agent, action == Spanner::Action::"delete", resource);
@id("contractors") @reason("contractors only look")
forbid (principal in Spanner::Group::"corp/contractors", action in [Spanner::Action::"infer", Spanner::Action::"write"], resource);
@id("ops") permit (principal in Spanner::Group::"corp/nlp", action == Spanner::Action::"administer", resource is Spanner::Server);
@id("lab") permit (principal is Spanner::User, action in Spanner::Action::"view", resource) when { resource is Spanner::Endpoint && resource.name like "lab/*" };
"#,
    );
    let ann = |groups: &[&str]| caller("user:corp/ann", groups);
    let old = |seconds| {
        Caller::assertion(principal("user:corp/ann"))
            .groups([super::group("support")])
            .credential(issued(seconds))
            .caller()
            .unwrap()
    };
    let run = (Action::Generate, "acme/sentiment", "production");
    let granted = "Granted, by grant/production/acme/sentiment/caller/group:corp/support";
    check(&cedar, &old(604_800), run, granted);
    check(
        &cedar,
        &old(604_801),
        run,
        "Forbidden, by old, because the credential is older than a week, do sign in again",
    );
    check(
        &cedar,
        &old(604_801),
        (Action::Delete, "m", "staging"),
        "NoGrant, role maintainer",
    );
    check(&cedar, &ann(&["support"]), run, granted);
    check(
        &cedar,
        &ann(&["support", "contractors"]),
        run,
        "Forbidden, by contractors, because contractors only look",
    );
    check(
        &cedar,
        &ann(&["support", "contractors"]),
        (Action::Read, "acme/sentiment", "production"),
        granted,
    );
    check(
        &cedar,
        &caller("agent:corp/x", &[]),
        (Action::Delete, "m", "staging"),
        "Forbidden, by no-agents-delete, because agents never delete",
    );
    check(
        &cedar,
        &ann(&["nlp"]),
        (Action::Administer, "the server", "production"),
        "Granted, by ops",
    );
    check(
        &cedar,
        &ann(&["nlp"]),
        (Action::Administer, "m", "production"),
        "NoGrant, role admin",
    );
    check(
        &cedar,
        &ann(&[]),
        (Action::Read, "lab/x", "production"),
        "Granted, by lab",
    );
    check(
        &cedar,
        &caller("service:corp/s", &[]),
        (Action::Read, "lab/x", "production"),
        "NoGrant, role reader",
    );
}

#[test]
fn gives_an_agent_nothing_of_the_person_it_acts_for() {
    let cedar = with("");
    let act = |subject: &str, groups: &[&str], agent: &str| {
        let caller = Caller::assertion(principal(subject))
            .groups(groups.iter().map(|name| super::group(name)))
            .actors([principal(agent)])
            .caller()
            .unwrap();
        let verdicts = ask(
            &cedar,
            &caller,
            Action::Generate,
            "acme/sentiment",
            "production",
        );
        verdicts
            .iter()
            .map(|verdict| verdict.effect)
            .collect::<Vec<_>>()
    };
    let (yes, no) = (Effect::Allow, Effect::Deny);
    assert_eq!(
        act("user:corp/ann", &["support"], "agent:corp/triage-copilot"),
        [yes, yes]
    );
    assert_eq!(
        act("user:corp/ann", &["support"], "agent:corp/other"),
        [yes, no]
    );
    assert_eq!(
        act("user:corp/ann", &[], "agent:corp/triage-copilot"),
        [no, yes]
    );
}

#[test]
fn lists_what_shadows_would_have_changed_and_changes_nothing() {
    let cedar = with(
        r#"@id("s-forbid") @reason("r") @mode("shadow") forbid (principal, action == Spanner::Action::"embed", resource);
@id("s-permit") @mode("shadow") permit (principal, action == Spanner::Action::"download", resource);
@id("live") @reason("stop") forbid (principal, action == Spanner::Action::"predict", resource);
@id("s-both") @reason("r") @mode("shadow") forbid (principal, action == Spanner::Action::"predict", resource);
"#,
    );
    let ann = caller("user:corp/ann", &["support"]);
    let on = |action| (action, "acme/sentiment", "production");
    let grant = "by grant/production/acme/sentiment/caller/group:corp/support";
    check(
        &cedar,
        &ann,
        on(Action::Embed),
        &format!("Granted, {grant}, shadows s-forbid"),
    );
    check(
        &cedar,
        &ann,
        on(Action::Download),
        "NoGrant, shadows s-permit, role reader, ask group:corp/nlp",
    );
    check(
        &cedar,
        &ann,
        on(Action::Predict),
        "Forbidden, by live, because stop",
    );
    check(
        &cedar,
        &ann,
        on(Action::Generate),
        &format!("Granted, {grant}"),
    );
}

#[test]
fn fails_closed_where_groups_are_not_all_known() {
    let cedar = with(
        r#"@id("contractors") @reason("contractors only look")
forbid (principal in Spanner::Group::"corp/contractors", action in Spanner::Action::"infer", resource);
@id("insiders") @reason("only insiders")
forbid (principal is Spanner::User, action == Spanner::Action::"download", resource) unless { principal in Spanner::Group::"corp/nlp" };
@id("outsiders") permit (principal, action == Spanner::Action::"propose", resource) unless { principal in Spanner::Group::"corp/contractors" };
"#,
    );
    let incomplete = |groups: &[&str]| {
        Caller::assertion(principal("user:corp/ann"))
            .groups(groups.iter().map(|name| super::group(name)))
            .groups_incomplete()
            .caller()
            .unwrap()
    };
    let on = |action| (action, "acme/sentiment", "production");
    let unsure = "because the credential does not list all groups, and a guardrail depends on them, do get a credential that lists all of your groups, or have fewer groups";
    let ann = incomplete(&["support"]);
    check(
        &cedar,
        &ann,
        on(Action::Embed),
        &format!("PolicyError, errors contractors, {unsure}"),
    );
    check(
        &cedar,
        &ann,
        on(Action::Download),
        &format!("PolicyError, errors insiders, {unsure}"),
    );
    check(
        &cedar,
        &ann,
        on(Action::Propose),
        "NoGrant, role contributor, ask group:corp/nlp",
    );
    check(
        &cedar,
        &ann,
        on(Action::Read),
        "Granted, by grant/production/acme/sentiment/caller/group:corp/support",
    );
    check(
        &cedar,
        &incomplete(&["contractors"]),
        on(Action::Embed),
        "Forbidden, by contractors, because contractors only look",
    );
    // An actor has no groups, so nothing about its own is unknown.
    let caller = Caller::assertion(principal("user:corp/ann"))
        .groups_incomplete()
        .actors([principal("agent:corp/triage-copilot")])
        .caller()
        .unwrap();
    let verdicts = ask(
        &cedar,
        &caller,
        Action::Embed,
        "acme/sentiment",
        "production",
    );
    let reasons: Vec<_> = verdicts.iter().map(|verdict| verdict.reason).collect();
    assert_eq!(
        reasons,
        [VerdictReason::PolicyError, VerdictReason::Granted]
    );
}

#[test]
fn explains_what_would_allow_a_refused_request() {
    use spanner_core::{Context, Environment, ModelName, Question, Resource};
    let cedar = with("");
    let eve = caller("user:corp/eve", &[]);
    let environment = Environment::new("production").unwrap();
    let resource = Resource::model(ModelName::new("acme/sentiment").unwrap());
    let context = Context::of(&eve, super::NOW.parse().unwrap());
    let question = Question::new(
        &eve,
        eve.subject(),
        Action::Predict,
        &resource,
        &environment,
        &context,
    );
    let explanation = cedar.explain(&question);
    assert_eq!(explanation.digest, cedar.digest());
    assert_eq!(
        explanation.to_string(),
        "refused: nothing grants it
  the role caller would allow it; held by agent:corp/triage-copilot, group:corp/support, service:corp/ticket-bot
  the role contributor would allow it
  the role writer would allow it
  the role maintainer would allow it
  the role admin would allow it
  ask group:corp/nlp"
    );
    let ann = caller("user:corp/ann", &["support"]);
    let question = Question::new(
        &ann,
        ann.subject(),
        Action::Predict,
        &resource,
        &environment,
        &context,
    );
    assert_eq!(
        cedar.explain(&question).to_string(),
        "allowed\n  by grant/production/acme/sentiment/caller/group:corp/support"
    );
    let strict = with(
        r#"@id("strict") @reason("r") @step_up_acr("urn:a urn:b") @step_up_max_age("60") @scope("x y") forbid (principal, action, resource);"#,
    );
    assert_eq!(
        strict.explain(&question).to_string(),
        "refused: a guardrail forbids it
  by grant/production/acme/sentiment/caller/group:corp/support
  by strict: r
    a sign-in would satisfy it, as urn:a or urn:b, at most 60 seconds old
    the scopes x y would satisfy it
  ask group:corp/nlp"
    );
}

#[test]
fn takes_roles_as_the_organization_defines_them() {
    let organization = format!(
        "{}\n[roles]\ncaller = [\"infer\"]\nlibrarian = [\"reader\", \"administer\"]\n",
        super::ORGANIZATION
    );
    let manifest = format!(
        "{}librarian = [\"group:nlp\"]\ncontributor = [\"group:qa\"]\n",
        super::SENTIMENT
    );
    let cedar = Cedar::from_files([
        ("organization.toml", organization),
        ("models/m.toml", manifest),
    ])
    .unwrap();
    let bob = caller("user:corp/bob", &["qa"]);
    let on = |action| (action, "acme/sentiment", "production");
    let contributor = "Granted, by grant/production/acme/sentiment/contributor/group:corp/qa";
    check(&cedar, &bob, on(Action::Embed), contributor);
    check(&cedar, &bob, on(Action::Propose), contributor);
    check(&cedar, &bob, on(Action::Read), "NoGrant, role reader");
    let ann = caller("user:corp/ann", &["nlp"]);
    check(
        &cedar,
        &ann,
        on(Action::Administer),
        "Granted, by grant/production/acme/sentiment/librarian/group:corp/nlp",
    );
}
