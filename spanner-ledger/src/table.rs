//! Rows for people: one line per request, in which no name can forge a line, a column or a
//! terminal's command.

use std::fmt::{self, Write};

use spanner_core::record::{Decision, PairEntry};
use spanner_core::{Effect, PromotionId};
use unicode_width::UnicodeWidthStr;

use crate::reader::Row;
use crate::select::{acting, promotions_of};
use crate::visible::is_hidden;

/// Renders rows as a table with the columns time, who, what, where, decision, why, outcome,
/// ms and record; and *under*, the promotion under which the model was served, if any was
/// served under one.
///
/// Names are escaped, and cut at 48 characters, callers at 80: control and invisible
/// characters, backslashes and the table's own `│` appear as in Rust (`\u{202e}`).
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let is_promoted = rows.iter().any(|row| under(&row.decision).is_some());
    let head = HEAD
        .iter()
        .copied()
        .filter(|it| is_promoted || *it != UNDER);
    let lines = rows.iter().map(|row| cells(row, is_promoted));
    render(&head.collect::<Vec<_>>(), &lines.collect::<Vec<_>>())
}

/// Renders lines below a head, in columns as wide as they must be; the one whose head says
/// that it is a number (`ms`) is read from the right. The cells are escaped already.
pub(crate) fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|it| (*it).to_owned()).collect();
    let columns = head.len();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let lines = std::iter::once(&head).chain(rows);
            let cells = lines.filter_map(|line| line.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or_default()
        })
        .collect();
    let numbers = head.iter().position(|it| it == NUMBERS);
    let mut table = String::new();
    write_line(&mut table, &head, &widths, numbers);
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    table.push_str(&rule.join("─┼─"));
    table.push('\n');
    for row in rows {
        write_line(&mut table, row, &widths, numbers);
    }
    table
}

fn cells(row: &Row, is_promoted: bool) -> Vec<String> {
    let Row {
        decision, outcome, ..
    } = row;
    let effect = match decision.effect {
        Effect::Allow => "allow",
        _ => "deny",
    };
    let mut became = row.became().to_owned();
    if let Some(outcome) = outcome {
        if let Some(status) = outcome.status {
            became.push_str(&format!(" {status}"));
        }
        if let Some(reason) = &outcome.reason {
            became.push_str(&format!(" {}", cell(reason)));
        }
    }
    let millis = row.duration_us().map(|micros| {
        let tenths = micros / 100;
        format!("{}.{}", tenths / 10, tenths % 10)
    });
    let mut cells = vec![
        decision.time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        who(decision),
        what(&decision.target),
        cell(&decision.environment),
        effect.to_owned(),
        cell(&decision.reason),
        became,
        millis.unwrap_or_else(|| NOTHING.to_owned()),
        decision.id.to_string(),
    ];
    if is_promoted {
        let under = under(decision).map(|promotion| promotion.to_string());
        cells.push(under.unwrap_or_else(|| NOTHING.to_owned()));
    }
    cells
}

/// The promotion under which the first of the models is served that has one.
fn under(decision: &Decision) -> Option<PromotionId> {
    promotions_of(decision).first().copied()
}

fn who(decision: &Decision) -> String {
    let caller = decision.caller.as_ref();
    let name = caller.map(|caller| acting(&caller.subject, &caller.actors));
    name.map_or_else(|| NOTHING.to_owned(), |name| plain(&name, MAX_WHO))
}

fn what(target: &[PairEntry]) -> String {
    let Some((first, others)) = target.split_first() else {
        return NOTHING.to_owned();
    };
    let mut what = first.action.to_string();
    for (before, name) in [(' ', &first.model), ('@', &first.revision)] {
        if let Some(name) = name {
            what.push(before);
            what.push_str(name);
        }
    }
    let mut what = cell(&what);
    if !others.is_empty() {
        what.push_str(&format!(" +{}", others.len()));
    }
    what
}

/// A text as one cell.
pub(crate) fn cell(text: &str) -> String {
    plain(text, MAX_CELL)
}

/// A text in one line of at most so many characters, in which nothing is invisible and
/// nothing commands a terminal.
pub(crate) fn plain(text: &str, most: usize) -> String {
    let mut line = String::new();
    for character in text.chars().take(most) {
        match character {
            '\'' | '"' => line.push(character),
            SEPARATOR => line.extend(character.escape_unicode()),
            _ if is_hidden(character) && !character.is_control() => {
                line.extend(character.escape_unicode());
            }
            _ => line.extend(character.escape_debug()),
        }
    }
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    if line.is_empty() {
        NOTHING.to_owned()
    } else {
        line
    }
}

fn write_line(table: &mut String, line: &[String], widths: &[usize], numbers: Option<usize>) {
    let mut text = String::new();
    for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
        if index > 0 {
            text.extend([' ', SEPARATOR, ' ']);
        }
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        let aligned = if numbers == Some(index) {
            format!("{padding}{cell}")
        } else {
            format!("{cell}{padding}")
        };
        text.push_str(&aligned);
    }
    // Writing to a text cannot fail.
    let _: fmt::Result = writeln!(table, "{}", text.trim_end());
}

const HEAD: [&str; 10] = [
    "time", "who", "what", "where", "decision", "why", "outcome", NUMBERS, "record", UNDER,
];
/// Numbers are read from the right.
const NUMBERS: &str = "ms";
const UNDER: &str = "under";
const SEPARATOR: char = '│';
pub(crate) const NOTHING: &str = "-";
/// Enough for a name; a longer one must not push the other columns off the screen.
const MAX_CELL: usize = 48;
/// Enough for an actor and whom it acts for.
const MAX_WHO: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_forges_a_line_a_column_or_a_command() {
        let rows = [
            ("alice", "alice"),
            ("", "-"),
            ("O'Neil \"x\"", "O'Neil \"x\""),
            ("李雷", "李雷"),
            ("a\nb", r"a\nb"),
            ("a │ b", r"a \u{2502} b"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("\u{202e}evil", r"\u{202e}evil"),
            ("a\u{2028}b\u{85}c", r"a\u{2028}b\u{85}c"),
            ("a\u{200b}b\u{feff}", r"a\u{200b}b\u{feff}"),
            (r"\u{202e}", r"\\u{202e}"),
        ];
        for (text, expected) in rows {
            assert_eq!(cell(text), expected);
        }
        let long = cell(&"x".repeat(300));
        assert_eq!(long.chars().count(), MAX_CELL + 1);
    }
}
