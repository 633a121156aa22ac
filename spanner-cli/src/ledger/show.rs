//! `spanner ledger show`: requests, one per line.

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use spanner_ledger::RecordPrefix;
use spanner_report::{request_json, table};

use super::{Part, Place, code, nothing, open, remark};
use crate::print::Stop;

/// The options of `ledger show`.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    pub(super) part: Part,
    /// Only the newest requests, at most this many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Only the request with this identifier (as in `spanner-decision`), or with this unique prefix of
    /// one
    #[arg(long, value_name = "ID", conflicts_with = "limit")]
    record: Option<RecordPrefix>,
}

pub(super) fn run(place: &Place, filter: &Filter, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let mut rows = open(&place.dir)?.rows(&filter.part.selection())?;
    let (mut kept, mut found) = (VecDeque::new(), 0_u64);
    for row in rows.by_ref() {
        let row = row?;
        let prefix = filter.record.as_ref();
        if prefix.is_some_and(|prefix| !prefix.matches(row.decision.id)) {
            continue;
        }
        found += 1;
        if let Some(digits) = filter.record.as_ref().filter(|_| found > 1) {
            return Err(format!("several records begin with `{digits}`: write more of it").into());
        }
        if place.json && filter.limit.is_none() {
            writeln!(out, "{}", request_json(&row))?;
            continue;
        }
        kept.push_back(row);
        if filter.limit.is_some_and(|limit| kept.len() > limit) {
            kept.pop_front();
        }
    }
    let (kept, notes) = (Vec::from(kept), rows.notes());
    match place.json {
        true => kept
            .iter()
            .try_for_each(|row| writeln!(out, "{}", request_json(row)))?,
        false => write!(out, "{}", table(&kept))?,
    }
    remark(&notes, place.json, out)?;
    if found == 0 {
        nothing(&notes);
    }
    Ok(code(&notes))
}
