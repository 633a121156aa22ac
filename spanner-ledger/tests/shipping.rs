//! Whatever becomes of the receiver, every entry arrives, in order, and nothing waits for it.

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
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use serde_json::{Value, json};
use spanner_ledger::Ledger;
use spanner_ledger::ship::{
    FileReceiver, Format, Parcel, Receive, Shipment, Shipping, Undelivered,
};
use tempfile::TempDir;

/// Longer than anything takes that goes well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ledger with so many events, and what the opening and closing of it add.
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

    fn ship(&self, receiver: impl Receive + 'static) -> Shipping {
        shipment(&self.dir(), receiver).start().unwrap()
    }
}

/// Waits for an acknowledgement.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

fn shipment(dir: &Path, receiver: impl Receive + 'static) -> Shipment {
    Shipment::new(dir, "test", Format::JsonLines, receiver)
        .batch(10)
        .poll(Duration::from_millis(1))
        .patience(Duration::from_millis(1), Duration::from_millis(2))
}

/// Answers as it is told, and passes on what it takes.
struct Told {
    answer: Box<Decide>,
    taken: Sender<Vec<Parcel>>,
}

type Decide = dyn FnMut(&[Parcel]) -> Answer + Send;

/// What a receiver does with a batch.
enum Answer {
    Take,
    /// It takes it and fails before it says so.
    TakeAndFail,
    Fail,
    Reject,
}

impl Told {
    fn new(
        answer: impl FnMut(&[Parcel]) -> Answer + Send + 'static,
    ) -> (Self, Receiver<Vec<Parcel>>) {
        let (taken, seen) = mpsc::channel();
        let answer = Box::new(answer);
        (Self { answer, taken }, seen)
    }
}

impl Receive for Told {
    fn receive(&mut self, parcels: &[Parcel]) -> Result<(), Undelivered> {
        let answer = (self.answer)(parcels);
        if matches!(answer, Answer::Take | Answer::TakeAndFail) {
            // The test may have seen enough.
            let _: Result<(), _> = self.taken.send(parcels.to_vec());
        }
        match answer {
            Answer::Take => Ok(()),
            Answer::TakeAndFail | Answer::Fail => Err(Undelivered::later("it is away")),
            Answer::Reject => Err(Undelivered::rejected("it is poison")),
        }
    }
}

/// What came, until the entry with this sequence.
fn until(seen: &Receiver<Vec<Parcel>>, last: u64) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let batch = seen.recv_timeout(PATIENCE).expect("the rest comes");
        all.extend(batch.iter().map(line));
        if all.iter().any(|it| it["sequence"] == last) {
            return all;
        }
    }
}

fn line(parcel: &Parcel) -> Value {
    serde_json::from_slice(&parcel.bytes).unwrap()
}

/// Every sequence once, in order, once repeated keys are dropped.
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
fn everything_arrives_in_order_though_the_receiver_fails_and_repeats() {
    let stock = Stock::of(99);
    let mut calls = 0;
    let (receiver, seen) = Told::new(move |_| {
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
fn nothing_is_left_out_while_segments_are_begun() {
    let stock = Stock::of(1);
    let (receiver, seen) = Told::new(|_| Answer::Take);
    let shipping = stock.ship(receiver);
    thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|_| stock.add(20)));
        check_whole(&until(&seen, 2_001), 2_002);
    });
    assert_eq!(shipping.finish(PATIENCE).lost, 0);
}

#[test]
fn goes_on_where_it_was() {
    let stock = Stock::of(30);
    for from in [0, 31] {
        let (receiver, seen) = Told::new(|_| Answer::Take);
        let shipping = stock.ship(receiver);
        let lines = until(&seen, from + 30);
        assert_eq!(lines[0]["sequence"], from);
        let standing = shipping.finish(PATIENCE);
        assert_eq!((standing.delivered, standing.next), (31, from + 31));
        stock.add(31);
    }
}

#[test]
fn a_receiver_that_is_away_costs_the_ledger_nothing_and_lag_is_told() {
    let stock = Stock::of(1);
    let (receiver, _seen) = Told::new(|_| Answer::Fail);
    let shipping = stock.ship(receiver);
    let failing = std::iter::repeat_with(|| shipping.standing());
    let standing = failing.take(100_000_000).find(|it| it.failing.is_some());
    let standing = standing.expect("it fails");
    assert_eq!(standing.failing.as_deref(), Some("it is away"));
    assert!(standing.oldest.is_some());
    let past = standing.oldest.unwrap() + Duration::from_secs(60);
    assert_eq!(standing.lag(past), Duration::from_secs(60));
    stock.add(1_000);
    stock.ledger.close().unwrap();
    let standing = shipping.finish(PATIENCE);
    assert_eq!((standing.delivered, standing.set_aside), (0, 0));
}

#[test]
fn poison_is_set_aside_and_the_rest_arrives() {
    let stock = Stock::of(40);
    let is_poison = |parcel: &Parcel| matches!(line(parcel)["sequence"].as_u64(), Some(7 | 8 | 33));
    let (receiver, seen) = Told::new(move |parcels| match parcels.iter().any(is_poison) {
        true => Answer::Reject,
        false => Answer::Take,
    });
    let shipping = stock.ship(receiver);
    let lines = until(&seen, 40);
    let standing = shipping.finish(PATIENCE);
    assert_eq!((standing.delivered, standing.set_aside), (38, 3));
    let got: HashSet<u64> = lines
        .iter()
        .map(|it| it["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(got.len(), 38);
    let aside = std::fs::read_to_string(stock.dir().join("ship/test.dead.jsonl")).unwrap();
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
fn a_receiver_that_rejects_everything_is_waited_for() {
    let stock = Stock::of(300);
    let (tell, told) = mpsc::channel();
    let mut refuses = true;
    let (receiver, seen) = Told::new(move |_| {
        refuses = refuses && told.try_recv().is_err();
        match refuses {
            true => Answer::Reject,
            false => Answer::Take,
        }
    });
    let shipping = stock.ship(receiver);
    let mut standings = std::iter::repeat_with(|| shipping.standing()).take(100_000_000);
    assert!(
        standings.any(|it| it.failing.is_some()),
        "it is taken for broken"
    );
    assert_eq!(shipping.standing().set_aside, 100);
    tell.send(()).unwrap();
    let lines = until(&seen, 300);
    assert_eq!(lines.len(), 301 - 100);
    assert_eq!(shipping.finish(PATIENCE).set_aside, 100);
}

#[test]
fn another_ledger_in_the_same_place_is_shipped_from_its_beginning() {
    let stock = Stock::of(20);
    let (receiver, seen) = Told::new(|_| Answer::Take);
    let shipping = stock.ship(receiver);
    let first = until(&seen, 20);
    drop(shipping);
    let Stock { folder, ledger } = stock;
    ledger.close().unwrap();
    drop(ledger);
    // As if another one were put in its place, and only the cursor were left.
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
    let (receiver, seen) = Told::new(|_| Answer::Take);
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

const DIR: &str = "SPANNER_SHIP_DIR";

#[test]
fn nothing_is_left_out_when_the_process_is_killed() {
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
    let standing = rest.start().unwrap().finish(PATIENCE);
    assert_eq!((standing.next, standing.failing), (2_001, None));
    let text = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    check_whole(&lines, 2_001);
}

/// The other process.
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
