//! What examples that tell a story share: the colours, and the ledger's view of it.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use spanner_ledger::{Ledger, Row};

/// As it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Not as it should be.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Beside the point.
pub const DIM: Style = Style::new().dimmed();
/// What comes next.
pub const TITLE: Style = Style::new().bold();

/// What a ledger says of this many calls. An outcome may be written a moment after the
/// client has seen the end of the answer.
///
/// # Errors
/// If the ledger cannot be read, or an outcome does not come within two seconds.
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
