//! An entry with the context that makes it meaningful on its own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use spanner_core::record::Decision;
use spanner_core::{RecordId, Timestamp};

use spanner_ledger::{Entry, StoredEntry};

/// An entry as a format receives it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyedEntry {
    /// Identifies the entry globally: the ledger's origin, the sequence and a checksum. A
    /// receiver that sees a key twice has received the same entry twice.
    pub key: String,
    /// The entry.
    pub stored: StoredEntry,
    /// The decision that an outcome belongs to, if it is among the last 10,000 decisions.
    pub decision: Option<Arc<Decision>>,
}

impl KeyedEntry {
    /// The entry's time; `None` if its format is newer than this version.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.stored.entry.as_ref().map(Entry::time)
    }
}

/// Attaches decisions to outcomes.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    decisions: HashMap<RecordId, Arc<Decision>>,
    order: VecDeque<RecordId>,
}

impl Joiner {
    pub(crate) fn join(&mut self, origin: &str, stored: StoredEntry) -> KeyedEntry {
        let decision = match &stored.entry {
            Some(Entry::Decision(decision)) => {
                self.keep(decision);
                None
            }
            Some(Entry::Outcome(outcome)) => self.decisions.get(&outcome.id).cloned(),
            _ => None,
        };
        KeyedEntry {
            key: format!("{origin}/{}/{:08x}", stored.sequence, stored.checksum()),
            stored,
            decision,
        }
    }

    fn keep(&mut self, decision: &Decision) {
        // After a retry, the entry is read again.
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

/// More than the concurrent requests of a busy service, at about 2 KiB each. An outcome whose
/// decision is not among them is shipped without it.
const MAX_OPEN: usize = 10_000;

#[cfg(test)]
mod tests {
    use spanner_core::record::Outcome;

    use super::*;

    fn stored(sequence: u64, entry: &Entry) -> StoredEntry {
        StoredEntry::new(sequence, serde_json::to_vec(entry).unwrap())
    }

    #[test]
    fn joins_an_outcome_that_is_read_again() {
        let decision = include_str!("../../spanner-ledger/tests/data/entries.jsonl")
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
            joiner.join("o", stored(0, &decision));
            for _ in 0..2 {
                let item = joiner.join("o", stored(1, &outcome));
                assert_eq!(item.decision.as_deref(), Some(&**decided));
            }
        }
        assert_eq!(joiner.order.len(), 1);
    }
}
