//! `spanner check`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use spanner_proxy::Loaded;
use spanner_toml::line;

use crate::configuration::Configuration;
use crate::print::{Stop, say};

/// The options of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
}

impl Check {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let file = self.configuration.file();
        let loaded = Loaded::check(file)?;
        for note in loaded.notes() {
            say(&format!("note: {note}"));
        }
        let file = line(&file.display().to_string());
        writeln!(out, "{file}: no problems")?;
        Ok(ExitCode::SUCCESS)
    }
}
