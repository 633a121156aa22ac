//! What happened, in words for people. Names in them are not yet escaped.

use serde_json::Value;
use spanner_core::Timestamp;
use spanner_core::promotion::{ChangeEntry, Event as Taken, Step};

use crate::clock::CLOCK_STEP;
use crate::history::{Approval, Happening, History, Signed};
use crate::retention::PRUNED;
use crate::select::Selection;
use crate::table::{NOTHING, cell, render};
use crate::visible::visible_line as plain;

impl History {
    /// For people: each promotion with its steps, then a table of what happened. No name can
    /// forge a line, a column or a terminal's command.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(until) = self.selection.until {
            text.push_str(&format!("As it stood at {}.\n\n", time(until)));
        }
        if self.approvals.is_empty() {
            text.push_str(&self.nobody());
            text.push_str("\n\n");
        }
        for approval in &self.approvals {
            text.push_str(&approval.text());
            text.push('\n');
        }
        let rows: Vec<Vec<String>> = self.happenings.iter().map(row).collect();
        match rows.is_empty() {
            true => {
                text.push_str("Nothing else of what was selected happened, but for requests.\n")
            }
            false => text.push_str(&render(&["time", "event", "who", "what"], &rows)),
        }
        for note in self.notes.sentences() {
            text.push_str(&format!("\nnote: {note}\n"));
        }
        text
    }

    /// Why no promotion is told.
    fn nobody(&self) -> String {
        let Selection {
            model,
            environment,
            caller,
            since,
            until,
        } = &self.selection;
        if !self.notes.unmet.is_empty() {
            return sentence(&self.notes.nothing());
        }
        let named = |word: &str, name: &Option<String>| {
            let name = name.as_deref();
            name.map_or_else(String::new, |name| format!(" {word} {}", cell(name)))
        };
        let what = named("of", model) + &named("into", environment);
        if self.promotions == 0 {
            let known = match self.notes.not_understood {
                0 => "",
                _ => ", so far as this version understands it",
            };
            let it = model.as_deref().map_or("a model", |_| "it");
            return format!(
                "No promotion{what} is in this ledger{known}: nobody approved {it} here."
            );
        }
        let whose = named("that concerns", caller);
        let has = count(self.promotions, "promotion", "promotions");
        match since.is_none() && until.is_none() {
            true => format!("This ledger has {has}{what}, and none{whose}."),
            false => format!(
                "This ledger has {has}{what}; to none{whose} did anything happen in this span, and none was in force at its end."
            ),
        }
    }
}

/// Words with a capital letter and a full stop.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

/// So many of them.
pub(crate) fn count(number: u64, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {several}"),
    }
}

fn row(happening: &Happening) -> Vec<String> {
    vec![
        time(happening.time),
        plain(&happening.event, MAX_NAME),
        happening
            .by
            .as_deref()
            .map_or_else(|| NOTHING.to_owned(), |by| plain(by, MAX_NAME)),
        plain(&happening.words(), MAX_LINE),
    ]
}

impl Approval {
    /// A paragraph: what it is, where it stands, each step with who took it, what it changes,
    /// and who was served.
    fn text(&self) -> String {
        let head = format!("{} in {}", self.what(), self.environment);
        let mut lines = vec![
            plain(&head, MAX_LINE),
            format!(
                "  {:<11} promotion {}",
                self.standing.as_str(),
                self.promotion
            ),
        ];
        lines.extend(self.steps.iter().map(|signed| self.step(signed)));
        for change in &self.difference {
            lines.push(format!(
                "  changes     {}",
                plain(&changed(change), MAX_LINE)
            ));
        }
        if self.served > 0 {
            lines.push(format!("  served      {}", plain(&self.served(), MAX_LINE)));
        }
        for doubt in &self.doubts {
            lines.push(format!("  DOUBTFUL    {}", plain(doubt, MAX_LINE)));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn step(&self, signed: &Signed) -> String {
        let mut what = match signed.step.as_str() {
            "proposed" => format!(
                "from {}, {} needed",
                self.from.as_deref().unwrap_or(NOTHING),
                approvals(self.needed)
            ),
            "adopted" => "was in force before promotions were kept; nobody approved it".to_owned(),
            _ if signed.emergency => "EMERGENCY".to_owned(),
            "voided" => "the approvals so far count no more:".to_owned(),
            _ => String::new(),
        };
        if let Some(reason) = &signed.reason {
            what.push_str(&format!(" {}", quoted(reason)));
        }
        let who = match signed.step.as_str() {
            // It is noticed, and nobody does it.
            "voided" => NOTHING,
            _ => signed.by.as_deref().unwrap_or("nobody"),
        };
        let line = format!("{}  {who}  {}", time(signed.time), what.trim());
        let step = plain(&signed.step.replace('_', " "), MAX_NAME);
        format!("  {step:<11} {}", plain(line.trim_end(), MAX_LINE))
    }

    /// The model and its revision.
    pub(crate) fn what(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{} at {revision}", self.model),
            None => format!("{} (its access)", self.model),
        }
    }

    /// How often it was used, and by whom, the most frequent first.
    pub(crate) fn served(&self) -> String {
        let mut callers: Vec<_> = self.callers.iter().collect();
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
        let calls = count(self.served, "call", "calls");
        format!("{calls}: {}{more}", named.join(", "))
    }
}

impl Happening {
    /// What it was, in a line that is not escaped.
    #[must_use]
    pub fn words(&self) -> String {
        let promotion = self.event.starts_with("promotion.");
        if promotion && let Ok(taken) = serde_json::from_value::<Taken>(self.body.clone()) {
            return self.step_words(&taken);
        }
        self.plainly().unwrap_or_else(|| match &self.body {
            Value::Null => String::new(),
            // JSON escapes what could forge a line.
            body => body.to_string(),
        })
    }

    /// What happened to the ledger or to the access, where a sentence says it.
    fn plainly(&self) -> Option<String> {
        let number = |key: &str| self.body.get(key)?.as_u64();
        let text = |key: &str| self.body.get(key)?.as_str();
        Some(match self.event.as_str() {
            "ledger.gap" => format!(
                "storage failed because {}; {} not stored at the first try",
                quoted(text("reason")?),
                count(number("entries")?, "entry was", "entries were"),
            ),
            "ledger.shed" => format!(
                "{} only counted",
                count(number("refusals")?, "refusal was", "refusals were")
            ),
            PRUNED => format!(
                "entries below {} went, but for {} of them",
                number("before")?,
                number("kept")?
            ),
            CLOCK_STEP => {
                let millis = self.body.get("by_ms")?.as_i64()?;
                let whither = if millis < 0 { "back" } else { "forward" };
                let (seconds, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
                format!("the clock was set {whither} by {seconds}.{rest:03} s")
            }
            "access.reload_refused" => {
                let problems = self.body.get("problems")?.as_array()?;
                let first = problems.first().and_then(Value::as_str);
                let first = first.map_or_else(String::new, |it| format!(", first: {it}"));
                let stays = text("in_force")?;
                let problems = count(number("count")?, "problem", "problems");
                format!("{problems}{first}; {stays} stays in force")
            }
            _ => return None,
        })
    }

    /// A step, with the model and the environment that its promotion is about, if that is
    /// known.
    fn step_words(&self, taken: &Taken) -> String {
        let place = self.model.as_ref().zip(self.environment.as_ref());
        let place = place.map(|(model, environment)| format!("{model} in {environment}"));
        let what = match &taken.step {
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
                let environment = self.environment.as_ref();
                let into = environment.map_or_else(String::new, |it| format!(" in {it}"));
                let revision = at(candidate.revision.as_deref());
                format!("{}{revision}{into}", candidate.model)
            }
            _ => place.unwrap_or_default(),
        };
        let why = match &taken.step {
            Step::RolledBack {
                reason,
                emergency: true,
                ..
            } => format!("EMERGENCY because {}", quoted(reason)),
            Step::Rejected { reason } | Step::RolledBack { reason, .. } => {
                format!("because {}", quoted(reason))
            }
            Step::Voided { reason, .. } => {
                format!("the approvals so far count no more, since {reason}")
            }
            Step::Promoted {
                emergency: Some(reason),
                ..
            } => format!("EMERGENCY because {}", quoted(reason)),
            _ => String::new(),
        };
        let changes = match &taken.step {
            Step::Proposed { difference, .. }
            | Step::Promoted { difference, .. }
            | Step::RolledBack { difference, .. } => changes(difference),
            _ => String::new(),
        };
        let parts = [what, why, changes, format!("promotion {}", taken.promotion)];
        let parts: Vec<String> = parts.into_iter().filter(|it| !it.is_empty()).collect();
        parts.join("; ")
    }
}

/// Words that somebody wrote, which end where they end.
pub(crate) fn quoted(words: &str) -> String {
    format!("\"{}\"", words.replace('"', "'"))
}

fn approvals(number: u8) -> String {
    count(number.into(), "approval", "approvals")
}

fn at(revision: Option<&str>) -> String {
    revision.map_or_else(String::new, |revision| format!(" at {revision}"))
}

/// Who gains and loses what, in a line for all.
fn changes(difference: &[ChangeEntry]) -> String {
    let all: Vec<String> = difference.iter().map(changed).collect();
    all.join("; ")
}

/// Who gains and loses what.
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

/// A time to the second.
pub(crate) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A subject and an actor with their issuers.
const MAX_NAME: usize = 120;
/// A sentence with a few names in it; what is longer is in the JSON.
pub(crate) const MAX_LINE: usize = 400;
/// Callers that are named; all of them are in the JSON.
const MAX_NAMED: usize = 8;
