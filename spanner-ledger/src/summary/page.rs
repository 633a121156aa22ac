//! A summary as sections of sentences and tables, before any form. Texts here are not yet
//! escaped.

use spanner_core::Timestamp;

use super::{AccessChange, Summary, Use};
use crate::history::{Approval, ApprovalStanding, Signed};
use crate::select::acting;
use crate::words::{changed, count, quoted, time};

/// The whole of it.
pub(super) struct Page {
    pub(super) title: String,
    /// What it is about, and of what.
    pub(super) about: String,
    /// The figures at a glance.
    pub(super) figures: Vec<(String, &'static str, Tone)>,
    pub(super) sections: Vec<Section>,
}

/// One question and its answer.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) note: String,
    pub(super) head: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
}

/// One place in a table.
pub(super) struct Cell {
    /// One text, or several of a list. No text in it can look like another one of the list.
    pub(super) texts: Vec<String>,
    pub(super) tone: Tone,
}

/// How much a reader should notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// A number, read from the right.
    Number,
    Good,
    Alarm,
    /// A number to be noticed.
    AlarmNumber,
}

impl Page {
    pub(super) fn of(summary: &Summary) -> Self {
        Self {
            title: "Who used and approved which models".to_owned(),
            about: about(summary),
            figures: figures(summary),
            sections: vec![
                emergencies(summary),
                approvals(summary),
                uses(summary),
                refusals(summary),
                access(summary),
                aging(summary),
                record(summary),
                open(summary),
            ],
        }
    }
}

fn about(summary: &Summary) -> String {
    let from = summary
        .since
        .map_or_else(|| "the beginning".to_owned(), time);
    let until = summary.until.map_or_else(|| "now".to_owned(), time);
    let mut text = format!("From {from} until {until}");
    for (what, limit) in [
        ("environment", &summary.environment),
        ("model", &summary.model),
        ("caller", &summary.caller),
    ] {
        if let Some(limit) = limit {
            text.push_str(&format!(", {what} {limit}"));
        }
    }
    if let Some((first, last)) = summary.sequences {
        text.push_str(&format!("; read from entries {first} to {last}"));
    }
    for note in summary.notes.sentences().iter().chain(&summary.notes.unmet) {
        text.push_str(&format!("; {note}"));
    }
    text.push_str(&format!("; made {}.", time(summary.made)));
    text
}

fn figures(summary: &Summary) -> Vec<(String, &'static str, Tone)> {
    let callers: std::collections::HashSet<&str> =
        summary.uses.iter().map(|it| it.caller.as_str()).collect();
    let is_in_force = |it: &&Approval| it.standing == ApprovalStanding::InForce;
    let in_force = summary.approvals.iter().filter(is_in_force).count();
    let reloads = summary.access.iter().filter(|it| it.problems.is_some());
    let figure = |number: u64, one: &'static str, several: &'static str| {
        let what = if number == 1 { one } else { several };
        (number.to_string(), what, Tone::Plain)
    };
    let alarm = |number: u64, one: &'static str, several: &'static str| {
        let (figure, what, tone) = figure(number, one, several);
        (figure, what, if number == 0 { tone } else { Tone::Alarm })
    };
    let many = |number: usize| number as u64;
    vec![
        figure(summary.allowed, "request allowed", "requests allowed"),
        figure(summary.refused, "request refused", "requests refused"),
        figure(many(callers.len()), "caller", "callers"),
        figure(many(in_force), "promotion in force", "promotions in force"),
        alarm(
            many(summary.emergencies().count()),
            "emergency",
            "emergencies",
        ),
        alarm(
            many(reloads.count()),
            "access reload refused",
            "access reloads refused",
        ),
        alarm(summary.gaps, "gap", "gaps"),
        figure(many(summary.open.len()), "open decision", "open decisions"),
    ]
}

fn emergencies(summary: &Summary) -> Section {
    let steps = summary.emergencies().flat_map(|it| {
        let steps = it.steps.iter().filter(|step| step.emergency);
        steps.map(move |step| (it, step))
    });
    let rows = steps.map(|(it, step)| {
        vec![
            plain(time(step.time)),
            plain(it.what()),
            plain(&*it.environment),
            plain(step.step.replace('_', " ")),
            plain(step.by.clone().unwrap_or_default()),
            alarm(quoted(step.reason.as_deref().unwrap_or_default())),
        ]
    });
    Section {
        title: "Emergencies",
        note: "Promotions and rollbacks that did not wait for the approvals that they needed; also older ones that were in force at the end.".to_owned(),
        head: &["when", "what", "into", "step", "by", "why"],
        rows: rows.collect(),
    }
}

fn approvals(summary: &Summary) -> Section {
    let rows = summary.approvals.iter().map(|it| {
        let steps = |word: &str| -> Vec<&Signed> {
            it.steps.iter().filter(|step| step.step == word).collect()
        };
        let signed = |word: &str| list(steps(word).into_iter().map(sign));
        let is_adopted = it.from.is_none();
        let proposed = match is_adopted {
            true => plain("adopted: in force before promotions were kept"),
            false => signed("proposed"),
        };
        let ended = ["voided", "promoted", "rejected", "withdrawn", "rolled_back"]
            .into_iter()
            .flat_map(steps)
            .map(|step| match step.step.as_str() {
                "voided" => format!(
                    "earlier approvals void on {}, since {}",
                    time(step.time),
                    step.reason
                        .as_deref()
                        .unwrap_or("what they covered changed")
                ),
                word => format!("{} by {}", word.replace('_', " "), sign(step)),
            });
        let valid: Vec<&Signed> = it.valid().collect();
        let approvals = valid.len();
        vec![
            plain(it.what()),
            plain(&*it.environment),
            standing(it),
            proposed,
            match (approvals < usize::from(it.needed), it.emergency.is_some()) {
                (true, true) => alarm(format!("{approvals} of {}", it.needed)),
                (true, false) => plain(format!("{approvals} of {}", it.needed)),
                (false, _) if is_adopted => plain("nobody"),
                (false, _) => list(valid.into_iter().map(sign)),
            },
            list(ended),
            list(it.difference.iter().map(changed)),
            plain(match it.served {
                0 => "0 calls".to_owned(),
                _ => it.served(),
            }),
            plain(it.promotion.to_string()),
        ]
    });
    let doubtful: u64 = summary
        .approvals
        .iter()
        .map(|it| it.doubts.len() as u64)
        .sum();
    let mut note =
        "Who proposed and approved what is served, what that changed, and who was served under it in this span. What was in force at its end is here whenever it was promoted."
            .to_owned();
    if doubtful > 0 {
        note.push_str(&format!(
            " {} cannot have followed those before them: see the doubts in the JSON.",
            count(doubtful, "step", "steps")
        ));
    }
    Section {
        title: "Who approved what",
        note,
        head: &[
            "model",
            "environment",
            "standing",
            "proposed by",
            "approved by",
            "then",
            "changes",
            "served",
            "promotion",
        ],
        rows: rows.collect(),
    }
}

fn sign(signed: &Signed) -> String {
    let who = signed.by.as_deref().unwrap_or("nobody");
    let mut text = format!("{who} on {}", time(signed.time));
    if let Some(reason) = &signed.reason {
        text.push_str(&format!(" {}", quoted(reason)));
    }
    text
}

fn standing(approval: &Approval) -> Cell {
    let text = approval.standing.as_str().to_owned();
    match approval.standing {
        ApprovalStanding::InForce if approval.emergency.is_some() => {
            alarm(format!("{text}, emergency"))
        }
        ApprovalStanding::InForce => toned(text, Tone::Good),
        _ => plain(text),
    }
}

fn uses(summary: &Summary) -> Section {
    let any_promoted = summary.approvals.iter().any(|it| it.served > 0);
    let row = |it: &Use| {
        vec![
            plain(&*it.caller),
            plain(it.model.as_deref().unwrap_or("the server")),
            plain(&*it.environment),
            plain(&*it.action),
            number(it.allowed),
            number(it.refused),
            number(it.tokens_in),
            number(it.tokens_out),
            match any_promoted && it.unpromoted > 0 {
                true => toned(it.unpromoted.to_string(), Tone::AlarmNumber),
                false => number(it.unpromoted),
            },
            plain(time(it.first)),
            plain(time(it.last)),
        ]
    };
    Section {
        title: "Who used what",
        note: "Every caller with what they did or tried. Tokens are what the API reported."
            .to_owned(),
        head: &[
            "caller",
            "model",
            "environment",
            "action",
            "allowed",
            "refused",
            "tokens in",
            "tokens out",
            "under no promotion",
            "first",
            "last",
        ],
        rows: summary.uses.iter().map(row).collect(),
    }
}

fn refusals(summary: &Summary) -> Section {
    let rows = summary.refusals.iter().map(|it| {
        vec![
            plain(&*it.reason),
            plain(it.fault.map_or("", |fault| fault.as_str())),
            number(it.count),
            number(it.unidentified),
            plain(time(it.last)),
        ]
    });
    Section {
        title: "What was refused",
        note: format!(
            "Recorded one by one: {}. Besides, under a flood or for want of room, only counted: {}.",
            summary.refused, summary.shed
        ),
        head: &["reason", "fault", "count", "nobody identified", "last"],
        rows: rows.collect(),
    }
}

fn access(summary: &Summary) -> Section {
    let problems = |number: u64| count(number, "problem", "problems");
    let row = |it: &AccessChange| {
        let what = match (&it.problems, &it.problem) {
            (Some(number), Some(first)) => alarm(format!("{}, first: {first}", problems(*number))),
            (Some(number), None) => alarm(problems(*number)),
            _ => plain(""),
        };
        vec![
            plain(time(it.time)),
            plain(&*it.event),
            plain(it.digest.as_deref().unwrap_or_default()),
            what,
        ]
    };
    Section {
        title: "What changed in the access",
        note: "Digests of the access directory in force, and reloads that were refused: what was in force before stayed.".to_owned(),
        head: &["when", "what", "in force from then on", "problems"],
        rows: summary.access.iter().map(row).collect(),
    }
}

fn aging(summary: &Summary) -> Section {
    let rows = summary.aging.iter().map(|it| {
        let token = it.token_id.as_deref().or(it.token_hash.as_deref());
        let from: Timestamp = it.refused_from;
        vec![
            plain(acting(&it.subject, &it.actors)),
            plain(it.client.as_deref().unwrap_or_default()),
            plain(token.unwrap_or_default()),
            plain(time(it.issued)),
            alarm(time(from)),
            number(it.uses),
            plain(time(it.last_used)),
        ]
    });
    Section {
        title: "Credentials to replace soon",
        note: "Credentials past 80 % of their permitted age that were used.".to_owned(),
        head: &[
            "whose",
            "client",
            "token",
            "issued",
            "refused from",
            "uses",
            "last used",
        ],
        rows: rows.collect(),
    }
}

fn record(summary: &Summary) -> Section {
    let watched = |count: u64, what: &'static str, good: &str, bad: &str| {
        let says = match count {
            0 if summary.notes.pruned > 0 => plain(format!("in what was not pruned: {good}")),
            0 => plain(good),
            _ => alarm(bad),
        };
        vec![plain(what), number(count), says]
    };
    let mut rows = vec![
        watched(
            summary.gaps,
            "gaps",
            "storage never failed",
            "storage failed; nothing that was acknowledged is missing",
        ),
        watched(
            summary.shed,
            "refusals counted only",
            "every refusal is recorded",
            "refusals of strangers under a flood, or without room",
        ),
        watched(
            summary.unknown_outcomes,
            "unknown outcomes",
            "no process ended before its requests",
            "the process ended before these requests did",
        ),
        watched(
            summary.clock_steps,
            "clock steps",
            "the clock was never set",
            "the clock was set: times before and after do not compare, but sequences do",
        ),
        watched(
            summary.notes.not_understood,
            "entries not understood",
            "all entries are understood",
            "a newer version wrote them; read them with it",
        ),
        vec![
            plain("requests to public routes"),
            number(summary.public),
            plain("counted, as configured"),
        ],
        watched(
            summary.exempt,
            "exempted requests",
            "no route is exempted",
            "the operator exempted their routes; they are counted only",
        ),
        vec![
            plain("starts of the service"),
            number(summary.starts),
            plain(""),
        ],
    ];
    if summary.external > 0 {
        rows.push(vec![
            plain("decisions enforced elsewhere"),
            number(summary.external),
            plain("a gateway asked for them; they need no outcome"),
        ]);
    }
    for (class, count) in &summary.outcomes {
        rows.push(vec![
            plain(format!("outcome {class}")),
            number(*count),
            plain(""),
        ]);
    }
    Section {
        title: "What the record says of itself",
        note: "Whether it is whole is another question, which verifying it answers.".to_owned(),
        head: &["what", "count", "meaning"],
        rows,
    }
}

fn open(summary: &Summary) -> Section {
    let rows = summary.open.iter().take(MAX_OPEN).map(|it| {
        vec![
            plain(time(it.time)),
            plain(it.caller.as_deref().unwrap_or("nobody identified")),
            plain(it.id.to_string()),
        ]
    });
    let more = summary.open.len().saturating_sub(MAX_OPEN);
    let more = match more {
        0 => String::new(),
        more => format!(" {more} more are in the JSON."),
    };
    Section {
        title: "Decisions without an outcome",
        note: format!(
            "Under way when this was read; after a crash, until the service opens its ledger again.{more}"
        ),
        head: &["arrived", "caller", "record"],
        rows: rows.collect(),
    }
}

fn plain(text: impl Into<String>) -> Cell {
    toned(text, Tone::Plain)
}

fn number(number: u64) -> Cell {
    toned(number.to_string(), Tone::Number)
}

fn alarm(text: impl Into<String>) -> Cell {
    toned(text, Tone::Alarm)
}

fn toned(text: impl Into<String>, tone: Tone) -> Cell {
    Cell {
        texts: vec![text.into()],
        tone,
    }
}

fn list(texts: impl Iterator<Item = String>) -> Cell {
    Cell {
        texts: texts.collect(),
        tone: Tone::Plain,
    }
}

/// More are a list that nobody reads.
const MAX_OPEN: usize = 50;
