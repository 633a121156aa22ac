//! Measures the cost of a record, compared with SQLite, `tracing-appender` and a plain file.
//!
//! `cargo run --release -p spanner-benches --bin ledger`. Variants are interleaved in
//! each round, so that other load on the machine affects all of them. Each figure is the median of all
//! rounds. `--rounds N` sets their number (default 8), `--dir PATH` the folder (default: the temporary
//! folder; in memory, such as `/dev/shm`, a sync takes no time), and `--records N` the size of the
//! ledger that is reopened and verified (default 1,000,000).
//!
//! A record is a decision and its outcome, which are two entries. The peers write the JSON of both as
//! one line. Durable variants sync before they acknowledge.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rusqlite::Connection;
use spanner_core::record::Outcome;
use spanner_core::{Acknowledgement, AuditSink, Room, SinkFault};
use spanner_ledger::{Durability, Entry, Ledger};

mod sample;

use sample::Sample;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long one run of a variant lasts.
const TURN: Duration = Duration::from_millis(250);
/// The batch size of the variants that sync in batches.
const BATCH: usize = 256;

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    let folder = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let sample = Sample::new()?;
    let line = line(&sample)?;
    println!(
        "{} rounds of {} ms; medians; a record has {} bytes of JSON\n",
        options.rounds,
        TURN.as_millis(),
        line.len()
    );
    let mut variants = variants(folder.path(), &sample, &line)?;
    for round in 0..=options.rounds {
        for variant in &mut variants {
            let turn = (variant.turn)()?;
            // The first round warms up.
            if round > 0 {
                variant.turns.push(turn);
            }
        }
    }
    report(&variants);
    drop(variants);
    reopened(&folder.path().join("large"), &sample, options.records)
}

struct Options {
    rounds: usize,
    records: u64,
    dir: Option<PathBuf>,
}

impl Options {
    fn read() -> Result<Self, Failure> {
        let mut options = Self {
            rounds: 8,
            records: 1_000_000,
            dir: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or("an option needs a value")?;
            match name.as_str() {
                "--rounds" => options.rounds = value.parse()?,
                "--records" => options.records = value.parse()?,
                "--dir" => options.dir = Some(value.into()),
                _ => return Err(
                    "the options are `--rounds <number>`, `--records <number>` and `--dir <path>`"
                        .into(),
                ),
            }
        }
        match options.rounds {
            0 => Err("`--rounds` must be at least 1".into()),
            _ => Ok(options),
        }
    }
}

/// The JSON of a decision and its outcome, on a line.
fn line(sample: &Sample) -> Result<Vec<u8>, Failure> {
    let Sample { decision, outcome } = sample.clone();
    let mut line = serde_json::to_vec(&Entry::Decision(Box::new(decision)))?;
    line.extend(serde_json::to_vec(&Entry::Outcome(Box::new(outcome)))?);
    line.push(b'\n');
    Ok(line)
}

/// A variant.
struct Variant {
    name: String,
    durable: &'static str,
    turn: Box<dyn FnMut() -> Result<Turn, Failure>>,
    turns: Vec<Turn>,
}

/// The result of one run.
struct Turn {
    records: u64,
    time: Duration,
    /// How long each record waited; empty for variants that do not wait.
    waits: Vec<Duration>,
}

impl Variant {
    fn new(
        name: impl Into<String>,
        durable: &'static str,
        turn: impl FnMut() -> Result<Turn, Failure> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            durable,
            turn: Box::new(turn),
            turns: Vec::new(),
        }
    }

    fn rate(&self) -> f64 {
        let mut rates: Vec<f64> = (self.turns.iter())
            .map(|turn| turn.records as f64 / turn.time.as_secs_f64())
            .collect();
        rates.sort_unstable_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    }

    fn wait(&self, per_hundred: usize) -> String {
        let mut waits: Vec<Duration> = (self.turns.iter())
            .flat_map(|turn| turn.waits.iter().copied())
            .collect();
        waits.sort_unstable();
        let wait = waits.get(waits.len() * per_hundred / 100);
        wait.map_or_else(String::new, |wait| {
            format!("{:.2}", wait.as_secs_f64() * 1e3)
        })
    }
}

fn variants(folder: &Path, sample: &Sample, line: &[u8]) -> Result<Vec<Variant>, Failure> {
    let ledgers = [
        (Durability::PowerLoss, "synced", 1),
        (Durability::PowerLoss, "synced", 64),
        (Durability::PowerLoss, "synced", 1024),
        (Durability::ProcessCrash, "written", 64),
        (Durability::Relaxed, "queued", 64),
    ];
    let mut variants = Vec::new();
    for (index, (durability, durable, open)) in ledgers.into_iter().enumerate() {
        let ledger = Ledger::builder(folder.join(format!("ledger{index}")))
            .durability(durability)
            .open()?;
        let name = format!("Spanner, `{durability:?}`, {open} open at once");
        let turn = recording(ledger, sample.clone(), open);
        variants.push(Variant::new(name, durable, turn));
    }
    for batch in [1, BATCH] {
        let name = format!("append and fdatasync, {batch} at once");
        let file = File::create(folder.join(format!("plain{batch}")))?;
        let turn = appending(file, line.to_vec(), batch);
        variants.push(Variant::new(name, "synced", turn));
    }
    for batch in [1, BATCH] {
        let name = format!("SQLite, WAL, FULL, {batch} in a transaction");
        let path = folder.join(format!("sqlite{batch}"));
        let turn = inserting(&path, line.to_vec(), batch)?;
        variants.push(Variant::new(name, "synced", turn));
    }
    let turn = logging(folder, line.to_vec());
    variants.push(Variant::new(
        "tracing-appender",
        "queued, never synced",
        turn,
    ));
    Ok(variants)
}

/// Keeps this many requests open, each with a record.
fn recording(ledger: Ledger, sample: Sample, open: usize) -> impl FnMut() -> Result<Turn, Failure> {
    let mut number = 0;
    move || {
        let mut waiting: VecDeque<(Instant, Acknowledgement, Room, Outcome)> = VecDeque::new();
        let (mut records, mut waits) = (0, Vec::new());
        let start = Instant::now();
        loop {
            let over = start.elapsed() >= TURN;
            while !over && waiting.len() < open {
                number += 1;
                let (decision, outcome) = sample.numbered(number);
                let asked = Instant::now();
                match ledger.record(decision) {
                    Ok(receipt) => {
                        waiting.push_back((asked, receipt.acknowledged, receipt.room, outcome));
                    }
                    // The queue is full, so the request waits for the writer.
                    Err(SinkFault::Full) if !waiting.is_empty() => break,
                    Err(SinkFault::Full) => thread::yield_now(),
                    Err(fault) => return Err(fault.into()),
                }
            }
            let Some((asked, acknowledged, room, outcome)) = waiting.pop_front() else {
                break;
            };
            block_on(acknowledged)?;
            waits.push(asked.elapsed());
            room.fill(outcome);
            records += 1;
        }
        Ok(Turn {
            records,
            time: start.elapsed(),
            waits,
        })
    }
}

/// Writes and syncs batches of lines repeatedly.
fn storing(
    batch: usize,
    mut store: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Turn, Failure> {
    let (mut records, mut waits) = (0, Vec::new());
    let start = Instant::now();
    while start.elapsed() < TURN {
        let asked = Instant::now();
        store(batch)?;
        waits.push(asked.elapsed());
        records += batch as u64;
    }
    Ok(Turn {
        records,
        time: start.elapsed(),
        waits,
    })
}

fn appending(mut file: File, line: Vec<u8>, batch: usize) -> impl FnMut() -> Result<Turn, Failure> {
    move || {
        storing(batch, |lines| {
            file.write_all(&line.repeat(lines))?;
            Ok(file.sync_data()?)
        })
    }
}

fn inserting(
    path: &Path,
    line: Vec<u8>,
    batch: usize,
) -> Result<impl FnMut() -> Result<Turn, Failure> + use<>, Failure> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute(
        "create table record (id integer primary key, json blob)",
        [],
    )?;
    Ok(move || {
        storing(batch, |lines| {
            let transaction = connection.transaction()?;
            {
                let mut insert =
                    transaction.prepare_cached("insert into record (json) values (?1)")?;
                for _ in 0..lines {
                    insert.execute([&line])?;
                }
            }
            Ok(transaction.commit()?)
        })
    })
}

/// The run ends when everything is in the file.
fn logging(folder: &Path, line: Vec<u8>) -> impl FnMut() -> Result<Turn, Failure> + use<> {
    let folder = folder.to_owned();
    move || {
        let file = tracing_appender::rolling::never(&folder, "appended");
        let builder = tracing_appender::non_blocking::NonBlockingBuilder::default();
        let (mut appender, guard) = builder.lossy(false).finish(file);
        let start = Instant::now();
        let mut turn = storing(1, |_| Ok(appender.write_all(&line)?))?;
        drop(guard);
        turn.time = start.elapsed();
        Ok(turn)
    }
}

fn report(variants: &[Variant]) {
    let base = variants
        .iter()
        .find(|variant| variant.name.contains("1024"));
    let base = base.map_or(1.0, Variant::rate);
    println!("| | before the answer | records/s | ratio | waits, median ms | p99 ms |");
    println!("|---|---|--:|--:|--:|--:|");
    for variant in variants {
        let rate = variant.rate();
        println!(
            "| {} | {} | {rate:.0} | {:.3} | {} | {} |",
            variant.name,
            variant.durable,
            rate / base,
            variant.wait(50),
            variant.wait(99),
        );
    }
    println!();
}

/// Reopens and verifies a large ledger that was not closed cleanly.
fn reopened(dir: &Path, sample: &Sample, records: u64) -> Result<(), Failure> {
    // One in a thousand is left open, to be closed on reopening.
    sample.fill(Ledger::builder(dir), records, |number| number % 1000 > 0)?;
    let bytes: u64 = std::fs::read_dir(dir)?
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| file.len())
        .sum();
    let start = Instant::now();
    let reopened = Ledger::open(dir)?;
    let opening = start.elapsed();
    let closed = reopened.recovery().closed;
    reopened.close()?;
    drop(reopened);
    let start = Instant::now();
    let found = Ledger::read(dir)?.verify();
    let verifying = start.elapsed();
    if !found.verdict.is_sound() || closed != records / 1000 {
        return Err(format!("the ledger is not what was written: {found:?}").into());
    }
    let gib = bytes as f64 / (1u64 << 30) as f64;
    println!(
        "| {records} records, {:.0} MiB | |\n|---|--:|",
        gib * 1024.0
    );
    println!(
        "| reopened, s per GiB | {:.2} |",
        opening.as_secs_f64() / gib
    );
    println!(
        "| verified, s per GiB | {:.2} |",
        verifying.as_secs_f64() / gib
    );
    let millions = records as f64 / 1e6;
    println!(
        "| verified, s per million records | {:.2} |",
        verifying.as_secs_f64() / millions
    );
    Ok(())
}
