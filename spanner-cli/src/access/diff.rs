//! `spanner access diff`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Besides, FailOn};
use crate::print::Stop;

/// The options of `access diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The current access directory
    old: PathBuf,
    /// The changed access directory
    new: PathBuf,
    #[command(flatten)]
    pub(super) besides: Besides,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Exit 1 if the changed access permits more, or if it differs at all
    #[arg(long, value_enum, default_value_t = FailOn::Widen)]
    fail_on: FailOn,
}

impl Diff {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let dirs = [self.old.as_path(), self.new.as_path()];
        let [old, new] = self.besides.load_all(dirs)?;
        let difference = old.diff(&new);
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&difference)?)?;
        } else if difference.is_empty() {
            writeln!(out, "nobody gains or loses anything")?;
        } else {
            write!(out, "{difference}")?;
        }
        let differs = !difference.is_empty();
        Ok(self.fail_on.code(differs, difference.widens()))
    }
}
