//! `spanner ledger summary`: a period, summarized for an auditor.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use spanner_ledger::visible_json;

use super::{Part, code, nothing, open, remark};
use crate::print::Stop;

/// The options of `ledger summary`.
#[derive(Debug, Args)]
pub(crate) struct Summary {
    /// The ledger's directory
    dir: PathBuf,
    #[command(flatten)]
    pub(super) part: Part,
    /// The output format; HTML is a self-contained page
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Markdown,
    Html,
    Json,
}

impl Summary {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let reader = open(&self.dir)?;
        let selection = self.part.selection();
        let summary = spanner_report::Summary::read(&reader, &selection, Timestamp::now())?;
        match self.format {
            Format::Markdown => write!(out, "{}", summary.page().markdown())?,
            Format::Html => write!(out, "{}", summary.page().html())?,
            Format::Json => {
                let json = format!("{:#}", summary.json());
                writeln!(out, "{}", visible_json(&json))?;
                remark(&summary.notes, true, out)?;
            }
        }
        let is_empty = summary.allowed + summary.refused == 0 && summary.approvals.is_empty();
        if is_empty {
            nothing(&summary.notes);
        }
        Ok(code(&summary.notes))
    }
}
