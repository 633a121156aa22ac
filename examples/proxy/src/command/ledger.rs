//! `spanner-proxy ledger`: reads a ledger, also while it is written.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use spanner_core::record::{Decision, PrincipalEntry};
use spanner_ledger::{Entries, Entry, Event, Numbered, ReadError, Reader, Row, table};

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
    /// Show what happened apart from requests: starts, changes of the access in force
    History(Place),
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

/// Which requests.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Of this caller, as subject or actor: `alice`, `corp/alice` or `user:corp/alice`
    #[arg(long)]
    caller: Option<String>,
    /// For this model
    #[arg(long)]
    model: Option<String>,
    /// In this environment
    #[arg(long)]
    environment: Option<String>,
    /// At most so many, the last ones
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

impl Ledger {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        match self {
            Self::Verify(place) => verify(&place, out),
            Self::Show { place, filter } => show(&place, &filter, out),
            Self::History(place) => history(&place, out),
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
    let mut rows = open(&place.dir)?.show()?;
    rows.retain(|row| filter.wants(&row.decision));
    if let Some(limit) = filter.limit {
        rows.drain(..rows.len().saturating_sub(limit));
    }
    if !place.json {
        write!(out, "{}", table(&rows))?;
        return Ok(ExitCode::SUCCESS);
    }
    for Row {
        sequence,
        decision,
        outcome,
        ..
    } in &rows
    {
        let line = json!({"sequence": sequence, "decision": decision, "outcome": outcome});
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Filter {
    fn wants(&self, decision: &Decision) -> bool {
        let caller = self.caller.as_deref().is_none_or(|name| {
            let caller = decision.caller.iter();
            let mut parties =
                caller.flat_map(|caller| std::iter::once(&caller.subject).chain(&caller.actors));
            parties.any(|party| is_called(party, name))
        });
        let model = self.model.as_deref().is_none_or(|name| {
            let mut pairs = decision.target.iter();
            pairs.any(|pair| pair.model.as_deref() == Some(name))
        });
        let environment = self.environment.as_deref();
        caller && model && environment.is_none_or(|name| decision.environment == name)
    }
}

fn is_called(party: &PrincipalEntry, name: &str) -> bool {
    let PrincipalEntry {
        issuer,
        kind,
        subject,
        ..
    } = party;
    name == subject
        || name == format!("{issuer}/{subject}")
        || name == format!("{kind}:{issuer}/{subject}")
}

fn history(place: &Place, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    for numbered in open(&place.dir)?.entries()? {
        let Numbered {
            sequence, entry, ..
        } = match numbered {
            Err(ReadError::Unknown { .. }) => continue,
            numbered => numbered?,
        };
        let Entry::Event(Event {
            time, event, body, ..
        }) = entry
        else {
            continue;
        };
        if place.json {
            let line = json!({"sequence": sequence, "time": time, "event": event, "body": body});
            writeln!(out, "{line}")?;
        } else {
            // JSON escapes what could forge a line.
            let time = time.strftime("%Y-%m-%dT%H:%M:%SZ");
            writeln!(out, "{time}  {event}  {body}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every decision of a ledger, one after the other, to its end or to what cannot be read.
pub(super) struct Decisions {
    entries: Entries,
    fault: Option<ReadError>,
    unknown: u64,
}

pub(super) fn decisions(reader: &Reader) -> Result<Decisions, Stop> {
    Ok(Decisions {
        entries: reader.entries()?,
        fault: None,
        unknown: 0,
    })
}

impl Decisions {
    /// What cannot be read, if that is why they ended.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// How many entries are of a newer version.
    pub(super) const fn unknown(&self) -> u64 {
        self.unknown
    }
}

impl Iterator for Decisions {
    type Item = Decision;

    fn next(&mut self) -> Option<Decision> {
        loop {
            match self.entries.next()? {
                Ok(Numbered {
                    entry: Entry::Decision(decision),
                    ..
                }) => return Some(*decision),
                Ok(_) => {}
                Err(ReadError::Unknown { .. }) => self.unknown += 1,
                Err(fault) => {
                    self.fault = Some(fault);
                    return None;
                }
            }
        }
    }
}

pub(super) fn open(dir: &Path) -> Result<Reader, Stop> {
    let shown = dir.display();
    let reader = Reader::open(dir).map_err(|error| format!("`{shown}`: {}", chain(&error)))?;
    let is_empty = reader.entries()?.next().is_none();
    match is_empty {
        true => Err(format!("`{shown}` holds no entry: no ledger, or one that was emptied").into()),
        false => Ok(reader),
    }
}
