//! One entry on its way out, with what it takes to be understood alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use spanner_core::record::Decision;
use spanner_core::{RecordId, Timestamp};

use crate::entry::Entry;

/// An entry as formats see it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Item {
    /// What tells it from every other: the ledger's origin, the sequence and a checksum.
    /// Whoever receives the same key twice has received the same entry twice.
    pub key: String,
    /// Its place in the ledger.
    pub sequence: u64,
    /// As it is stored: one JSON object.
    pub stored: Vec<u8>,
    /// What it is; `None` if a newer version wrote it.
    pub entry: Option<Entry>,
    /// For an outcome: the decision, if it is not long past.
    pub decision: Option<Arc<Decision>>,
}

impl Item {
    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        Some(match self.entry.as_ref()? {
            Entry::Decision(decision) => decision.time,
            Entry::Outcome(outcome) => outcome.time,
            Entry::Gap(gap) => gap.time,
            Entry::Count(counts) => counts.time,
            Entry::Event(event) => event.time,
        })
    }

    pub(super) fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.stored)
    }
}

/// Gives outcomes the decisions that they belong to.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    decisions: HashMap<RecordId, Arc<Decision>>,
    order: VecDeque<RecordId>,
}

impl Joiner {
    pub(crate) fn item(&mut self, origin: &str, sequence: u64, payload: Vec<u8>) -> Item {
        let entry: Option<Entry> = serde_json::from_slice(&payload).ok();
        let decision = match &entry {
            Some(Entry::Decision(decision)) => {
                self.keep(decision);
                None
            }
            Some(Entry::Outcome(outcome)) => self.decisions.get(&outcome.id).cloned(),
            _ => None,
        };
        let checksum = crc32c::crc32c(&payload);
        Item {
            key: format!("{origin}/{sequence}/{checksum:08x}"),
            sequence,
            stored: payload,
            entry,
            decision,
        }
    }

    fn keep(&mut self, decision: &Decision) {
        // Read once more, after a batch was refused.
        if self.decisions.contains_key(&decision.id) {
            return;
        }
        if self.order.len() >= MAX_OPEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.decisions.remove(&oldest);
        }
        self.order.push_back(decision.id);
        self.decisions
            .insert(decision.id, Arc::new(decision.clone()));
    }
}

/// Requests that are under way at once, of a busy service; some 2 KiB each. An outcome whose
/// decision is not among them goes out without it.
const MAX_OPEN: usize = 10_000;

#[cfg(test)]
mod tests {
    use spanner_core::record::Outcome;

    use super::*;

    #[test]
    fn an_outcome_that_is_read_again_still_has_its_decision() {
        let decision = include_str!("../../tests/data/entries.jsonl")
            .lines()
            .next()
            .unwrap();
        let decision: Entry = serde_json::from_str(decision).unwrap();
        let Entry::Decision(decided) = &decision else {
            panic!("the first entry is a decision");
        };
        let outcome = Outcome::crashed(decided.id, Timestamp::UNIX_EPOCH);
        let outcome = Entry::Outcome(Box::new(outcome));
        let mut joiner = Joiner::default();
        for _ in 0..3 {
            joiner.item("o", 0, decision.payload().unwrap());
            for _ in 0..2 {
                let item = joiner.item("o", 1, outcome.payload().unwrap());
                assert_eq!(item.decision.as_deref(), Some(&**decided));
            }
        }
        assert_eq!(joiner.order.len(), 1);
    }
}
