//! `spanner ledger history`: who approved what is served?

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use spanner_ledger::{Approval, Happening, ReadError, Row, visible_json};
use spanner_report::table;

use super::{Part, Place, code, nothing, open, remark, request};
use crate::print::Stop;

/// What of it.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    pub(super) part: Part,
    /// Show the requests as well, each with the promotion under which it was served
    #[arg(long)]
    requests: bool,
}

pub(super) fn run(place: &Place, filter: &Filter, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let reader = open(&place.dir)?;
    let selection = filter.part.selection();
    let history = reader.history(&selection)?;
    let mut found = history.approvals.len() + history.happenings.len();
    let rows = filter.requests.then(|| reader.rows(&selection));
    let rows = rows.transpose()?.into_iter().flatten();
    let mut rows = rows.inspect(|_| found += 1);
    match place.json {
        true => {
            promotions(&history.approvals, out)?;
            lines(&history.happenings, rows, out)?;
            remark(&history.notes, true, out)?;
        }
        false => {
            write!(out, "{}", spanner_report::history(&history).text())?;
            if filter.requests {
                let rows = rows.by_ref().collect::<Result<Vec<_>, _>>()?;
                write!(out, "\n{}", table(&rows))?;
            }
        }
    }
    if found == 0 {
        nothing(&history.notes);
    }
    Ok(code(&history.notes))
}

/// What the steps come to, which may be older than all that follows.
fn promotions(approvals: &[Approval], out: &mut dyn Write) -> Result<(), Stop> {
    for approval in approvals {
        let line = json!({"approval": approval});
        writeln!(out, "{}", visible_json(&line.to_string()))?;
    }
    Ok(())
}

/// Everything else in the order of the ledger.
fn lines(
    happenings: &[Happening],
    rows: impl Iterator<Item = Result<Row, ReadError>>,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let mut rows = rows.peekable();
    for happening in happenings {
        let is_before = |row: &Row| row.sequence < happening.sequence;
        while let Some(row) = rows.next_if(|row| row.as_ref().is_ok_and(is_before)) {
            request(&row?, out)?;
        }
        let Happening {
            sequence,
            time,
            event,
            body,
            ..
        } = happening;
        let line = json!({"sequence": sequence, "time": time, "event": event, "body": body});
        writeln!(out, "{}", visible_json(&line.to_string()))?;
    }
    rows.try_for_each(|row| request(&row?, out))
}
