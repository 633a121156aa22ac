//! What is refused at loading, in which words and where.

use spanner_core::{Environment, IssuerAlias};

use super::{ORGANIZATION, SENTIMENT};
use crate::{Cedar, Existing};

/// The example that the repository ships.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/access");

/// Loads files and compares the problems, of which each is one line.
#[track_caller]
fn check(files: &[(&str, &str)], expected: &str) {
    let found = match Cedar::from_files(files.iter().copied()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let (_, found) = found.split_once('\n').unwrap_or_default();
    assert_eq!(found, expected.trim(), "\n{found}\n");
}

#[track_caller]
fn organization(text: &str, expected: &str) {
    check(&[("organization.toml", text)], expected);
}

#[track_caller]
fn manifest(text: &str, expected: &str) {
    let files = [("organization.toml", ORGANIZATION), ("models/m.toml", text)];
    check(&files, expected);
}

#[track_caller]
fn guardrail(text: &str, expected: &str) {
    check(
        &[
            ("organization.toml", ORGANIZATION),
            ("models/acme/sentiment.toml", SENTIMENT),
            ("policies/g.cedar", text),
        ],
        expected,
    );
}

#[test]
fn loads_the_example_of_the_repository() {
    let cedar = Cedar::from_dir(EXAMPLE).unwrap();
    let status = cedar.status();
    assert_eq!((status.models, status.grants, status.guardrails), (2, 6, 1));
    assert_eq!(status.environments.len(), 2);
    assert!(status.digest.starts_with("sha256:"));
    assert_eq!(status.last_error, None);
    let production = Environment::new("production").unwrap();
    let rule = cedar.promotion(&production).unwrap();
    assert_eq!(rule.from.as_str(), "staging");
    assert_eq!((rule.approvals, rule.existing), (2, Existing::Adopt));
    assert_eq!(Vec::from_iter(rule.approvers()), ["group:corp/nlp"]);
    assert_eq!(cedar.promotion(&rule.from), None);
    let report = cedar.test_cases().unwrap();
    assert!(report.is_good(), "{report}");
}

#[test]
fn asks_for_what_an_organization_must_say() {
    organization(
        "",
        r#"
organization.toml:1:1: no issuer is configured; add the aliases of the issuers, for instance `issuers = ["corp"]`
organization.toml:1:1: the key `environments` is missing; list the environments in order, for instance `environments = ["staging", "production"]`
"#,
    );
    organization(
        "environments = []\nissuers = []\n",
        "
organization.toml:1:16: there is no environment; name at least one
organization.toml:2:11: there is no issuer; name at least one
",
    );
    check(
        &[("models/m.toml", SENTIMENT)],
        "organization.toml: the file is missing; create it with at least `environments` and `issuers`",
    );
}

#[test]
fn tells_every_syntax_error_and_every_wrong_type() {
    organization(
        "environments = [\n",
        "organization.toml:1:17: unclosed array, expected `]`; correct the TOML",
    );
    organization(
        "environments = \"staging\"\nissuers = [1]\ngroups = {}\nroles = []\ngrants = 1\npromotion = true\n",
        "
organization.toml:1:16: `environments` must be a list of strings, not a value of type string; write a list of strings
organization.toml:2:12: each item of `issuers` must be a string, not a value of type integer; write a string
organization.toml:3:10: `groups` must be a list of strings, not a value of type table; write a list of strings
organization.toml:4:9: `roles` must be a table, not a value of type array; write a table
organization.toml:5:10: `grants` must be a table, not a value of type integer; write a table
organization.toml:6:13: `promotion` must be a table, not a value of type boolean; write a table
",
    );
}

#[test]
fn tells_everything_that_is_wrong_with_an_organization() {
    organization(
        r#"environments = ["staging", "Staging", "staging", 1]
issuers = ["corp"]
group = []
groups = ["nlp", "nlp"]
[grants.stagin]
caler = ["group:nlq", "grup:nlp", "nlp", "user:alice", "group:nlp"]
[grants.staging]
approver = ["group:nlp", "group:corp/nlp"]
[roles]
read = ["view"]
"Big" = []
a = ["b"]
b = ["a", "embd", "callr"]
caller = ["contributor"]
[promotion.staging]
from = "staging"
aprovals = 3
approvals = 99
approvers = ["service:x", "group:nlp", "group:corp/nlp"]
existing = "keep"
"#,
        "
organization.toml:1:28: a environment must not contain 'S' (at byte 0); choose another name
organization.toml:1:39: `staging` stands twice in this list; remove one
organization.toml:1:50: each item of `environments` must be a string, not a value of type integer; write a string
organization.toml:3:1: unknown key `group`; did you mean `groups`?
organization.toml:4:18: `nlp` stands twice in this list; remove one
organization.toml:5:9: unknown environment `stagin`; did you mean `staging`?
organization.toml:6:1: unknown role `caler`; did you mean `caller`?
organization.toml:6:10: `group:nlq` is not in the directory; did you mean `nlp`?
organization.toml:6:23: unknown kind of principal `grup`; did you mean `group`?
organization.toml:6:35: `nlp` is no principal; write `group`, `role`, `user`, `service`, `agent` before the name
organization.toml:6:42: `user:alice` is an individual; grant it to a group, or in the manifest of a model
organization.toml:8:26: `group:corp/nlp` stands twice in this list; remove one
organization.toml:10:1: `read` is an action or a group of actions; give the role another name
organization.toml:11:1: `Big` is no name for a role; use lower-case letters, digits, `-` and `_`, at most 64
organization.toml:12:6: the role `a` is made of itself; name the actions themselves in one of the roles of this circle
organization.toml:13:6: the role `b` is made of itself; name the actions themselves in one of the roles of this circle
organization.toml:13:11: `embd` is no action, group of actions or role; did you mean `embed`?
organization.toml:13:19: `callr` is no action, group of actions or role; did you mean `caller`?
organization.toml:14:11: the role `caller` is made of itself; name the actions themselves in one of the roles of this circle
organization.toml:16:8: `staging` does not come before `staging`; name an environment that stands earlier in `environments`
organization.toml:17:1: unknown key `aprovals`; did you mean `approvals`?
organization.toml:18:13: 99 approvals cannot be asked for; write a number from 0 to 16
organization.toml:19:14: `service:x` is no person; only people approve: name a group or a user
organization.toml:19:40: `group:corp/nlp` stands twice in this list; remove one
organization.toml:20:12: `existing` cannot be `keep`; write one of `adopt`, `refuse`
",
    );
    organization(
        "environments = [\"a\", \"b\"]\nissuers = [\"corp\"]\n[promotion.b]\napprovals = 2\n",
        "
organization.toml:3:12: 2 approvals are asked for, and nobody may give them; name who may as `approvers`
organization.toml:3:12: the key `from` is missing; add the environment that comes before, as `from`
",
    );
}

#[test]
fn tells_everything_that_is_wrong_with_a_manifest() {
    manifest(
        "",
        r#"
models/m.toml:1:1: the key `model` is missing; add the model's name as its API spells it
models/m.toml:1:1: the key `owner` is missing; add who is accountable, for instance `owner = "group:nlp"`
"#,
    );
    manifest(
        r#"model = "acme//x"
owner = "role:x"
individuals_reason = "because"
descripton = 1
description = 1
[grants.production]
caller = ["user:corp/alice", "group:corp/nlp", "group:corp/nlp", "agent:a"]
promoter = []
"#,
        "
models/m.toml:1:9: a model name must not have an empty, `.` or `..` part between its slashes; write the name as the model's API spells it
models/m.toml:2:9: `role:x` cannot be accountable; name a group or a user as the owner
models/m.toml:3:22: there is a reason for individuals, and they are not allowed; add `individuals = \"allowed\"`, or remove the reason
models/m.toml:4:1: unknown key `descripton`; did you mean `description`?
models/m.toml:5:15: `description` must be a string, not a value of type integer; write a string
models/m.toml:7:11: `user:corp/alice` is an individual; grant it to a group, or set `individuals = \"allowed\"` with an `individuals_reason`
models/m.toml:7:48: `group:corp/nlp` stands twice in this list; remove one
models/m.toml:8:1: unknown role `promoter`; the roles are `admin`, `approver`, `caller`, `contributor`, `maintainer`, `reader`, `writer`
",
    );
}

#[test]
fn allows_individuals_for_a_reason_only() {
    let text = |individuals: &str| {
        format!(
            "model = \"m\"\nowner = \"user:alice\"\n{individuals}[grants.production]\ncaller = [\"user:alice\"]\n"
        )
    };
    manifest(
        &text("individuals = \"allowed\"\nindividuals_reason = \"an audit\"\n"),
        "",
    );
    for reason in ["", "individuals_reason = \" \"\n"] {
        manifest(
            &text(&format!("individuals = \"allowed\"\n{reason}")),
            "models/m.toml:3:15: individuals are allowed without a reason; say why as `individuals_reason`; access reviews list it",
        );
    }
    manifest(
        &text("individuals = \"yes\"\n"),
        "models/m.toml:3:15: `individuals` cannot be `yes`; write `allowed` or `refused`",
    );
}

#[test]
fn refuses_a_second_manifest_for_a_model() {
    check(
        &[
            ("organization.toml", ORGANIZATION),
            ("models/b.toml", SENTIMENT),
            ("models/a.toml", SENTIMENT),
        ],
        "models/b.toml:2:9: `acme/sentiment` already has a manifest, models/a.toml; join the two",
    );
}

#[test]
fn tells_everything_that_is_wrong_with_a_guardrail() {
    guardrail(
        "permit (principal, action, resource",
        "policies/g.cedar:1:36: unexpected end of input; correct the Cedar",
    );
    guardrail(
        r#"permit (principal, action, resource);
@id("a") forbid (principal, action, resource) when { context.tokenAge > 3 };
// a comment
@id("a") @reason("r") forbid (principal, action, resource in Spanner::Environment::"prod") when { context.assurance + 1 > 2 };
@id("b") @reason("r") @mode("dry") @advise("x") forbid (principal in Spanner::Group::"corp/npl", action, resource);
@id("c") permit (principal is Spanner::Agent, action == Spanner::Action::"promote", resource);
@id("d") permit (principal == ?principal, action, resource);
@id("grant/x") permit (principal in Spanner::Group::"nlp", action, resource in Spanner::Model::"a//b");
@id("e") @step_up_acr("a  b") @step_up_max_age("soon") @scope("x\\y") @reason("r") forbid (principal, action, resource);
@id("f") @step_up_acr("") @step_up_max_age("0") @scope @scopes("x") @reason("r") forbid (principal, action, resource);
@id("g") @step_up_acr("a") @step_up_max_age("5") @scope("b") permit (principal in Spanner::Role::"nowhere/x", action, resource);
@id("h") permit (principal, action, resource) when { context.tenant == "t" };
"#,
        r#"
policies/g.cedar:1:1: the policy has no `@id`; name it as `@id("…")`; records refer to it
policies/g.cedar:2:1: the forbid has no `@reason`; say why as `@reason("…")`; it reaches whoever is refused
policies/g.cedar:2:54: for policy `a`, attribute `tokenAge` in context for Spanner::Action::"administer" not found (did you mean `tenant`?); correct the policy
policies/g.cedar:4:1: the id `a` is already taken at policies/g.cedar:2; choose another id
policies/g.cedar:4:1: the policy does arithmetic, which can fail while it decides; compare the attributes of the context as they are
policies/g.cedar:4:62: unknown environment `prod`; the environments are `development`, `staging`, `production`
policies/g.cedar:5:1: `@mode` cannot be `dry`; write `@mode("shadow")`, or leave it out
policies/g.cedar:5:1: unknown annotation `advise`; did you mean `advice`?
policies/g.cedar:5:70: `group:corp/npl` is not in the directory; did you mean `nlp`?
policies/g.cedar:6:1: for policy `c`, policy is impossible: the policy expression evaluates to false for all valid requests; correct the policy: warnings count, since it would not guard what it seems to
policies/g.cedar:7:1: the policy has a slot; name the principal or resource; grants stand in manifests
policies/g.cedar:8:1: `grant/x` is no id for a guardrail; use letters, digits, `-`, `_`, `.` and `/`, at most 128, and not `grant/` in front
policies/g.cedar:8:37: `nlp` does not begin with the alias of an issuer; write one of `corp` and a slash before the name
policies/g.cedar:8:80: a model name must not have an empty, `.` or `..` part between its slashes; write the name as the model's API spells it
policies/g.cedar:9:1: `@scope` cannot be `x\y`; write words with one space between two, without quotes and backslashes, at most 512 bytes
policies/g.cedar:9:1: `@step_up_acr` cannot be `a  b`; write words with one space between two, without quotes and backslashes, at most 512 bytes
policies/g.cedar:9:1: `@step_up_max_age` cannot be `soon`; write a positive duration, for instance `@step_up_max_age("5m")`, or a number of seconds
policies/g.cedar:10:1: `@scope` cannot be ``; write words with one space between two, without quotes and backslashes, at most 512 bytes
policies/g.cedar:10:1: `@step_up_acr` cannot be ``; write words with one space between two, without quotes and backslashes, at most 512 bytes
policies/g.cedar:10:1: `@step_up_max_age` cannot be `0`; write a positive duration, for instance `@step_up_max_age("5m")`, or a number of seconds
policies/g.cedar:10:1: unknown annotation `scopes`; did you mean `scope`?
policies/g.cedar:11:1: a permit cannot have `@scope`: nothing is refused by it; annotate the forbid that another credential would satisfy
policies/g.cedar:11:1: a permit cannot have `@step_up_acr`: nothing is refused by it; annotate the forbid that another credential would satisfy
policies/g.cedar:11:1: a permit cannot have `@step_up_max_age`: nothing is refused by it; annotate the forbid that another credential would satisfy
policies/g.cedar:11:83: `nowhere/x` does not begin with the alias of an issuer; write one of `corp` and a slash before the name
policies/g.cedar:12:54: for policy `h`, unable to guarantee safety of access to optional attribute `tenant` in context for Spanner::Action::"administer" (try testing for the attribute's presence with `context has tenant && ..`); correct the policy
"#,
    );
}

#[test]
fn refuses_guardrails_that_other_schemas_would_take() {
    let rows = [
        (
            r#"@id("a") permit (principal == Spanner::User::"corp/a", action, resource) when { principal.owner == resource };"#,
            "1:81: for policy `a`, attribute `owner` on entity type `Spanner::User` not found",
        ),
        (
            r#"@id("a") permit (principal, action == Action::"read", resource);"#,
            r#"1:39: for policy `a`, unrecognized action `Action::"read"` (did you mean `Spanner::Action::"read"`?)"#,
        ),
        (
            r#"@id("a") permit (principal, action, resource) when { ip(context.issuer).isLoopback() };"#,
            "1:54: for policy `a`, extension constructors may not be called with non-literal expressions",
        ),
    ];
    for (text, expected) in rows {
        let files = [
            ("organization.toml", ORGANIZATION),
            ("policies/g.cedar", text),
        ];
        let error = Cedar::from_files(files).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn binds_principals_to_issuers() {
    let two = |grants: &str| {
        format!(
            "environments = [\"production\"]\nissuers = [\"corp\", \"okta\"]\ngroups = [\"corp/nlp\", \"okta/a/b\"]\n[grants.production]\ncaller = [{grants}]\n"
        )
    };
    organization(
        &two(
            r#""group:corp/nlp", "group:okta/a/b", "role:okta/realm:a/b", "service:okta/repo:acme/x""#,
        ),
        "",
    );
    organization(
        &two(r#""group:nlp", "group:okta/nlp", "agent:otka/x", "service:", "role:a", "role:okta/""#),
        "
organization.toml:5:11: `group:nlp` names no issuer, and there are several; write one of `corp`, `okta` and a slash before the name
organization.toml:5:24: `group:okta/nlp` is not in the directory; add it to `groups` in organization.toml
organization.toml:5:42: `agent:otka/x` names the issuer `otka`, which is not configured; did you mean `okta`?
organization.toml:5:58: `service:` names no issuer, and there are several; write one of `corp`, `okta` and a slash before the name
organization.toml:5:70: `role:a` names no issuer, and there are several; write one of `corp`, `okta` and a slash before the name
organization.toml:5:80: `role:okta/` is no principal: a group name must not be empty; write the name exactly as its issuer does
",
    );
    organization(
        "environments = [\"production\"]\nissuers = [\"corp\"]\n[grants.production]\ncaller = [\"service:okta/x\", \"agent:corp/\", \"agent:a\\nb\"]\n",
        r"
organization.toml:4:29: `agent:corp/` is no principal: a subject must not be empty; write the name exactly as its issuer does
organization.toml:4:44: `agent:a b` is no principal: a subject must not contain '\n' (at byte 1); write the name exactly as its issuer does
",
    );
}

#[test]
fn takes_issuers_from_the_program() {
    let issuers = |names: &[&str]| -> Vec<IssuerAlias> {
        names
            .iter()
            .map(|name| IssuerAlias::new(name).unwrap())
            .collect()
    };
    let load = |configured: &[&str], text: &str| {
        let files = [("organization.toml", text)];
        let loaded = Cedar::builder()
            .issuers(issuers(configured))
            .from_files(files);
        loaded
            .map(|cedar| cedar.digest())
            .map_err(|error| error.to_string())
    };
    let bare = "environments = [\"production\"]\ngroups = [\"nlp\"]\n";
    let one = load(&["corp"], bare).unwrap();
    assert_ne!(one, load(&["okta"], bare).unwrap());
    let narrower = "issuers = [\"okta\"]\nenvironments = [\"production\"]\ngroups = [\"nlp\"]\n";
    assert!(load(&["corp", "okta"], narrower).is_ok());
    assert_eq!(
        load(&["corp"], narrower).unwrap_err(),
        "the access has a problem:\norganization.toml:1:12: the program configures no issuer `okta`; the issuers are `corp`"
    );
}

#[test]
fn refuses_a_grant_that_can_never_be_used() {
    organization(
        "environments = [\"production\"]\nissuers = [\"corp\"]\n[roles]\nsigner = [\"approve\", \"promote\"]\n[grants.production]\nsigner = [\"agent:a\", \"service:s\"]\n",
        "organization.toml:6:11: the role `signer` holds nothing that `agent:a` may ever do; grant it to somebody else",
    );
}

#[test]
fn refuses_approvers_whose_role_could_not_approve() {
    organization(
        "environments = [\"a\", \"b\"]\nissuers = [\"corp\"]\ngroups = [\"g\"]\n[roles]\napprover = [\"view\"]\n[promotion.b]\nfrom = \"a\"\napprovers = [\"group:g\"]\n",
        "organization.toml:8:13: the role `approver`, which these get, does not hold `approve`; define it with `approve`, or not at all",
    );
}

/// What is wrong with an organization and a manifest, a line each.
fn wrong(organization: &str, manifest: &str, guardrails: &str) -> Vec<String> {
    let files = [
        ("organization.toml", organization),
        ("models/m.toml", manifest),
        ("policies/g.cedar", guardrails),
    ];
    let error = Cedar::from_files(files).err();
    let found = error.iter().flat_map(|error| error.problems());
    found.map(ToString::to_string).collect()
}

#[test]
fn two_groups_that_look_alike_are_a_problem() {
    let groups = |groups: &str| {
        let organization =
            format!("environments = [\"production\"]\nissuers = [\"corp\"]\ngroups = [{groups}]\n");
        wrong(
            &organization,
            "model = \"m\"\nowner = \"user:corp/ann\"\n",
            "",
        )
    };
    assert_eq!(
        groups("\"nlp\", \"nl\u{440}\""),
        [
            "organization.toml:3:18: `nl\u{440}(U+0440)`, written with U+0440, looks like the group of line 3, written in ASCII; remove the one that is not meant"
        ]
    );
    assert_eq!(
        groups("\"nlp\", \"\u{43d}\u{43b}\u{43f}\", \"rn\", \"m\", \"josé\"").len(),
        0
    );
    assert_eq!(groups("\"josé\", \"jose\u{301}\"").len(), 1);
    assert_eq!(groups("\"nlp\", \"nlp\u{fe0f}\"").len(), 1);
    assert_eq!(groups("\"ml ops\", \"ml\u{a0}ops\"").len(), 1);
}

#[test]
fn an_unknown_group_that_looks_like_a_known_one_is_told_by_its_code_points() {
    let manifest = SENTIMENT.replace("\"group:support\"", "\"group:suppo\u{433}t\"");
    let found = wrong(ORGANIZATION, &manifest, "");
    assert!(
        found[0].contains("`group:suppo\u{433}t(U+0433)` is not in the directory"),
        "{found:?}"
    );
}

#[test]
fn a_character_that_is_not_seen_is_a_problem_wherever_it_stands() {
    let seen = |text: &str| text.replace("HIDDEN", "\u{202e}");
    let what = "there is an invisible character, U+202E; remove it";
    let manifest = SENTIMENT.replace(
        "owner =",
        "individuals = \"allowed\"\nindividuals_reason = \"a HIDDEN b\"\nowner =",
    );
    assert_eq!(
        wrong(ORGANIZATION, &seen(&manifest), ""),
        [format!("models/m.toml:4:25: {what}")]
    );
    let escaped = manifest.replace("HIDDEN", "\\u202e");
    assert_eq!(
        wrong(ORGANIZATION, &escaped, ""),
        [format!("models/m.toml:4:22: {what}")]
    );
    let comment = format!("# HIDDEN\n{SENTIMENT}");
    assert_eq!(
        wrong(ORGANIZATION, &seen(&comment), ""),
        [format!("models/m.toml:1:3: {what}")]
    );
    let policy = "@id(\"a\") @reason(\"HIDDEN\") forbid (principal, action, resource);";
    assert_eq!(
        wrong(ORGANIZATION, SENTIMENT, &seen(policy)),
        [format!("policies/g.cedar:1:19: {what}")]
    );
    let escaped = policy.replace("HIDDEN", "x\\u{202e}");
    assert_eq!(
        wrong(ORGANIZATION, SENTIMENT, &escaped),
        ["policies/g.cedar:1:1: there is an invisible character in `@reason`, U+202E; remove it"]
    );
    // A reason that nobody can read is none.
    let blank = manifest.replace("a HIDDEN b", "\u{2800}");
    let found = wrong(ORGANIZATION, &blank, "");
    assert!(
        found[0].contains("individuals are allowed without a reason"),
        "{found:?}"
    );
}
