//! `spanner ledger export`: entries in the format of another program.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use spanner_report::write_csv;
use spanner_ship::{Format, Producer, export};

use super::{Part, code, nothing, open, remark};
use crate::print::Stop;

/// The options of `ledger export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The ledger's directory
    dir: PathBuf,
    /// The output format: stored entries (JSON lines), OCSF or syslog, or requests as CSV
    #[arg(long, value_enum, default_value_t = Form::Jsonl)]
    format: Form,
    /// The vendor name in OCSF events [default: Spanner]
    #[arg(long, value_name = "NAME")]
    vendor: Option<String>,
    /// The IANA private enterprise number of your organization, for syslog (`spanner@NUMBER`)
    /// [default: 32473, which is reserved for documentation]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    enterprise_number: Option<u32>,
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
        let format = match self.format {
            Form::Jsonl => Some(Format::JsonLines),
            Form::Ocsf => Some(Format::Ocsf),
            Form::Syslog => Some(Format::Syslog),
            Form::Csv => None,
        };
        let (lines, notes) = match format {
            Some(format) => export(&reader, format, &self.producer(), &selection, out)?,
            None => write_csv(&reader, &selection, out)?,
        };
        remark(&notes, true, out)?;
        if lines == 0 {
            nothing(&notes);
        }
        Ok(code(&notes))
    }

    fn producer(&self) -> Producer {
        let mut producer = Producer::default();
        if let Some(vendor) = &self.vendor {
            producer = producer.vendor(vendor);
        }
        if let Some(number) = self.enterprise_number {
            producer = producer.enterprise_number(number);
        }
        producer
    }
}
