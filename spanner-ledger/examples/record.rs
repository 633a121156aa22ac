//! Records numbered events one after the other and prints the result of each, or checks that the
//! recorded events are stored.
//!
//! `cargo run -p spanner-ledger --example record -- DIR FIRST LAST`, and later `… -- DIR check`
//! with the first output on standard input. `.ci/faults` injects failing system calls into the
//! first command and kills it at each of them.

use std::error::Error;
use std::io::{BufRead, Write};

use futures_executor::block_on;
use spanner_ledger::{Entry, Ledger};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(dir), Some(word), None) if word == "check" => check(&dir),
        (Some(dir), Some(first), Some(last)) => store(&dir, first.parse()?, last.parse()?),
        _ => Err("give a directory, and two numbers or the word `check`".into()),
    }
}

fn store(dir: &str, first: u64, last: u64) -> Result<(), Box<dyn Error>> {
    let ledger = Ledger::builder(dir).segment_bytes(4096).open()?;
    for number in first..=last {
        let body = serde_json::json!({ "number": number, "filling": "x".repeat(300) });
        let stored = ledger.event("example.happened", body).map(block_on);
        let word = match stored {
            Ok(Ok(())) => "stored",
            Ok(Err(_)) | Err(_) => "failed",
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{word} {number}")?;
        out.flush()?;
    }
    Ok(ledger.close()?)
}

fn check(dir: &str) -> Result<(), Box<dyn Error>> {
    Ledger::builder(dir).segment_bytes(4096).open()?.close()?;
    let reader = Ledger::read(dir)?;
    let found = reader.verify();
    if !found.verdict.is_sound() {
        return Err(format!("it is not sound: {found:?}").into());
    }
    let mut times = std::collections::HashMap::<u64, u32>::new();
    for numbered in reader.entries()? {
        if let Entry::Event(event) = numbered?.entry
            && let Some(number) = event.body.get("number").and_then(|it| it.as_u64())
        {
            *times.entry(number).or_default() += 1;
        }
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let number = line.strip_prefix("stored ").map(str::parse).transpose()?;
        let there = number.map(|number: u64| times.get(&number).copied().unwrap_or_default());
        if there.is_some_and(|there| there != 1) {
            return Err(format!("`{line}` was said, and it is there {there:?} times").into());
        }
    }
    if let Some((number, more)) = times.iter().find(|(_, times)| **times > 1) {
        return Err(format!("{number} is there {more} times").into());
    }
    Ok(())
}
