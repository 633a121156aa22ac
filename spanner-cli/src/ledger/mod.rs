//! `spanner ledger`: reads a ledger, also while it is written.

mod evidence;
mod export;
mod history;
mod show;
mod summary;
mod upkeep;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use spanner_core::text::error_chain;
use spanner_core::units::{DURATION_ADVICE, SIZE_ADVICE, parse_duration, parse_size};
use spanner_core::{ModelName, Spelling};
use spanner_ledger::{Notes, ReadError, Reader, Selection, Verdict};
use spanner_proxy::config::Config;

use crate::configuration::Configuration;
use crate::print::{Stop, aside, is_broken_pipe};

/// What to do with a ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Hold all of it against what was signed; exit 1 on anything but clean or a torn tail, 2
    /// if that cannot be found out
    Verify {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        trust: evidence::Trust,
        /// Exit 0 if nothing is wrong but losses that were acknowledged
        #[arg(long)]
        accept_acknowledged: bool,
    },
    /// Print proofs that a record stands in it, as JSON lines
    Prove {
        /// The ledger's directory
        dir: PathBuf,
        #[command(flatten)]
        wanted: evidence::Wanted,
        #[command(flatten)]
        trust: evidence::Trust,
    },
    /// Let old segments go, while no service writes it; events and open requests stay
    Prune {
        /// The ledger's directory
        dir: PathBuf,
        /// Segments whose entries are all older: `400d`; a number alone is one of days
        #[arg(long, value_name = "AGE", value_parser = age)]
        older_than: Option<Duration>,
        /// As long as there are more segments
        #[arg(long, value_name = "COUNT")]
        segments: Option<u64>,
        /// As long as they take more than this: `10 GiB`; a number alone is one of bytes
        #[arg(long, value_name = "SIZE", value_parser = size)]
        bytes: Option<u64>,
        /// Also what a shipment has not delivered
        #[arg(long)]
        undelivered: bool,
    },
    /// Let a ledger be opened again of which entries are lost, while no service writes it; the
    /// loss is recorded in it
    Acknowledge {
        /// The ledger's directory
        dir: PathBuf,
        /// What happened, and who decided to go on; it is recorded
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// The file that keeps the newest checkpoint outside the directory, if that is not the
        /// one beside it
        #[arg(long, value_name = "FILE")]
        note: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check proofs, without the ledger
    VerifyProof {
        /// What `prove` printed
        file: PathBuf,
        /// The ledger's verifier key, or a file of such keys
        #[arg(long, value_name = "KEY|FILE", required = true)]
        vkey: Vec<String>,
    },
    /// Show requests, the last ones last
    Show {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        filter: show::Filter,
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

/// A reason that somebody can read.
fn reason(text: &str) -> Result<String, String> {
    let is_visible = |c: char| c.is_alphanumeric();
    match text.chars().any(is_visible) && text.len() <= MAX_REASON {
        true => Ok(text.to_owned()),
        false => Err(format!("write a sentence, of {MAX_REASON} bytes at most")),
    }
}

const MAX_REASON: usize = 4096;

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
    /// From this time on: `2026-11-24T08:30:00Z`, `2026-11-24` (UTC, unless it says otherwise),
    /// or `2w`, `7d`, `12h` or `30m` ago
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    since: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    until: Option<Timestamp>,
    #[command(flatten)]
    configuration: Configuration,
}

impl Part {
    /// What to say of a model's name that the surfaces read as another one. The ledger may be
    /// older than they are, so it is looked for all the same.
    fn misspelt(&self) -> Option<String> {
        let model = ModelName::new(self.model.as_deref()?).ok()?;
        let (config, _) = Config::read_without_secrets(self.configuration.file());
        let read = |spelling: &Spelling| {
            let read = spelling.read(&model);
            let others: Vec<String> = read.iter().map(|it| format!("`{it}`")).collect();
            (!read.contains(&model) && !read.is_empty()).then(|| {
                let (surface, others) = (spelling.surface(), others.join(" and "));
                format!(
                    "the surface `{surface}` reads `{model}` as {others}, and so do its records"
                )
            })
        };
        config?
            .spellings()
            .find_map(|(_, spelling)| read(&spelling))
    }

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
    // A zone that is named and not understood must not be passed over.
    let is_bare = |text: &str| text.chars().all(|it| "0123456789-:.T ".contains(it));
    if is_bare(text)
        && let Ok(time) = text.parse::<DateTime>()
        && let Ok(time) = TimeZone::UTC.to_timestamp(time)
    {
        return Ok(time);
    }
    if text.starts_with('-') {
        return Err("how long ago is written without a minus: `7d`".to_owned());
    }
    let then = parse_duration(text).ok().and_then(|ago| {
        let now = Timestamp::now();
        now.checked_sub(ago).ok()
    });
    then.ok_or_else(|| {
        "write `2026-11-24T08:30:00Z`, `2026-11-24`, `2w`, `7d`, `12h` or `30m`".to_owned()
    })
}

/// An age: a duration, or a number of days.
fn age(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(days) => Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
        Err(_) => parse_duration(text).map_err(|_| DURATION_ADVICE.to_owned()),
    }
}

/// A size: a number of bytes, or one with a unit.
fn size(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(bytes) => Ok(bytes),
        Err(_) => parse_size(text).map_err(|_| SIZE_ADVICE.to_owned()),
    }
}

impl Ledger {
    /// The part that is asked for, where one is.
    const fn part(&mut self) -> Option<&mut Part> {
        match self {
            Self::Show { filter, .. } => Some(&mut filter.part),
            Self::History { filter, .. } => Some(&mut filter.part),
            Self::Summary(summary) => Some(&mut summary.part),
            Self::Export(export) => Some(&mut export.part),
            Self::Verify { .. }
            | Self::Acknowledge { .. }
            | Self::Prove { .. }
            | Self::Prune { .. }
            | Self::VerifyProof { .. } => None,
        }
    }

    /// The option `--config` of a command that has it.
    pub(crate) const fn configuration(&mut self) -> Option<&mut Configuration> {
        match self.part() {
            Some(part) => Some(&mut part.configuration),
            None => None,
        }
    }

    pub(crate) fn run(mut self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        if let Some(note) = self.part().and_then(|part| part.misspelt()) {
            aside(&note);
        }
        match self {
            Self::Verify {
                place,
                trust,
                accept_acknowledged,
            } => {
                let verified = evidence::verify(&place, &trust, out).map(|verdict| match verdict {
                    Verdict::Acknowledged if accept_acknowledged => ExitCode::SUCCESS,
                    sound if sound.is_sound() => ExitCode::SUCCESS,
                    Verdict::Unreadable => ExitCode::from(evidence::UNREADABLE),
                    _ => ExitCode::FAILURE,
                });
                // Whoever waits for 1 must not take a wrong path for damage.
                verified.or_else(|stop| {
                    if is_broken_pipe(&*stop) {
                        return Err(stop);
                    }
                    aside(&error_chain(&*stop));
                    Ok(ExitCode::from(evidence::UNREADABLE))
                })
            }
            Self::Prove { dir, wanted, trust } => evidence::prove(&dir, &wanted, &trust, out),
            Self::Prune {
                dir,
                older_than,
                segments,
                bytes,
                undelivered,
            } => {
                let retention = upkeep::retention(older_than, segments, bytes)?;
                upkeep::prune(
                    &dir,
                    if undelivered {
                        retention
                    } else {
                        retention.delivered()
                    },
                    out,
                )
            }
            Self::Acknowledge {
                dir,
                reason,
                note,
                json,
            } => upkeep::acknowledge(&dir, &reason, note, json, out),
            Self::VerifyProof { file, vkey } => evidence::verify_proof(&file, &vkey, out),
            Self::Show { place, filter } => show::run(&place, &filter, out),
            Self::History { place, filter } => history::run(&place, &filter, out),
            Self::Summary(summary) => summary.run(out),
            Self::Export(export) => export.run(out),
        }
    }
}

/// How reading ends: with 1 where something is missing that nobody acknowledged, so that no
/// program takes the rest for the whole.
pub(super) fn code(notes: &Notes) -> ExitCode {
    match notes.is_damaged() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Says that nothing is selected. That is no failure.
fn nothing(notes: &Notes) {
    aside(&notes.nothing());
}

/// Says what is left out: to people in the text, and beside what programs read.
pub(crate) fn remark(
    notes: &Notes,
    is_for_programs: bool,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    for note in notes.sentences() {
        match is_for_programs {
            true => aside(&format!("note: {note}")),
            false => writeln!(out, "\nnote: {note}")?,
        }
    }
    Ok(())
}

pub(crate) fn open(dir: &Path) -> Result<Reader, Stop> {
    let shown = dir.display();
    let reader = Reader::partial(dir).map_err(|error| match &error {
        // It is the directory itself, and says so.
        ReadError::Io { name, .. } if *name == shown.to_string() => error_chain(&error),
        _ => format!("`{shown}`: {}", error_chain(&error)),
    })?;
    match reader.is_empty()? {
        true => Err(format!("`{shown}` holds no entry: no ledger, or one that was emptied").into()),
        false => Ok(reader),
    }
}
