//! `spanner ledger history`: promotions with their approvals, and other events.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use spanner_report::{table, write_history_json};

use super::{Part, Place, code, nothing, open, remark};
use crate::print::Stop;

/// The options of `ledger history`.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    pub(super) part: Part,
    /// Show requests as well, each with the promotion that it was served under
    #[arg(long)]
    requests: bool,
}

pub(super) fn run(place: &Place, filter: &Filter, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let reader = open(&place.dir)?;
    let selection = filter.part.selection();
    let history = reader.history(&selection)?;
    let mut found = history.approvals.len() + history.events.len();
    let rows = filter.requests.then(|| reader.rows(&selection));
    let rows = rows.transpose()?.into_iter().flatten();
    let mut rows = rows.inspect(|_| found += 1);
    match place.json {
        true => {
            write_history_json(&history, rows, out)?;
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
