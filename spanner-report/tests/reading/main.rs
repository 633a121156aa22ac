//! Reports about one ledger, recorded from `spanner-ledger/tests/data/story.jsonl`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod history;
mod requests;
mod summary;

use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::Value;
use spanner_core::record::{Decision, Outcome};
use spanner_core::{AuditSink, PromotionId, RecordId, Room};
use spanner_ledger::{Durability, Ledger, Reader};
use tempfile::TempDir;

/// The identifier of a promotion in the story.
const fn promotion(number: u128) -> PromotionId {
    PromotionId::from_u128(0x019a_3c5e_0000_7000_8000_0000_0000_0000 + number)
}

/// A ledger that contains the story, and its reader.
struct Story {
    reader: Reader,
    _folder: TempDir,
}

const STORY: &str = include_str!("../../../spanner-ledger/tests/data/story.jsonl");

fn story() -> Story {
    story_of(STORY)
}

fn story_of(story: &str) -> Story {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    record(&dir, story);
    Story {
        reader: Ledger::read(&dir).unwrap(),
        _folder: folder,
    }
}

/// Records each line through the interface that it comes from.
fn record(dir: &PathBuf, story: &str) {
    let ledger = Ledger::builder(dir).durability(Durability::Relaxed);
    let ledger = ledger.open().unwrap();
    let mut rooms: Vec<(RecordId, Room)> = Vec::new();
    for line in story.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        match value["kind"].as_str().unwrap() {
            "event" => {
                let name = value["event"].as_str().unwrap();
                drop(ledger.event(name, value["body"].clone()).unwrap());
            }
            "decision" => {
                let decision: Decision = serde_json::from_value(value).unwrap();
                let id = decision.id;
                let receipt = ledger.record(decision).unwrap();
                let mut acknowledged = pin!(receipt.acknowledged);
                let mut context = Context::from_waker(Waker::noop());
                let stored = acknowledged.as_mut().poll(&mut context);
                assert_eq!(stored, Poll::Ready(Ok(())));
                rooms.push((id, receipt.room));
            }
            "outcome" => {
                let outcome: Outcome = serde_json::from_value(value).unwrap();
                let at = rooms.iter().position(|(id, _)| *id == outcome.id).unwrap();
                rooms.remove(at).1.fill(outcome);
            }
            other => panic!("{other} is no kind of the story"),
        }
    }
    // The remaining request stays open while its room exists.
    std::mem::forget(rooms);
    drop(ledger);
}
