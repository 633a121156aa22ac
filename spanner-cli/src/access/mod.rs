//! `spanner access`: reviews access, and tests changes to it.

mod diff;
mod explain;
#[cfg(feature = "prove")]
mod prove;
mod replay;
mod review;
mod schema;
mod test;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use spanner_cedar::{Cedar, LoadError};
use spanner_core::IssuerAlias;
use spanner_proxy::config::Config;
use spanner_proxy::paths::{missing_directory, problem_file};

use crate::configuration::Configuration;
use crate::print::{Stop, say};

/// The commands below `access`.
#[derive(Debug, Subcommand)]
pub(crate) enum Access {
    /// Print who may do what with which model in which environment, and why
    Review(review::Review),
    /// Print who gains and loses access by a change
    Diff(diff::Diff),
    /// Prove that a change permits nothing beyond what `diff` shows; otherwise print a
    /// counterexample and exit 1
    #[cfg(feature = "prove")]
    Prove(prove::Prove),
    /// Run the test cases in the folder `cases`; exit 1 if one fails
    Test(test::Test),
    /// Repeat the recorded decisions of a ledger with another access, and print those that change
    Replay(replay::Replay),
    /// Print why a caller may or may not do something, and what would change that
    Explain(Box<explain::Explain>),
    /// Print the JSON Schema of a kind of file, for editors
    Schema(schema::Schema),
}

/// An access directory.
#[derive(Debug, Args)]
struct Folder {
    /// The access directory [default: the one that the configuration names]
    dir: Option<PathBuf>,
    #[command(flatten)]
    besides: Besides,
}

/// Options for reading an access directory.
#[derive(Debug, Args)]
struct Besides {
    /// A folder that contains a folder per model, with its manifest in `access.toml`; repeatable
    #[arg(long, value_name = "DIR")]
    models: Vec<PathBuf>,
    /// The alias of an issuer, if organization.toml lists none; repeatable
    #[arg(long, value_name = "ALIAS")]
    issuer: Vec<IssuerAlias>,
    #[command(flatten)]
    configuration: Configuration,
}

/// Which differences make a command exit 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A caller gains access, or could
    Widen,
    /// Any difference
    Any,
    /// Nothing
    Never,
}

impl Access {
    /// The option `--config` of a command that has it.
    pub(crate) const fn configuration(&mut self) -> Option<&mut Configuration> {
        let besides = match self {
            Self::Review(it) => &mut it.folder.besides,
            Self::Diff(it) => &mut it.besides,
            #[cfg(feature = "prove")]
            Self::Prove(it) => &mut it.besides,
            Self::Test(it) => &mut it.folder.besides,
            Self::Replay(it) => &mut it.besides,
            Self::Explain(it) => &mut it.folder.besides,
            Self::Schema(_) => return None,
        };
        Some(&mut besides.configuration)
    }

    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        match self {
            Self::Review(it) => it.run(out),
            Self::Diff(it) => it.run(out),
            #[cfg(feature = "prove")]
            Self::Prove(it) => it.run(out),
            Self::Test(it) => it.run(out),
            Self::Replay(it) => it.run(out),
            Self::Explain(it) => it.run(out),
            Self::Schema(it) => it.run(out),
        }
    }
}

impl Folder {
    /// Loads as [`load`](Self::load) does, with a note if the names of some models cannot be compared
    /// with the surfaces.
    fn load_and_tell(&self) -> Result<Cedar, Stop> {
        let configuration = &self.besides.configuration;
        let (_, note) = configuration.spellings();
        let known = self.dir.is_none() && !configuration.is_named();
        if let Some(note) = note.filter(|_| !known) {
            say(&format!("spanner: {note}"));
        }
        self.load()
    }

    /// Loads the directory, or the one that the configuration names, with the options there.
    fn load(&self) -> Result<Cedar, Stop> {
        if let Some(dir) = &self.dir {
            return self.besides.load(dir);
        }
        let mut configuration = self.besides.configuration.clone();
        let (config, problems) = Config::read_without_secrets(configuration.file());
        let Some(config) = config else {
            return Err(format!("{problems}\nor name the access directory itself").into());
        };
        configuration.or(config.file.clone());
        let issuers = config.issuers.iter();
        let issuers = issuers.filter_map(|it| IssuerAlias::new(it.alias()).ok());
        let mut besides = Besides {
            models: config.models.clone(),
            issuer: issuers.collect(),
            configuration,
        };
        besides.models.extend(self.besides.models.iter().cloned());
        besides.load(&config.access)
    }
}

impl Besides {
    /// Loads one access.
    fn load(&self, dir: &Path) -> Result<Cedar, Stop> {
        self.load_all([dir]).map(|[access]| access)
    }

    fn load_all<const N: usize>(&self, dirs: [&Path; N]) -> Result<[Cedar; N], Stop> {
        let (spellings, _) = self.configuration.spellings();
        let mut before = Cedar::builder().issuers(self.issuer.iter().cloned());
        for models in &self.models {
            before = before.models_dir(models);
        }
        let mut builder = before.clone();
        for (environment, spelling) in spellings {
            builder = builder.spelling(environment, spelling);
        }
        // Only the new access must have the right names; the one that it replaces may have wrong ones.
        let load = |(number, dir): (usize, &Path)| {
            if let Some(what) = missing_directory(dir) {
                return Err(format!("{what}; name the access directory").into());
            }
            let builder = match number + 1 < N {
                true => before.clone(),
                false => builder.clone(),
            };
            builder
                .from_dir(dir)
                .map_err(|error| located(dir, &self.models, &error))
        };
        let loaded: Result<Vec<Cedar>, Stop> = dirs.into_iter().enumerate().map(load).collect();
        loaded?
            .try_into()
            .map_err(|_| "each directory is one access".into())
    }
}

impl FailOn {
    fn code(self, differs: bool, widens: bool) -> ExitCode {
        let fails = match self {
            Self::Widen => widens,
            Self::Any => differs,
            Self::Never => false,
        };
        match fails {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }
}

/// Problems with the complete paths of their files.
fn located(dir: &Path, models: &[PathBuf], error: &LoadError) -> Stop {
    let mut lines: Vec<String> = error
        .problems()
        .iter()
        .map(|it| {
            let mut located = it.clone();
            located.file = problem_file(dir, models, &it.file);
            located.to_string()
        })
        .collect();
    if error.more() > 0 {
        lines.push(format!("and {} more", error.more()));
    }
    lines.insert(0, "the access is not right:".to_owned());
    lines.join("\n").into()
}
