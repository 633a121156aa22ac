//! Differences: exactly what the two accesses answer.

use proptest::prelude::*;
use proptest::sample::select;
use spanner_core::{
    Action, Authorize, Caller, CallerKind, Context, Effect, Environment, Question, Resource,
    Timestamp,
};

use super::plain::{ENVIRONMENTS, GROUPS, ISSUERS_ROLES, MODELS, PARTIES, RESOURCES, World, world};
use super::{group, issued_at, principal, resource, role};
use crate::role::ActionSet;
use crate::schema::Schema;
use crate::{Cedar, Difference};

/// A party that no access of these tests names, and one in a group or role at most.
fn whoever() -> impl Strategy<Value = (String, Option<&'static str>, Option<&'static str>)> {
    let unnamed = select(&["user:corp/x", "service:corp/x", "agent:corp/x"][..]);
    prop_oneof![
        select(&PARTIES[..]).prop_map(|party| (party.to_owned(), None, None)),
        unnamed
            .clone()
            .prop_map(|party| (party.to_owned(), None, None)),
        (unnamed.clone(), select(&GROUPS[..])).prop_map(|(party, group)| (
            party.to_owned(),
            Some(group),
            None
        )),
        (unnamed, select(&ISSUERS_ROLES[..])).prop_map(|(party, role)| (
            party.to_owned(),
            None,
            Some(role)
        )),
    ]
}

fn allowed(cedar: &Cedar, caller: &Caller, resource: &Resource, place: &Environment) -> ActionSet {
    let context = Context::of(caller, Timestamp::UNIX_EPOCH);
    let question =
        |action| Question::new(caller, caller.subject(), action, resource, place, &context);
    let verdicts = cedar.authorize(&Action::ALL.map(question)).verdicts;
    let answers = Action::ALL.into_iter().zip(verdicts);
    let allowed = answers.filter(|(_, verdict)| verdict.effect == Effect::Allow);
    allowed.map(|(action, _)| action).collect()
}

/// What a difference says of a holder: what is gained and lost.
fn said(
    difference: &Difference,
    holder: &str,
    kind: CallerKind,
    resource: &Resource,
    place: &Environment,
) -> (ActionSet, ActionSet) {
    // Each of these has a manifest in every world.
    let model = resource
        .name()
        .filter(|name| MODELS.contains(&name.as_str()));
    let change = difference.changes.iter().find(|change| {
        change.environment == *place
            && change.server == (*resource == Resource::Server)
            && change.model.as_ref() == model
            && change.holder == holder
            && change.kind.is_none_or(|it| it == kind)
    });
    let may = Schema::shared().applicable_to(kind, *resource == Resource::Server);
    let set = |actions: &[Action]| actions.iter().copied().collect::<ActionSet>().within(may);
    change
        .map(|it| (set(&it.gains), set(&it.loses)))
        .unwrap_or_default()
}

fn check(
    difference: &Difference,
    [before, after]: [&Cedar; 2],
    (party, in_group, in_role): &(String, Option<&'static str>, Option<&'static str>),
    is_named: bool,
) {
    let caller = Caller::assertion(principal(party))
        .groups(in_group.map(group))
        .roles(in_role.map(role))
        .assurance(3)
        .authenticated_at(Timestamp::UNIX_EPOCH)
        .credential(issued_at(Timestamp::UNIX_EPOCH))
        .caller()
        .unwrap();
    let holder = match (in_group, in_role) {
        (Some(name), _) => format!("group:corp/{name}"),
        (_, Some(name)) => format!("role:corp/{name}"),
        _ if is_named => party.clone(),
        _ => "anybody".to_owned(),
    };
    for place in ENVIRONMENTS {
        let place = Environment::new(place).unwrap();
        for name in RESOURCES {
            let resource = resource(name);
            let one = allowed(before, &caller, &resource, &place);
            let two = allowed(after, &caller, &resource, &place);
            let expected = (two.without(one), one.without(two));
            let kind = caller.subject().principal.kind;
            let told = said(difference, &holder, kind, &resource, &place);
            assert_eq!(told, expected, "{holder} {name} {place}\n{difference}");
        }
    }
}

/// Whether either access names a holder, or else it is anybody.
fn names(worlds: [&World; 2], holder: &str) -> bool {
    worlds.iter().any(|world| world.names(holder))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_is_exactly_what_the_answers_are(
        one in world(),
        two in world(),
        people in proptest::collection::vec(whoever(), 6),
    ) {
        let (before, after) = (Cedar::of(one.access()), Cedar::of(two.access()));
        let difference = before.diff(&after);
        for who in &people {
            let holder = match who {
                (_, Some(name), _) => format!("group:corp/{name}"),
                (_, _, Some(name)) => format!("role:corp/{name}"),
                (party, ..) => party.clone(),
            };
            // Whoever is in a group that neither names is anybody.
            let is_named = names([&one, &two], &holder);
            let plain = (who.0.clone(), who.1.filter(|_| is_named), who.2.filter(|_| is_named));
            check(&difference, [&before, &after], &plain, is_named);
        }
        prop_assert!(before.diff(&before).is_empty());
        let back = after.diff(&before);
        let turned = difference.changes.iter().zip(&back.changes);
        for (there, again) in turned {
            prop_assert_eq!((&there.gains, &there.loses), (&again.loses, &again.gains));
        }
        prop_assert_eq!(difference.changes.len(), back.changes.len());
    }

    #[test]
    fn where_only_grants_differ_the_short_way_is_as_exact(
        one in world(),
        two in world(),
        people in proptest::collection::vec(whoever(), 6),
    ) {
        let two = two.with_the_guardrails_of(&one);
        let (before, after) = (Cedar::of(one.access()), Cedar::of(two.access()));
        let difference = before.diff(&after);
        prop_assert!(difference.guardrails.is_empty());
        for who in people.iter().filter(|who| who.1.is_none() && who.2.is_none()) {
            check(&difference, [&before, &after], who, names([&one, &two], &who.0));
        }
    }
}

const ORGANIZATION: &str = r#"
environments = ["staging", "production"]
issuers = ["corp"]
groups = ["qa", "support", "contractors"]
"#;

fn access(more: &str, guardrails: &str) -> Cedar {
    Cedar::from_files([
        ("organization.toml", format!("{ORGANIZATION}{more}")),
        (
            "models/m.toml",
            "model = \"acme/m\"\nowner = \"group:qa\"\n[grants.production]\ncaller = [\"group:support\"]\n".to_owned(),
        ),
        ("policies/g.cedar", guardrails.to_owned()),
    ])
    .unwrap()
}

#[track_caller]
fn told(before: &Cedar, after: &Cedar, expected: &str, widens: bool) {
    let difference = before.diff(after);
    assert_eq!(difference.to_string().trim(), expected.trim());
    assert_eq!(difference.widens(), widens, "{difference}");
}

#[test]
fn tells_what_everybody_gains() {
    let open = r#"@id("open") permit (principal, action == Spanner::Action::"list", resource);"#;
    told(
        &access("", ""),
        &access("", open),
        r"
staging (every model) anybody: + list
staging (every model) group:corp/support: + list
staging (the server) anybody: + list
staging (the server) group:corp/support: + list
production (every model) anybody: + list
production (any other model) group:corp/support: + list
production (the server) anybody: + list
production (the server) group:corp/support: + list
guardrail open: permit added (may allow more)
",
        true,
    );
}

#[test]
fn tells_people_services_and_agents_apart_where_a_guardrail_does() {
    let agents = r#"@id("agents") @reason("r") forbid (principal is Spanner::Agent, action, resource in Spanner::Model::"acme/m");"#;
    told(
        &access("", ""),
        &access("", agents),
        r"
production acme/m group:corp/support as agent: - list, read, embed, generate, predict
guardrail agents: forbid added
",
        false,
    );
}

#[test]
fn a_guardrail_that_goes_could_widen_though_no_cell_shows_it() {
    let old = r#"@id("old") @reason("r") forbid (principal, action, resource) when { context.tokenAgeSeconds > 5 };"#;
    let reworded = old.replace("(\"r\")", "(\"another\") @advice(\"x\")");
    let shadow = old.replace("@id", "@mode(\"shadow\") @id");
    let changed = old.replace("> 5", "> 6");
    let with = |text: &str| access("", text);
    told(
        &with(old),
        &with(""),
        "guardrail old: forbid removed (may allow more)",
        true,
    );
    told(&with(""), &with(old), "guardrail old: forbid added", false);
    told(&with(old), &with(&reworded), "", false);
    told(
        &with(old),
        &with(&changed),
        "guardrail old: forbid changed (may allow more)",
        true,
    );
    told(
        &with(old),
        &with(&shadow),
        "guardrail old: forbid in shadow mode, not forbid (may allow more)",
        true,
    );
    told(
        &with(&shadow),
        &with(old),
        "guardrail old: forbid, not forbid in shadow mode",
        false,
    );
    told(
        &with(&shadow),
        &with(""),
        "guardrail old: forbid in shadow mode removed",
        false,
    );
}

#[test]
fn tells_what_becomes_of_rules_of_promotion() {
    let rule = |lines: &str| {
        access(
            &format!("[promotion.production]\nfrom = \"staging\"\n{lines}"),
            "",
        )
    };
    let two = rule("approvals = 2\napprovers = [\"group:qa\"]\n");
    told(
        &two,
        &rule("approvals = 1\napprovers = [\"group:qa\"]\n"),
        "promotion into production: approvals 1, not 2 (may allow more)",
        true,
    );
    told(
        &rule("approvals = 1\napprovers = [\"group:qa\"]\n"),
        &two,
        "promotion into production: approvals 2, not 1",
        false,
    );
    told(
        &two,
        &access("", ""),
        r"
production (every model) group:corp/qa: - list, read, approve
production (the server) group:corp/qa: - list, read
promotion into production: rule removed (may allow more)
",
        true,
    );
}

#[test]
fn is_quick_where_little_differs_among_many() {
    let files = |extra: &str| {
        let mut files = vec![("organization.toml".to_owned(), ORGANIZATION.to_owned())];
        for number in 0..300 {
            let extra = if number == 7 { extra } else { "" };
            files.push((
                format!("models/{number}.toml"),
                format!("model = \"acme/{number}\"\nowner = \"group:qa\"\n[grants.production]\ncaller = [\"group:support\"{extra}]\n"),
            ));
        }
        Cedar::from_files(files).unwrap()
    };
    let difference = files("").diff(&files(", \"group:contractors\""));
    let told: Vec<String> = difference.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["production acme/7 group:corp/contractors: + list, read, embed, generate, predict"]
    );
}
