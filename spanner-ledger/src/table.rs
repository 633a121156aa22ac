//! Rows for people: one line per request, in which no name can forge a line, a column or a
//! terminal's command.

use std::fmt::{self, Write};

use spanner_core::Effect;
use spanner_core::record::{CallerEntry, Decision, PairEntry, PrincipalEntry};
use unicode_width::UnicodeWidthStr;

use crate::reader::Row;

/// Renders rows as a table with the columns time, who, what, where, decision, why, outcome
/// and ms.
///
/// Names are escaped, and cut at 48 characters: control and invisible characters,
/// backslashes and the table's own `│` appear as in Rust (`\u{202e}`).
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let head = HEAD.map(str::to_owned);
    let lines: Vec<[String; COLUMNS]> = std::iter::once(head)
        .chain(rows.iter().map(cells))
        .collect();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or_default()
    });
    let mut table = String::new();
    for (index, line) in lines.iter().enumerate() {
        write_line(&mut table, line, &widths);
        if index == 0 {
            let rule = widths.map(|width| "─".repeat(width));
            table.push_str(&rule.join("─┼─"));
            table.push('\n');
        }
    }
    table
}

fn cells(row: &Row) -> [String; COLUMNS] {
    let Row {
        decision, outcome, ..
    } = row;
    let effect = match decision.effect {
        Effect::Allow => "allow",
        _ => "deny",
    };
    let became = outcome.as_ref().map(|outcome| match outcome.status {
        Some(status) => format!("{} {status}", outcome.class.as_str()),
        None => outcome.class.as_str().to_owned(),
    });
    let millis = outcome.as_ref().map(|outcome| {
        let tenths = outcome.duration_us / 100;
        format!("{}.{}", tenths / 10, tenths % 10)
    });
    [
        decision.time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        who(decision),
        what(&decision.target),
        cell(&decision.environment),
        effect.to_owned(),
        cell(&decision.reason),
        became.unwrap_or_else(|| "open".to_owned()),
        millis.unwrap_or_else(|| NOTHING.to_owned()),
    ]
}

fn who(decision: &Decision) -> String {
    let name = |principal: &PrincipalEntry| format!("{}:{}", principal.issuer, principal.subject);
    match &decision.caller {
        Some(CallerEntry {
            subject, actors, ..
        }) => match actors.first() {
            Some(actor) => cell(&format!("{} for {}", name(actor), name(subject))),
            None => cell(&name(subject)),
        },
        None => NOTHING.to_owned(),
    }
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
    let mut cell = String::new();
    for character in text.chars().take(MAX_CELL) {
        match character {
            '\'' | '"' => cell.push(character),
            SEPARATOR => cell.extend(character.escape_unicode()),
            _ => cell.extend(character.escape_debug()),
        }
    }
    if text.chars().nth(MAX_CELL).is_some() {
        cell.push('…');
    }
    if cell.is_empty() {
        NOTHING.to_owned()
    } else {
        cell
    }
}

fn write_line(table: &mut String, line: &[String; COLUMNS], widths: &[usize; COLUMNS]) {
    let mut text = String::new();
    for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
        if index > 0 {
            text.extend([' ', SEPARATOR, ' ']);
        }
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        // Numbers are read from the right.
        let aligned = if index + 1 == COLUMNS {
            format!("{padding}{cell}")
        } else {
            format!("{cell}{padding}")
        };
        text.push_str(&aligned);
    }
    // Writing to a text cannot fail.
    let _: fmt::Result = writeln!(table, "{}", text.trim_end());
}

const COLUMNS: usize = 8;
const HEAD: [&str; COLUMNS] = [
    "time", "who", "what", "where", "decision", "why", "outcome", "ms",
];
const SEPARATOR: char = '│';
const NOTHING: &str = "-";
/// Enough for a name; a longer one must not push the other columns off the screen.
const MAX_CELL: usize = 48;

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
