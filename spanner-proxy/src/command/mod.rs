//! The command line.

mod access;
mod ledger;
mod resolve;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use spanner_core::{Environment, Spelling};
use spanner_toml::Problems;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Config;
use crate::load::Loaded;
use crate::{demo, service, words};

/// An identity-aware proxy for model servers: who is calling, what do they want, may they,
/// and what became of it.
#[derive(Debug, Parser)]
#[command(
    name = "spanner-proxy",
    version,
    args_conflicts_with_subcommands = false,
    after_help = ENVIRONMENT
)]
struct Cli {
    /// The configuration [default: spanner.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here instead; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Start an identity provider and a model server, too, and print calls to try
    #[arg(long)]
    demo: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What the environment says, for the help text.
const ENVIRONMENT: &str = "\
Environment:
  RUST_LOG  The log level of the service, which logs to the standard error stream: off, error, warn,
            info, debug or trace, for everything or by part. Default: info for Spanner, warn for
            the libraries below it. Example: RUST_LOG=info,spanner_ledger=debug,hyper=debug.
            The causes of failures are logged at the default level; tokens and bodies never are.";

/// What to do; serve, if nothing else is said.
#[derive(Debug, Subcommand)]
enum Command {
    /// Load everything that the configuration names, print all problems, exit 1 if there are
    Check,
    /// Read one raw HTTP/1.1 request from the standard input, and print what Spanner sees in it
    Resolve,
    /// Read a ledger
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Look into an access, and test a change of it
    #[command(subcommand)]
    Access(access::Access),
}

/// Anything that ends a command with a sentence.
pub(crate) type Stop = Box<dyn std::error::Error + Send + Sync>;

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told(&error),
    };
    match run(cli) {
        Ok(code) => code,
        // Whoever reads the output has enough of it.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let error = format!("spanner-proxy: {}", chain(&*error));
            say(&mut io::stderr(), &words::lines(&error));
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the command line, or what was asked for by `--help`.
fn told(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _: io::Result<()> = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    say(&mut io::stderr(), words::lines(&text).trim_end());
    ExitCode::from(2)
}

fn run(cli: Cli) -> Result<ExitCode, Stop> {
    let configured = cli.configured();
    match cli.command {
        Some(Command::Check) => {
            let file = &configured.file;
            let loaded = Loaded::check(file)?;
            for note in loaded.notes() {
                say(&mut io::stderr(), &format!("note: {note}"));
            }
            let file = words::line(&file.display().to_string());
            writeln!(io::stdout(), "{file}: no problems")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Resolve) => resolve::run(&configured.file),
        Some(Command::Ledger(command)) => command.run(&configured, &mut io::stdout().lock()),
        Some(Command::Access(command)) => command.run(&configured, &mut io::stdout().lock()),
        None => serve(&cli),
    }
}

impl Cli {
    fn configured(&self) -> Configured {
        Configured {
            file: self.config.clone().unwrap_or_else(|| DEFAULT.into()),
            is_named: self.config.is_some(),
        }
    }
}

/// Which configuration a command is about.
pub(crate) struct Configured {
    pub(crate) file: PathBuf,
    /// Whether the command line names it.
    pub(crate) is_named: bool,
}

/// The configuration where none is named.
const DEFAULT: &str = "spanner.toml";

impl Configured {
    /// How the surfaces of the upstreams read names, with what is said to whoever asks if they are
    /// not known, or not all.
    fn spellings(&self) -> (Vec<(Environment, Spelling)>, Option<String>) {
        if !self.is_named {
            let note = "names are compared as they are written: with `--config` the surfaces' own spelling is looked at";
            return (Vec::new(), Some(note.to_owned()));
        }
        let (config, problems) = Config::read(&self.file);
        let note = (!problems.is_empty()).then(|| {
            format!("names may be spelled otherwise than the surfaces do, not all of which are known:\n{problems}")
        });
        let spellings = config.iter().flat_map(Config::spellings).collect();
        (spellings, note)
    }
}

fn serve(cli: &Cli) -> Result<ExitCode, Stop> {
    log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut config, problems) = read(cli)?;
        if let Some(listen) = cli.listen {
            config.listen = listen;
        }
        match cli.demo {
            true => demo::serve(config, problems).await?,
            false => service::serve(Loaded::of(config, problems)?).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What the configuration says, with the problems found so far.
fn read(cli: &Cli) -> Result<(Config, Problems), Problems> {
    match Config::read(&cli.configured().file) {
        (Some(config), problems) => Ok((config, problems)),
        (None, problems) => Err(problems),
    }
}

/// Logs to the standard error stream what concerns Spanner, or what `RUST_LOG` says.
fn log() {
    let wanted = std::env::var_os("RUST_LOG").filter(|wanted| !wanted.is_empty());
    let wanted = wanted.as_deref().map(OsStr::to_string_lossy);
    let targets = wanted.as_deref().map(Targets::from_str).transpose();
    let (targets, wrong) = match targets {
        Ok(targets) => (targets, None),
        Err(error) => (None, Some(error)),
    };
    let otherwise = || {
        let info = LevelFilter::INFO;
        let ours = [
            "spanner_admin",
            "spanner_cedar",
            "spanner_ledger",
            "spanner_proxy",
            "spanner_tower",
        ];
        ours.iter().fold(
            Targets::new().with_default(LevelFilter::WARN),
            |targets, name| targets.with_target(*name, info),
        )
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Plain(io::stderr()))
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(lines)
        .with(targets.unwrap_or_else(otherwise))
        .init();
    if let Some(error) = wrong {
        let given = wanted.as_deref().unwrap_or_default();
        tracing::warn!(
            given, %error,
            "`RUST_LOG` cannot be read and does not count: write it as in `RUST_LOG=info,spanner_tower=debug`"
        );
    }
}

/// Lines of the log, without secrets in addresses and without what a terminal obeys.
struct Plain(io::Stderr);

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each event comes whole.
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(words::lines(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// An error with its causes, those left out that it repeats.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let says = error.to_string();
        if !text.contains(&says) {
            text.push_str(": ");
            text.push_str(&says);
        }
        cause = error.source();
    }
    text
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Writes a line where there is nobody left to tell that it failed.
fn say(out: &mut dyn Write, line: &str) {
    let _: io::Result<()> = writeln!(out, "{line}");
}
