//! A record as a service makes it, for benchmarks of the ledger.

use std::sync::{Arc, Mutex};
use std::thread;

use futures_executor::block_on;
use spanner_core::record::{Decision, Outcome};
use spanner_core::testing::{Fixed, Rules};
use spanner_core::{
    Action, Arrival, AuditSink, Caller, Count, Gate, Receipt, RecordId, Resource, Room, SinkFault,
    Target, Timestamp,
};
use spanner_ledger::{Durability, Ledger};

use crate::Failure;

#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) decision: Decision,
    pub(crate) outcome: Outcome,
}

impl Sample {
    pub(crate) fn new() -> Result<Self, Failure> {
        let shelf = Shelf::default();
        let host = Fixed::at("2026-11-23T12:00:00Z");
        let environment = "production".parse()?;
        let rules = Rules::allow(|_| true);
        let gate = Gate::new("chat", environment, rules, shelf.clone(), host);
        let model = Resource::model("acme/sentiment".parse()?);
        let target = Target::one(Action::Generate, model);
        let decided = gate
            .open(Arrival::new())
            .decide(Caller::for_test("alice"), target);
        let permit = block_on(decided.recorded()).map_err(|_| "the sample was refused")?;
        drop(permit);
        let taken = shelf.0.lock().map_err(|_| "the shelf is broken")?.take();
        let decision = taken.ok_or("nothing was recorded")?;
        let outcome = Outcome::crashed(decision.id, Timestamp::UNIX_EPOCH);
        Ok(Self { decision, outcome })
    }

    pub(crate) fn numbered(&self, number: u128) -> (Decision, Outcome) {
        let (mut decision, mut outcome) = (self.decision.clone(), self.outcome.clone());
        decision.id = RecordId::from_u128(number);
        outcome.id = decision.id;
        (decision, outcome)
    }

    /// Writes a ledger of this many records as fast as possible, and closes it. `ends` selects the
    /// requests with an outcome.
    pub(crate) fn fill(
        &self,
        builder: spanner_ledger::Builder,
        records: u64,
        ends: impl Fn(u64) -> bool,
    ) -> Result<(), Failure> {
        let ledger: Ledger = builder.durability(Durability::Relaxed).open()?;
        for number in 1..=records {
            let (decision, outcome) = self.numbered(number.into());
            let receipt = loop {
                match ledger.record(decision.clone()) {
                    Err(SinkFault::Full) => thread::yield_now(),
                    receipt => break receipt?,
                }
            };
            if ends(number) {
                receipt.room.fill(outcome);
            }
        }
        Ok(ledger.close()?)
    }
}

/// Keeps the last decision.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Option<Decision>>>);

impl AuditSink for Shelf {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        if let Ok(mut shelf) = self.0.lock() {
            *shelf = Some(decision);
        }
        Ok(Receipt {
            acknowledged: Box::pin(std::future::ready(Ok(()))),
            room: Room::new(drop),
        })
    }

    fn count(&self, _: Count) {}
}
