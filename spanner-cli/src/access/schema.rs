//! `spanner access schema`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use spanner_cedar::schemas;
use spanner_proxy::config::reference;

use crate::print::Stop;

/// The options of `access schema`.
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// The kind of file: `organization.toml`, a model's manifest, test cases, or the proxy's
    /// configuration
    #[arg(value_enum)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Organization,
    Manifest,
    Case,
    Proxy,
}

impl Schema {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let text = match self.kind {
            Kind::Organization => schemas::ORGANIZATION.to_owned(),
            Kind::Manifest => schemas::MANIFEST.to_owned(),
            Kind::Case => schemas::CASE.to_owned(),
            Kind::Proxy => reference::schema(),
        };
        write!(out, "{text}")?;
        Ok(ExitCode::SUCCESS)
    }
}
