//! `spanner access prove OLD NEW`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use spanner_cedar::{Solver, prove};

use super::Besides;
use crate::print::Stop;

/// Two accesses, of which one is to take the other's place.
#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// The access before
    old: PathBuf,
    /// The access after
    new: PathBuf,
    /// The solver; otherwise what the environment variable CVC5 names, or `cvc5` on the path
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
