//! `ledger export`: entries in the form of another program.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use spanner_ledger::csv;
use spanner_ledger::ship::Format;

use super::{Part, Stop, open};

/// Of what, and in which form.
#[derive(Debug, Args)]
pub(in crate::command) struct Export {
    /// The ledger's directory
    dir: PathBuf,
    /// In which form: entries as they are stored, OCSF, or syslog; or requests as CSV
    #[arg(long, value_enum, default_value_t = Form::Jsonl)]
    format: Form,
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Jsonl,
    Ocsf,
    Syslog,
    Csv,
}

impl Export {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let reader = open(&self.dir)?;
        let selection = self.part.selection();
        let format = match self.format {
            Form::Csv => {
                write!(out, "{}", csv(&reader.select(&selection)?))?;
                return Ok(ExitCode::SUCCESS);
            }
            Form::Jsonl => Format::JsonLines,
            Form::Ocsf => Format::Ocsf,
            Form::Syslog => Format::Syslog,
        };
        reader.export(format, &selection, out)?;
        Ok(ExitCode::SUCCESS)
    }
}
