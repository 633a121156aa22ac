//! `spanner serve`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use spanner_proxy::Loaded;
use spanner_proxy::config::Config;

use crate::configuration::Configuration;
use crate::print::Stop;
use crate::{demo, log};

/// The options of `serve`.
#[derive(Debug, Default, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Listen at this address instead of the configured one; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Also start an identity provider and a model server for a demonstration, and print calls to
    /// try. Uses a configuration of its own unless `--config` is given
    #[arg(long)]
    pub(crate) demo: bool,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<ExitCode, Stop> {
        log::start();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            match self.demo {
                true => demo::serve(&self.configuration, self.listen).await?,
                false => {
                    let (config, problems) = Config::read(self.configuration.file());
                    let Some(mut config) = config else {
                        return Err(problems.into());
                    };
                    config.listen = self.listen.unwrap_or(config.listen);
                    spanner_proxy::serve(Loaded::of(config, problems)?, |_| ()).await?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
