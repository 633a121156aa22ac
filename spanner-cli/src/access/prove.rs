//! `spanner access prove OLD NEW`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use spanner_cedar::{Solver, prove};

use super::Besides;
use crate::print::Stop;

/// The options of `access prove`.
#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// The current access directory
    old: PathBuf,
    /// The changed access directory
    new: PathBuf,
    /// The path of the solver [default: the environment variable CVC5, or `cvc5` on the PATH]
    #[arg(long, value_name = "PROGRAM")]
    cvc5: Option<PathBuf>,
    #[command(flatten)]
    pub(super) besides: Besides,
}

impl Prove {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let dirs = [self.old.as_path(), self.new.as_path()];
        let [old, new] = self.besides.load_all(dirs)?;
        let solver = match &self.cvc5 {
            Some(program) => Solver::at(program)?,
            None => Solver::find()?,
        };
        let proof = prove(&old, &new, &solver)?;
        write!(out, "{}{proof}", proof.difference)?;
        Ok(match proof.holds() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}
