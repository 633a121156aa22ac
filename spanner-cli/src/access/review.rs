//! `spanner access review`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use futures_executor::block_on;
use spanner_admin::promotions_in;
use spanner_core::Timestamp;
use spanner_report::{review as report, rotation_report};

use super::Folder;
use crate::ledger::{open, remark};
use crate::print::Stop;

/// The options of `access review`.
#[derive(Debug, Args)]
pub(crate) struct Review {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// A ledger: adds promoted manifests, emergency access, unused grants and old credentials to the
    /// review
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
}

/// The format of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Markdown
    Markdown,
    /// CSV, one line per grant
    Csv,
    /// A self-contained HTML page
    Html,
    /// JSON
    Json,
}

impl Review {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let access = self.folder.load()?;
        let mut review = access.review();
        if let Some(dir) = &self.ledger {
            let (reader, now) = (open(dir)?, Timestamp::now());
            let (history, kept) = block_on(promotions_in(reader.clone()))?;
            access.keep(kept)?;
            review = access.review().with_history(&history);
            let mut found = reader.decisions()?;
            review = review.with_decisions(&mut found, now);
            found.end()?;
            remark(&found.notes(), true, out)?;
            let report = rotation_report(&reader.aging_credentials(now)?, now);
            review = review.with_credentials(report.lines());
        }
        match self.format {
            Format::Markdown => write!(out, "{}", report::listing(&review).markdown())?,
            Format::Csv => write!(out, "{}", report::grants(&review).csv())?,
            Format::Html => write!(out, "{}", report::page(&review).html())?,
            Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&review)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
