//! The index against plain Cedar: the same policies, entities and requests, given whole to
//! `Authorizer::is_authorized`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::{Arc, LazyLock};

use cedar_policy::{
    Authorizer, Decision, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Request,
    SlotId, Template,
};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use spanner_core::{
    Action, Advice, Caller, Context, Effect, Environment, Party, Principal, Question, VerdictReason,
};

use super::{NOW, group, issued, principal, resource, role};
use crate::fact::Circumstances;
use crate::guardrail::{Guardrail, Mode};
use crate::index::Policies;
use crate::load;
use crate::schema::{self, Schema};

/// The `context` of a request to Cedar.
fn facts(caller: &Caller, principal: &Principal, context: &Context) -> cedar_policy::Context {
    let circumstances = Circumstances {
        caller,
        principal,
        context,
    };
    circumstances.context().unwrap()
}

pub(super) const ENVIRONMENTS: [&str; 2] = ["staging", "production"];
pub(super) const MODELS: [&str; 3] = ["acme/a", "lab/b", "c"];
pub(super) const RESOURCES: [&str; 5] = ["acme/a", "lab/b", "c", "acme/unheard-of", "the server"];
pub(super) const GROUPS: [&str; 3] = ["g", "h", "i"];
pub(super) const ISSUERS_ROLES: [&str; 2] = ["g", "realm:s"];
pub(super) const PARTIES: [&str; 4] = [
    "user:corp/u",
    "user:corp/g",
    "service:corp/u",
    "agent:corp/u",
];
/// Those who act for others.
const ACTORS: [&str; 2] = ["agent:corp/v", "service:corp/v"];
const HOLDERS: [&str; 9] = [
    "agent:corp/v",
    "role:corp/g",
    "role:corp/realm:s",
    "group:corp/g",
    "group:corp/h",
    "group:corp/i",
    "user:corp/u",
    "service:corp/u",
    "agent:corp/u",
];
const ROLES: [&str; 7] = [
    "reader",
    "caller",
    "contributor",
    "writer",
    "maintainer",
    "approver",
    "admin",
];

/// The schema as Cedar reads it, and its actions with their groups.
static SCHEMA: LazyLock<cedar_policy::Schema> = LazyLock::new(|| {
    cedar_policy::Schema::from_cedarschema_str(schema::TEXT)
        .unwrap()
        .0
});
static ACTION_ENTITIES: LazyLock<Entities> = LazyLock::new(|| SCHEMA.action_entities().unwrap());

/// Scopes and conditions of guardrails, in every form that Cedar has for them, and with
/// conditions that fail.
const PRINCIPALS: [&str; 9] = [
    "principal in Spanner::Role::\"corp/g\"",
    "principal is Spanner::User in Spanner::Role::\"corp/realm:s\"",
    "principal",
    "principal is Spanner::User",
    "principal is Spanner::Agent",
    "principal == Spanner::User::\"corp/u\"",
    "principal in Spanner::Group::\"corp/g\"",
    "principal is Spanner::Service in Spanner::Group::\"corp/h\"",
    "principal in Spanner::User::\"corp/u\"",
];
const ACTIONS: [&str; 6] = [
    "action",
    "action == Spanner::Action::\"read\"",
    "action in Spanner::Action::\"infer\"",
    "action in Spanner::Action::\"deploy\"",
    "action in [Spanner::Action::\"view\", Spanner::Action::\"upload\"]",
    "action == Spanner::Action::\"view\"",
];
const PLACES: [&str; 9] = [
    "resource",
    "resource is Spanner::Endpoint",
    "resource is Spanner::Server",
    "resource == Spanner::Endpoint::\"production/acme/a\"",
    "resource == Spanner::Server::\"staging\"",
    "resource in Spanner::Model::\"acme/a\"",
    "resource in Spanner::Environment::\"production\"",
    "resource is Spanner::Endpoint in Spanner::Environment::\"staging\"",
    "resource is Spanner::Endpoint in Spanner::Model::\"lab/b\"",
];
const CONDITIONS: [&str; 13] = [
    "unless { principal in Spanner::Role::\"corp/g\" }",
    "when { context has tenant && context.tenant == \"t\" }",
    "unless { context.authAgeSeconds < 100 || context has origin }",
    "",
    "",
    "when { principal in Spanner::Group::\"corp/i\" }",
    "unless { principal in Spanner::Group::\"corp/g\" }",
    "when { resource is Spanner::Endpoint && resource.name like \"*/a\" }",
    "when { context.tokenAgeSeconds > 100 }",
    "when { context.tokenAgeSeconds > 100 && context.now * 9223372036854775807 > 0 }",
    "when { action in Spanner::Action::\"write\" || context.delegationDepth > 0 }",
    "unless { resource in Spanner::Environment::\"staging\" && context.groupsComplete }",
    "when { principal has owner && principal.owner == 1 || resource.name == \"c\" }",
];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Given {
    environment: &'static str,
    /// `None` is every model.
    model: Option<&'static str>,
    role: &'static str,
    holder: &'static str,
}

#[derive(Debug, Clone)]
struct Asking {
    party: &'static str,
    /// Who acts for the party, if somebody does.
    actor: Option<&'static str>,
    groups: Vec<&'static str>,
    roles: Vec<&'static str>,
    tenant: Option<&'static str>,
    action: Action,
    resource: &'static str,
    environment: &'static str,
    age: i64,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    grants: BTreeSet<Given>,
    guardrails: Vec<String>,
}

fn given() -> impl Strategy<Value = Given> {
    (
        select(&ENVIRONMENTS[..]),
        proptest::option::of(select(&MODELS[..])),
        select(&ROLES[..]),
        select(&HOLDERS[..]),
    )
        .prop_map(|(environment, model, role, holder)| Given {
            environment,
            model,
            role,
            holder,
        })
        // What the loader refuses is tested elsewhere.
        .prop_filter("individuals stand in manifests", |given| {
            given.model.is_some() || !given.holder.starts_with("user:")
        })
}

fn guardrail() -> impl Strategy<Value = String> {
    let effect = select(&["permit", "forbid", "forbid"][..]);
    let scope = (
        select(&PRINCIPALS[..]),
        select(&ACTIONS[..]),
        select(&PLACES[..]),
    );
    (effect, scope, select(&CONDITIONS[..])).prop_map(
        |(effect, (principal, action, place), condition)| {
            format!("{effect} ({principal}, {action}, {place}) {condition};")
        },
    )
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let grants = proptest::collection::btree_set(given(), 0..12);
    let guardrails = proptest::collection::vec(guardrail(), 0..8);
    (grants, guardrails).prop_map(|(grants, guardrails)| World { grants, guardrails })
}

fn asking() -> impl Strategy<Value = Asking> {
    let somebody = (
        select(&PARTIES[..]),
        proptest::option::weighted(0.2, select(&ACTORS[..])),
    );
    (
        somebody,
        subsequence(&GROUPS[..], 0..=GROUPS.len()),
        subsequence(&ISSUERS_ROLES[..], 0..=ISSUERS_ROLES.len()),
        proptest::option::of(select(&["t", "u"][..])),
        any::<Index>(),
        select(&RESOURCES[..]),
        select(&ENVIRONMENTS[..]),
        select(&[0, 1000][..]),
    )
        .prop_map(
            |((party, actor), groups, roles, tenant, action, resource, environment, age)| Asking {
                party,
                actor,
                groups,
                roles,
                tenant,
                action: *action.get(&Action::ALL),
                resource,
                environment,
                age,
            },
        )
}

impl World {
    /// The grants through the loader, the guardrails past its gate: some of them fail.
    pub(super) fn access(&self) -> Policies {
        let mut files = vec![("organization.toml".to_owned(), self.file(None))];
        for model in MODELS {
            files.push((format!("models/{model}.toml"), self.file(Some(model))));
        }
        let mut access =
            load::from_memory(files, &load::Program::default(), &Arc::default()).unwrap();
        for (number, text) in self.guardrails.iter().enumerate() {
            let policy = Policy::parse(Some(PolicyId::new(name(number))), text).unwrap();
            let alone = PolicySet::from_policies([policy.clone()]).unwrap();
            let id = Arc::from(name(number));
            access.guardrails.add(Guardrail::new(
                id,
                Mode::Live,
                Schema::shared(),
                &policy,
                alone,
                Advice::default(),
            ));
        }
        access
    }

    /// Whether it names a holder, in a grant or in a guardrail.
    pub(super) fn names(&self, holder: &str) -> bool {
        let entity = entity_of(holder).to_string();
        let mut guardrails = self.guardrails.iter();
        self.grants.iter().any(|given| given.holder == holder)
            || guardrails.any(|text| text.contains(&entity))
    }

    pub(super) fn with_the_guardrails_of(self, other: &Self) -> Self {
        let guardrails = other.guardrails.clone();
        Self { guardrails, ..self }
    }

    fn file(&self, model: Option<&str>) -> String {
        let mut text = match model {
            Some(model) => format!(
                "model = \"{model}\"\nowner = \"group:g\"\nindividuals = \"allowed\"\nindividuals_reason = \"a test\"\n"
            ),
            None => format!(
                "environments = {ENVIRONMENTS:?}\nissuers = [\"corp\"]\ngroups = {GROUPS:?}\n"
            ),
        };
        for environment in ENVIRONMENTS {
            writeln!(text, "[grants.{environment}]").unwrap();
            for role in ROLES {
                let here = self.grants.iter().filter(|given| {
                    (given.environment, given.model, given.role) == (environment, model, role)
                });
                let holders: Vec<&str> = here.map(|given| given.holder).collect();
                writeln!(text, "{role} = {holders:?}").unwrap();
            }
        }
        text
    }

    /// Everything as one set: a template for each role, a link for each grant.
    fn plain(&self, access: &Policies) -> PolicySet {
        let mut set = PolicySet::new();
        for role in ROLES {
            let (_, actions) = access.roles.find(role).unwrap();
            let actions: Vec<String> = actions
                .iter()
                .map(|action| format!("Spanner::Action::\"{action}\""))
                .collect();
            let text = format!(
                "permit (principal in ?principal, action in [{}], resource in ?resource);",
                actions.join(", ")
            );
            set.add_template(Template::parse(Some(PolicyId::new(role)), text).unwrap())
                .unwrap();
        }
        for Given {
            environment,
            model,
            role,
            holder,
        } in &self.grants
        {
            let id = format!(
                "grant/{environment}/{}/{role}/{holder}",
                model.unwrap_or("*")
            );
            let resource = match model {
                Some(model) => uid("Endpoint", &format!("{environment}/{model}")),
                None => uid("Environment", environment),
            };
            let slots = HashMap::from([
                (SlotId::principal(), entity_of(holder)),
                (SlotId::resource(), resource),
            ]);
            set.link(PolicyId::new(role), PolicyId::new(id), slots)
                .unwrap();
        }
        for (number, text) in self.guardrails.iter().enumerate() {
            set.add(Policy::parse(Some(PolicyId::new(name(number))), text).unwrap())
                .unwrap();
        }
        set
    }
}

fn name(number: usize) -> String {
    format!("guardrail-{number}")
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

impl Asking {
    fn caller(&self, groups: &[&str], complete: bool) -> Caller {
        let assertion = Caller::assertion(principal(self.party))
            .groups(groups.iter().map(|name| group(name)))
            .roles(self.roles.iter().map(|name| role(name)))
            .credential(issued(self.age));
        let assertion = match self.tenant {
            Some(tenant) => assertion.tenant(tenant),
            None => assertion,
        };
        let assertion = assertion.actors(self.actor.map(principal));
        let assertion = if complete {
            assertion
        } else {
            assertion.groups_incomplete()
        };
        assertion.caller().unwrap()
    }

    /// Plain Cedar's answer about the subject: the effect, the policies that decided, those
    /// that failed.
    fn plain(
        &self,
        set: &PolicySet,
        context: cedar_policy::Context,
    ) -> (Decision, Vec<String>, Vec<String>) {
        let groups = self
            .groups
            .iter()
            .map(|name| uid("Group", &format!("corp/{name}")));
        let roles = self
            .roles
            .iter()
            .map(|name| uid("Role", &format!("corp/{name}")));
        self.plain_about(self.party, groups.chain(roles).collect(), set, context)
    }

    /// The same about a party with these parents.
    fn plain_about(
        &self,
        party: &str,
        parents: HashSet<EntityUid>,
        set: &PolicySet,
        context: cedar_policy::Context,
    ) -> (Decision, Vec<String>, Vec<String>) {
        let (uid, places, name) = match self.resource {
            "the server" => (uid("Server", self.environment), vec![], None),
            model => (
                uid("Endpoint", &format!("{}/{model}", self.environment)),
                vec![uid("Model", model)],
                Some(model),
            ),
        };
        let places: HashSet<EntityUid> = places
            .into_iter()
            .chain([self::uid("Environment", self.environment)])
            .collect();
        let attributes = name.map(|name| {
            (
                "name".to_owned(),
                cedar_policy::RestrictedExpression::new_string(name.to_owned()),
            )
        });
        let thing = Entity::new(uid, attributes.into_iter().collect(), places).unwrap();
        let who = Entity::new_no_attrs(entity_of(party), parents);
        let action = self::uid("Action", self.action.as_str());
        let request = Request::new(who.uid(), action, thing.uid(), context, None).unwrap();
        let entities = ACTION_ENTITIES
            .clone()
            .add_entities([who, thing], None)
            .unwrap();
        let response = Authorizer::new().is_authorized(&request, set, &entities);
        let mut reason: Vec<String> = response
            .diagnostics()
            .reason()
            .map(ToString::to_string)
            .collect();
        let mut errors: Vec<String> = response
            .diagnostics()
            .errors()
            .map(|error| match error {
                cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                    error.policy_id().to_string()
                }
            })
            .collect();
        reason.sort();
        errors.sort();
        (response.decision(), reason, errors)
    }

    /// Whether Cedar finds that the question about a party fits the schema, the context
    /// included.
    fn fits(&self, party: &str, context: cedar_policy::Context) -> bool {
        let resource = match self.resource {
            "the server" => uid("Server", self.environment),
            model => uid("Endpoint", &format!("{}/{model}", self.environment)),
        };
        let action = uid("Action", self.action.as_str());
        Request::new(entity_of(party), action, resource, context, Some(&SCHEMA)).is_ok()
    }

    /// Asks about each party of the call, and about the subject as if it called directly.
    fn check(&self, access: &Policies, set: &PolicySet) {
        let caller = self.caller(&self.groups, true);
        let context = Context::of(&caller, NOW.parse().unwrap());
        for party in caller.parties() {
            self.check_party(&caller, party, &context, access, set);
        }
        if self.actor.is_some() {
            self.check_party(&caller, caller.subject(), &context.direct(), access, set);
        }
    }

    fn check_party(
        &self,
        caller: &Caller,
        party: &Party,
        context: &Context,
        access: &Policies,
        set: &PolicySet,
    ) {
        let environment = Environment::new(self.environment).unwrap();
        let resource = resource(self.resource);
        let question = Question::new(caller, party, self.action, &resource, &environment, context);
        let placed = access.place(party);
        let verdict = access.decide(&question, placed.as_ref());
        let facts = facts(caller, &party.principal, context);
        let asked = access.ask(&question, placed.as_ref());
        let name = party.principal.to_string();
        assert_eq!(asked.is_some(), self.fits(&name, facts.clone()));
        let Some(asked) = asked else {
            assert_eq!(verdict.reason, VerdictReason::NotApplicable);
            return;
        };
        let groups = party
            .groups
            .iter()
            .map(|group| uid("Group", &format!("corp/{}", group.name)));
        let roles = party
            .roles
            .iter()
            .map(|role| uid("Role", &format!("corp/{}", role.name)));
        let parents = groups.chain(roles).collect();
        let findings = asked.find();
        let (decision, reason, errors) = self.plain_about(&name, parents, set, facts);
        let deciding: Vec<_> = match findings.forbids.is_empty() {
            true => findings
                .permit_ids()
                .map(ToString::to_string)
                .collect::<BTreeSet<_>>(),
            false => findings.forbid_ids().map(ToString::to_string).collect(),
        }
        .into_iter()
        .collect();
        let failed: BTreeSet<_> = findings.errors.iter().map(|g| g.id.to_string()).collect();
        assert_eq!(deciding, reason);
        assert_eq!(Vec::from_iter(failed), errors);
        let allowed = decision == Decision::Allow && errors.is_empty();
        assert_eq!(verdict.effect == Effect::Allow, allowed, "{verdict:?}");
        if allowed {
            assert_eq!(
                Vec::from_iter(verdict.policies.iter().map(ToString::to_string)),
                reason
            );
        }
        assert_eq!(
            Vec::from_iter(verdict.errors.iter().map(ToString::to_string)),
            errors
        );
    }
}

#[test]
fn refuses_when_a_guardrail_fails_that_cedar_would_skip() {
    let given = |role| Given {
        environment: "production",
        model: None,
        role,
        holder: "service:corp/u",
    };
    let fails = "when { context.now * 9223372036854775807 > 0 };";
    for (effect, elsewhere) in [("forbid", "permit"), ("permit", "forbid")] {
        let world = World {
            grants: BTreeSet::from([given("caller")]),
            guardrails: vec![
                format!("{effect} (principal, action, resource) {fails}"),
                format!("{elsewhere} (principal is Spanner::Agent, action, resource) {fails}"),
            ],
        };
        let access = world.access();
        let caller = Caller::assertion(principal("service:corp/u"))
            .caller()
            .unwrap();
        let environment = Environment::new("production").unwrap();
        let resource = resource("acme/a");
        let context = Context::of(&caller, NOW.parse().unwrap());
        let question = Question::new(
            &caller,
            caller.subject(),
            Action::Embed,
            &resource,
            &environment,
            &context,
        );
        let verdict = access.decide(&question, access.place(caller.subject()).as_ref());
        assert_eq!(
            (verdict.effect, verdict.reason),
            (Effect::Deny, VerdictReason::PolicyError)
        );
        assert_eq!(verdict.errors, [Arc::from("guardrail-0")]);
        assert_eq!(
            verdict.advice.reason.as_deref(),
            Some("a guardrail could not be evaluated")
        );
        let facts = facts(&caller, &caller.subject().principal, &context);
        let asking = Asking {
            party: "service:corp/u",
            actor: None,
            groups: Vec::new(),
            roles: Vec::new(),
            tenant: None,
            action: Action::Embed,
            resource: "acme/a",
            environment: "production",
            age: 0,
        };
        let (decision, ..) = asking.plain(&world.plain(&access), facts);
        assert_eq!(decision, Decision::Allow);
    }
}

/// Worlds of so many questions, together 100,000.
const WORLDS: u32 = 2_000;
const QUESTIONS: usize = 50;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: WORLDS,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn answers_exactly_as_plain_cedar(world in world(), questions in proptest::collection::vec(asking(), QUESTIONS)) {
        let access = world.access();
        let set = world.plain(&access);
        for asking in &questions {
            asking.check(&access, &set);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn allows_nothing_that_unknown_groups_could_forbid(
        world in world(),
        questions in proptest::collection::vec((asking(), subsequence(&GROUPS[..], 0..=GROUPS.len())), 16),
    ) {
        let access = world.access();
        let set = world.plain(&access);
        for (asking, listed) in &questions {
            let shown: Vec<&str> = asking.groups.iter().copied().filter(|g| listed.contains(g)).collect();
            let caller = asking.caller(&shown, false);
            let environment = Environment::new(asking.environment).unwrap();
            let resource = resource(asking.resource);
            let context = Context::of(&caller, NOW.parse().unwrap());
            let question = Question::new(&caller, caller.subject(), asking.action, &resource, &environment, &context);
            let verdict = access.decide(&question, access.place(caller.subject()).as_ref());
            if verdict.effect == Effect::Allow {
                let facts = facts(&caller, &caller.subject().principal, &context);
                let (decision, _, errors) = asking.plain(&set, facts);
                assert_eq!(decision, Decision::Allow);
                // A permit that is not known to be about the party cannot fail for it either.
                let forbids = |id: &String| {
                    let number = id.trim_start_matches("guardrail-").parse::<usize>().unwrap();
                    world.guardrails[number].starts_with("forbid")
                };
                assert!(!errors.iter().any(forbids), "{errors:?}");
            }
        }
    }
}
