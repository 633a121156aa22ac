//! Reviews of an access configuration: who may do what, on which model, in which environment, and
//! why.

mod matrix;

use std::borrow::Cow;
use std::collections::BTreeMap;

use spanner_cedar::{Emergency, Granted, Guarding, Hygiene, Review};
use spanner_core::Effect;
use spanner_toml::lookalike;

use crate::page::{
    Block, Cell, Figure, List, NameKind, Page, Precision, Section, Span, Table, Text,
};

/// A review for inspection: findings, the matrix of models and environments, roles, guardrails,
/// and all grants with their ids.
#[must_use]
pub fn page(review: &Review) -> Page {
    let mut sections = vec![look(review), matrix::section(review), roles(review)];
    if !review.guardrails.is_empty() {
        sections.push(guardrails(review));
    }
    let columns = [
        "grant, as records name it",
        "holder",
        "role",
        "reason",
        "last used",
    ];
    let every = Table::new(columns).rows(review.grants.iter().map(|grant| {
        vec![
            Cell::new(id(&grant.policy)),
            Cell::new(marked(&grant.holder)),
            Cell::new(&*grant.role),
            Cell::new(grant.reason.as_deref().unwrap_or_default()),
            Cell::new(last_used(grant)),
        ]
    }));
    sections.push(Section::table("Every grant", "", every));
    let many = |number: usize| number as u64;
    Page {
        title: TITLE.to_owned(),
        about: Text::from("Access ").code(&*review.digest),
        figures: vec![
            Figure::new(many(review.models.len()), "model", "models"),
            Figure::new(many(review.grants.len()), "grant", "grants"),
            Figure::new(many(review.guardrails.len()), "guardrail", "guardrails"),
            Figure::new(
                many(review.individuals().count()),
                "grant to one person",
                "grants to one person",
            ),
        ],
        sections,
        notes: Vec::new(),
    }
}

/// A review for reading or for comparison with an earlier one: one grant per line, guardrails and
/// findings.
#[must_use]
pub fn listing(review: &Review) -> Page {
    let mut sections = vec![Section::table("", "", grants(review))];
    if !review.guardrails.is_empty() {
        sections.push(guardrails(review));
    }
    sections.push(look(review));
    Page {
        title: TITLE.to_owned(),
        about: Text::from("Access ").code(&*review.digest).and("."),
        sections,
        ..Page::default()
    }
}

/// A table with one grant per row.
#[must_use]
pub fn grants(review: &Review) -> Table {
    let columns = [
        "environment",
        "model",
        "holder",
        "role",
        "actions",
        "owner",
        "reason",
        "last used",
        "grant",
    ];
    Table::new(columns).rows(review.grants.iter().map(|grant| {
        let model = grant.model.as_ref();
        let model = model.map_or_else(|| "(every model)".to_owned(), ToString::to_string);
        vec![
            Cell::new(grant.environment.to_string()),
            Cell::new(model),
            Cell::new(marked(&grant.holder)),
            Cell::new(&*grant.role),
            Cell::new(actions(grant)),
            Cell::new(marked(grant.owner.as_deref().unwrap_or_default())),
            Cell::new(grant.reason.as_deref().unwrap_or_default()),
            Cell::new(last_used(grant)),
            Cell::new(id(&grant.policy)),
        ]
    }))
}

/// The findings, by title.
fn look(review: &Review) -> Section {
    let lists = lists(review).into_iter();
    let lists = lists.filter(|list| !list.items.is_empty());
    let mut blocks: Vec<Block> = lists.map(Block::List).collect();
    if blocks.is_empty() {
        blocks.push(Block::Paragraph(
            "Nothing that this review knows of.".into(),
        ));
    }
    Section {
        title: "What deserves a look".to_owned(),
        blocks,
        ..Section::default()
    }
}

fn lists(review: &Review) -> [List; 9] {
    let Hygiene {
        idle_groups,
        strangers,
        unused,
        gone,
        emergencies,
        credentials,
        known_since,
        unapproved,
        void,
        ..
    } = &review.hygiene;
    let marks =
        |lines: &[String]| -> Vec<Text> { lines.iter().map(|it| marked(it).into()).collect() };
    let codes = |ids: &[String]| -> Vec<Text> { ids.iter().map(|id| self::id(id)).collect() };
    let individuals = review.individuals().map(|grant| {
        let reason = grant.reason.as_deref().unwrap_or("no reason given");
        id(&grant.policy).and(format!(": {reason}"))
    });
    let since = known_since.map(|since| Precision::Day.format(since));
    [
        List::new("Individuals with grants of their own", individuals),
        List::new(
            "Emergency promotions, without approvals",
            emergencies.iter().map(emergency),
        ),
        List::new(
            "In force without any approval: adopted when the ledger began to keep promotions",
            marks(unapproved.as_deref().unwrap_or_default()),
        ),
        List::new(
            "Promoted grants that are void, since what they name is gone",
            marks(void),
        ),
        List::new(
            format!(
                "Grants that allowed nothing in {} days (the ledger goes back to {})",
                Hygiene::UNUSED_DAYS,
                since.unwrap_or_default()
            ),
            codes(unused.as_deref().unwrap_or_default()),
        ),
        List::new("Grants that were used and are gone", codes(gone)),
        List::new("Credentials to be replaced soon", marks(credentials)),
        List::new(
            "Groups of the directory that nothing names",
            marks(idle_groups),
        ),
        List::new(
            "Guardrails about models without a manifest",
            marks(strangers),
        ),
    ]
}

fn emergency(it: &Emergency) -> Text {
    let now = if it.in_force { ", in force" } else { "" };
    let Emergency {
        model,
        environment,
        by,
        reason,
        ..
    } = it;
    Text::new()
        .span(Span::Time(it.time, Precision::Day))
        .and(format!(
            " {model} into {environment} by {by}: {reason}{now}"
        ))
}

/// The actions that each granted role allows.
fn roles(review: &Review) -> Section {
    let grants = review.grants.iter();
    let roles: BTreeMap<&str, String> = grants.map(|it| (&*it.role, actions(it))).collect();
    let facts = roles
        .into_iter()
        .map(|(role, actions)| (role.to_owned(), actions.into()));
    Section {
        title: "Roles".to_owned(),
        blocks: vec![Block::Facts(facts.collect())],
        ..Section::default()
    }
}

fn guardrails(review: &Review) -> Section {
    let items = review.guardrails.iter().map(guardrail);
    Section {
        title: "Guardrails".to_owned(),
        blocks: vec![Block::List(List::new("", items))],
        ..Section::default()
    }
}

fn guardrail(guardrail: &Guarding) -> Text {
    let effect = match guardrail.effect {
        Effect::Allow => "permits",
        _ => "forbids",
    };
    let shadow = if guardrail.shadow { " (shadow)" } else { "" };
    let reason = guardrail
        .reason
        .as_deref()
        .map(|reason| format!(": {reason}"));
    let reason = reason.unwrap_or_default();
    marked(&format!("{} {effect}{shadow}{reason}", guardrail.policy)).into()
}

fn actions(grant: &Granted) -> String {
    let actions: Vec<&str> = grant.actions.iter().map(|it| it.as_str()).collect();
    actions.join(", ")
}

fn last_used(grant: &Granted) -> Text {
    match grant.usage.map(|usage| usage.last) {
        Some(Some(time)) => Text::new().span(Span::Time(time, Precision::Day)),
        Some(None) => "never".into(),
        None => Text::new(),
    }
}

/// A holder, with the id of its grant.
fn holder(grant: &Granted) -> Span {
    let is_unused = grant.usage.is_some_and(|usage| usage.count == 0);
    Span::Name {
        name: marked(&grant.holder).into_owned(),
        id: grant.policy.to_string(),
        kind: match (grant.individual, is_unused) {
            (true, _) => NameKind::Person,
            (false, true) => NameKind::Unused,
            (false, false) => NameKind::Plain,
        },
    }
}

/// The id of a grant.
fn id(policy: &str) -> Text {
    Text::new().code(marked(policy))
}

/// Marks the part of a name that imitates another name.
fn marked(name: &str) -> Cow<'_, str> {
    lookalike::marked(name)
}

const TITLE: &str = "Who may do what";
