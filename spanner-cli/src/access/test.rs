//! `spanner access test`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::{Folder, located};
use crate::print::Stop;

/// The options of `access test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Print JSON, including the cases that pass
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let access = self.folder.load_and_tell()?;
        let dir = self.folder.dir.as_deref();
        let report = access.test_cases();
        let report =
            report.map_err(|error| located(dir.unwrap_or_else(|| Path::new("")), &[], &error))?;
        match self.json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
            false => writeln!(out, "{report}")?,
        }
        Ok(match report.is_good() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}
