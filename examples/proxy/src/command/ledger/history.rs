//! `ledger history`: who approved what is served?

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use spanner_ledger::{Happening, Row, table};

use super::{Part, Place, Stop, open, request};

/// What of it.
#[derive(Debug, Args)]
pub(in crate::command) struct Filter {
    #[command(flatten)]
    part: Part,
    /// Show the requests as well, each with the promotion under which it was served
    #[arg(long)]
    requests: bool,
}

pub(super) fn run(place: &Place, filter: &Filter, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let reader = open(&place.dir)?;
    let selection = filter.part.selection();
    let history = reader.history(&selection)?;
    let rows = match filter.requests {
        true => reader.select(&selection)?,
        false => Vec::new(),
    };
    if place.json {
        lines(&history.happenings, &rows, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    write!(out, "{}", history.text())?;
    if filter.requests {
        write!(out, "\n{}", table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything in the order of the ledger.
fn lines(happenings: &[Happening], rows: &[Row], out: &mut dyn Write) -> Result<(), Stop> {
    let mut rows = rows.iter().peekable();
    for happening in happenings {
        while let Some(row) = rows.next_if(|row| row.sequence < happening.sequence) {
            request(row, out)?;
        }
        let Happening {
            sequence,
            time,
            event,
            body,
            ..
        } = happening;
        let line = json!({"sequence": sequence, "time": time, "event": event, "body": body});
        writeln!(out, "{line}")?;
    }
    rows.try_for_each(|row| request(row, out))
}
