//! `spanner ledger`: reads a ledger, also while it is written.

mod export;
mod history;
mod summary;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Write};
use std::iter::once;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use spanner_core::{ModelName, RecordId, Spelling};
use spanner_ledger::{
    AcknowledgeError, Acknowledgment, Checkpoint, CheckpointNote, Notes, Proof, ReadError, Reader,
    RecordPrefix, Retention, Selection, Verdict, VerifierKey,
};
use spanner_proxy::config::Config;
use spanner_proxy::no_directory;
use spanner_proxy::words::chain;
use spanner_report::{request_json, table};

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
        trust: Trust,
        /// Exit 0 if nothing is wrong but losses that were acknowledged
        #[arg(long)]
        accept_acknowledged: bool,
    },
    /// Print proofs that a record stands in it, as JSON lines
    Prove {
        /// The ledger's directory
        dir: PathBuf,
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        trust: Trust,
    },
    /// Let old segments go, while no service writes it; events and open requests stay
    Prune {
        /// The ledger's directory
        dir: PathBuf,
        /// Segments whose entries are all older
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u32>,
        /// As long as there are more segments
        #[arg(long, value_name = "COUNT")]
        segments: Option<u64>,
        /// As long as they take more bytes
        #[arg(long, value_name = "COUNT")]
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

/// Which requests.
#[derive(Debug, Args)]
pub(super) struct Filter {
    #[command(flatten)]
    part: Part,
    /// At most so many, the last ones
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// The one with this identifier (as in `spanner-decision`), or whose identifier alone
    /// begins so
    #[arg(long, value_name = "ID", conflicts_with = "limit")]
    record: Option<RecordPrefix>,
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
    let units = [('w', 7 * 24 * 60), ('d', 24 * 60), ('h', 60), ('m', 1)];
    let ago = units.into_iter().find_map(|(unit, minutes)| {
        let count = text.strip_suffix(unit)?.parse::<i64>().ok()?;
        count.checked_mul(minutes)
    });
    // Minutes past what a span of time can be are none.
    let ago = ago.filter(|minutes| (0..=MAX_MINUTES).contains(minutes));
    let then = ago.and_then(|minutes| {
        Timestamp::now()
            .checked_sub(SignedDuration::from_mins(minutes))
            .ok()
    });
    then.ok_or_else(|| {
        "write `2026-11-24T08:30:00Z`, `2026-11-24`, `2w`, `7d`, `12h` or `30m`".to_owned()
    })
}

/// A thousand years.
const MAX_MINUTES: i64 = 60 * 24 * 366 * 1000;

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
                let verified = verify(&place, &trust, out).map(|verdict| match verdict {
                    Verdict::Acknowledged if accept_acknowledged => ExitCode::SUCCESS,
                    sound if sound.is_sound() => ExitCode::SUCCESS,
                    Verdict::Unreadable => ExitCode::from(UNREADABLE),
                    _ => ExitCode::FAILURE,
                });
                // Whoever waits for 1 must not take a wrong path for damage.
                verified.or_else(|stop| {
                    if is_broken_pipe(&*stop) {
                        return Err(stop);
                    }
                    aside(&chain(&*stop));
                    Ok(ExitCode::from(UNREADABLE))
                })
            }
            Self::Prove { dir, wanted, trust } => prove(&dir, &wanted, &trust, out),
            Self::Prune {
                dir,
                older_than,
                segments,
                bytes,
                undelivered,
            } => {
                let retention = retention(older_than, segments, bytes)?;
                prune(
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
            } => acknowledge(&dir, &reason, note, json, out),
            Self::VerifyProof { file, vkey } => verify_proof(&file, &vkey, out),
            Self::Show { place, filter } => show(&place, &filter, out),
            Self::History { place, filter } => history::run(&place, &filter, out),
            Self::Summary(summary) => summary.run(out),
            Self::Export(export) => export.run(out),
        }
    }
}

/// What to hold a ledger against, from elsewhere than its directory.
#[derive(Debug, Args)]
pub(super) struct Trust {
    /// A file of checkpoints that were shipped; can be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The ledger's verifier key, or a file of such keys; without it, the `vkey` beside the
    /// ledger counts
    #[arg(long, value_name = "KEY|FILE")]
    vkey: Vec<String>,
}

/// What to prove.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// A record's identifier (as in `spanner-decision`), or an entry's sequence
    #[arg(required_unless_present = "since")]
    record: Option<String>,
    /// Prove that the ledger still holds what it held at the checkpoint in this file
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    since: Option<PathBuf>,
}

impl Trust {
    /// The keys, those beside the ledger if none are given.
    fn keys(&self, reader: &Reader) -> Result<Vec<VerifierKey>, Stop> {
        let keys = keys(&self.vkey)?;
        Ok(match keys.is_empty() {
            true => reader.keys().unwrap_or_default(),
            false => keys,
        })
    }

    /// The checkpoints in all files, one after the other.
    fn shipped(&self, keys: &[VerifierKey]) -> impl Iterator<Item = Result<Checkpoint, Stop>> {
        let files = self.checkpoint.iter();
        files.flat_map(|file| checkpoints(file, keys))
    }
}

/// Verifier keys, each given as itself or as a file of them.
fn keys(given: &[String]) -> Result<Vec<VerifierKey>, Stop> {
    let mut keys = Vec::new();
    for given in given {
        if let Ok(key) = given.parse() {
            keys.push(key);
            continue;
        }
        let text = std::fs::read_to_string(given);
        let text = text.map_err(|error| format!("`{given}` is no key, and no file: {error}"))?;
        let read = VerifierKey::read_all(&text);
        keys.extend(read.map_err(|error| format!("`{given}`: {error}"))?);
    }
    Ok(keys)
}

/// The checkpoints in a file, read one at a time: there may be millions.
fn checkpoints(
    file: &Path,
    keys: &[VerifierKey],
) -> Box<dyn Iterator<Item = Result<Checkpoint, Stop>>> {
    let shown = file.display().to_string();
    let opened = match File::open(file) {
        Ok(opened) => BufReader::new(opened),
        Err(error) => return Box::new(once(Err(format!("`{shown}`: {error}").into()))),
    };
    let mut read = Checkpoint::read(opened, keys).peekable();
    if read.peek().is_none() {
        return Box::new(once(Err(format!("`{shown}` holds no checkpoint").into())));
    }
    Box::new(read.map(move |read| read.map_err(|error| format!("`{shown}`: {error}").into())))
}

fn verify(place: &Place, trust: &Trust, out: &mut dyn Write) -> Result<Verdict, Stop> {
    let (mut noted, mut strangers) = (Vec::new(), Vec::new());
    let (found, shipped) = match Reader::partial(&place.dir) {
        Ok(reader) => {
            let keys = trust.keys(&reader)?;
            (noted, strangers) = beside(&place.dir, &keys);
            let shipped = noted.iter().cloned().map(Ok).chain(trust.shipped(&keys));
            reader.verify_against_all(&keys, shipped)?
        }
        Err(fault) => (fault.into(), 0),
    };
    let shipped = shipped.saturating_sub(noted.len());
    let problem = found.fault.as_ref().map(|fault| chain(fault));
    let result = found.verdict.as_str();
    let first_bad = found.first_bad();
    if place.json {
        let line = json!({
            "result": result, "entries": found.entries, "open": found.open, "gaps": found.gaps,
            "unknown": found.unknown, "pruned": found.pruned, "signed": found.signed,
            "unsigned": found.unsigned(),
            "torn_bytes": found.torn_bytes, "shipped": shipped, "first_bad": first_bad,
            "noted": noted.last().map(Checkpoint::size), "missing": found.missing,
            "uncompared": found.uncompared, "problem": problem,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{result}: {} entries, {} under the checkpoint, {} shipped checkpoints, {} decisions without an outcome, {} gaps, {} of a newer version",
            found.entries,
            found.signed.unwrap_or(0),
            shipped,
            found.open,
            found.gaps,
            found.unknown,
        )?;
        if found.unsigned() > 0 {
            let unsigned = found.unsigned();
            writeln!(
                out,
                "{unsigned} entries stand above the checkpoint, which does not vouch for them yet"
            )?;
        }
        if found.pruned > 0 {
            writeln!(out, "entries below {} were pruned", found.pruned)?;
        }
        for missing in &found.missing {
            writeln!(out, "{missing}")?;
        }
        if found.uncompared > 0 {
            let entries = found.uncompared;
            writeln!(
                out,
                "when this ledger was opened with {entries} entries, there was no checkpoint to compare them with: whether more had stood there cannot be told"
            )?;
        }
        for origin in strangers {
            let origin = origin.escape_debug();
            writeln!(
                out,
                "the note outside the directory is of another ledger, `{origin}`, which stood here before or was replaced"
            )?;
        }
        if let Some(problem) = problem {
            writeln!(out, "{problem}")?;
        }
        let is_read = found.verdict != Verdict::Unreadable;
        if is_read && trust.vkey.is_empty() && trust.checkpoint.is_empty() {
            writeln!(
                out,
                "compared with itself only: give --vkey and --checkpoint from elsewhere, and nobody can have rewritten it before that checkpoint"
            )?;
        }
    }
    Ok(found.verdict)
}

/// The checkpoints of a ledger in the file beside its directory, and the origins of other ledgers
/// that left one there.
fn beside(dir: &Path, keys: &[VerifierKey]) -> (Vec<Checkpoint>, Vec<String>) {
    let Some(path) = CheckpointNote::beside(dir) else {
        return Default::default();
    };
    CheckpointNote::new(path)
        .checkpoints(keys)
        .unwrap_or_else(|fault| {
            aside(&format!(
                "the note beside the directory cannot be read: {fault}"
            ));
            Default::default()
        })
}

/// How `verify` ends where nothing can be said of the ledger.
const UNREADABLE: u8 = 2;

/// Prints proofs, one a line.
fn prove(
    dir: &Path,
    wanted: &Wanted,
    trust: &Trust,
    out: &mut dyn Write,
) -> Result<ExitCode, Stop> {
    let reader = open(dir)?;
    let keys = trust.keys(&reader)?;
    let newest = reader.checkpoint()?;
    let newest = newest.ok_or("the ledger has no checkpoint yet: ask again in a second")?;
    if let Some(file) = &wanted.since {
        for from in checkpoints(file, &keys) {
            let proof = Proof::Consistency(reader.consistency(&from?, &newest)?);
            writeln!(out, "{}", serde_json::to_string(&proof)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let name = wanted.record.as_deref().unwrap_or_default();
    let sequences = match (name.parse::<u64>(), name.parse::<RecordId>()) {
        (Ok(sequence), _) => vec![sequence],
        (_, Ok(id)) => reader.sequences_of(id)?,
        _ => {
            return Err(format!("`{name}` is neither a record's identifier nor a sequence").into());
        }
    };
    if sequences.is_empty() {
        return Err(format!("there is no record `{name}` in this ledger").into());
    }
    let at = trust.shipped(&keys).next().transpose()?.unwrap_or(newest);
    for sequence in sequences {
        let proof = Proof::Inclusion(reader.prove(sequence, &at)?);
        writeln!(out, "{}", serde_json::to_string(&proof)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What may go; something must be said.
fn retention(
    older_than: Option<u32>,
    segments: Option<u64>,
    bytes: Option<u64>,
) -> Result<Retention, Stop> {
    let mut retention = Retention::new();
    if let Some(days) = older_than {
        let age = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        let before = Timestamp::now().checked_sub(age);
        let before = before.map_err(|_| format!("nothing is older than {days} days"))?;
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

fn prune(dir: &Path, retention: Retention, out: &mut dyn Write) -> Result<ExitCode, Stop> {
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

fn acknowledge(
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
        AcknowledgeError::Open(error) => Stop::from(chain(&error)),
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

/// Checks what `prove` printed; nothing but the file and the key is looked at.
fn verify_proof(file: &Path, vkey: &[String], out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let shown = file.display();
    let keys = keys(vkey)?;
    let text = std::fs::read_to_string(file).map_err(|error| format!("`{shown}`: {error}"))?;
    let mut proven = 0;
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let place = format!("`{shown}`, line {}", index + 1);
        let proof: Proof = serde_json::from_str(line)
            .map_err(|error| format!("{place}: this is no proof: {error}"))?;
        let at = proof
            .check(&keys)
            .map_err(|error| format!("{place}: {}", chain(&error)))?;
        proven += 1;
        match proof {
            Proof::Inclusion(inclusion) => writeln!(
                out,
                "proven: entry {} of `{}`, under its checkpoint of {} entries: {}",
                inclusion.index,
                at.origin().escape_debug(),
                at.size(),
                inclusion.entry.escape_debug(),
            )?,
            Proof::Consistency(_) => writeln!(
                out,
                "proven: `{}` with {} entries holds all that it held at the earlier checkpoint",
                at.origin().escape_debug(),
                at.size(),
            )?,
            _ => writeln!(out, "proven")?,
        }
    }
    match proven {
        0 => Err(format!("`{shown}` holds no proof").into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn show(place: &Place, filter: &Filter, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let mut rows = open(&place.dir)?.rows(&filter.part.selection())?;
    let (mut kept, mut found) = (VecDeque::new(), 0_u64);
    for row in rows.by_ref() {
        let row = row?;
        let prefix = filter.record.as_ref();
        if prefix.is_some_and(|prefix| !prefix.matches(row.decision.id)) {
            continue;
        }
        found += 1;
        if let Some(digits) = filter.record.as_ref().filter(|_| found > 1) {
            return Err(format!("several records begin with `{digits}`: write more of it").into());
        }
        if place.json && filter.limit.is_none() {
            writeln!(out, "{}", request_json(&row))?;
            continue;
        }
        kept.push_back(row);
        if filter.limit.is_some_and(|limit| kept.len() > limit) {
            kept.pop_front();
        }
    }
    let (kept, notes) = (Vec::from(kept), rows.notes());
    match place.json {
        true => kept
            .iter()
            .try_for_each(|row| writeln!(out, "{}", request_json(row)))?,
        false => write!(out, "{}", table(&kept))?,
    }
    remark(&notes, place.json, out)?;
    if found == 0 {
        nothing(&notes);
    }
    Ok(code(&notes))
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
        ReadError::Io { name, .. } if *name == shown.to_string() => chain(&error),
        _ => format!("`{shown}`: {}", chain(&error)),
    })?;
    match reader.is_empty()? {
        true => Err(format!("`{shown}` holds no entry: no ledger, or one that was emptied").into()),
        false => Ok(reader),
    }
}
