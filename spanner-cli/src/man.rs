//! `spanner man`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};

use crate::Cli;
use crate::print::Stop;

/// The options of `man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page for each command into this directory, instead of `spanner(1)` to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        match &self.dir {
            Some(dir) => {
                std::fs::create_dir_all(dir)
                    .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
                    .map_err(|error| format!("`{}` cannot be written: {error}", dir.display()))?;
            }
            None => clap_mangen::Man::new(Cli::command()).render(&mut &mut *out)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
