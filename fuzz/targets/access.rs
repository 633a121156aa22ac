//! An access and questions, both chosen by bytes: the answers are plain Cedar's over the whole
//! set, the policies that decide included.
#![no_main]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::str::FromStr as _;
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Context as Facts, Decision, Entities, Entity, EntityUid, Policy, PolicyId,
    PolicySet, Request, RestrictedExpression, Schema, SlotId, Template,
};
use libfuzzer_sys::fuzz_target;
use spanner_cedar::Cedar;
use spanner_core::{
    Action, Authorize as _, Caller, CallerKind, Context, Effect, Environment, Group, GroupName,
    IssuerAlias, ModelName, Principal, Question, Resource, Role, SubjectId, Timestamp,
    VerdictReason,
};

const ENVIRONMENTS: [&str; 2] = ["staging", "production"];
const MODELS: [&str; 2] = ["acme/a", "b"];
const HOLDERS: [&str; 7] = [
    "group:corp/g",
    "group:corp/h",
    "role:corp/g",
    "role:corp/realm:s",
    "service:corp/u",
    "agent:corp/u",
    "user:corp/u",
];
const PARTIES: [(CallerKind, &str); 5] = [
    (CallerKind::User, "u"),
    (CallerKind::User, "g"),
    (CallerKind::Service, "u"),
    (CallerKind::Agent, "u"),
    (CallerKind::Unclassified, "u"),
];
/// Of what each role consists, as the organization defines it.
const ROLES: [(&str, &str); 3] = [
    ("caller", "list, read, embed, generate, predict"),
    ("reader", "list, read, download"),
    ("approver", "list, read, approve"),
];
const PRINCIPALS: [&str; 8] = [
    "principal",
    "principal is Spanner::User",
    "principal is Spanner::Agent",
    "principal == Spanner::User::\"corp/u\"",
    "principal in Spanner::Group::\"corp/g\"",
    "principal is Spanner::Service in Spanner::Group::\"corp/h\"",
    "principal in Spanner::Role::\"corp/g\"",
    "principal in Spanner::Service::\"corp/u\"",
];
const ACTIONS: [&str; 5] = [
    "action",
    "action == Spanner::Action::\"read\"",
    "action in Spanner::Action::\"infer\"",
    "action == Spanner::Action::\"deploy\"",
    "action in [Spanner::Action::\"view\", Spanner::Action::\"upload\"]",
];
const PLACES: [&str; 7] = [
    "resource",
    "resource is Spanner::Endpoint",
    "resource is Spanner::Server",
    "resource == Spanner::Endpoint::\"production/acme/a\"",
    "resource in Spanner::Model::\"b\"",
    "resource in Spanner::Environment::\"production\"",
    "resource is Spanner::Endpoint in Spanner::Environment::\"staging\"",
];
const CONDITIONS: [&str; 8] = [
    "",
    "",
    "",
    "when { principal in Spanner::Group::\"corp/h\" }",
    "unless { principal in Spanner::Role::\"corp/realm:s\" }",
    "when { context.tokenAgeSeconds > 100 }",
    "unless { resource in Spanner::Environment::\"staging\" }",
    "when { context.delegationDepth > 0 || action in Spanner::Action::\"write\" }",
];

static ACTION_ENTITIES: LazyLock<Entities> = LazyLock::new(|| {
    let text = include_str!("../../spanner-cedar/src/schema.cedarschema");
    let (schema, _) = Schema::from_cedarschema_str(text).unwrap();
    schema.action_entities().unwrap()
});

/// Bytes as choices; after the last, always the first.
struct Choices<'b>(&'b [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next() % all.len()]
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let mut plain = PolicySet::new();
    let mut manifests = MODELS.map(|model| {
        format!(
            "model = \"{model}\"\nowner = \"group:g\"\nindividuals = \"allowed\"\nindividuals_reason = \"r\"\n"
        )
    });
    for (role, actions) in ROLES {
        let actions: Vec<String> = actions
            .split(", ")
            .map(|action| format!("Spanner::Action::\"{action}\""))
            .collect();
        let text = format!(
            "permit (principal in ?principal, action in [{}], resource in ?resource);",
            actions.join(", ")
        );
        plain
            .add_template(Template::parse(Some(PolicyId::new(role)), text).unwrap())
            .unwrap();
    }
    let mut organization = "environments = [\"staging\", \"production\"]\nissuers = [\"corp\"]\ngroups = [\"g\", \"h\"]\n".to_owned();
    let mut seen = BTreeSet::new();
    for _ in 0..choices.next() % 10 {
        seen.insert((
            choices.next() % 3,
            choices.of(&ENVIRONMENTS),
            choices.of(&ROLES).0,
            choices.of(&HOLDERS),
        ));
    }
    for at in 0..3 {
        for environment in ENVIRONMENTS {
            for (role, _) in ROLES {
                let holders: Vec<&str> = seen
                    .iter()
                    .filter(|given| (given.0, given.1, given.2) == (at, environment, role))
                    .map(|given| given.3)
                    .collect();
                let line = format!("grants.{environment}.{role} = {holders:?}\n");
                match manifests.get_mut(at) {
                    Some(manifest) => manifest.push_str(&line),
                    None => organization.push_str(&line),
                }
                let resource = match MODELS.get(at) {
                    Some(model) => uid("Endpoint", &format!("{environment}/{model}")),
                    None => uid("Environment", environment),
                };
                for holder in holders {
                    let slots = HashMap::from([
                        (SlotId::principal(), entity_of(holder)),
                        (SlotId::resource(), resource.clone()),
                    ]);
                    let name = MODELS.get(at).unwrap_or(&"*");
                    let id = format!("grant/{environment}/{name}/{role}/{holder}");
                    plain
                        .link(PolicyId::new(role), PolicyId::new(id), slots)
                        .unwrap();
                }
            }
        }
    }
    let mut guardrails = String::new();
    for number in 0..choices.next() % 6 {
        let text = format!(
            "{} ({}, {}, {}) {};\n",
            choices.of(&["permit", "forbid"]),
            choices.of(&PRINCIPALS),
            choices.of(&ACTIONS),
            choices.of(&PLACES),
            choices.of(&CONDITIONS),
        );
        guardrails.push_str(&format!("@id(\"{number}\") @reason(\"r\") {text}"));
        plain
            .add(Policy::parse(Some(PolicyId::new(number.to_string())), text).unwrap())
            .unwrap();
    }
    // What the gate refuses (a service approves, a policy can never apply) is no access.
    let [a, b] = manifests;
    let Ok(cedar) = Cedar::from_files([
        ("organization.toml", organization),
        ("models/a.toml", a),
        ("models/b.toml", b),
        ("policies/g.cedar", guardrails),
    ]) else {
        return;
    };
    for _ in 0..8 {
        ask(&mut choices, &cedar, &plain);
    }
});

/// One question, of both.
fn ask(choices: &mut Choices<'_>, cedar: &Cedar, plain: &PolicySet) {
    let corp = IssuerAlias::new("corp").unwrap();
    let (kind, subject) = choices.of(&PARTIES);
    let subject = SubjectId::new(subject).unwrap();
    let groups = subset(choices.next(), &["g", "h", "unheard-of"]);
    let roles = subset(choices.next(), &["g", "realm:s"]);
    let age = choices.of(&[0, 1000]);
    let actor = choices.next() % 4 == 0;
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut credential = spanner_core::Credential::unknown();
    credential.issued_at = Timestamp::from_second(now.as_second() - age).ok();
    let named = |name: &&str| GroupName::new(name).unwrap();
    let mut assertion = Caller::assertion(Principal::new(corp.clone(), kind, subject))
        .groups(
            groups
                .iter()
                .map(|name| Group::new(corp.clone(), named(name))),
        )
        .roles(
            roles
                .iter()
                .map(|name| Role::new(corp.clone(), named(name))),
        )
        .credential(credential);
    if actor {
        let agent = SubjectId::new("v").unwrap();
        assertion = assertion.actors([Principal::new(corp, CallerKind::Agent, agent)]);
    }
    let caller = assertion.caller().unwrap();
    let action = choices.of(&Action::ALL);
    let environment = choices.of(&ENVIRONMENTS);
    let model = choices.of(&[Some("acme/a"), Some("b"), Some("other"), None]);
    let resource = match model {
        Some(name) => Resource::model(ModelName::new(name).unwrap()),
        None => Resource::Server,
    };
    let here = Environment::new(environment).unwrap();
    let context = Context::of(&caller, now);
    let question = Question::new(
        &caller,
        caller.subject(),
        action,
        &resource,
        &here,
        &context,
    );
    let verdict = &cedar.authorize(std::slice::from_ref(&question)).verdicts[0];
    if verdict.reason == VerdictReason::NotApplicable {
        let gate = matches!(action, Action::Promote | Action::Approve);
        assert!(gate || kind == CallerKind::Unclassified);
        return;
    }
    let groups = groups
        .iter()
        .map(|name| uid("Group", &format!("corp/{name}")));
    let roles = roles
        .iter()
        .map(|name| uid("Role", &format!("corp/{name}")));
    let who = entity_of(&caller.subject().principal.to_string());
    let who = Entity::new_no_attrs(who, groups.chain(roles).collect());
    let within = uid("Environment", environment);
    let thing = match model {
        Some(name) => Entity::new_no_attrs(
            uid("Endpoint", &format!("{environment}/{name}")),
            HashSet::from([uid("Model", name), within]),
        ),
        None => Entity::new_no_attrs(uid("Server", environment), HashSet::from([within])),
    };
    let facts = Facts::from_pairs([
        (
            "tokenAgeSeconds".to_owned(),
            RestrictedExpression::new_long(age),
        ),
        (
            "delegationDepth".to_owned(),
            RestrictedExpression::new_long(i64::from(actor)),
        ),
    ])
    .unwrap();
    let action = uid("Action", action.as_str());
    let request = Request::new(who.uid(), action, thing.uid(), facts, None).unwrap();
    let entities = ACTION_ENTITIES
        .clone()
        .add_entities([who, thing], None)
        .unwrap();
    let response = Authorizer::new().is_authorized(&request, plain, &entities);
    let allowed = response.decision() == Decision::Allow;
    assert_eq!(verdict.effect == Effect::Allow, allowed, "{verdict:?}");
    let deciding: BTreeSet<String> = response
        .diagnostics()
        .reason()
        .map(ToString::to_string)
        .collect();
    let told: BTreeSet<String> = verdict.policies.iter().map(ToString::to_string).collect();
    assert_eq!(told, deciding);
}

fn subset<'n>(bits: usize, names: &[&'n str]) -> Vec<&'n str> {
    let chosen = names.iter().enumerate();
    let chosen = chosen.filter(|(at, _)| bits >> at & 1 == 1);
    chosen.map(|(_, name)| *name).collect()
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_str(&format!("Spanner::{kind}::\"{id}\"")).unwrap()
}

fn entity_of(holder: &str) -> EntityUid {
    let (kind, id) = holder.split_once(':').unwrap();
    let kind = match kind {
        "group" => "Group",
        "role" => "Role",
        "user" => "User",
        "service" => "Service",
        _ => "Agent",
    };
    uid(kind, id)
}
