//! Finds the commit that the program is built from, for `spanner --version`.
//!
//! In a checkout, git knows it; in a published package, the file that `cargo package` adds. (Crates for
//! this depend on a git or date library.)

use std::env;
use std::fs;
use std::process::Command;

fn main() {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match packaged().or_else(checked_out) {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=SPANNER_VERSION={version}");
}

/// The commit of a published package.
fn packaged() -> Option<String> {
    const FILE: &str = ".cargo_vcs_info.json";
    let text = fs::read_to_string(FILE).ok()?;
    println!("cargo::rerun-if-changed={FILE}");
    let (_, rest) = text.split_once("\"sha1\": \"")?;
    rest.get(..DIGITS).map(str::to_owned)
}

/// The commit of a checkout.
fn checked_out() -> Option<String> {
    // The file changes with each commit and each change of branch.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", &format!("--short={DIGITS}"), "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// How much of a commit's name is shown.
const DIGITS: usize = 12;
