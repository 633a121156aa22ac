//! `spanner access replay`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use spanner_cedar::{Again, Replay as Counted};

use super::{Besides, FailOn};
use crate::ledger::open;
use crate::print::Stop;

/// The options of `access replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The ledger's directory
    ledger: PathBuf,
    /// The access directory to decide with
    candidate: PathBuf,
    #[command(flatten)]
    pub(super) besides: Besides,
    /// Print JSON lines: each change, then a count
    #[arg(long)]
    json: bool,
    /// Exit 1 if any decision changes, or only if a denied one becomes allowed
    #[arg(long, value_enum, default_value_t = FailOn::Any)]
    fail_on: FailOn,
}

impl Replay {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let access = self.besides.load(&self.candidate)?;
        let mut found = open(&self.ledger)?.decisions()?;
        let (mut count, mut changed, mut widens) = (Counted::default(), 0_u64, false);
        for decision in &mut found {
            let again = access.decide_again(&decision);
            let Again::Changed(change) = &again else {
                count.take(again);
                continue;
            };
            match self.json {
                true => writeln!(out, "{}", serde_json::to_string(change)?)?,
                false => writeln!(out, "{change}")?,
            }
            changed += 1;
            widens |= change.widens();
        }
        found.end()?;
        let decided = count.decided + changed;
        let (not_asked, unreadable) = (
            count.not_asked,
            count.unreadable + found.notes().not_understood,
        );
        match self.json {
            true => {
                let line = json!({
                    "decided": decided, "changed": changed, "widens": widens,
                    "not_asked": not_asked, "unreadable": unreadable,
                });
                writeln!(out, "{line}")?;
            }
            false => writeln!(
                out,
                "{changed} of {decided} decisions would be others; {not_asked} asked no access, {unreadable} could not be made out"
            )?,
        }
        Ok(self.fail_on.code(changed > 0, widens))
    }
}
