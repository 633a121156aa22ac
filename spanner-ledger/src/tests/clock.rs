//! The wall clock is set while a ledger is open, and while it is closed.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{block_on, entries, open, options, reader};
use crate::files::sim::Sim;
use crate::ledger::Builder;
use crate::{Entry, Ledger};

/// The offset of the clock in seconds.
static WRONG_BY: AtomicI64 = AtomicI64::new(0);

fn wall() -> Timestamp {
    let by = SignedDuration::from_secs(WRONG_BY.load(Ordering::Relaxed));
    Timestamp::now().checked_add(by).unwrap()
}

fn clocked() -> Builder {
    let mut builder = options();
    builder.wall = wall;
    builder
}

fn happens(ledger: &Ledger) {
    block_on(ledger.event("test.happened", Value::Null).unwrap()).unwrap();
}

/// AUD-22.
#[test]
fn records_a_clock_step() {
    let sim = Sim::default();
    let ledger = open(clocked(), &sim).unwrap();
    happens(&ledger);
    for hours in [1, -1] {
        WRONG_BY.store(hours * 3_600, Ordering::Relaxed);
        happens(&ledger);
        happens(&ledger);
    }
    ledger.close().unwrap();
    // The last entry has its own time, which is correct here.
    WRONG_BY.store(-3_600, Ordering::Relaxed);
    open(clocked(), &sim).unwrap().close().unwrap();

    let words: Vec<String> = entries(&sim)
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) => Some(event.event),
            _ => None,
        })
        .collect();
    let (step, happened) = ("ledger.clock_step", "test.happened");
    let expected = [
        "ledger.opened",
        happened,
        step,
        happened,
        happened,
        step,
        happened,
        happened,
        "ledger.closed",
        step,
        "ledger.opened",
        "ledger.closed",
    ];
    assert_eq!(words, expected);
    let reader = reader(&sim);
    assert!(reader.verify().verdict.is_sound());
}
