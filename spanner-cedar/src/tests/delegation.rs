//! *Agents never exceed*: through the gate of production, over rows and over whatever
//! policies there may be.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use spanner_core::testing::{Fixed, MemorySink, wait};
use spanner_core::{
    Action, Arrival, Assertion, Authorize, Caller, Context, Effect, Environment, Gate, Question,
    Refusal, Target,
};

use super::{NOW, group, principal, resource, role, with};
use crate::Cedar;

fn gate(cedar: &Cedar) -> Gate {
    let environment = "production".parse().unwrap();
    let sink = MemorySink::new();
    Gate::new("tests", environment, cedar.clone(), sink, Fixed::at(NOW))
}

/// What the gate makes of a request: nothing, or its refusal.
fn refusal(gate: &Gate, caller: &Caller, action: Action, model: &str) -> Option<Refusal> {
    let target = Target::one(action, resource(model));
    let decided = gate.open(Arrival::new()).decide(caller.clone(), target);
    let refused = wait(decided.recorded()).err()?;
    Some(refused.refusal().clone())
}

/// Cases of `delegation` in the list of attacks, by their numbers there.
#[test]
fn a_delegated_call_is_both_parties() {
    let cedar = with(
        r#"@id("scope") @reason("a scope") @scope("models.infer")
forbid (principal, action in Spanner::Action::"infer", resource) unless { context.scopes.contains("models.infer") };
"#,
    );
    let gate = gate(&cedar);
    let ann = || Caller::assertion(principal("user:corp/ann")).groups([group("support")]);
    let eve = || Caller::assertion(principal("user:corp/eve"));
    let (copilot, rogue) = ("agent:corp/triage-copilot", "agent:corp/rogue");
    let infer = || vec!["models.infer".to_owned()];
    let everything = || {
        ["models.infer", "models.write", "admin"]
            .map(str::to_owned)
            .into()
    };
    type Row = (
        &'static str,
        Assertion,
        Vec<String>,
        Vec<&'static str>,
        &'static str,
    );
    let rows: Vec<Row> = vec![
        ("", ann(), infer(), vec![copilot], "granted"),
        (
            "DEL-07",
            ann(),
            infer(),
            vec![rogue],
            "403 authz.no_permit agent:corp/rogue",
        ),
        (
            "DEL-07",
            eve(),
            infer(),
            vec![copilot],
            "403 authz.no_permit user:corp/eve",
        ),
        // Earlier actors change nothing, whether they may themselves or not.
        ("DEL-08", ann(), infer(), vec![copilot, rogue], "granted"),
        (
            "DEL-08",
            ann(),
            infer(),
            vec![rogue, copilot],
            "403 authz.no_permit agent:corp/rogue",
        ),
        (
            "DEL-08",
            eve(),
            infer(),
            vec![copilot, rogue],
            "403 authz.no_permit user:corp/eve",
        ),
        // Scopes narrow what both may, and never widen what one may.
        (
            "DEL-14",
            eve(),
            everything(),
            vec![copilot],
            "403 authz.no_permit user:corp/eve",
        ),
        (
            "DEL-14",
            ann(),
            everything(),
            vec![rogue],
            "403 authz.no_permit agent:corp/rogue",
        ),
        (
            "DEL-14",
            ann(),
            vec![],
            vec![copilot],
            "403 authz.insufficient_scope user:corp/ann",
        ),
    ];
    for (id, assertion, scopes, actors, expected) in rows {
        let caller = assertion
            .scopes(scopes)
            .actors(actors.into_iter().map(principal))
            .caller()
            .unwrap();
        let found = match refusal(&gate, &caller, Action::Generate, "acme/sentiment") {
            None => "granted".to_owned(),
            Some(Refusal::Permission(denial)) => {
                let refusal = Refusal::Permission(denial.clone());
                let status = refusal.notice().status.http();
                format!("{status} {} {}", refusal.code(), denial.principal)
            }
            Some(other) => other.to_string(),
        };
        assert_eq!(found, expected, "{id} {caller}");
    }
}

#[test]
fn no_guardrail_gives_an_agent_what_its_principal_has_not() {
    let cedar = with(
        r#"@id("through-agents") permit (principal, action == Spanner::Action::"embed", resource)
when { context.delegationDepth > 0 };
@id("agents-act") @reason("an agent acts for somebody only")
forbid (principal is Spanner::Agent, action, resource) unless { context.delegationDepth > 0 };
"#,
    );
    let gate = gate(&cedar);
    let check = |caller: &Caller, action, expected: Option<&str>| {
        let refusal = refusal(&gate, caller, action, "acme/sentiment");
        assert_eq!(refusal.as_ref().map(Refusal::code), expected, "{caller}");
    };
    let copilot = || principal("agent:corp/triage-copilot");
    let acting = |assertion: Assertion| assertion.actors([copilot()]).caller().unwrap();
    let eve = acting(Caller::assertion(principal("user:corp/eve")));
    let ann = acting(Caller::assertion(principal("user:corp/ann")).groups([group("support")]));
    check(&eve, Action::Embed, Some("authz.no_permit"));
    check(&ann, Action::Embed, None);
    // What policies say of an agent that acts for somebody still holds.
    check(&ann, Action::Generate, None);
    let alone = Caller::assertion(copilot()).caller().unwrap();
    check(&alone, Action::Generate, Some("authz.forbidden"));
}

#[test]
fn a_person_behind_an_agent_is_asked_to_sign_in_where_it_helps() {
    let cedar = with(
        r#"@id("strong") @reason("two factors") @step_up_acr("urn:mfa") @step_up_max_age("300")
forbid (principal, action == Spanner::Action::"embed", resource) unless { context.assurance >= 2 && context.authAgeSeconds <= 300 };
@id("agents") @reason("two factors") @step_up_acr("urn:mfa")
forbid (principal is Spanner::Agent, action == Spanner::Action::"predict", resource) unless { context.assurance >= 2 };
"#,
    );
    let gate = gate(&cedar);
    let ann = || Caller::assertion(principal("user:corp/ann")).groups([group("support")]);
    let now = || NOW.parse().unwrap();
    let copilot = || [principal("agent:corp/triage-copilot")];
    let rogue = || [principal("agent:corp/rogue")];
    let bot = Caller::assertion(principal("service:corp/ticket-bot"));
    let strong = ann().assurance(2).authenticated_at(now());
    let rows = [
        (ann(), Action::Embed, Some("authz.step_up")),
        (
            ann().actors(copilot()),
            Action::Embed,
            Some("authz.step_up"),
        ),
        (strong.actors(copilot()), Action::Embed, None),
        (
            ann().assurance(2).actors(copilot()),
            Action::Embed,
            Some("authz.step_up"),
        ),
        // The agent has no grant: no sign-in of the person helps.
        (
            ann().actors(rogue()),
            Action::Embed,
            Some("authz.forbidden"),
        ),
        // The agent lacks it, and the person does not.
        (
            ann().actors(copilot()),
            Action::Predict,
            Some("authz.forbidden"),
        ),
        // Programs do not sign in.
        (bot, Action::Embed, Some("authz.forbidden")),
    ];
    for (assertion, action, expected) in rows {
        let caller = assertion.caller().unwrap();
        let refusal = refusal(&gate, &caller, action, "acme/sentiment");
        assert_eq!(
            refusal.as_ref().map(Refusal::code),
            expected,
            "{caller} {action}"
        );
        let asked = refusal.is_some_and(|refusal| {
            let notice = refusal.notice();
            notice.status.http() == 401 && notice.challenge.is_some()
        });
        assert_eq!(
            asked,
            expected == Some("authz.step_up"),
            "{caller} {action}"
        );
    }
}

const ROLES: [&str; 4] = ["reader", "caller", "writer", "admin"];
const HOLDERS: [&str; 7] = [
    "group:corp/g",
    "group:corp/h",
    "role:corp/r",
    "user:corp/u",
    "service:corp/s",
    "agent:corp/a",
    "agent:okta/a",
];
const SUBJECTS: [&str; 3] = ["user:corp/u", "user:corp/v", "service:corp/s"];
const ACTORS: [&str; 3] = ["agent:corp/a", "agent:okta/a", "service:okta/s"];
const MODELS: [&str; 3] = ["acme/a", "b", "the server"];
const ACTIONS: [Action; 5] = [
    Action::Read,
    Action::Embed,
    Action::Upload,
    Action::Delete,
    Action::Administer,
];

/// Every scope goes with every condition, and none of them is impossible.
const PRINCIPALS: [&str; 8] = [
    "principal",
    "principal",
    "principal is Spanner::User",
    "principal is Spanner::Agent",
    "principal == Spanner::User::\"corp/u\"",
    "principal == Spanner::Agent::\"corp/a\"",
    "principal in Spanner::Group::\"corp/g\"",
    "principal in Spanner::Role::\"corp/r\"",
];
const DONE: [&str; 4] = [
    "action",
    "action == Spanner::Action::\"read\"",
    "action in Spanner::Action::\"infer\"",
    "action in [Spanner::Action::\"view\", Spanner::Action::\"write\"]",
];
const PLACES: [&str; 4] = [
    "resource",
    "resource is Spanner::Endpoint",
    "resource in Spanner::Model::\"acme/a\"",
    "resource in Spanner::Environment::\"production\"",
];
const CONDITIONS: [&str; 14] = [
    "",
    "",
    "when { context.delegationDepth > 0 }",
    "when { context.delegationDepth == 0 }",
    "unless { context.delegationDepth > 1 }",
    "when { context.delegationDepth > 0 && context.authAgeKnown }",
    "when { context.assurance >= 2 }",
    "unless { context.authAgeSeconds < 300 }",
    "when { context.scopes.contains(\"models.infer\") || context.delegationDepth == 1 }",
    "when { context.issuer == \"corp\" }",
    "unless { context has tenant && context.tenant == \"t\" }",
    "when { context has origin }",
    "when { principal in Spanner::Group::\"corp/h\" }",
    "unless { principal in Spanner::Role::\"corp/r\" }",
];

/// Who asks for what.
#[derive(Debug, Clone)]
struct Asking {
    subject: &'static str,
    groups: Vec<&'static str>,
    roles: Vec<&'static str>,
    facts: (u8, bool, bool, bool, bool),
    actors: Vec<&'static str>,
    action: Action,
    model: &'static str,
}

fn guardrail() -> impl Strategy<Value = String> {
    let parts = (
        select(&["permit", "permit", "forbid"][..]),
        select(&PRINCIPALS[..]),
        select(&DONE[..]),
        select(&PLACES[..]),
        select(&CONDITIONS[..]),
    );
    parts.prop_map(|(effect, principal, action, place, condition)| {
        format!("{effect} ({principal}, {action}, {place}) {condition};")
    })
}

/// Grants on every model, grants on `acme/a`, and guardrails.
type World = (
    BTreeSet<(&'static str, &'static str)>,
    BTreeSet<(&'static str, &'static str)>,
    Vec<String>,
);

fn world() -> impl Strategy<Value = World> {
    let grant = || (select(&ROLES[..]), select(&HOLDERS[..]));
    let teams = grant().prop_filter("a grant on all models is a team's", |(_, holder)| {
        !holder.starts_with("user:")
    });
    (
        proptest::collection::btree_set(teams, 0..6),
        proptest::collection::btree_set(grant(), 0..6),
        proptest::collection::vec(guardrail(), 0..6),
    )
}

fn asking() -> impl Strategy<Value = Asking> {
    (
        select(&SUBJECTS[..]),
        subsequence(&["g", "h"][..], 0..=2),
        subsequence(&["r"][..], 0..=1),
        (
            0u8..4,
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        ),
        subsequence(&ACTORS[..], 1..=3),
        select(&ACTIONS[..]),
        select(&MODELS[..]),
    )
        .prop_map(
            |(subject, groups, roles, facts, actors, action, model)| Asking {
                subject,
                groups,
                roles,
                facts,
                actors,
                action,
                model,
            },
        )
}

fn load((all, model, guardrails): &World) -> Cedar {
    let list = |grants: &BTreeSet<(&str, &str)>| {
        let mut text = "[grants.production]\n".to_owned();
        for role in ROLES {
            let of = grants.iter().filter(|(granted, _)| *granted == role);
            let holders: Vec<&str> = of.map(|(_, holder)| *holder).collect();
            writeln!(text, "{role} = {holders:?}").unwrap();
        }
        text
    };
    let organization = "environments = [\"production\"]\nissuers = [\"corp\", \"okta\"]\ngroups = [\"corp/g\", \"corp/h\"]\n";
    let manifest = "model = \"acme/a\"\nowner = \"group:corp/g\"\nindividuals = \"allowed\"\nindividuals_reason = \"a test\"\n";
    let annotated = guardrails
        .iter()
        .enumerate()
        .map(|(number, text)| format!("@id(\"g-{number}\") @reason(\"a test\")\n{text}\n"));
    Cedar::from_files([
        ("organization.toml", format!("{organization}{}", list(all))),
        ("models/a.toml", format!("{manifest}{}", list(model))),
        ("policies/g.cedar", annotated.collect()),
    ])
    .unwrap()
}

impl Asking {
    fn assertion(&self) -> Assertion {
        let (assurance, recent, scoped, tenant, origin) = self.facts;
        let mut assertion = Caller::assertion(principal(self.subject))
            .groups(self.groups.iter().map(|name| group(name)))
            .roles(self.roles.iter().map(|name| role(name)))
            .assurance(assurance);
        if recent {
            assertion = assertion.authenticated_at(NOW.parse().unwrap());
        }
        if scoped {
            assertion = assertion.scopes(["models.infer".to_owned()]);
        }
        if tenant {
            assertion = assertion.tenant("t");
        }
        if origin {
            assertion = assertion.origin("workload");
        }
        assertion
    }

    /// Whether the call is allowed, after it was compared with what each party may.
    fn check(&self, cedar: &Cedar) -> bool {
        let gate = gate(cedar);
        let allows = |caller: &Caller| refusal(&gate, caller, self.action, self.model).is_none();
        let actors = self.actors.iter().map(|name| principal(name));
        let delegated = self.assertion().actors(actors).caller().unwrap();
        let direct = self.assertion().caller().unwrap();
        let allowed = allows(&delegated);
        // Each party in the circumstances of this call, without the other.
        let environment: Environment = "production".parse().unwrap();
        let context = Context::of(&delegated, NOW.parse().unwrap());
        let resource = resource(self.model);
        let each = delegated.parties().all(|party| {
            let question = Question::new(
                &delegated,
                party,
                self.action,
                &resource,
                &environment,
                &context,
            );
            cedar.authorize(&[question]).verdicts[0].effect == Effect::Allow
        });
        assert!(
            !allowed || allows(&direct),
            "the agent exceeds its principal"
        );
        assert!(!allowed || each, "a party of the chain may not");
        assert!(allowed || !(each && allows(&direct)), "nobody refuses");
        allowed
    }
}

#[test]
fn no_policy_set_lets_an_agent_exceed() {
    let config = Config {
        cases: 128,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let (allowed, asked) = (Cell::new(0), Cell::new(0));
    let worlds = (world(), proptest::collection::vec(asking(), 32));
    runner
        .run(&worlds, |(world, questions)| {
            let cedar = load(&world);
            for asking in &questions {
                allowed.set(allowed.get() + usize::from(asking.check(&cedar)));
                asked.set(asked.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    // The property says something only where some calls are allowed and some are not.
    let (allowed, asked) = (allowed.get(), asked.get());
    assert!(
        asked / 50 < allowed && allowed < asked,
        "{allowed} of {asked}"
    );
}
