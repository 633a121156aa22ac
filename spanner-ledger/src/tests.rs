//! Tests of the ledger behind a gate, on a simulated disk that fails, loses and tears data.

mod clock;
mod crash;
mod damage;
mod evidence;
mod faults;
mod limits;
mod loss;
mod reading;
mod retention;
mod surface;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use spanner_core::record::{Decision, Enforcement, OutcomeClass};
use spanner_core::testing::{Fixed, Rules};
use spanner_core::{
    Action, Arrival, AuditSink, Caller, Count, Gate, Permit, Receipt, RecordId, Refused, Resource,
    SinkFault, Target, TokenFault,
};

use crate::files::sim::{Sim, User};
use crate::frame::{Frame, HEADER_BYTES, Header, Salt};
use crate::ledger::Builder;
use crate::waiter::lock;
use crate::writer::Pace;
use crate::{Checkpoint, CheckpointSink, Entry, Ledger, OpenError, Reader};

/// A guarded service and its ledger.
struct Service {
    ledger: Ledger,
    gate: Gate,
    witness: Witness,
}

/// A ledger that remembers which decisions it received and which it acknowledged.
#[derive(Clone)]
struct Witness {
    ledger: Ledger,
    taken: Arc<Mutex<HashSet<RecordId>>>,
    acknowledged: Arc<Mutex<HashSet<RecordId>>>,
}

impl AuditSink for Witness {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        let id = decision.id;
        let mut receipt = self.ledger.record(decision)?;
        lock(&self.taken).insert(id);
        let acknowledged = Arc::clone(&self.acknowledged);
        let inner = receipt.acknowledged;
        receipt.acknowledged = Box::pin(async move {
            inner.await?;
            lock(&acknowledged).insert(id);
            Ok(())
        });
        Ok(receipt)
    }

    fn count(&self, what: Count) {
        self.ledger.count(what);
    }
}

impl Service {
    fn open(sim: &Sim) -> Result<Self, OpenError> {
        Self::of(options(), sim)
    }

    fn of(builder: Builder, sim: &Sim) -> Result<Self, OpenError> {
        Self::at(builder, sim, 1_795_000_000)
    }

    fn at(builder: Builder, sim: &Sim, second: i64) -> Result<Self, OpenError> {
        let ledger = open(builder, sim)?;
        // Each opening uses different identifiers.
        let time = second + i64::try_from(ledger.recovery().next).unwrap();
        let host = Fixed::at("2026-11-23T12:00:00Z");
        host.set(jiff::Timestamp::from_second(time).unwrap());
        let witness = Witness {
            ledger: ledger.clone(),
            taken: Arc::default(),
            acknowledged: Arc::default(),
        };
        let rules = Rules::allow(|question| question.action == Action::Generate);
        let environment = "production".parse().unwrap();
        let gate = Gate::new("chat", environment, rules, witness.clone(), host);
        Ok(Self {
            ledger,
            gate,
            witness,
        })
    }

    /// Makes a request that is allowed if it can be recorded.
    fn allow(&self) -> Result<Permit, Refused> {
        self.ask(Action::Generate)
    }

    /// Makes a request that is refused. Returns whether the refusal was acknowledged.
    fn deny(&self) -> bool {
        let refused = self.ask(Action::Deploy).unwrap_err();
        let id = refused.id();
        refused.settle(403, 10);
        id.is_some_and(|id| lock(&self.witness.acknowledged).contains(&id))
    }

    /// Makes a request that another component enforces and that is allowed.
    fn external(&self) -> Permit {
        let mut arrival = Arrival::new();
        arrival.enforcement = Enforcement::External;
        self.decide(arrival, Action::Generate).unwrap()
    }

    fn ask(&self, action: Action) -> Result<Permit, Refused> {
        self.decide(Arrival::new(), action)
    }

    fn decide(&self, arrival: Arrival, action: Action) -> Result<Permit, Refused> {
        let model = Resource::model("acme/sentiment".parse().unwrap());
        let attempt = self.gate.open(arrival);
        let caller = Caller::for_test("alice");
        block_on(
            attempt
                .decide(caller, Target::one(action, model))
                .recorded(),
        )
    }

    /// Makes a request without a valid token.
    fn stray(&self) {
        let attempt = self.gate.open(Arrival::new());
        let refused = block_on(attempt.refuse(TokenFault::Expired.into()).refused());
        refused.settle(401, 0);
    }

    fn acknowledged(&self) -> HashSet<RecordId> {
        lock(&self.witness.acknowledged).clone()
    }

    fn taken(&self) -> HashSet<RecordId> {
        lock(&self.witness.taken).clone()
    }
}

/// A sink that stores checkpoints outside the failing disk.
#[derive(Debug, Clone, Default)]
struct Shelf(Arc<Mutex<Vec<Checkpoint>>>);

impl CheckpointSink for Shelf {
    fn ship(&mut self, checkpoint: &Checkpoint) -> std::io::Result<()> {
        lock(&self.0).push(checkpoint.clone());
        Ok(())
    }

    fn newest(&mut self) -> std::io::Result<Option<String>> {
        Ok(lock(&self.0).last().map(|last| last.note().to_owned()))
    }
}

/// Small segments, so that a short trace has many, and short intervals.
fn options() -> Builder {
    let mut builder = Ledger::builder("simulated").segment_bytes(4096);
    builder.pace = Pace {
        retry: Duration::from_millis(1),
        probe: Duration::from_millis(1),
        sync: Duration::from_millis(1),
        count: Duration::from_millis(1),
        checkpoint: Duration::from_millis(1),
        prune: Duration::from_millis(1),
        patience: Duration::from_secs(5),
    };
    builder
}

fn open(builder: Builder, sim: &Sim) -> Result<Ledger, OpenError> {
    let evidence = sim.used_by(User::Evidence);
    builder.open_in(Arc::new(sim.clone()), Arc::new(evidence))
}

fn reader(sim: &Sim) -> Reader {
    Reader::of(Arc::new(sim.clone()))
}

/// All entries. Fails if their sequences have a gap.
fn entries(sim: &Sim) -> Vec<Entry> {
    let numbered: Vec<_> = (reader(sim).entries().unwrap())
        .collect::<Result<_, _>>()
        .unwrap();
    for (index, numbered) in numbered.iter().enumerate() {
        assert_eq!(numbered.sequence, index as u64);
    }
    numbered
        .into_iter()
        .map(|numbered| numbered.entry)
        .collect()
}

/// Each decision with the class of its outcome. Fails unless each has exactly one outcome.
fn settled(sim: &Sim) -> HashMap<RecordId, OutcomeClass> {
    let entries = entries(sim);
    let mut decided = HashSet::new();
    let mut classes = HashMap::new();
    for entry in entries {
        match entry {
            Entry::Decision(decision) => assert!(decided.insert(decision.id), "decided twice"),
            Entry::Outcome(outcome) => {
                let other = classes.insert(outcome.id, outcome.class);
                assert_eq!(other, None, "two outcomes");
            }
            _ => {}
        }
    }
    assert_eq!(decided, classes.keys().copied().collect());
    classes
}

/// Waits for a condition that another thread establishes. The limit is longer than any step takes
/// on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn until(mut done: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "what is waited for never comes");
        thread::yield_now();
    }
}

/// Decodes the frames of a segment, edits them and encodes them again with valid checksums.
fn edit(sim: &Sim, name: &str, edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
    sim.harm(name, |bytes| {
        let header = Header::decode(bytes).unwrap();
        let mut payloads = payloads(&header.salt, bytes);
        edit(&mut payloads);
        bytes.truncate(HEADER_BYTES);
        for (sequence, payload) in (header.first..).zip(&payloads) {
            let frame = Frame {
                sequence,
                durable: sequence,
                payload,
            };
            frame.encode(&header.salt, bytes);
        }
    });
}

fn payloads(salt: &Salt, bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut payloads, mut at) = (Vec::new(), HEADER_BYTES);
    while let Some(frame) = Frame::decode(salt, &bytes[at..]) {
        at += frame.bytes();
        payloads.push(frame.payload.to_vec());
    }
    payloads
}
