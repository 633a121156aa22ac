//! Counts of requests that have no entry of their own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use spanner_core::Count;

use crate::entry::Counts;

/// The counts since the last [`Tally::take`].
#[derive(Debug, Default)]
pub(super) struct Tally {
    public: AtomicU64,
    exempt: AtomicU64,
    shed_refusal: AtomicU64,
    dirty: AtomicBool,
}

impl Tally {
    /// Returns whether this is the first count since the last [`Tally::take`].
    pub(super) fn add(&self, what: Count) -> bool {
        let count = match what {
            Count::Public => &self.public,
            Count::Exempt => &self.exempt,
            // A count that this version does not know is a decision that was not recorded.
            _ => &self.shed_refusal,
        };
        count.fetch_add(1, Ordering::Relaxed);
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// Whether anything was counted since the counts were taken.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Takes the counts, if there are any, and resets them.
    pub(super) fn take(&self) -> Option<Counts> {
        self.dirty.store(false, Ordering::Release);
        let counts = Counts {
            time: Timestamp::now(),
            public: self.public.swap(0, Ordering::AcqRel),
            exempt: self.exempt.swap(0, Ordering::AcqRel),
            shed_refusal: self.shed_refusal.swap(0, Ordering::AcqRel),
        };
        (counts.public > 0 || counts.exempt > 0 || counts.shed_refusal > 0).then_some(counts)
    }
}
