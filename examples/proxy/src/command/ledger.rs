//! `spanner-proxy ledger`: reads a ledger, also while it is written.

mod export;
mod history;
mod summary;

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use spanner_ledger::{Entry, Numbered, ReadError, Reader, Row, Selection, table};

use super::{Stop, chain};

/// What to do with a ledger.
#[derive(Debug, Subcommand)]
pub(super) enum Ledger {
    /// Read all of it; exit 1 if anything is damaged or missing
    Verify(Place),
    /// Show requests, the last ones last
    Show {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        filter: Filter,
    },
    /// Show who proposed and approved what is served, and what else happened apart from
    /// requests
    History {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        filter: history::Filter,
    },
    /// Summarize a span of time for an auditor
    Summary(summary::Summary),
    /// Write entries in the form of another program
    Export(export::Export),
}

/// Which ledger, and how to print it.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The ledger's directory
    dir: PathBuf,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// Which part of a ledger.
#[derive(Debug, Args)]
pub(super) struct Part {
    /// Of this caller, as subject or actor: `alice`, `corp/alice` or `user:corp/alice`
    #[arg(long)]
    caller: Option<String>,
    /// For this model
    #[arg(long)]
    model: Option<String>,
    /// In this environment
    #[arg(long)]
    environment: Option<String>,
    /// From this time on: `2026-11-24T00:00:00Z`, `2026-11-24`, or `7d` or `12h` ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

/// Which requests.
#[derive(Debug, Args)]
pub(super) struct Filter {
    #[command(flatten)]
    part: Part,
    /// At most so many, the last ones
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

impl Part {
    fn selection(&self) -> Selection {
        let mut selection = Selection::new();
        if let Some(caller) = &self.caller {
            selection = selection.caller(caller);
        }
        if let Some(model) = &self.model {
            selection = selection.model(model);
        }
        if let Some(environment) = &self.environment {
            selection = selection.environment(environment);
        }
        if let Some(since) = self.since {
            selection = selection.since(since);
        }
        if let Some(until) = self.until {
            selection = selection.until(until);
        }
        selection
    }
}

/// A time as people write it.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = format!("{text}T00:00:00Z").parse::<Timestamp>() {
        return Ok(time);
    }
    let hours = |count: &str, each: i64| count.parse::<i64>().ok()?.checked_mul(each);
    let ago = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => hours(days, 24),
        (_, Some(count)) => hours(count, 1),
        _ => None,
    };
    // Hours past what a span of time can be are none.
    let ago = ago.filter(|hours| (0..=MAX_HOURS).contains(hours));
    let then = ago.and_then(|hours| {
        Timestamp::now()
            .checked_sub(SignedDuration::from_hours(hours))
            .ok()
    });
    then.ok_or_else(|| "write `2026-11-24T00:00:00Z`, `2026-11-24`, `7d` or `12h`".to_owned())
}

/// A thousand years.
const MAX_HOURS: i64 = 24 * 366 * 1000;

impl Ledger {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        match self {
            Self::Verify(place) => verify(&place, out),
            Self::Show { place, filter } => show(&place, &filter, out),
            Self::History { place, filter } => history::run(&place, &filter, out),
            Self::Summary(summary) => summary.run(out),
            Self::Export(export) => export.run(out),
        }
    }
}

/// What reading all of a ledger found.
#[derive(Debug, Default)]
struct Found {
    entries: u64,
    gaps: u64,
    unknown: u64,
    open: HashSet<String>,
}

fn verify(place: &Place, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let mut found = Found::default();
    let fault = found.read(&open(&place.dir)?);
    let (entries, gaps) = (found.entries, found.gaps);
    let (unknown, unfinished) = (found.unknown, found.open.len());
    let result = match &fault {
        None => "clean",
        Some(fault) => word(fault),
    };
    let problem = fault.as_ref().map(|fault| chain(fault));
    if place.json {
        let line = json!({
            "result": result, "entries": entries, "open": unfinished, "gaps": gaps,
            "unknown": unknown, "problem": problem,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{result}: {entries} entries, {unfinished} decisions without an outcome, {gaps} gaps, {unknown} of a newer version"
        )?;
        if let Some(problem) = problem {
            writeln!(out, "{problem}")?;
        }
    }
    Ok(match fault {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

impl Found {
    /// Reads to the end, or to what cannot be read.
    fn read(&mut self, reader: &Reader) -> Option<ReadError> {
        let entries = match reader.entries() {
            Ok(entries) => entries,
            Err(fault) => return Some(fault),
        };
        for numbered in entries {
            let entry = match numbered {
                Ok(Numbered { entry, .. }) => entry,
                Err(ReadError::Unknown { .. }) => {
                    self.entries += 1;
                    self.unknown += 1;
                    continue;
                }
                Err(fault) => return Some(fault),
            };
            self.entries += 1;
            match entry {
                Entry::Decision(decision) => {
                    self.open.insert(decision.id.to_string());
                }
                Entry::Outcome(outcome) => {
                    self.open.remove(&outcome.id.to_string());
                }
                Entry::Gap(_) => self.gaps += 1,
                _ => {}
            }
        }
        None
    }
}

/// What a fault is called.
const fn word(fault: &ReadError) -> &'static str {
    match fault {
        ReadError::Corrupt { .. } => "corrupt",
        ReadError::Missing { .. } => "missing",
        _ => "unreadable",
    }
}

fn show(place: &Place, filter: &Filter, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let mut rows = open(&place.dir)?.select(&filter.part.selection())?;
    if let Some(limit) = filter.limit {
        rows.drain(..rows.len().saturating_sub(limit));
    }
    if !place.json {
        write!(out, "{}", table(&rows))?;
        return Ok(ExitCode::SUCCESS);
    }
    rows.iter().try_for_each(|row| request(row, out))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a request as a line of JSON.
fn request(row: &Row, out: &mut dyn Write) -> Result<(), Stop> {
    let Row {
        sequence,
        decision,
        outcome,
        ..
    } = row;
    let line = json!({"sequence": sequence, "decision": decision, "outcome": outcome});
    Ok(writeln!(out, "{line}")?)
}

fn open(dir: &Path) -> Result<Reader, Stop> {
    let shown = dir.display();
    let reader = Reader::open(dir).map_err(|error| format!("`{shown}`: {}", chain(&error)))?;
    let is_empty = reader.entries()?.next().is_none();
    match is_empty {
        true => Err(format!("`{shown}` holds no entry: no ledger, or one that was emptied").into()),
        false => Ok(reader),
    }
}
