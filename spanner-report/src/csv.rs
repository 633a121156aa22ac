//! Renders comma-separated values (RFC 4180) for spreadsheets.
//!
//! A cell that a spreadsheet would interpret as a formula begins with an apostrophe. Invisible
//! characters and line breaks are escaped as in terminal tables.

use std::io::{self, Write};

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};
use spanner_ledger::{Notes, ReadError, Reader, Row, Selection, served_under, visible_line};

use crate::page::{Cell, MAX_TEXT, Table, Text};

impl Table {
    /// Renders the table as comma-separated values below a row of column titles. Semicolons join
    /// the lines of a cell.
    #[must_use]
    pub fn csv(&self) -> String {
        let cells = |row: &Vec<Cell>| -> Vec<String> {
            let lines = |it: &Cell| it.lines.iter().map(Text::raw).collect::<Vec<_>>();
            row.iter().map(|it| lines(it).join("; ")).collect()
        };
        let titles = self.columns.iter().map(|it| &*it.title);
        text(titles, self.all_rows().map(cells), QuoteStyle::Necessary)
    }
}

/// Renders requests as comma-separated values. [`write_csv`] does the same in bounded memory.
#[must_use]
pub fn csv(rows: &[Row]) -> String {
    text(HEAD, rows.iter().map(cells), QuoteStyle::NonNumeric)
}

/// Writes the selected requests one by one in the format of [`csv()`]. Returns their number and
/// what was omitted.
///
/// # Errors
/// [`ReadError`] if the ledger is damaged or cannot be read, or `out` cannot be written.
pub fn write_csv(
    reader: &Reader,
    selection: &Selection,
    out: &mut dyn Write,
) -> Result<(u64, Notes), ReadError> {
    let failed = |source| ReadError::Export { source };
    let (mut rows, mut count) = (reader.rows(selection)?, 0);
    head(out, HEAD).map_err(failed)?;
    let mut writer = writer(out, QuoteStyle::NonNumeric);
    for row in rows.by_ref() {
        record(&mut writer, cells(&row?)).map_err(failed)?;
        count += 1;
    }
    writer.flush().map_err(failed)?;
    Ok((count, rows.notes()))
}

fn text<R: IntoIterator<Item = impl AsRef<str>>>(
    titles: impl IntoIterator<Item = impl AsRef<str>>,
    rows: impl Iterator<Item = R>,
    style: QuoteStyle,
) -> String {
    let mut bytes = Vec::new();
    let mut written = head(&mut bytes, titles);
    let mut writer = writer(&mut bytes, style);
    for row in rows {
        written = written.and_then(|()| record(&mut writer, row));
    }
    // Writing to memory cannot fail.
    let _: io::Result<()> = written.and_then(|()| writer.flush());
    drop(writer);
    String::from_utf8(bytes).unwrap_or_default()
}

/// Writes the row of titles.
fn head(out: &mut dyn Write, titles: impl IntoIterator<Item = impl AsRef<str>>) -> io::Result<()> {
    let mut writer = writer(out, QuoteStyle::Necessary);
    record(&mut writer, titles)?;
    writer.flush()
}

fn writer<W: Write>(out: W, style: QuoteStyle) -> Writer<W> {
    WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .quote_style(style)
        .from_writer(out)
}

fn record<W: Write>(
    writer: &mut Writer<W>,
    cells: impl IntoIterator<Item = impl AsRef<str>>,
) -> io::Result<()> {
    let cells = cells.into_iter().map(|it| cell(it.as_ref()));
    writer.write_record(cells).map_err(io::Error::from)
}

/// Renders a text as a cell on one line that is not a formula.
fn cell(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let text = visible_line(text, MAX_TEXT);
    match text.starts_with(FORMULA) {
        true => format!("'{text}"),
        false => text,
    }
}

/// The characters that begin a formula in common spreadsheets. Tabs and line breaks are escaped
/// earlier.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '|', '%'];

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
        caller.map_or_else(String::new, ToString::to_string),
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
            _ => row.state().to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_formulas_and_line_breaks_in_cells() {
        let rows = [
            ("", "\"\""),
            ("acme/sentiment", "acme/sentiment"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("@SUM(1)", "'@SUM(1)"),
            ("-1", "'-1"),
            ("\t=1", "\\t=1"),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\n=b", "a\\r\\n=b"),
            ("a,b", "\"a,b\""),
        ];
        for (given, expected) in rows {
            let table = Table::new(["x"]).rows([vec![Cell::new(given)]]);
            assert_eq!(table.csv(), format!("x\r\n{expected}\r\n"), "{given:?}");
        }
    }
}
