//! `spanner ledger prune` and `acknowledge`: what is done to a ledger that nobody writes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use spanner_core::text::error_chain;
use spanner_ledger::{AcknowledgeError, Acknowledgment, CheckpointNote, Retention};
use spanner_proxy::no_directory;

use super::open;
use crate::print::Stop;

/// What may go; something must be said.
pub(super) fn retention(
    older_than: Option<Duration>,
    segments: Option<u64>,
    bytes: Option<u64>,
) -> Result<Retention, Stop> {
    let mut retention = Retention::new();
    if let Some(age) = older_than {
        let before = Timestamp::now().checked_sub(age);
        let before = before.map_err(|_| "nothing is that old".to_owned())?;
        retention = retention.before(before);
    }
    if let Some(segments) = segments {
        retention = retention.segments(segments);
    }
    if let Some(bytes) = bytes {
        retention = retention.bytes(bytes);
    }
    match retention == Retention::new() {
        true => Err("say what may go: --older-than, --segments or --bytes".into()),
        false => Ok(retention),
    }
}

pub(super) fn prune(
    dir: &Path,
    retention: Retention,
    out: &mut dyn Write,
) -> Result<ExitCode, Stop> {
    open(dir)?;
    let ledger = spanner_ledger::Ledger::open(dir)?;
    let pruned = ledger.prune(&retention)?;
    ledger.close()?;
    writeln!(
        out,
        "{} segments went; {} entries of them are kept",
        pruned.segments, pruned.kept
    )?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn acknowledge(
    dir: &Path,
    reason: &str,
    note: Option<PathBuf>,
    json: bool,
    out: &mut dyn Write,
) -> Result<ExitCode, Stop> {
    if let Some(what) = no_directory(dir) {
        return Err(format!("{what}; name the ledger's directory").into());
    }
    let mut builder = spanner_ledger::Ledger::builder(dir);
    if let Some(note) = note.or_else(|| CheckpointNote::beside(dir)) {
        builder = builder.note(note);
    }
    let done = builder.acknowledge(reason).map_err(|error| match error {
        AcknowledgeError::Open(error) => Stop::from(error_chain(&error)),
        error => format!("`{}`: {error}", dir.display()).into(),
    })?;
    let Acknowledgment {
        missing,
        set_aside,
        superseded,
        sequence,
        ..
    } = &done;
    if json {
        let line = json!({
            "missing": missing, "set_aside": set_aside, "superseded": superseded.len(),
            "sequence": sequence,
        });
        writeln!(out, "{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for missing in missing {
        writeln!(out, "{missing}")?;
    }
    for name in set_aside {
        writeln!(out, "a file could not be used and is called `{name}` now")?;
    }
    if !superseded.is_empty() {
        writeln!(
            out,
            "{} checkpoints that were kept outside count no more; they are in the record",
            superseded.len()
        )?;
    }
    writeln!(
        out,
        "entry {sequence} records this; look at `spanner ledger history` before serving: approvals and roll-backs may be among what is lost"
    )?;
    Ok(ExitCode::SUCCESS)
}
