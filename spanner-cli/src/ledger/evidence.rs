//! `spanner ledger verify`, `prove` and `verify-proof`: what a ledger proves.

use std::fs::File;
use std::io::{BufReader, Write};
use std::iter::once;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use spanner_core::RecordId;
use spanner_core::text::error_chain;
use spanner_ledger::{Checkpoint, CheckpointNote, Proof, Reader, Verdict, VerifierKey};

use super::{Place, open};
use crate::print::{Stop, aside};

/// What to hold a ledger against, from elsewhere than its directory.
#[derive(Debug, Args)]
pub(crate) struct Trust {
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
pub(crate) struct Wanted {
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

pub(super) fn verify(place: &Place, trust: &Trust, out: &mut dyn Write) -> Result<Verdict, Stop> {
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
    let problem = found.fault.as_ref().map(|fault| error_chain(fault));
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
pub(super) const UNREADABLE: u8 = 2;

/// Prints proofs, one a line.
pub(super) fn prove(
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

/// Checks what `prove` printed; nothing but the file and the key is looked at.
pub(super) fn verify_proof(
    file: &Path,
    vkey: &[String],
    out: &mut dyn Write,
) -> Result<ExitCode, Stop> {
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
            .map_err(|error| format!("{place}: {}", error_chain(&error)))?;
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
