//! The history of promotions and events as a page.

use serde_json::Value;
use spanner_core::promotion::{ChangeEntry, Event as PromotionEvent, Step};
use spanner_ledger::{History, HistoryEvent, PromotionHistory, PromotionStep};

use crate::page::{Block, Cell, Page, Section, Table, Text};

/// Renders a history: each promotion with its steps, then a table of all events.
#[must_use]
pub fn history(history: &History) -> Page {
    let mut page = Page::default();
    if let Some(until) = history.selection().end() {
        page.about = Text::from("As it stood at ").time(until).and(".");
    }
    if history.approvals.is_empty() {
        page.sections.push(Section {
            blocks: vec![Block::Paragraph(nobody(history).into())],
            ..Section::default()
        });
    }
    page.sections
        .extend(history.approvals.iter().map(promotion));
    let events = match history.events.is_empty() {
        true => Block::Paragraph(NO_EVENTS.into()),
        false => Block::Table(events(&history.events)),
    };
    page.sections.push(Section {
        blocks: vec![events],
        ..Section::default()
    });
    page.notes = history.notes.sentences();
    page
}

/// Explains why there is no promotion to show.
fn nobody(history: &History) -> String {
    let selection = history.selection();
    if !history.notes.unmet.is_empty() {
        let unmet = history.notes.unmet.join("; ");
        return format!("Nothing in this ledger is what was selected: {unmet}.");
    }
    let named = |word: &str, name: Option<&str>| {
        name.map_or_else(String::new, |name| format!(" {word} {name}"))
    };
    let what =
        named("of", selection.selected_model()) + &named("into", selection.selected_environment());
    if history.promotions == 0 {
        let known = match history.notes.not_understood {
            0 => "",
            _ => ", so far as this version understands it",
        };
        let it = selection.selected_model().map_or("a model", |_| "it");
        return format!("No promotion{what} is in this ledger{known}: nobody approved {it} here.");
    }
    let whose = named("that concerns", selection.selected_caller());
    let has = count(history.promotions, "promotion", "promotions");
    match selection.start().is_none() && selection.end().is_none() {
        true => format!("This ledger has {has}{what}, and none{whose}."),
        false => format!(
            "This ledger has {has}{what}; to none{whose} did anything happen in this span, and none was in force at its end."
        ),
    }
}

fn events(events: &[HistoryEvent]) -> Table {
    let mut table = Table::new(["time", "event", "who", "what"]);
    for (column, width) in table.columns.iter_mut().zip([24, 120, 120, 400]) {
        column.width = width;
    }
    table.rows(events.iter().map(|it| {
        vec![
            Cell::new(it.time),
            Cell::new(&*it.event),
            Cell::new(it.by.as_deref().unwrap_or_default()),
            Cell::new(describe(it)),
        ]
    }))
}

/// A promotion: its state, its steps, its changes in access, and the callers that were served.
fn promotion(approval: &PromotionHistory) -> Section {
    let mut facts = vec![(
        approval.standing.as_str().to_owned(),
        Text::from(format!("promotion {}", approval.promotion)),
    )];
    facts.extend(approval.steps.iter().map(|signed| step(approval, signed)));
    let changes = approval.difference.iter();
    facts.extend(changes.map(|it| ("changes".to_owned(), changed(it).into())));
    if approval.served > 0 {
        facts.push(("served".to_owned(), served(approval).into()));
    }
    let doubts = approval.doubts.iter();
    facts.extend(doubts.map(|it| ("DOUBTFUL".to_owned(), it.as_str().into())));
    Section {
        title: format!("{} in {}", candidate(approval), approval.environment),
        blocks: vec![Block::Facts(facts)],
        ..Section::default()
    }
}

/// A number with its unit.
pub(crate) fn count(number: u64, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {several}"),
    }
}

fn step(approval: &PromotionHistory, signed: &PromotionStep) -> (String, Text) {
    let mut what = match signed.step.as_str() {
        "proposed" => format!(
            "from {}, {} needed",
            approval.from.as_deref().unwrap_or("-"),
            approvals(approval.needed)
        ),
        "adopted" => "was in force before promotions were kept; nobody approved it".to_owned(),
        _ if signed.emergency => "EMERGENCY".to_owned(),
        "voided" => "the earlier approvals are void:".to_owned(),
        _ => String::new(),
    };
    if let Some(reason) = &signed.reason {
        what.push_str(&format!(" {}", quoted(reason)));
    }
    let who = match signed.step.as_str() {
        // The service detects this step; no principal takes it.
        "voided" => "-",
        _ => signed.by.as_deref().unwrap_or("nobody"),
    };
    let text = Text::new()
        .time(signed.time)
        .and(format!("  {who}  {}", what.trim()));
    (signed.step.replace('_', " "), text)
}

/// The model and its revision.
pub(crate) fn candidate(approval: &PromotionHistory) -> String {
    match &approval.revision {
        Some(revision) => format!("{} at {revision}", approval.model),
        None => format!("{} (its access)", approval.model),
    }
}

/// How many calls a promotion served, and for whom, the most frequent callers first.
pub(crate) fn served(approval: &PromotionHistory) -> String {
    let mut callers: Vec<_> = approval.callers.iter().collect();
    callers.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let named: Vec<String> = callers
        .iter()
        .take(MAX_NAMED)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let more = callers.len().saturating_sub(MAX_NAMED);
    let more = match more {
        0 => String::new(),
        more => format!(" and {}", count(more as u64, "other", "others")),
    };
    let calls = count(approval.served, "call", "calls");
    format!("{calls}: {}{more}", named.join(", "))
}

/// Describes an event in words. Names are not escaped.
#[must_use]
pub fn describe(event: &HistoryEvent) -> String {
    let is_step = event.event.starts_with("promotion.");
    if is_step && let Ok(step_event) = serde_json::from_value::<PromotionEvent>(event.body.clone())
    {
        return describe_step(event, &step_event);
    }
    describe_known(event).unwrap_or_else(|| match &event.body {
        Value::Null => String::new(),
        // JSON escapes line breaks and control characters.
        body => body.to_string(),
    })
}

/// Describes an event of the ledger or of the access, if its body has the expected form.
fn describe_known(event: &HistoryEvent) -> Option<String> {
    let number = |key: &str| event.body.get(key)?.as_u64();
    let text = |key: &str| event.body.get(key)?.as_str();
    Some(match event.event.as_str() {
        "ledger.gap" => format!(
            "storage failed because {}; {} not stored at the first try",
            quoted(text("reason")?),
            count(number("entries")?, "entry was", "entries were"),
        ),
        "ledger.shed" => format!(
            "{} only counted",
            count(number("refusals")?, "refusal was", "refusals were")
        ),
        "ledger.pruned" => format!(
            "entries below {} went, but for {} of them",
            number("before")?,
            number("kept")?
        ),
        "ledger.clock_step" => {
            let millis = event.body.get("by_ms")?.as_i64()?;
            let direction = if millis < 0 { "back" } else { "forward" };
            let (seconds, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
            format!("the clock was set {direction} by {seconds}.{rest:03} s")
        }
        "access.reload_refused" => {
            let problems = event.body.get("problems")?.as_array()?;
            let first = problems.first().and_then(Value::as_str);
            let first = first.map_or_else(String::new, |it| format!(", first: {it}"));
            let stays = text("in_force")?;
            let problems = count(number("count")?, "problem", "problems");
            format!("{problems}{first}; {stays} stays in force")
        }
        _ => return None,
    })
}

/// Describes a promotion step, with the model and the target environment if they are known.
fn describe_step(event: &HistoryEvent, step_event: &PromotionEvent) -> String {
    let place = event.model.as_ref().zip(event.environment.as_ref());
    let place = place.map(|(model, environment)| format!("{model} in {environment}"));
    let what = match &step_event.step {
        Step::Adopted {
            candidate, into, ..
        } => format!("{} in {into}, as it was found", candidate.model),
        Step::Proposed {
            candidate,
            from,
            into,
            approvals,
            ..
        } => format!(
            "{}{} from {from} into {into}, {} needed",
            candidate.model,
            at(candidate.revision.as_deref()),
            self::approvals(*approvals)
        ),
        Step::Approved { candidate, .. } => {
            let environment = event.environment.as_ref();
            let into = environment.map_or_else(String::new, |it| format!(" in {it}"));
            let revision = at(candidate.revision.as_deref());
            format!("{}{revision}{into}", candidate.model)
        }
        _ => place.unwrap_or_default(),
    };
    let why = match &step_event.step {
        Step::RolledBack {
            reason,
            emergency: true,
            ..
        } => format!("EMERGENCY because {}", quoted(reason)),
        Step::Rejected { reason } | Step::RolledBack { reason, .. } => {
            format!("because {}", quoted(reason))
        }
        Step::Voided { reason, .. } => {
            format!("the earlier approvals are void, because {reason}")
        }
        Step::Promoted {
            emergency: Some(reason),
            ..
        } => format!("EMERGENCY because {}", quoted(reason)),
        _ => String::new(),
    };
    let changes = match &step_event.step {
        Step::Proposed { difference, .. }
        | Step::Promoted { difference, .. }
        | Step::RolledBack { difference, .. } => changes(difference),
        _ => String::new(),
    };
    let parts = [
        what,
        why,
        changes,
        format!("promotion {}", step_event.promotion),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|it| !it.is_empty()).collect();
    parts.join("; ")
}

/// Quotes a reason. Quotation marks in it cannot end the quotation.
pub(crate) fn quoted(words: &str) -> String {
    format!("\"{}\"", words.replace('"', "'"))
}

fn approvals(number: u8) -> String {
    count(number.into(), "approval", "approvals")
}

fn at(revision: Option<&str>) -> String {
    revision.map_or_else(String::new, |revision| format!(" at {revision}"))
}

/// The changes in access on one line.
fn changes(difference: &[ChangeEntry]) -> String {
    let all: Vec<String> = difference.iter().map(changed).collect();
    all.join("; ")
}

/// The change in access of one holder.
pub(crate) fn changed(change: &ChangeEntry) -> String {
    let listed = |word: &str, actions: &[spanner_core::Action]| {
        let names: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
        (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
    };
    let parts = [
        listed("gains", &change.gains),
        listed("loses", &change.loses),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{} {}", change.holder, parts.join(" and "))
}

const NO_EVENTS: &str = "Nothing else of what was selected happened, but for requests.";
/// The number of callers that are named; JSON lists all of them.
const MAX_NAMED: usize = 8;
