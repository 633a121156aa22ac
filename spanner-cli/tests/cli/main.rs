//! The command line as people, scripts and service managers use it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod access;
mod canary;
mod commands;
mod kills;
mod names;
mod operators;
mod process;
#[path = "../../../spanner-proxy/tests/proxy/support.rs"]
#[expect(
    dead_code,
    reason = "the tests of the proxy share it, and use more of it"
)]
mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::Stage;

/// The program.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_spanner"))
}

/// Runs the program with these arguments.
fn run(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).env_remove("RUST_LOG").output().unwrap()
}

/// The text of both output streams.
fn printed(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The path of a file of a stage, as an argument.
fn path(stage: &Stage, name: &str) -> String {
    stage.path(name).to_str().unwrap().to_owned()
}
