//! `spanner completions`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Cli;
use crate::print::Stop;

/// The options of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        // The generator panics where it cannot write: a reader may close the output early.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "spanner", &mut script);
        out.write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
