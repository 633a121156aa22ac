//! Requests as comma-separated values (RFC 4180), for spreadsheets.

use crate::reader::Row;
use crate::select::{acting, served_under};
use crate::table::plain;

/// Renders rows as CSV with a head. A cell that a spreadsheet would take for a formula
/// begins with an apostrophe; what is invisible is escaped as in [`table`](crate::table()).
/// [`Reader::csv_lines`](crate::Reader::csv_lines) keeps no rows.
#[must_use]
pub fn csv(rows: &[Row]) -> String {
    head() + &rows.iter().map(line).collect::<String>()
}

pub(crate) fn head() -> String {
    format!("{}\r\n", HEAD.join(","))
}

/// One row, with its line's end.
pub(crate) fn line(row: &Row) -> String {
    let cells: Vec<String> = cells(row).iter().map(|cell| quoted(cell)).collect();
    format!("{}\r\n", cells.join(","))
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    let (decision, outcome) = (&row.decision, row.outcome.as_ref());
    let pair = decision.target.first();
    let caller = decision.caller.as_ref();
    let number = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
    [
        row.sequence.to_string(),
        decision.id.to_string(),
        decision.time.to_string(),
        decision.service.clone(),
        decision.environment.clone(),
        caller.map_or_else(String::new, |it| acting(&it.subject, &it.actors)),
        pair.map_or_else(String::new, |it| it.action.to_string()),
        pair.and_then(|it| it.model.clone()).unwrap_or_default(),
        match decision.effect {
            spanner_core::Effect::Allow => "allow".to_owned(),
            _ => "deny".to_owned(),
        },
        decision.reason.clone(),
        pair.and_then(|pair| served_under(decision, pair))
            .map_or_else(String::new, |it| it.to_string()),
        match outcome {
            None if decision.enforcement.is_inline() => String::new(),
            _ => row.became().to_owned(),
        },
        number(outcome.and_then(|it| it.status).map(u64::from)),
        number(row.duration_us()),
        number(outcome.and_then(|it| it.tokens_in)),
        number(outcome.and_then(|it| it.tokens_out)),
        number(outcome.and_then(|it| it.tokens_total)),
        number(outcome.and_then(|it| it.tokens_cached)),
        number(outcome.and_then(|it| it.tokens_cache_written)),
        number(outcome.and_then(|it| it.tokens_reasoning)),
        number(outcome.and_then(|it| it.tokens_tools)),
        number(outcome.and_then(|it| it.search_units)),
        outcome
            .and_then(|it| it.error_type.clone())
            .unwrap_or_default(),
    ]
}

fn quoted(cell: &str) -> String {
    if cell.is_empty() {
        return String::new();
    }
    let cell = plain(cell, MAX_CELL);
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '|', '%']);
    let apostrophe = if formula { "'" } else { "" };
    format!("\"{apostrophe}{}\"", cell.replace('"', "\"\""))
}

const HEAD: [&str; 23] = [
    "sequence",
    "decision",
    "time",
    "service",
    "environment",
    "caller",
    "action",
    "model",
    "effect",
    "reason",
    "promotion",
    "outcome",
    "status",
    "duration_us",
    "tokens_in",
    "tokens_out",
    "tokens_total",
    "tokens_cached",
    "tokens_cache_written",
    "tokens_reasoning",
    "tokens_tools",
    "search_units",
    "error_type",
];
/// A name has at most 256 bytes.
const MAX_CELL: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_ends_early() {
        let rows = [
            ("", ""),
            ("acme/sentiment", "\"acme/sentiment\""),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            ("-1", "\"'-1\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\n=b", "\"a\\r\\n=b\""),
            ("a,b", "\"a,b\""),
        ];
        for (text, expected) in rows {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }
}
