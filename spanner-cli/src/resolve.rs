//! `spanner resolve`: what does Spanner see in this call?

use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::Args;
use spanner_proxy::config::Config;

use crate::configuration::Configuration;
use crate::print::Stop;

/// The options of `resolve`.
#[derive(Debug, Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
}

/// How much of standard input is read, in bytes: more than any body that a guard buffers.
const MAX_REQUEST: u64 = 64 << 20;

impl Resolve {
    /// Reads a request, and prints its actions and models, or why it is refused, as one line of
    /// JSON.
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let (config, problems) = Config::read_without_secrets(self.configuration.file());
        let Some(config) = config.filter(|_| problems.is_empty()) else {
            return Err(problems.into());
        };
        let mut request = Vec::new();
        let mut input = io::stdin().lock().take(MAX_REQUEST);
        input.read_to_end(&mut request)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let seen = runtime.block_on(config.resolve(request))?;
        writeln!(out, "{seen}")?;
        Ok(ExitCode::SUCCESS)
    }
}
