//! Renders a summary as a page.

use spanner_ledger::{PromotionHistory, PromotionState, PromotionStep};

use super::{AccessChange, Summary, Use};
use crate::history::{candidate, changed, count, quoted, served};
use crate::page::{Cell, Figure, Page, Section, Table, Text, Tone};

pub(super) fn page(summary: &Summary) -> Page {
    Page {
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
        notes: Vec::new(),
    }
}

fn about(summary: &Summary) -> Text {
    let bound = |text: Text, bound: Option<_>, words: &str| match bound {
        Some(time) => text.time(time),
        None => text.and(words),
    };
    let mut text = bound(Text::from("From "), summary.since, "the beginning");
    text = bound(text.and(" until "), summary.until, "now");
    for (what, limit) in [
        ("environment", &summary.environment),
        ("model", &summary.model),
        ("caller", &summary.caller),
    ] {
        if let Some(limit) = limit {
            text = text.and(format!(", {what} {limit}"));
        }
    }
    if let Some((first, last)) = summary.sequences {
        text = text.and(format!("; read from entries {first} to {last}"));
    }
    for note in summary.notes.sentences().iter().chain(&summary.notes.unmet) {
        text = text.and(format!("; {note}"));
    }
    text.and("; made ").time(summary.made).and(".")
}

fn figures(summary: &Summary) -> Vec<Figure> {
    let callers: std::collections::HashSet<&str> =
        summary.uses.iter().map(|it| it.caller.as_str()).collect();
    let is_in_force = |it: &&PromotionHistory| it.standing == PromotionState::InForce;
    let in_force = summary.approvals.iter().filter(is_in_force).count();
    let reloads = summary.access.iter().filter(|it| it.problems.is_some());
    let emergencies = summary.emergencies().count();
    let many = |number: usize| number as u64;
    vec![
        Figure::new(summary.allowed, "request allowed", "requests allowed"),
        Figure::new(summary.refused, "request refused", "requests refused"),
        Figure::new(many(callers.len()), "caller", "callers"),
        Figure::new(many(in_force), "promotion in force", "promotions in force"),
        Figure::new(many(emergencies), "emergency", "emergencies").alarm(),
        Figure::new(
            many(reloads.count()),
            "access reload refused",
            "access reloads refused",
        )
        .alarm(),
        Figure::new(summary.gaps, "gap", "gaps").alarm(),
        Figure::new(many(summary.open.len()), "open decision", "open decisions"),
    ]
}

fn emergencies(summary: &Summary) -> Section {
    let steps = summary.emergencies().flat_map(|it| {
        let steps = it.steps.iter().filter(|step| step.emergency);
        steps.map(move |step| (it, step))
    });
    let rows = steps.map(|(it, step)| {
        vec![
            plain(step.time),
            plain(candidate(it)),
            plain(&*it.environment),
            plain(step.step.replace('_', " ")),
            plain(step.by.clone().unwrap_or_default()),
            alarm(quoted(step.reason.as_deref().unwrap_or_default())),
        ]
    });
    let table = Table::new(["when", "what", "into", "step", "by", "why"]).rows(rows);
    Section::table(
        "Emergencies",
        "Promotions and rollbacks that did not wait for the approvals that they needed; also older ones that were in force at the end.",
        table,
    )
}

fn approvals(summary: &Summary) -> Section {
    let rows = summary.approvals.iter().map(|it| {
        let steps = |word: &str| -> Vec<&PromotionStep> {
            it.steps.iter().filter(|step| step.step == word).collect()
        };
        let signed = |word: &str| list(steps(word).into_iter().map(|it| sign(it, "")));
        let is_adopted = it.from.is_none();
        let proposed = match is_adopted {
            true => plain("adopted: in force before promotions were kept"),
            false => signed("proposed"),
        };
        let ended = ["voided", "promoted", "rejected", "withdrawn", "rolled_back"]
            .into_iter()
            .flat_map(steps)
            .map(|step| match step.step.as_str() {
                "voided" => {
                    let why = step.reason.as_deref();
                    let why = why.unwrap_or("what they covered changed");
                    Text::from("earlier approvals void on ")
                        .time(step.time)
                        .and(format!(", since {why}"))
                }
                word => sign(step, &format!("{} by ", word.replace('_', " "))),
            });
        let valid: Vec<&PromotionStep> = it.valid().collect();
        let approvals = valid.len();
        vec![
            plain(candidate(it)),
            plain(&*it.environment),
            standing(it),
            proposed,
            match (approvals < usize::from(it.needed), it.emergency.is_some()) {
                (true, true) => alarm(format!("{approvals} of {}", it.needed)),
                (true, false) => plain(format!("{approvals} of {}", it.needed)),
                (false, _) if is_adopted => plain("nobody"),
                (false, _) => list(valid.into_iter().map(|it| sign(it, ""))),
            },
            list(ended),
            list(it.difference.iter().map(|it| changed(it).into())),
            plain(match it.served {
                0 => "0 calls".to_owned(),
                _ => served(it),
            }),
            plain(Text::new().code(it.promotion.to_string())),
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
    let table = Table::new([
        "model",
        "environment",
        "standing",
        "proposed by",
        "approved by",
        "then",
        "changes",
        "served",
        "promotion",
    ])
    .rows(rows);
    Section::table("Who approved what", note, table)
}

/// The principal, time and reason of a step, after some words.
fn sign(signed: &PromotionStep, words: &str) -> Text {
    let who = signed.by.as_deref().unwrap_or("nobody");
    let text = Text::from(format!("{words}{who} on ")).time(signed.time);
    match &signed.reason {
        Some(reason) => text.and(format!(" {}", quoted(reason))),
        None => text,
    }
}

fn standing(approval: &PromotionHistory) -> Cell {
    let text = approval.standing.as_str().to_owned();
    match approval.standing {
        PromotionState::InForce if approval.emergency.is_some() => {
            alarm(format!("{text}, emergency"))
        }
        PromotionState::InForce => plain(text).tone(Tone::Good),
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
                true => number(it.unpromoted).tone(Tone::Alarm),
                false => number(it.unpromoted),
            },
            plain(it.first),
            plain(it.last),
        ]
    };
    let table = Table::new([
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
    ])
    .numbers(&[
        "allowed",
        "refused",
        "tokens in",
        "tokens out",
        "under no promotion",
    ])
    .rows(summary.uses.iter().map(row));
    Section::table(
        "Who used what",
        "Every caller with what they did or tried. Tokens are what the API reported.",
        table,
    )
}

fn refusals(summary: &Summary) -> Section {
    let rows = summary.refusals.iter().map(|it| {
        vec![
            plain(&*it.reason),
            plain(it.fault.map_or("", |fault| fault.as_str())),
            number(it.count),
            number(it.unidentified),
            plain(it.last),
        ]
    });
    let table = Table::new(["reason", "fault", "count", "nobody identified", "last"])
        .numbers(&["count", "nobody identified"])
        .rows(rows);
    Section::table(
        "What was refused",
        format!(
            "Recorded individually: {}. Only counted, because of a flood or a full ledger: {}.",
            summary.refused, summary.shed
        ),
        table,
    )
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
            plain(it.time),
            plain(&*it.event),
            plain(it.digest.as_deref().unwrap_or_default()),
            what,
        ]
    };
    let table = Table::new(["when", "what", "in force from then on", "problems"])
        .rows(summary.access.iter().map(row));
    Section::table(
        "What changed in the access",
        "Digests of the access directory in force, and reloads that were refused: what was in force before stayed.",
        table,
    )
}

fn aging(summary: &Summary) -> Section {
    let rows = summary.aging.iter().map(|it| {
        let token = it.token_id.as_deref().or(it.token_hash.as_deref());
        vec![
            plain(it.who()),
            plain(it.client.as_deref().unwrap_or_default()),
            plain(token.unwrap_or_default()),
            plain(it.issued),
            alarm(it.refused_from),
            number(it.uses),
            plain(it.last_used),
        ]
    });
    let table = Table::new([
        "whose",
        "client",
        "token",
        "issued",
        "refused from",
        "uses",
        "last used",
    ])
    .numbers(&["uses"])
    .rows(rows);
    Section::table(
        "Credentials to replace soon",
        "Credentials past 80 % of their permitted age that were used.",
        table,
    )
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
    let table = Table::new(["what", "count", "meaning"])
        .numbers(&["count"])
        .rows(rows);
    Section::table(
        "What the record says of itself",
        "This does not verify the integrity of the ledger; `spanner ledger verify` does.",
        table,
    )
}

fn open(summary: &Summary) -> Section {
    let rows = summary.open.iter().take(MAX_OPEN).map(|it| {
        vec![
            plain(it.time),
            plain(it.caller.as_deref().unwrap_or("nobody identified")),
            plain(Text::new().code(it.id.to_string())),
        ]
    });
    let more = summary.open.len().saturating_sub(MAX_OPEN);
    let more = match more {
        0 => String::new(),
        more => format!(" {more} more are in the JSON."),
    };
    let table = Table::new(["arrived", "caller", "record"]).rows(rows);
    Section::table(
        "Decisions without an outcome",
        format!(
            "Under way when this was read; after a crash, until the service opens its ledger again.{more}"
        ),
        table,
    )
}

fn plain(text: impl Into<Text>) -> Cell {
    Cell::new(text)
}

fn number(number: u64) -> Cell {
    Cell::from(number)
}

fn alarm(text: impl Into<Text>) -> Cell {
    plain(text).tone(Tone::Alarm)
}

fn list(lines: impl Iterator<Item = Text>) -> Cell {
    Cell::list(lines)
}

/// A longer list is of little use on a page.
const MAX_OPEN: usize = 50;
