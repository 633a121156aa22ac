//! `spanner ledger export`: entries in the form of another program.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use spanner_ledger::ship::Format;

use super::{Part, code, nothing, open, remark};
use crate::print::Stop;

/// Of what, and in which form.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The ledger's directory
    dir: PathBuf,
    /// In which form: entries as they are stored, OCSF, or syslog; or requests as CSV
    #[arg(long, value_enum, default_value_t = Form::Jsonl)]
    format: Form,
    #[command(flatten)]
    pub(super) part: Part,
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
        let exported = match self.format {
            Form::Jsonl => reader.export(Format::JsonLines, &selection, out)?,
            Form::Ocsf => reader.export(Format::Ocsf, &selection, out)?,
            Form::Syslog => reader.export(Format::Syslog, &selection, out)?,
            Form::Csv => reader.csv_lines(&selection, out)?,
        };
        remark(&exported.notes, true, out)?;
        if exported.lines == 0 {
            nothing(&exported.notes);
        }
        Ok(code(&exported.notes))
    }
}
