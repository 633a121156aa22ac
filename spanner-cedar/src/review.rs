//! The whole matrix: who may do what, on which model, in which environment, and why.

use std::fmt::Write as _;
use std::sync::Arc;

use spanner_core::{Action, Effect, Environment, ModelName};

use crate::guardrail::Mode;
use crate::index::{Access, Given};

/// Everything that an access grants, for people to read: by environment, model and holder.
///
/// It lists grants and guardrails, not answers: a guardrail may forbid what a grant gives, and
/// depends on the circumstances of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Review {
    /// The digest of the access.
    pub digest: Arc<str>,
    /// What is granted, sorted.
    pub grants: Vec<Granted>,
    /// What the organization permits and forbids besides, sorted by id.
    pub guardrails: Vec<Guarding>,
}

/// One role given to one holder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// Where.
    pub environment: Environment,
    /// On which model; `None` on every one.
    pub model: Option<ModelName>,
    /// To whom, as manifests write it: `group:corp/support`.
    pub holder: String,
    /// Whether that is one person, rather than a group, a role, a service or an agent.
    pub individual: bool,
    /// Which role.
    pub role: Arc<str>,
    /// What the role allows.
    pub actions: Vec<Action>,
    /// Who is accountable for the model.
    pub owner: Option<String>,
    /// The grant's id, as records name it.
    pub policy: Arc<str>,
}

/// One guardrail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guarding {
    /// Its id, as records name it.
    pub policy: Arc<str>,
    /// Whether it permits or forbids.
    pub effect: Effect,
    /// Whether it only says what it would have decided.
    pub shadow: bool,
    /// Its `@reason`.
    pub reason: Option<String>,
}

const COLUMNS: [&str; 7] = [
    "environment",
    "model",
    "holder",
    "role",
    "actions",
    "owner",
    "grant",
];

impl Access {
    pub(crate) fn review(&self) -> Review {
        let granted = |given: Given<'_>| Granted {
            environment: given.environment.clone(),
            owner: given
                .model
                .and_then(|model| self.owners.get(model)?.as_ref())
                .map(ToString::to_string),
            model: given.model.cloned(),
            holder: given.holder.to_string(),
            individual: given.holder.kind() == Some(spanner_core::CallerKind::User),
            role: Arc::clone(&given.grant.role),
            actions: given.grant.actions.iter().collect(),
            policy: Arc::clone(&given.grant.id),
        };
        let place = |wanted: &Environment| self.environments.iter().position(|it| it == wanted);
        let mut grants: Vec<Granted> = self.grants.iter().map(granted).collect();
        grants.sort_by(|a, b| {
            (place(&a.environment), &a.model, &a.holder, &a.role).cmp(&(
                place(&b.environment),
                &b.model,
                &b.holder,
                &b.role,
            ))
        });
        let mut guardrails: Vec<Guarding> = self
            .guardrails
            .iter()
            .map(|guardrail| Guarding {
                policy: Arc::clone(&guardrail.id),
                effect: match guardrail.effect {
                    cedar_policy::Effect::Permit => Effect::Allow,
                    cedar_policy::Effect::Forbid => Effect::Deny,
                },
                shadow: guardrail.mode == Mode::Shadow,
                reason: guardrail.advice.reason.clone(),
            })
            .collect();
        guardrails.sort_by(|a, b| a.policy.cmp(&b.policy));
        Review {
            digest: Arc::clone(&self.digest),
            grants,
            guardrails,
        }
    }
}

impl Review {
    /// The grants to individual people, which an access review looks at first.
    pub fn individuals(&self) -> impl Iterator<Item = &Granted> {
        self.grants.iter().filter(|grant| grant.individual)
    }

    /// As Markdown, for a page that people read.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("# Who may do what\n\nAccess `{}`.\n\n", self.digest);
        let row = |text: &mut String, cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let _: std::fmt::Result = writeln!(text, "| {} |", cells.join(" | "));
        };
        row(&mut text, &COLUMNS.map(str::to_owned));
        row(&mut text, &COLUMNS.map(|_| "---".to_owned()));
        for grant in &self.grants {
            row(&mut text, &grant.cells());
        }
        if !self.guardrails.is_empty() {
            text.push_str("\n## Guardrails\n\n");
            for guardrail in &self.guardrails {
                let _: std::fmt::Result = writeln!(text, "- {}", guardrail.line());
            }
        }
        text
    }

    /// As comma-separated values (RFC 4180) with a line of names, for spreadsheets. The
    /// guardrails are not in it.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = format!("{}\r\n", COLUMNS.join(","));
        for grant in &self.grants {
            let cells = grant.cells().map(|cell| csv_cell(&cell));
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        text
    }

    /// As one HTML file that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        let cells = |cells: [String; 7], tag: &str| {
            let cells = cells.map(|cell| format!("<{tag}>{}</{tag}>", escaped(&cell)));
            format!("<tr>{}</tr>\n", cells.concat())
        };
        let rows: String = self
            .grants
            .iter()
            .map(|grant| cells(grant.cells(), "td"))
            .collect();
        let guardrails: String = self
            .guardrails
            .iter()
            .map(|guardrail| format!("<li>{}</li>\n", escaped(&guardrail.line())))
            .collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Who may do what</title>\n<style>{STYLE}</style>\n<h1>Who may do what</h1>\n<p>Access <code>{}</code></p>\n<table>\n<thead>{}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n<h2>Guardrails</h2>\n<ul>\n{guardrails}</ul>\n</html>\n",
            escaped(&self.digest),
            cells(COLUMNS.map(str::to_owned), "th"),
        )
    }
}

const STYLE: &str = "body{font:15px system-ui,sans-serif;margin:2em;max-width:90em}table{border-collapse:collapse}th,td{text-align:left;padding:.3em .8em;border-bottom:1px solid #ddd;vertical-align:top}thead th{position:sticky;top:0;background:#fff}tbody tr:hover{background:#f4f6f8}";

impl Granted {
    fn cells(&self) -> [String; 7] {
        let actions: Vec<&str> = self.actions.iter().map(|action| action.as_str()).collect();
        [
            self.environment.to_string(),
            self.model
                .as_ref()
                .map_or_else(|| "(every model)".to_owned(), ToString::to_string),
            self.holder.clone(),
            self.role.to_string(),
            actions.join(", "),
            self.owner.clone().unwrap_or_default(),
            self.policy.to_string(),
        ]
    }
}

impl Guarding {
    fn line(&self) -> String {
        let effect = if self.effect == Effect::Allow {
            "permits"
        } else {
            "forbids"
        };
        let shadow = if self.shadow { " (shadow)" } else { "" };
        let reason = self.reason.as_deref().map(|reason| format!(": {reason}"));
        format!(
            "{} {effect}{shadow}{}",
            self.policy,
            reason.unwrap_or_default()
        )
    }
}

/// RFC 4180 §2; and a sign before what a spreadsheet would take for a formula.
fn csv_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
