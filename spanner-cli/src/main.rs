//! `spanner`, the command line.
//!
//! Each command has a file. What a command does is in the crates; here are its options and what
//! it prints.

mod access;
mod check;
mod completions;
mod configuration;
mod demo;
mod ledger;
mod log;
mod man;
mod print;
mod resolve;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use spanner_core::text::error_chain;
use spanner_proxy::words;

use crate::configuration::Configuration;
use crate::print::{Stop, aside, is_broken_pipe, say};
use crate::serve::Serve;

/// Who may call which model, and who approved it: a guard for model servers, and the tools to
/// review access and to read the record of it.
#[derive(Debug, Parser)]
#[command(name = "spanner", version = VERSION, after_help = ENVIRONMENT)]
struct Cli {
    #[command(flatten)]
    earlier: Earlier,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options that stood before the command until the command line had `serve`. They are still
/// understood.
#[derive(Debug, clap::Args)]
struct Earlier {
    #[arg(long, hide = true, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    #[arg(long, hide = true, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[arg(long, hide = true)]
    demo: bool,
}

/// The version, with the commit that the program was built from if it is known.
const VERSION: &str = env!("SPANNER_VERSION");

/// The environment variables, for the help text.
const ENVIRONMENT: &str = "\
Environment:
  RUST_LOG  The log level of the service, which logs to the standard error stream: off, error, warn,
            info, debug or trace, for everything or by part. Default: info for Spanner, warn for
            the libraries below it. Example: RUST_LOG=info,spanner_ledger=debug,hyper=debug.
            The causes of failures are logged at the default level; tokens and bodies never are.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Guard model servers: the proxy of a configuration
    Serve(Serve),
    /// Load everything that the configuration names and print all problems; exit 1 if there are any
    Check(check::Check),
    /// Read one raw HTTP/1.1 request from the standard input and print what Spanner sees in it
    Resolve(resolve::Resolve),
    /// Review access, and test a change of it
    #[command(subcommand)]
    Access(access::Access),
    /// Verify and read a ledger
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Print the completions of a shell
    Completions(completions::Completions),
    /// Print the manual page
    Man(man::Man),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    match run(cli) {
        Ok(code) => code,
        // The reader of the output has enough of it.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let error = format!("spanner: {}", error_chain(&*error));
            say(&words::lines(&error));
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong with the command line, or the help or version that was asked for.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _: io::Result<()> = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    say(words::lines(&text).trim_end());
    ExitCode::from(2)
}

fn run(Cli { earlier, command }: Cli) -> Result<ExitCode, Stop> {
    let Some(mut command) = command.or_else(|| earlier.command()) else {
        Cli::command().print_help()?;
        return Ok(ExitCode::from(2));
    };
    earlier.hand_over(&mut command);
    let mut out = io::stdout().lock();
    match command {
        Command::Serve(serve) => {
            drop(out);
            serve.run()
        }
        Command::Check(check) => check.run(&mut out),
        Command::Resolve(resolve) => resolve.run(&mut out),
        Command::Access(access) => access.run(&mut out),
        Command::Ledger(ledger) => ledger.run(&mut out),
        Command::Completions(completions) => completions.run(&mut out),
        Command::Man(man) => man.run(&mut out),
    }
}

impl Earlier {
    /// The command that these options meant where no command follows.
    fn command(&self) -> Option<Command> {
        let is_given = self.config.is_some() || self.listen.is_some() || self.demo;
        is_given.then(|| {
            aside("`serve` is a command of its own now: write `spanner serve …`");
            Command::Serve(Serve::default())
        })
    }

    /// Gives a command the options that were written before it.
    fn hand_over(self, command: &mut Command) {
        if let Command::Serve(serve) = command {
            serve.listen = serve.listen.or(self.listen);
            serve.demo |= self.demo;
        }
        if let Some((file, configuration)) = self.config.zip(command.configuration()) {
            configuration.or(file);
        }
    }
}

impl Command {
    /// The option `--config` of a command that has it.
    const fn configuration(&mut self) -> Option<&mut Configuration> {
        match self {
            Self::Serve(serve) => Some(&mut serve.configuration),
            Self::Check(check) => Some(&mut check.configuration),
            Self::Resolve(resolve) => Some(&mut resolve.configuration),
            Self::Access(access) => access.configuration(),
            Self::Ledger(ledger) => ledger.configuration(),
            Self::Completions(_) | Self::Man(_) => None,
        }
    }
}
