//! `spanner access schema`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use spanner_cedar::schemas;

use crate::print::Stop;

/// Of which kind of file.
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// `organization.toml`, a model's manifest, or a file of cases
    #[arg(value_enum)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Organization,
    Manifest,
    Case,
}

impl Schema {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let text = match self.kind {
            Kind::Organization => schemas::ORGANIZATION,
            Kind::Manifest => schemas::MANIFEST,
            Kind::Case => schemas::CASE,
        };
        write!(out, "{text}")?;
        Ok(ExitCode::SUCCESS)
    }
}
