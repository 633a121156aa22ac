//! Code that the examples share: the colours of their output, and reading their ledgers.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use spanner_ledger::{Ledger, Row};

/// An expected result.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// An unexpected result.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// A detail.
pub const DIM: Style = Style::new().dimmed();
/// A heading.
pub const TITLE: Style = Style::new().bold();

/// The ledger's records of this many calls. An outcome may be written a moment after the client has
/// seen the end of the response.
///
/// # Errors
/// If the ledger cannot be read, or an outcome is missing after two seconds.
pub async fn rows(
    ledger: &Ledger,
    calls: usize,
) -> Result<Vec<Row>, Box<dyn std::error::Error + Send + Sync>> {
    for _ in 0..100 {
        let rows = Ledger::read(ledger.dir())?.show()?;
        if rows.len() >= calls && rows.iter().all(|row| row.outcome.is_some()) {
            return Ok(rows);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the ledger does not have an outcome for every call".into())
}
