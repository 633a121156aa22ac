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

/// The program.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_spanner"))
}
