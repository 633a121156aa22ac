//! A review as Markdown and as comma-separated values.

use std::fmt::Write as _;

use super::hygiene::{Hygiene, UNUSED_DAYS};
use super::{Granted, Review};
use spanner_toml::lookalike;

const COLUMNS: [&str; 9] = [
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

pub(super) fn markdown(review: &Review) -> String {
    let mut text = format!("# Who may do what\n\nAccess `{}`.\n\n", review.digest);
    let row = |text: &mut String, cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| markdown_cell(cell)).collect();
        let _: std::fmt::Result = writeln!(text, "| {} |", cells.join(" | "));
    };
    row(&mut text, &COLUMNS.map(str::to_owned));
    row(&mut text, &COLUMNS.map(|_| "---".to_owned()));
    for grant in &review.grants {
        row(&mut text, &cells(grant));
    }
    if !review.guardrails.is_empty() {
        text.push_str("\n## Guardrails\n\n");
        for guardrail in &review.guardrails {
            let _: std::fmt::Result = writeln!(text, "- {}", plain(&guardrail.line()));
        }
    }
    text.push_str("\n## What deserves a look\n");
    let sections = sections(review);
    for (title, lines) in &sections {
        let _: std::fmt::Result = writeln!(text, "\n{title}:\n");
        for line in lines {
            let _: std::fmt::Result = writeln!(text, "- {}", plain(line));
        }
    }
    if sections.is_empty() {
        text.push_str("\nNothing.\n");
    }
    text
}

pub(super) fn csv(review: &Review) -> String {
    let mut text = format!("{}\r\n", COLUMNS.join(","));
    for grant in &review.grants {
        let cells = cells(grant).map(|cell| csv_cell(&cell));
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// What deserves a look, by title.
pub(super) fn sections(review: &Review) -> Vec<(String, Vec<String>)> {
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
    let individuals = review.individuals().map(|grant| {
        let reason = grant.reason.as_deref().unwrap_or("no reason given");
        format!("{}: {reason}", grant.policy)
    });
    let emergencies = emergencies.iter().map(|it| {
        let day = it.time.strftime("%Y-%m-%d");
        let now = if it.in_force { ", in force" } else { "" };
        format!(
            "{day} {} into {} by {}: {}{now}",
            it.model, it.environment, it.by, it.reason
        )
    });
    let since = known_since.map(|since| since.strftime("%Y-%m-%d").to_string());
    let since = since.unwrap_or_default();
    let all = [
        (
            "Individuals with grants of their own".to_owned(),
            individuals.collect(),
        ),
        (
            "Emergency promotions, without approvals".to_owned(),
            emergencies.collect(),
        ),
        (
            "In force without any approval: adopted when the ledger began to keep promotions"
                .to_owned(),
            unapproved.clone().unwrap_or_default(),
        ),
        (
            "Promoted grants that are void, since what they name is gone".to_owned(),
            void.clone(),
        ),
        (
            format!(
                "Grants that allowed nothing in {UNUSED_DAYS} days (the ledger goes back to {since})"
            ),
            unused.clone().unwrap_or_default(),
        ),
        (
            "Grants that were used and are gone".to_owned(),
            gone.clone(),
        ),
        (
            "Credentials to be replaced soon".to_owned(),
            credentials.clone(),
        ),
        (
            "Groups of the directory that nothing names".to_owned(),
            idle_groups.clone(),
        ),
        (
            "Guardrails about models without a manifest".to_owned(),
            strangers.clone(),
        ),
    ];
    let all = all.into_iter();
    all.filter(|(_, lines): &(String, Vec<String>)| !lines.is_empty())
        .collect()
}

fn cells(grant: &Granted) -> [String; 9] {
    let last = grant.usage.map(|usage| match usage.last {
        Some(time) => time.strftime("%Y-%m-%d").to_string(),
        None => "never".to_owned(),
    });
    [
        grant.environment.to_string(),
        grant.model(),
        lookalike::marked(&grant.holder).into_owned(),
        grant.role.to_string(),
        grant.actions(),
        lookalike::marked(grant.owner.as_deref().unwrap_or_default()).into_owned(),
        grant.reason.as_deref().unwrap_or_default().to_owned(),
        last.unwrap_or_default(),
        grant.policy.to_string(),
    ]
}

/// One line, in which nothing is an element of HTML or a terminal's command.
fn plain(text: &str) -> String {
    let line = lookalike::marked(text).replace(char::is_control, " ");
    line.replace('&', "&amp;").replace('<', "&lt;")
}

fn markdown_cell(text: &str) -> String {
    plain(text).replace('|', "\\|")
}

/// RFC 4180 §2; and a sign before what a spreadsheet would take for a formula.
fn csv_cell(text: &str) -> String {
    let text = text.replace(
        |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t'),
        " ",
    );
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}
