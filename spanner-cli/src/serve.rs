//! `spanner serve`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use spanner_proxy::Loaded;
use spanner_proxy::config::Config;

use crate::configuration::Configuration;
use crate::print::Stop;
use crate::{demo, log};

/// What to serve.
#[derive(Debug, Default, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Listen here instead; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Start an identity provider and a model server, too, and print calls to try. Needs no
    /// configuration; one that is named is used
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
