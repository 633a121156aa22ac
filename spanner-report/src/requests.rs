//! Requests as a table with one row each.

use spanner_core::Effect;
use spanner_core::record::PairEntry;
use spanner_ledger::{Row, promotions_of};

use crate::page::{Cell, Precision, Span, Table, Text};

/// Renders requests for a terminal. The columns are time, who, what, where, decision, why,
/// outcome, ms and record. If any model was served under a promotion, the column *under* names
/// the promotion.
///
/// Names are escaped and cut at 48 characters, callers at 80.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    requests(rows).text()
}

/// Requests as a [`Table`]; see [`table`].
#[must_use]
pub fn requests(rows: &[Row]) -> Table {
    let is_promoted = rows
        .iter()
        .any(|row| !promotions_of(&row.decision).is_empty());
    let columns = COLUMNS
        .iter()
        .filter(|(title, _)| is_promoted || *title != UNDER);
    let mut table = Table::new(columns.clone().map(|(title, _)| *title)).numbers(&["ms"]);
    for (column, (_, width)) in table.columns.iter_mut().zip(columns) {
        column.width = *width;
    }
    table.rows(rows.iter().map(|row| {
        let mut cells = cells(row);
        if is_promoted {
            let under = promotions_of(&row.decision);
            cells.push(Cell::new(
                under.first().map(ToString::to_string).unwrap_or_default(),
            ));
        }
        cells
    }))
}

fn cells(row: &Row) -> Vec<Cell> {
    let Row {
        decision, outcome, ..
    } = row;
    let effect = match decision.effect {
        Effect::Allow => "allow",
        _ => "deny",
    };
    let mut state = row.state().to_owned();
    if let Some(outcome) = outcome {
        if let Some(status) = outcome.status {
            state.push_str(&format!(" {status}"));
        }
        if let Some(reason) = &outcome.reason {
            state.push_str(&format!(" {reason}"));
        }
    }
    let millis = row.duration_us().map(|micros| {
        let tenths = micros / 100;
        format!("{}.{}", tenths / 10, tenths % 10)
    });
    let caller = decision.caller.as_ref().map(ToString::to_string);
    vec![
        Cell::new(Text::new().span(Span::Time(decision.time, Precision::Millisecond))),
        Cell::new(caller.unwrap_or_default()),
        Cell::new(what(&decision.target)),
        Cell::new(&*decision.environment),
        Cell::new(effect),
        Cell::new(&*decision.reason),
        Cell::new(state),
        Cell::new(millis.unwrap_or_default()),
        Cell::new(decision.id.to_string()),
    ]
}

/// The first pair, and the number of further pairs.
fn what(target: &[PairEntry]) -> String {
    let Some((first, others)) = target.split_first() else {
        return String::new();
    };
    let mut what = first.action.to_string();
    for (before, name) in [(' ', &first.model), ('@', &first.revision)] {
        if let Some(name) = name {
            what.push(before);
            what.push_str(name);
        }
    }
    if let Some((end, _)) = what.char_indices().nth(MAX_NAME) {
        what.truncate(end);
        what.push('…');
    }
    if !others.is_empty() {
        what.push_str(&format!(" +{}", others.len()));
    }
    what
}

/// The columns with their maximum widths.
const COLUMNS: [(&str, usize); 10] = [
    ("time", 24),
    ("who", 80),
    ("what", 100),
    ("where", MAX_NAME),
    ("decision", MAX_NAME),
    ("why", MAX_NAME),
    ("outcome", 80),
    ("ms", MAX_NAME),
    ("record", MAX_NAME),
    (UNDER, MAX_NAME),
];
const UNDER: &str = "under";
/// Enough for a name. A longer one would push the other columns off the screen.
const MAX_NAME: usize = 48;
