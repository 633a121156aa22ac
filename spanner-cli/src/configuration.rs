//! The option `--config`, on the commands that read a configuration.

use std::path::{Path, PathBuf};

use clap::Args;
use spanner_core::{Environment, Spelling};
use spanner_proxy::config::Config;

/// The configuration that a command reads.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Configuration {
    /// The configuration file [default: spanner.toml]
    #[arg(long = "config", value_name = "FILE")]
    named: Option<PathBuf>,
}

/// The default of `--config`.
const DEFAULT: &str = "spanner.toml";

impl Configuration {
    /// The path of the file.
    pub(crate) fn file(&self) -> &Path {
        self.named.as_deref().unwrap_or_else(|| Path::new(DEFAULT))
    }

    /// Whether `--config` was given.
    pub(crate) const fn is_named(&self) -> bool {
        self.named.is_some()
    }

    /// Reads this file unless `--config` was given.
    pub(crate) fn or(&mut self, file: PathBuf) {
        self.named.get_or_insert(file);
    }

    /// How the surfaces of the upstreams spell models' names, with a note if some of them cannot be
    /// read.
    pub(crate) fn spellings(&self) -> (Vec<(Environment, Spelling)>, Option<String>) {
        if !self.is_named() {
            let note = "names are compared as they are written: with `--config` the surfaces' own spelling is looked at";
            return (Vec::new(), Some(note.to_owned()));
        }
        let (config, problems) = Config::read_without_secrets(self.file());
        let note = (!problems.is_empty()).then(|| {
            format!("names may be spelled otherwise than the surfaces do, not all of which are known:\n{problems}")
        });
        let spellings = config.iter().flat_map(Config::spellings).collect();
        (spellings, note)
    }
}
