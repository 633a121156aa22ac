//! Kills a real process while it records. All entries that it reported as stored must be present.
//!
//! `SPANNER_KILLS=1000 cargo test -p spanner-ledger --test kill` for the long run.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use futures_executor::block_on;
use spanner_core::record::OutcomeClass;
use spanner_core::testing::{Fixed, Rules};
use spanner_core::{Action, Arrival, Caller, Gate, RecordId, Resource, Target};
use spanner_ledger::{Entry, Ledger};

const DIR: &str = "SPANNER_KILL_DIR";
const CALLERS: usize = 8;
/// A number that suits an ordinary test run.
const KILLS: usize = 50;

#[test]
fn loses_nothing_that_was_acknowledged_when_killed() {
    let kills = std::env::var("SPANNER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut printed: Vec<RecordId> = Vec::new();
    for kill in 0..kills {
        printed.extend(record_and_kill(dir.path(), 1 + kill * 7 % 61));
        if kill % 10 == 9 || kill + 1 == kills {
            check(dir.path(), &printed);
        }
    }
    assert!(printed.len() > kills * 5);
}

/// The child process: records until it is killed, and prints the acknowledged records.
#[test]
#[ignore = "is started by the test above"]
fn records_until_killed() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let ledger = Ledger::builder(dir)
        .segment_bytes(64 * 1024)
        .open()
        .unwrap();
    let host = Fixed::at("2026-11-23T12:00:00Z");
    let second = i64::try_from(ledger.recovery().next).unwrap();
    host.set(spanner_core::Timestamp::from_second(second).unwrap());
    let rules = Rules::allow(|_| true);
    let environment = "production".parse().unwrap();
    let gate = Gate::new("chat", environment, rules, ledger, host);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| call(&gate));
        }
    });
}

fn call(gate: &Gate) {
    loop {
        let model = Resource::model("acme/sentiment".parse().unwrap());
        let target = Target::one(Action::Generate, model);
        let decided = gate
            .open(Arrival::new())
            .decide(Caller::for_test("alice"), target);
        let permit = block_on(decided.recorded()).unwrap();
        let line = format!("stored {}\n", permit.id());
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        let mut settlement = permit.forward();
        settlement.head(200);
        settlement.finish();
    }
}

/// The records that the child printed before it was killed.
fn record_and_kill(dir: &Path, lines: usize) -> Vec<RecordId> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "records_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let is_id = |line: String| line.strip_prefix("stored ")?.parse().ok();
    let mut printed: Vec<RecordId> = output.by_ref().filter_map(is_id).take(lines).collect();
    assert_eq!(printed.len(), lines, "it must not end by itself");
    child.kill().unwrap();
    printed.extend(output.filter_map(is_id));
    child.wait().unwrap();
    printed
}

fn check(dir: &Path, printed: &[RecordId]) {
    Ledger::open(dir).unwrap().close().unwrap();
    let mut decisions: HashMap<RecordId, Option<OutcomeClass>> = HashMap::new();
    for (index, numbered) in Ledger::read(dir).unwrap().entries().unwrap().enumerate() {
        let numbered = numbered.unwrap();
        assert_eq!(numbered.sequence, index as u64);
        match numbered.entry {
            Entry::Decision(decision) => {
                assert!(
                    decisions.insert(decision.id, None).is_none(),
                    "decided twice"
                );
            }
            Entry::Outcome(outcome) => {
                let before = decisions.insert(outcome.id, Some(outcome.class));
                assert_eq!(before, Some(None), "one outcome, after its decision");
            }
            _ => {}
        }
    }
    assert!(printed.iter().all(|id| decisions.contains_key(id)), "lost");
    assert!(decisions.values().all(Option::is_some), "left open");
}
