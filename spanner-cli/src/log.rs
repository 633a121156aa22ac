//! The log of a service.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::str::FromStr;

use spanner_toml::lines;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging to standard error, at the level of `RUST_LOG` or, by default, info for Spanner and
/// warn for libraries.
pub(crate) fn start() {
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

/// A writer that hides secrets in URLs and escapes control characters.
struct Plain(io::Stderr);

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The subscriber writes each event as a whole.
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(lines(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
