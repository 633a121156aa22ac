//! Every entry arrives in order, whatever the receiver does, and the ledger never waits for it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests fail loudly"
)]

#[cfg(feature = "http")]
#[path = "shipping/http.rs"]
mod http;
#[path = "shipping/syslog.rs"]
mod syslog;
#[cfg(feature = "tls")]
#[path = "shipping/tls.rs"]
mod tls;
#[cfg(feature = "http")]
#[path = "shipping/witness.rs"]
mod witness;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use serde_json::{Value, json};
use spanner_core::record::{Decision, Outcome};
use spanner_core::{AuditSink, RecordId};
use spanner_ledger::{Ledger, Retention};
use spanner_ship::{
    DeliveryError, FileReceiver, Format, Message, Receiver, RunningShipment, Shipment,
};
use tempfile::TempDir;

/// Longer than any successful step takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ledger with a number of events, and those of opening and closing it.
struct Stock {
    folder: TempDir,
    ledger: Ledger,
}

impl Stock {
    fn of(events: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::builder(folder.path().join("ledger"));
        let ledger = ledger.segment_bytes(4096).open().unwrap();
        let stock = Self { folder, ledger };
        stock.add(events);
        stock
    }

    fn add(&self, events: u64) {
        for number in 0..events {
            let body = json!({"number": number});
            let stored = self.ledger.event("test.happened", body).unwrap();
            if number + 1 == events {
                assert_eq!(block_on(stored), Ok(()));
            }
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    fn ship(&self, receiver: impl Receiver + 'static) -> RunningShipment {
        shipment(&self.dir(), receiver).start().unwrap()
    }
}

fn shipment(dir: &Path, receiver: impl Receiver + 'static) -> Shipment {
    Shipment::new(dir, "test", Format::JsonLines, receiver)
        .batch(10)
        .poll(Duration::from_millis(1))
        .patience(Duration::from_millis(1), Duration::from_millis(2))
}

/// A receiver that follows a script and forwards what it accepts.
struct ScriptedReceiver {
    answer: Box<Decide>,
    taken: Sender<Vec<Message>>,
}

type Decide = dyn FnMut(&[Message]) -> Answer + Send;

/// The response to a batch.
enum Answer {
    Take,
    /// Accepts the batch, and fails before it acknowledges it.
    TakeAndFail,
    Fail,
    Reject,
}

impl ScriptedReceiver {
    fn new(
        answer: impl FnMut(&[Message]) -> Answer + Send + 'static,
    ) -> (Self, mpsc::Receiver<Vec<Message>>) {
        let (taken, seen) = mpsc::channel();
        let answer = Box::new(answer);
        (Self { answer, taken }, seen)
    }
}

impl Receiver for ScriptedReceiver {
    fn receive(&mut self, messages: &[Message]) -> Result<(), DeliveryError> {
        let answer = (self.answer)(messages);
        if matches!(answer, Answer::Take | Answer::TakeAndFail) {
            // The test may have ended.
            let _: Result<(), _> = self.taken.send(messages.to_vec());
        }
        match answer {
            Answer::Take => Ok(()),
            Answer::TakeAndFail | Answer::Fail => Err(DeliveryError::retry("it is away")),
            Answer::Reject => Err(DeliveryError::rejected("it is poison")),
        }
    }
}

/// The entries received up to the one with this sequence.
fn until(seen: &mpsc::Receiver<Vec<Message>>, last: u64) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let batch = seen.recv_timeout(PATIENCE).expect("the rest comes");
        all.extend(batch.iter().map(line));
        if all.iter().any(|it| it["sequence"] == last) {
            return all;
        }
    }
}

fn line(message: &Message) -> Value {
    serde_json::from_slice(&message.bytes).unwrap()
}

/// Checks that every sequence arrives in order, and once per key.
fn check_whole(lines: &[Value], entries: u64) {
    let mut keys = HashSet::new();
    let first: Vec<u64> = lines
        .iter()
        .filter(|line| keys.insert(line["key"].as_str().unwrap().to_owned()))
        .map(|line| line["sequence"].as_u64().unwrap())
        .collect();
    let missing = (0..entries).find(|it| !first.contains(it));
    assert_eq!((missing, first.len() as u64), (None, entries));
    assert!(first.is_sorted(), "they come in order");
}

#[test]
fn everything_arrives_in_order_despite_failures_and_duplicates() {
    let stock = Stock::of(99);
    let mut calls = 0;
    let (receiver, seen) = ScriptedReceiver::new(move |_| {
        calls += 1;
        match calls % 4 {
            0 => Answer::TakeAndFail,
            1 | 2 => Answer::Fail,
            _ => Answer::Take,
        }
    });
    let shipping = stock.ship(receiver);
    let mut lines = until(&seen, 99);
    stock.add(50);
    lines.extend(until(&seen, 149));
    check_whole(&lines, 150);
    assert!(lines.len() > 150, "something was repeated");
    drop(shipping);
}

#[test]
fn omits_nothing_at_segment_boundaries() {
    let stock = Stock::of(1);
    let (receiver, seen) = ScriptedReceiver::new(|_| Answer::Take);
    let shipping = stock.ship(receiver);
    thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|_| stock.add(20)));
        check_whole(&until(&seen, 2_001), 2_002);
    });
    assert_eq!(shipping.finish(PATIENCE).lost, 0);
}

#[test]
fn resumes_at_the_cursor() {
    let stock = Stock::of(30);
    for from in [0, 31] {
        let (receiver, seen) = ScriptedReceiver::new(|_| Answer::Take);
        let shipping = stock.ship(receiver);
        let lines = until(&seen, from + 30);
        assert_eq!(lines[0]["sequence"], from);
        let status = shipping.finish(PATIENCE);
        assert_eq!((status.delivered, status.next), (31, from + 31));
        stock.add(31);
    }
}

/// AUD-08.
#[test]
fn an_unavailable_receiver_does_not_delay_the_ledger_and_lag_is_reported() {
    let stock = Stock::of(1);
    let (receiver, _seen) = ScriptedReceiver::new(|_| Answer::Fail);
    let shipping = stock.ship(receiver);
    let failing = std::iter::repeat_with(|| shipping.status());
    let status = failing.take(100_000_000).find(|it| it.failing.is_some());
    let status = status.expect("it fails");
    assert_eq!(status.failing.as_deref(), Some("it is away"));
    assert!(status.oldest.is_some());
    let past = status.oldest.unwrap() + Duration::from_secs(60);
    assert_eq!(status.lag(past), Duration::from_secs(60));
    stock.add(1_000);
    stock.ledger.close().unwrap();
    let status = shipping.finish(PATIENCE);
    assert_eq!((status.delivered, status.set_aside), (0, 0));
}

/// AUD-30.
#[test]
fn sets_rejected_entries_aside_and_delivers_the_rest() {
    let stock = Stock::of(40);
    // An incomplete line, as a full disk leaves it.
    let aside = stock.dir().join("ship/test.dead.jsonl");
    std::fs::create_dir(stock.dir().join("ship")).unwrap();
    std::fs::write(&aside, "{\"key\":\"").unwrap();
    let is_poison =
        |message: &Message| matches!(line(message)["sequence"].as_u64(), Some(7 | 8 | 33));
    let (receiver, seen) =
        ScriptedReceiver::new(move |messages| match messages.iter().any(is_poison) {
            true => Answer::Reject,
            false => Answer::Take,
        });
    let shipping = stock.ship(receiver);
    let lines = until(&seen, 40);
    let status = shipping.finish(PATIENCE);
    assert_eq!((status.delivered, status.set_aside), (38, 3));
    let got: HashSet<u64> = lines
        .iter()
        .map(|it| it["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(got.len(), 38);
    let aside = std::fs::read_to_string(aside).unwrap();
    let aside: Vec<Value> = aside
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(aside.len(), 3);
    for entry in aside {
        assert_eq!(entry["reason"], "it is poison");
        let inner: Value = serde_json::from_str(entry["entry"].as_str().unwrap()).unwrap();
        assert!([7, 8, 33].contains(&inner["sequence"].as_u64().unwrap()));
    }
}

#[test]
fn waits_for_a_receiver_that_rejects_everything() {
    let stock = Stock::of(300);
    let (tell, told) = mpsc::channel();
    let mut refuses = true;
    let (receiver, seen) = ScriptedReceiver::new(move |_| {
        refuses = refuses && told.try_recv().is_err();
        match refuses {
            true => Answer::Reject,
            false => Answer::Take,
        }
    });
    let shipping = stock.ship(receiver);
    let mut standings = std::iter::repeat_with(|| shipping.status()).take(100_000_000);
    assert!(
        standings.any(|it| it.failing.is_some()),
        "it is taken for broken"
    );
    tell.send(()).unwrap();
    let lines = until(&seen, 300);
    assert_eq!(lines.len(), 301);
    assert_eq!(shipping.finish(PATIENCE).set_aside, 0);
    assert!(!stock.dir().join("ship/test.dead.jsonl").exists());
}

/// The number of consecutive rejections and the batch size do not matter.
#[test]
fn consecutive_rejections_do_not_block_other_entries() {
    for batch in [1, 10, 500] {
        let stock = Stock::of(160);
        let is_poison = |message: &Message| line(message)["sequence"].as_u64().unwrap() < 150;
        let (receiver, seen) =
            ScriptedReceiver::new(move |messages| match messages.iter().any(is_poison) {
                true => Answer::Reject,
                false => Answer::Take,
            });
        let shipping = shipment(&stock.dir(), receiver)
            .batch(batch)
            .start()
            .unwrap();
        until(&seen, 160);
        until_set_aside(&shipping, 150);
        let status = shipping.finish(PATIENCE);
        assert_eq!((status.set_aside, status.failing), (150, None), "{batch}");
    }
}

fn until_set_aside(shipping: &RunningShipment, count: u64) {
    let mut standings = std::iter::repeat_with(|| shipping.status()).take(100_000_000);
    assert!(standings.any(|it| it.set_aside == count));
}

#[test]
fn finishing_sends_everything_that_was_written() {
    for _ in 0..20 {
        let stock = Stock::of(1);
        let (receiver, seen) = ScriptedReceiver::new(|_| Answer::Take);
        let shipment = shipment(&stock.dir(), receiver).poll(Duration::from_secs(3600));
        let shipping = shipment.start().unwrap();
        // It has read all entries, and polls again in an hour.
        until(&seen, 1);
        stock.add(3);
        stock.ledger.close().unwrap();
        let status = shipping.finish(PATIENCE);
        // Opened, four events, closed.
        assert_eq!((status.delivered, status.failing), (6, None));
    }
}

#[test]
fn finishing_does_not_wait_for_a_hanging_receiver() {
    let stock = Stock::of(1);
    let (release, held) = mpsc::channel::<()>();
    let (call, called) = mpsc::channel();
    let (receiver, _seen) = ScriptedReceiver::new(move |_| {
        call.send(()).unwrap();
        let _released = held.recv();
        Answer::Take
    });
    let shipping = stock.ship(receiver);
    called.recv_timeout(PATIENCE).unwrap();
    let status = shipping.finish(Duration::from_millis(20));
    assert_eq!(status.delivered, 0);
    assert!(status.failing.is_some(), "{status:?}");
    drop(release);
}

#[test]
fn ships_another_ledger_in_the_same_directory_from_its_beginning() {
    let stock = Stock::of(20);
    let (receiver, seen) = ScriptedReceiver::new(|_| Answer::Take);
    let shipping = stock.ship(receiver);
    let first = until(&seen, 20);
    drop(shipping);
    let Stock { folder, ledger } = stock;
    ledger.close().unwrap();
    drop(ledger);
    // Another ledger replaces this one, and only the cursor remains.
    let dir = folder.path().join("ledger");
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("ship") => {}
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    let again = Ledger::open(&dir).unwrap();
    drop(
        again
            .event("test.happened", json!({"other": true}))
            .unwrap(),
    );
    again.close().unwrap();
    let (receiver, seen) = ScriptedReceiver::new(|_| Answer::Take);
    let shipping = shipment(&dir, receiver).start().unwrap();
    let second = until(&seen, 1);
    assert_eq!(second[0]["sequence"], 0);
    let origin = |line: &Value| {
        line["key"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .map(str::to_owned)
    };
    assert_ne!(origin(&first[0]), origin(&second[0]));
    drop(shipping);
}

/// Blocks a file name with a folder, as if there were no space for the file.
fn in_the_way(stock: &Stock, file: &str) -> PathBuf {
    let path = stock.dir().join("ship").join(file);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The position stored in the cursor file.
fn saved(stock: &Stock) -> u64 {
    let text = std::fs::read(stock.dir().join("ship/test.cursor")).unwrap();
    let cursor: Value = serde_json::from_slice(&text).unwrap();
    cursor["next"].as_u64().unwrap()
}

#[test]
fn continues_and_omits_nothing_while_the_cursor_cannot_be_saved() {
    let stock = Stock::of(20);
    let (receiver, seen) = ScriptedReceiver::new(|_| Answer::Take);
    let shipping = stock.ship(receiver);
    let mut lines = until(&seen, 20);
    while saved(&stock) < 21 {
        thread::yield_now();
    }
    let full = in_the_way(&stock, "test.cursor.new");
    stock.add(30);
    lines.extend(until(&seen, 50));
    let status = shipping.finish(PATIENCE);
    assert_eq!((status.next, status.failing), (51, None));
    assert_eq!(saved(&stock), 21);
    // A restart sends some entries again under the same keys.
    let (receiver, seen) = ScriptedReceiver::new(|_| Answer::Take);
    let shipping = stock.ship(receiver);
    let again = until(&seen, 50);
    assert_eq!(again.len(), 30);
    lines.extend(again);
    check_whole(&lines, 51);
    // There is space again, and nothing new to send.
    std::fs::remove_dir(full).unwrap();
    while saved(&stock) < 51 {
        thread::yield_now();
    }
    drop(shipping);
}

#[test]
fn blocks_while_an_entry_cannot_be_set_aside() {
    let stock = Stock::of(20);
    let full = in_the_way(&stock, "test.dead.jsonl");
    let is_poison = |message: &Message| line(message)["sequence"] == 5;
    let (receiver, seen) =
        ScriptedReceiver::new(move |messages| match messages.iter().any(is_poison) {
            true => Answer::Reject,
            false => Answer::Take,
        });
    let shipping = stock.ship(receiver);
    let mut standings = std::iter::repeat_with(|| shipping.status()).take(100_000_000);
    let failing = standings.find_map(|it| it.failing).unwrap();
    assert!(failing.contains("test.dead.jsonl"), "{failing}");
    let sequence = |message: &Message| line(message)["sequence"].as_u64().unwrap();
    let early: Vec<u64> = seen.try_iter().flatten().map(|it| sequence(&it)).collect();
    assert!(early.iter().all(|it| *it < 5), "{early:?}");
    std::fs::remove_dir(&full).unwrap();
    until(&seen, 20);
    let status = shipping.finish(PATIENCE);
    assert_eq!((status.delivered, status.set_aside), (20, 1));
    let aside = std::fs::read_to_string(full).unwrap();
    let aside: Vec<Value> = aside
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(aside.len(), 1);
}

#[test]
fn counts_undelivered_entries() {
    let stock = Stock::of(100);
    let (tell, told) = mpsc::channel();
    let mut takes = false;
    let (receiver, _seen) = ScriptedReceiver::new(move |_| {
        takes = takes || told.try_recv().is_ok();
        match takes {
            true => Answer::Take,
            false => Answer::Fail,
        }
    });
    let shipping = stock.ship(receiver);
    let watch = shipping.handle();
    for entries in [101, 301] {
        let signed = stock.ledger.checkpoint_now().unwrap();
        assert_eq!(signed.size(), entries);
        assert_eq!(watch.status().undelivered, entries);
        stock.add(200);
    }
    tell.send(()).unwrap();
    stock.ledger.close().unwrap();
    let mut standings = std::iter::repeat_with(|| watch.status()).take(100_000_000);
    assert!(standings.any(|it| it.undelivered == 0 && it.next == 502));
    drop(shipping);
}

impl Stock {
    /// Records requests, which retention deletes once they have ended.
    fn request(&self, numbers: std::ops::Range<u128>) {
        let example = include_str!("../../spanner-ledger/tests/data/entries.jsonl")
            .lines()
            .next()
            .unwrap();
        let example: Decision = serde_json::from_str(example).unwrap();
        for number in numbers {
            let id = RecordId::from_u128(number);
            let mut decision = example.clone();
            decision.id = id;
            let receipt = self.ledger.record(decision).unwrap();
            assert_eq!(block_on(receipt.acknowledged), Ok(()));
            let outcome = Outcome::crashed(id, spanner_core::Timestamp::UNIX_EPOCH);
            receipt.room.fill(outcome);
        }
    }
}

#[test]
fn counts_entries_pruned_before_shipment_exactly() {
    let stock = Stock::of(1);
    stock.request(1..30);
    let (tell, told) = mpsc::channel::<()>();
    let mut first = true;
    let (receiver, seen) = ScriptedReceiver::new(move |_| {
        if !std::mem::take(&mut first) {
            // The second batch is read and waits for the test.
            let _: Result<(), _> = told.recv_timeout(PATIENCE);
        }
        Answer::Take
    });
    let shipping = stock.ship(receiver);
    until(&seen, 9);
    // Some entries are deleted while a reader is at them, and surviving entries remain.
    stock.request(30..60);
    stock.add(2);
    stock.request(60..100);
    let pruned = stock.ledger.prune(&Retention::new().segments(2)).unwrap();
    assert!(pruned.segments > 10 && pruned.kept >= 3, "{pruned:?}");
    stock.ledger.close().unwrap();
    let reader = Ledger::read(stock.dir()).unwrap();
    let left: Vec<u64> = reader
        .entries()
        .unwrap()
        .map(|it| it.unwrap().sequence)
        .collect();
    drop(tell);
    let last = *left.last().unwrap();
    let lines = until(&seen, last);
    let status = shipping.finish(PATIENCE);
    let got: HashSet<u64> = lines
        .iter()
        .map(|it| it["sequence"].as_u64().unwrap())
        .collect();
    let missing = left.iter().find(|it| **it >= 10 && !got.contains(*it));
    assert_eq!(missing, None);
    assert_eq!((status.next, status.undelivered), (last + 1, 0));
    // Each entry is either sent or counted as lost.
    assert_eq!(status.delivered + status.lost, last + 1);
    assert!(status.lost > 100, "{status:?}");
    // The same holds if the shipment begins after pruning.
    let (receiver, seen) = ScriptedReceiver::new(|_| Answer::Take);
    let other = Shipment::new(stock.dir(), "late", Format::JsonLines, receiver);
    let other = other.batch(10).start().unwrap();
    assert_eq!(until(&seen, last).len(), left.len());
    let status = other.finish(PATIENCE);
    assert_eq!(status.delivered, left.len() as u64);
    assert_eq!(status.lost, last + 1 - left.len() as u64);
}

const DIR: &str = "SPANNER_SHIP_DIR";

/// AUD-29.
#[test]
fn omits_nothing_when_the_process_is_killed() {
    let stock = Stock::of(2_000);
    let out = stock.dir().join("out.jsonl");
    for _ in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ships_until_killed", "--ignored"])
            .env(DIR, stock.dir())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = std::fs::metadata(&out).map_or(0, |it| it.len());
        let grown = || std::fs::metadata(&out).is_ok_and(|it| it.len() > before);
        let is_whole = |text: &str| text.contains("\"sequence\":2000,");
        while !grown() && child.try_wait().unwrap().is_none() {
            thread::yield_now();
            if is_whole(&std::fs::read_to_string(&out).unwrap_or_default()) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let rest = Shipment::new(
        stock.dir(),
        "test",
        Format::JsonLines,
        FileReceiver::new(&out),
    );
    let status = rest.start().unwrap().finish(PATIENCE);
    assert_eq!((status.next, status.failing), (2_001, None));
    let text = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    check_whole(&lines, 2_001);
}

/// The child process.
#[test]
#[ignore = "is started by the test above"]
fn ships_until_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = PathBuf::from(dir);
    let _shipping = shipment(&dir, FileReceiver::new(dir.join("out.jsonl")))
        .start()
        .unwrap();
    loop {
        thread::park();
    }
}
