//! Renders the contents of a ledger as lines of JSON for programs. Invisible characters are
//! escaped.

use std::io::Write;

use serde_json::{Value, json};
use spanner_ledger::{History, HistoryEvent, ReadError, Row, visible_json};

/// Renders a request as a line of JSON without a line break: `{"sequence", "decision",
/// "outcome"}`.
#[must_use]
pub fn request_json(row: &Row) -> String {
    let Row {
        sequence,
        decision,
        outcome,
        ..
    } = row;
    line(&json!({"sequence": sequence, "decision": decision, "outcome": outcome}))
}

/// Writes a history as lines of JSON. Each promotion (`{"approval"}`) comes first, because its
/// steps may be older than all following lines. Then come events (`{"sequence", "time", "event",
/// "body"}`) and requests in the order of the ledger.
///
/// # Errors
/// The [`ReadError`] of a request, or an error if a line cannot be written.
pub fn write_history_json(
    history: &History,
    requests: impl Iterator<Item = Result<Row, ReadError>>,
    out: &mut dyn Write,
) -> Result<(), ReadError> {
    let mut write = |line: &str| {
        let written = writeln!(out, "{line}");
        written.map_err(|source| ReadError::Export { source })
    };
    for approval in &history.approvals {
        write(&line(&json!({"approval": approval})))?;
    }
    let mut requests = requests.peekable();
    for event in &history.events {
        let is_before = |row: &Row| row.sequence < event.sequence;
        while let Some(row) = requests.next_if(|row| row.as_ref().is_ok_and(is_before)) {
            write(&request_json(&row?))?;
        }
        write(&event_json(event))?;
    }
    requests.try_for_each(|row| write(&request_json(&row?)))
}

fn event_json(event: &HistoryEvent) -> String {
    let HistoryEvent {
        sequence,
        time,
        event,
        body,
        ..
    } = event;
    line(&json!({"sequence": sequence, "time": time, "event": event, "body": body}))
}

fn line(value: &Value) -> String {
    visible_json(&value.to_string()).into_owned()
}
