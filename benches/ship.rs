//! Measures what shipping costs the callers, and how fast it catches up.
//!
//! `cargo run --release -p spanner-benches --bin ship`. Callers request decisions at a fixed
//! rate, as in a service that is not overloaded, and wait until they are durable. Meanwhile the ledger
//! is not shipped, or is shipped to a fast receiver, to one that is down, or to one that takes a second
//! for each batch. Each variant has a ledger of its own. Variants are interleaved in each round, so
//! that other load on the machine affects all of them. Each figure is the median of all rounds.
//! `--rounds N` sets their number (default 5), `--rate N` the records per second (default 1,000), and
//! `--dir PATH` the folder (default: the temporary folder).
//!
//! Then a backlog is shipped, to compare its speed with the rate of records.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use spanner_core::AuditSink;
use spanner_ledger::Ledger;
use spanner_ship::{
    DeliveryError, FileReceiver, Format, Message, Receiver, RunningShipment, Shipment,
};

mod sample;

use sample::Sample;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long one run of a variant lasts: long enough for the cursor to be saved once.
const TURN: Duration = Duration::from_secs(6);
/// How many callers may wait at once.
const CALLERS: u32 = 16;
/// The time that the slow receiver takes for each batch.
const SLOW: Duration = Duration::from_secs(1);
/// The size of the backlog in records, each of two entries.
const BACKLOG: u64 = 100_000;

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    let folder = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let sample = Sample::new()?;
    println!(
        "{} rounds of {} s, {} records/s; medians\n",
        options.rounds,
        TURN.as_secs(),
        options.rate
    );
    let mut variants = Vec::new();
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        let dir = folder.path().join(format!("ledger{index}"));
        variants.push(Variant::new(kind, &dir)?);
    }
    for round in 0..=options.rounds {
        for variant in &mut variants {
            let turn = variant.turn(&sample, options.rate)?;
            // The first round warms up.
            if round > 0 {
                variant.turns.push(turn);
            }
        }
    }
    report(&variants);
    drop(variants);
    caught_up(folder.path(), &sample, options.rate)
}

struct Options {
    rounds: usize,
    rate: u32,
    dir: Option<PathBuf>,
}

impl Options {
    fn read() -> Result<Self, Failure> {
        let mut options = Self {
            rounds: 5,
            rate: 1_000,
            dir: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or("an option needs a value")?;
            match name.as_str() {
                "--rounds" => options.rounds = value.parse()?,
                "--rate" => options.rate = value.parse()?,
                "--dir" => options.dir = Some(value.into()),
                _ => {
                    return Err(
                        "the options are `--rounds <number>`, `--rate <number>` and `--dir <path>`"
                            .into(),
                    );
                }
            }
        }
        match options.rounds == 0 || options.rate == 0 {
            true => Err("`--rounds` and `--rate` must be at least 1".into()),
            false => Ok(options),
        }
    }
}

/// The receiver of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nowhere,
    Fast,
    Away,
    Slow,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Nowhere, Self::Fast, Self::Away, Self::Slow];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Nowhere => "not shipped",
            Self::Fast => "to a receiver that takes all at once",
            Self::Away => "to one that is away",
            Self::Slow => "to one that takes 1 s for a batch",
        }
    }
}

impl Receiver for Kind {
    fn receive(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        match self {
            Self::Away => return Err(DeliveryError::retry("it is away")),
            Self::Slow => thread::sleep(SLOW),
            Self::Nowhere | Self::Fast => {}
        }
        Ok(())
    }
}

/// Requests decisions repeatedly as one caller. Returns how long each took.
fn call(
    ledger: &Ledger,
    sample: &Sample,
    mut number: u64,
    mut due: Instant,
    every: Duration,
) -> Result<Vec<Duration>, Failure> {
    let (end, mut waits) = (due + TURN, Vec::new());
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        number += u64::from(CALLERS);
        let (decision, outcome) = sample.numbered(number.into());
        // A late wake-up does not count, but a decision that starts late because the one before was
        // slow does.
        let asked = Instant::now();
        let asked = if asked - due > every { due } else { asked };
        let receipt = ledger.record(decision)?;
        block_on(receipt.acknowledged)?;
        waits.push(asked.elapsed());
        receipt.room.fill(outcome);
        due += every;
    }
    Ok(waits)
}

/// A variant.
struct Variant {
    kind: Kind,
    ledger: Ledger,
    number: u64,
    turns: Vec<Turn>,
}

/// The result of one run.
struct Turn {
    /// How long each decision took, in ascending order.
    waits: Vec<Duration>,
    shipped: u64,
}

impl Variant {
    fn new(kind: Kind, dir: &Path) -> Result<Self, Failure> {
        Ok(Self {
            kind,
            ledger: Ledger::open(dir)?,
            number: 0,
            turns: Vec::new(),
        })
    }

    fn turn(&mut self, sample: &Sample, rate: u32) -> Result<Turn, Failure> {
        let shipping = self.shipping()?;
        let start = Instant::now();
        let called = thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|caller| {
                    let (ledger, first) = (&self.ledger, self.number + u64::from(caller));
                    let every = Duration::from_secs(1) * CALLERS / rate;
                    let due = start + every * caller / CALLERS;
                    scope.spawn(move || call(ledger, sample, first, due, every))
                })
                .collect();
            let joined = callers.into_iter().map(|caller| caller.join());
            joined.collect::<Result<Vec<_>, _>>()
        });
        let called = called.map_err(|_| "a caller panicked")?;
        let called: Vec<Vec<Duration>> = called.into_iter().collect::<Result<_, _>>()?;
        self.number += u64::from(CALLERS) * u64::from(rate) * TURN.as_secs();
        let shipped = shipping.map_or(0, |shipping| shipping.status().delivered);
        let mut waits = called.concat();
        waits.sort_unstable();
        Ok(Turn { waits, shipped })
    }

    fn shipping(&self) -> Result<Option<RunningShipment>, Failure> {
        if self.kind == Kind::Nowhere {
            return Ok(None);
        }
        let shipment = Shipment::new(self.ledger.dir(), "bench", Format::Ocsf, self.kind);
        Ok(Some(shipment.start()?))
    }

    /// The median over all runs.
    fn wait(&self, per_thousand: usize) -> f64 {
        let of = |turn: &Turn| {
            let wait = turn.waits.get(turn.waits.len() * per_thousand / 1000);
            wait.map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
        };
        median(self.turns.iter().map(of).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn report(variants: &[Variant]) {
    println!("| shipped | median ms | ratio | p99 ms | ratio | entries sent in a turn |");
    println!("|---|--:|--:|--:|--:|--:|");
    let base = variants.first().map(|it| (it.wait(500), it.wait(990)));
    let (half, most) = base.unwrap_or((1.0, 1.0));
    for variant in variants {
        let sent = variant.turns.iter().map(|turn| turn.shipped as f64);
        println!(
            "| {} | {:.3} | {:.2} | {:.3} | {:.2} | {:.0} |",
            variant.kind.as_str(),
            variant.wait(500),
            variant.wait(500) / half,
            variant.wait(990),
            variant.wait(990) / most,
            median(sent.collect()),
        );
    }
    println!();
}

/// Ships a backlog in each format, to a fast receiver and to a file.
fn caught_up(folder: &Path, sample: &Sample, rate: u32) -> Result<(), Failure> {
    let dir = folder.join("backlog");
    sample.fill(Ledger::builder(&dir), BACKLOG, |_| true)?;
    println!("| a backlog of {BACKLOG} records | entries/s | × ingest at {rate} records/s |");
    println!("|---|--:|--:|");
    for format in [Format::JsonLines, Format::Ocsf, Format::Syslog] {
        let name = format.as_str();
        let shipment = Shipment::new(&dir, name, format, Kind::Fast);
        catching_up(&format!("`{name}`, taken at once"), shipment, rate)?;
        let file = FileReceiver::new(folder.join(name));
        let shipment = Shipment::new(&dir, format!("{name}-file"), format, file);
        catching_up(&format!("`{name}`, to a file, synced"), shipment, rate)?;
    }
    Ok(())
}

fn catching_up(name: &str, shipment: Shipment, rate: u32) -> Result<(), Failure> {
    let start = Instant::now();
    let status = shipment.start()?.finish(Duration::from_secs(600));
    let speed = status.delivered as f64 / start.elapsed().as_secs_f64();
    println!(
        "| {name} | {speed:.0} | {:.1} |",
        speed / f64::from(2 * rate)
    );
    Ok(())
}
