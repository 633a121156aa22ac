//! `spanner ledger export`: entries in the form of another program.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use spanner_report::write_csv;
use spanner_ship::{Format, export};

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
        let (lines, notes) = match self.format {
            Form::Jsonl => export(&reader, Format::JsonLines, &selection, out)?,
            Form::Ocsf => export(&reader, Format::Ocsf, &selection, out)?,
            Form::Syslog => export(&reader, Format::Syslog, &selection, out)?,
            Form::Csv => write_csv(&reader, &selection, out)?,
        };
        remark(&notes, true, out)?;
        if lines == 0 {
            nothing(&notes);
        }
        Ok(code(&notes))
    }
}
