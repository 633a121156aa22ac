//! Cases, replays, candidates, and what an explanation tells.

use proptest::strategy::Strategy as _;
use spanner_core::testing::{Fixed, MemorySink, wait};
use spanner_core::{Action, Arrival, Caller, Effect, Gate, Target};

use super::{ORGANIZATION, SENTIMENT, caller, issued_at, principal, resource, with};
use crate::cases::Report;
use crate::{Again, Cases, Cedar, LoadError};

const OLD: &str = r#"
@id("old") @reason("the credential is older than a week") @advice("sign in again")
forbid (principal, action, resource in Spanner::Environment::"production")
when { context.tokenAgeSeconds > 604800 };
@id("fresh") @reason("sign in for this") @step_up_max_age("300")
forbid (principal is Spanner::User, action == Spanner::Action::"delete", resource)
when { context.authAgeSeconds > 300 };
@id("scoped") @reason("the token lacks the scope") @scope("models.infer")
forbid (principal, action in Spanner::Action::"infer", resource)
unless { context.scopes.contains("models.infer") };
@id("strong") @reason("r") forbid (principal, action == Spanner::Action::"upload", resource)
when { context.assurance < 2 || (context has tenant && context.tenant == "t") || context.delegationDepth > 1 };
"#;

fn run(cases: &str) -> Result<Report, LoadError> {
    Cases::from_files([("c.toml", cases)])?.run(&with(OLD))
}

#[track_caller]
fn check(cases: &str, expected: &str) {
    let found = match run(cases) {
        Ok(report) => report.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(found.trim(), expected.trim(), "\n{found}\n");
}

#[test]
fn cases_of_every_kind_are_answered_as_expected() {
    let report = run(r#"
[[case]]
caller = "user:corp/ann"
groups = ["support", "group:corp/qa"]
action = ["infer", "list"]
model = "acme/sentiment"
environment = "production"
scopes = ["models.infer"]
expect = "allow"
reason = "granted"
policy = "grant/production/acme/sentiment/caller/group:corp/support"

[[case]]
caller = "user:ann"
groups = "support"
action = "generate"
model = "acme/sentiment"
environment = "production"
token_age = "8d"
scopes = "models.infer"
expect = "deny"
reason = "authz.forbidden"
policy = ["old"]

[[case]]
caller = "user:ann"
groups = ["support"]
action = "generate"
model = "acme/sentiment"
environment = "production"
expect = "deny"
reason = "insufficient_scope"

[[case]]
caller = "user:nina"
groups = ["nlp"]
action = "delete"
model = "acme/sentiment"
environment = "staging"
signed_in = "6m"
at = "2026-01-01T00:00:00Z"
expect = "deny"
reason = "step_up"

[[case]]
caller = "user:nina"
groups = ["nlp"]
action = "delete"
model = "acme/sentiment"
environment = "staging"
signed_in = "4m"
expect = "allow"

[[case]]
name = "an agent acts only for whom it may"
caller = "user:ann"
groups = ["support"]
actor = "agent:triage-copilot"
action = "generate"
model = "acme/sentiment"
environment = "production"
scopes = ["models.infer"]
expect = "allow"

[[case]]
caller = "user:ann"
groups = ["support"]
actor = "agent:another"
action = "generate"
model = "acme/sentiment"
environment = "production"
scopes = ["models.infer"]
expect = "deny"
reason = "no_permit"

[[case]]
caller = "user:nina"
groups = ["nlp"]
action = "upload"
model = "acme/sentiment"
environment = "staging"
assurance = 2
expect = "allow"

[[case]]
caller = "user:nina"
groups = ["nlp"]
action = "upload"
model = "acme/sentiment"
environment = "staging"
assurance = 2
tenant = "t"
expect = "deny"

[[case]]
caller = "service:ticket-bot"
action = "approve"
model = "acme/sentiment"
environment = "production"
expect = "deny"
reason = "request_invalid"

[[case]]
caller = "user:quinn"
roles = ["x"]
groups = ["qa"]
action = "list"
environment = "staging"
expect = "allow"
"#)
    .unwrap();
    assert!(report.is_good(), "{report}");
    assert_eq!(report.to_string(), "11 cases, all as expected");
}

#[test]
fn a_case_that_fails_says_what_was_found_and_why() {
    check(
        r#"
[[case]]
name = "qa may call in production"
caller = "user:quinn"
groups = ["qa"]
action = "generate"
model = "acme/sentiment"
environment = "production"
scopes = ["models.infer"]
expect = "allow"

[[case]]
caller = "user:quinn"
groups = ["qa"]
action = "list"
model = "acme/sentiment"
environment = "staging"
expect = "allow"
policy = "old"
"#,
        r"
cases/c.toml:2: qa may call in production: FAILED
  asked     user:corp/quinn (group:corp/qa): generate on acme/sentiment in production
  expected  allow
  found     deny (authz.no_permit)
    refused: nothing grants it
      the role caller would allow it; held by agent:corp/triage-copilot, group:corp/support, service:corp/ticket-bot
      the role contributor would allow it
      the role writer would allow it
      the role maintainer would allow it
      the role admin would allow it
      ask group:corp/nlp
cases/c.toml:12: user:corp/quinn (group:corp/qa): list on acme/sentiment in staging: FAILED
  asked     user:corp/quinn (group:corp/qa): list on acme/sentiment in staging
  expected  allow by old
  found     allow (granted) by grant/staging/*/caller/group:corp/qa
    allowed
      by grant/staging/*/caller/group:corp/qa
2 cases, 2 not as expected",
    );
    let report = run("case = []\n").unwrap();
    assert!(!report.is_good());
    assert_eq!(report.to_string(), "there is no case");
}

#[test]
fn everything_that_is_wrong_with_cases_is_told_at_once() {
    check(
        r#"[[case]]
caller = "group:qa"
groups = ["qq"]
roles = ["other/"]
actor = ["agent:a", "agent:a"]
action = ["generat", "all"]
model = "a//b"
environment = "prod"
token_age = "5"
signed_in = "99999999d"
assurance = 4
groups_complete = "no"
at = "yesterday"
expect = "maybe"
reason = "no_permits"
polic = "x"
[[case]]
"#,
        "
the cases have 17 problems:
cases/c.toml:2:10: `group:qa` is no party; name a `user:`, a `service:` or an `agent:`
cases/c.toml:3:11: `group:qq` is not in the directory; did you mean `qa`?
cases/c.toml:6:11: `generat` is no action; did you mean `generate`?
cases/c.toml:7:9: a model name must not have an empty, `.` or `..` part between its slashes; write the name as the model's API spells it
cases/c.toml:8:15: unknown environment `prod`; the environments are `development`, `staging`, `production`
cases/c.toml:9:13: `token_age`: `5` is not a duration; write one such as `500ms`, `30s`, `5m`, `1h30m`, `12h` or `30d`
cases/c.toml:10:13: `signed_in`: `99999999d` is not a duration; write one such as `500ms`, `30s`, `5m`, `1h30m`, `12h` or `30d`
cases/c.toml:11:13: 4 is no assurance; write a number from 0 to 3
cases/c.toml:12:19: `groups_complete` must be `true` or `false`, not a value of type string; write `true` or `false`
cases/c.toml:13:6: `yesterday` is no point in time; write one such as `2026-11-24T12:00:00Z`
cases/c.toml:14:10: `expect` cannot be `maybe`; write `allow` or `deny`
cases/c.toml:15:10: `no_permits` is no reason of an answer; did you mean `no_permit`?
cases/c.toml:16:1: unknown key `polic`; did you mean `policy`?
cases/c.toml:17:1: the key `action` is missing; add what is to be done, for instance `action = \"generate\"`
cases/c.toml:17:1: the key `caller` is missing; add who asks, for instance `caller = \"user:corp/ann\"`
cases/c.toml:17:1: the key `environment` is missing; add where, for instance `environment = \"production\"`
cases/c.toml:17:1: the key `expect` is missing; add the answer, `expect = \"allow\"` or `expect = \"deny\"`
",
    );
    check(
        "[[case]]\ncaller = \"user:a\"\nactor = [\"agent:a\", \"agent:a\"]\naction = \"list\"\nenvironment = \"staging\"\nexpect = \"deny\"\n",
        "the cases have a problem:\ncases/c.toml:1:1: the chain of actors names the same principal twice; name fewer or other actors",
    );
    for (text, expected) in [
        (
            "",
            "cases/c.toml:1:1: there is no case in this file; add `[[case]]` with `caller`, `action`, `environment` and `expect`",
        ),
        (
            "case = 1",
            "cases/c.toml:1:8: `case` must be a list of tables, each under `[[case]]`, not a value of type integer; write a list of tables, each under `[[case]]`",
        ),
        (
            "[case]\n",
            "cases/c.toml:1:1: `case` must be a list of tables, each under `[[case]]`, not a value of type table; write a list of tables, each under `[[case]]`",
        ),
        (
            "[[case",
            "cases/c.toml:1:7: unclosed array table, expected `]]`; correct the TOML",
        ),
    ] {
        check(text, &format!("the cases have a problem:\n{expected}"));
    }
}

#[test]
fn an_access_runs_the_cases_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("organization.toml", ORGANIZATION);
    let cedar = Cedar::from_dir(dir.path()).unwrap();
    assert!(!cedar.test_cases().unwrap().is_good());
    let case = "[[case]]\ncaller = \"user:a\"\naction = \"list\"\nenvironment = \"staging\"\nexpect = \"deny\"\n";
    write("cases/deep/c.toml", case);
    write("cases/README.md", "");
    let digest = cedar.digest();
    assert!(cedar.test_cases().unwrap().is_good());
    cedar.reload().unwrap();
    assert_eq!(cedar.digest(), digest);
    write("cases/c.tml", case);
    let error = cedar.test_cases().unwrap_err().to_string();
    assert!(error.contains("cases/c.tml: this is no case"), "{error}");
    let memory = Cedar::from_files([("organization.toml", ORGANIZATION)]).unwrap();
    assert!(memory.test_cases().is_err());
    assert!(Cases::from_dir("/nowhere").is_err());
}

/// What a gate recorded of these calls: generate on a model, in production.
fn recorded(cedar: &Cedar, callers: &[Caller]) -> (MemorySink, Vec<bool>) {
    let sink = MemorySink::new();
    let host = Fixed::at(super::NOW);
    let gate = Gate::new(
        "chat",
        "production".parse().unwrap(),
        cedar.clone(),
        sink.clone(),
        host,
    );
    let call = |caller: &Caller| {
        let target = Target::one(Action::Generate, resource("acme/sentiment"));
        let decided = gate.open(Arrival::new()).decide(caller.clone(), target);
        wait(decided.recorded()).is_ok()
    };
    let served = callers.iter().map(call).collect();
    drop(gate.open(Arrival::new()));
    (sink, served)
}

fn callers() -> [Caller; 4] {
    let agent = Caller::assertion(principal("user:corp/ann"))
        .groups([super::group("support")])
        .actors([principal("agent:corp/triage-copilot")]);
    let old = Caller::assertion(principal("user:corp/ann"))
        .groups([super::group("support")])
        .credential(issued_at("2025-12-01T00:00:00Z".parse().unwrap()));
    [
        caller("user:corp/ann", &["support"]),
        caller("user:corp/quinn", &["qa"]),
        agent.caller().unwrap(),
        old.caller().unwrap(),
    ]
}

fn candidate(manifest: &str, guardrails: &str) -> Cedar {
    Cedar::from_files([
        ("organization.toml", ORGANIZATION),
        ("models/acme/sentiment.toml", manifest),
        ("policies/guardrails.cedar", guardrails),
    ])
    .unwrap()
}

const AGE: &str = r#"@id("old") @reason("r") forbid (principal, action, resource) when { context.tokenAgeSeconds > 604800 };"#;

#[test]
fn a_replay_lists_what_would_be_decided_otherwise() {
    let live = with("");
    let (sink, served) = recorded(&live, &callers());
    assert_eq!(served, [true, false, true, true]);
    let same = live.replay(sink.decisions());
    assert_eq!((same.decided, same.not_asked, same.unreadable), (4, 1, 0));
    assert!(same.changes.is_empty() && !same.widens());
    assert_eq!(
        same.to_string(),
        "0 of 4 decisions would be others; 1 were made without asking the access"
    );

    let narrower = candidate(&SENTIMENT.replace(", \"agent:triage-copilot\"", ""), AGE);
    let replay = narrower.replay(sink.decisions());
    let told: Vec<_> = replay
        .changes
        .iter()
        .map(|it| {
            (
                it.caller.as_str(),
                it.after.effect,
                it.after.reason.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "agent:corp/triage-copilot for user:corp/ann",
                Effect::Deny,
                "authz.no_permit"
            ),
            ("user:corp/ann", Effect::Deny, "authz.forbidden"),
        ]
    );
    assert!(!replay.widens());
    assert!(
        replay
            .to_string()
            .contains("would be refused (authz.forbidden) by old"),
        "{replay}"
    );

    let wider = candidate(
        &SENTIMENT.replace("\"group:support\"", "\"group:support\", \"group:qa\""),
        "",
    );
    let replay = wider.replay(sink.decisions());
    assert_eq!(replay.changes.len(), 1);
    assert_eq!(replay.changes[0].groups, ["qa"]);
    assert_eq!(replay.changes[0].target, ["generate on acme/sentiment"]);
    assert!(replay.widens());
    let mut damaged = sink.decisions().remove(0);
    damaged.environment = "Not A Name".to_owned();
    assert!(matches!(wider.decide_again(&damaged), Again::Not(_)));
    assert_eq!(wider.replay([damaged]).unreadable, 1);
    let json = serde_json::to_value(&replay).unwrap();
    assert_eq!(json["changes"][0]["before"]["reason"], "authz.no_permit");
}

#[test]
fn a_candidate_is_asked_and_recorded_and_decides_nothing() {
    let live = with("");
    let candidate = candidate(SENTIMENT, AGE);
    live.shadow(Some(candidate.clone()));
    assert_eq!(live.status().candidate, Some(candidate.digest()));
    let (sink, served) = recorded(&live, &callers());
    assert_eq!(served, [true, false, true, true]);
    let told: Vec<_> = sink
        .decisions()
        .into_iter()
        .map(|it| it.candidate)
        .collect();
    let [None, None, None, Some(other), None] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (other.effect, other.reason.as_str()),
        (Effect::Deny, "authz.forbidden")
    );
    assert_eq!(
        other.policies,
        [
            "grant/production/acme/sentiment/caller/group:corp/support",
            "old"
        ]
        .map(str::to_owned)[1..]
    );
    assert_eq!(*other.access, *candidate.digest());

    // What the candidate has loaded meanwhile is tried out, and what it shadows itself is not.
    candidate.shadow(Some(live.clone()));
    candidate
        .replace_with([("organization.toml", ORGANIZATION)])
        .unwrap();
    let (sink, served) = recorded(&live, &callers());
    assert_eq!(served, [true, false, true, true]);
    let told = sink
        .decisions()
        .into_iter()
        .filter(|it| it.candidate.is_some())
        .count();
    assert_eq!(told, 3);

    live.shadow(Some(live.clone()));
    assert!(live.candidate().is_none());
    live.shadow(Some(candidate));
    live.shadow(None);
    let (sink, _) = recorded(&live, &callers());
    assert!(sink.decisions().iter().all(|it| it.candidate.is_none()));
}

#[test]
fn an_explanation_says_why_nobody_like_this_may() {
    let cedar = with(OLD);
    let tell = |who: &Caller, action, model: &str, place: &str| {
        let target = Target::one(action, resource(model));
        let asked = spanner_core::Questions::of(
            who.clone(),
            target,
            place.parse().unwrap(),
            super::NOW.parse().unwrap(),
        );
        let each = asked.each();
        each.iter().map(|it| cedar.explain(it)).collect::<Vec<_>>()
    };
    let last = |who: &str, action, model: &str, place: &str| {
        let told = tell(&caller(who, &["strangers"]), action, model, place).remove(0);
        told.notes.join("\n")
    };
    assert_eq!(
        last("agent:corp/a", Action::Promote, "acme/sentiment", "staging"),
        "no agent may ever promote; kinds of party that may: `user`, `service`"
    );
    assert_eq!(
        last("user:corp/a", Action::Approve, "the server", "staging"),
        "approve is done to a model, not to the server"
    );
    assert_eq!(
        last("user:corp/a", Action::List, "acme/sentiment", "prod"),
        "there is no environment `prod`: there are `development`, `staging`, `production`"
    );
    assert_eq!(
        last(
            "unclassified:corp/a",
            Action::List,
            "acme/sentiment",
            "staging"
        ),
        "no rule of its issuer tells what kind of party it is"
    );
    assert_eq!(
        last("user:corp/a", Action::List, "acme/unheard-of", "staging"),
        "`acme/unheard-of` has no manifest, so that only grants on every model count, and nobody is accountable for it\nnot in the directory, so that nothing is granted to them: `group:corp/strangers`"
    );
    assert!(
        last("user:corp/a", Action::List, "the server", "staging").starts_with(
            "what is granted on the server is granted on every model, as `[grants.staging]`"
        )
    );
    let agent = callers()[2].clone();
    let told = tell(&agent, Action::Generate, "acme/sentiment", "production");
    let asked: Vec<&str> = told.iter().map(|it| it.asked.as_str()).collect();
    assert_eq!(
        asked,
        [
            "user:corp/ann: generate on acme/sentiment in production",
            "agent:corp/triage-copilot: generate on acme/sentiment in production",
            "user:corp/ann: generate on acme/sentiment in production, as if it called directly",
        ]
    );
    let json = serde_json::to_value(&told[0]).unwrap();
    assert_eq!(
        (&json["effect"], &json["reason"]),
        (&"deny".into(), &"forbidden".into())
    );
    let scoped = &json["policies"][1];
    assert_eq!(
        (&scoped["id"], &scoped["scopes"][0]),
        (&"scoped".into(), &"models.infer".into())
    );
    assert!(
        told[0]
            .to_string()
            .contains("the scopes models.infer would satisfy it")
    );
}

proptest::proptest! {
    #[test]
    fn a_case_never_panics_whatever_stands_in_it(
        key in proptest::sample::select(crate::load::keys::CASE),
        value in proptest::prop_oneof![
            "[^\\x00]{0,12}".prop_map(|text| format!("{text:?}")),
            "[a-z:/.0-9]{0,12}".prop_map(|text| format!("[\"{text}\"]")),
            proptest::prelude::any::<i64>().prop_map(|number| number.to_string()),
            proptest::strategy::Just("1.5".to_owned()),
            proptest::strategy::Just("{ a = 1 }".to_owned()),
            "[0-9]{1,20}[smhdx]".prop_map(|text| format!("\"{text}\"")),
            "-?[0-9]{4,6}-[01][0-9]-[0-3][0-9]T00:00:00Z".prop_map(|text| format!("\"{text}\"")),
        ],
        cut in 0usize..200,
    ) {
        let others = [
            ("caller", "\"user:a\""), ("action", "\"list\""), ("environment", "\"staging\""),
            ("expect", "\"deny\""), ("signed_in", "\"36500d\""),
        ];
        let others = others.iter().filter(|(name, _)| *name != key);
        let lines: String = others.map(|(name, value)| format!("{name} = {value}\n")).collect();
        let text = format!("[[case]]\n{lines}{key} = {value}\n");
        drop(run(&text));
        let end = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
        drop(run(text.split_at(end).0));
    }
}
