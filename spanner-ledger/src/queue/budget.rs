//! The budget for refusals of unidentified callers.

use std::time::Instant;

use spanner_core::SinkFault;

use super::Share;
use crate::OVERHEAD;

/// Limits how many refusals of unidentified callers are recorded individually, and how many bytes
/// they take. Further ones are only counted, so that a caller without a token cannot fill the
/// disk.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: f64,
    left: f64,
    bytes_left: f64,
    at: Instant,
}

impl Budget {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            left: per_second * BURST_SECONDS,
            bytes_left: UNIDENTIFIED_BYTES,
            at: now,
        }
    }

    /// Charges a refusal and the largest outcome that it may have.
    pub(super) fn spend(&mut self, now: Instant, share: Share) -> Result<(), SinkFault> {
        let seconds = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + seconds * self.per_second).min(self.per_second * BURST_SECONDS);
        let earned = seconds * UNIDENTIFIED_BYTES / BURST_SECONDS;
        self.bytes_left = (self.bytes_left + earned).min(UNIDENTIFIED_BYTES);
        let bytes = share.plus(Share::OUTCOME).bytes as f64;
        if self.left < 1.0 || self.bytes_left < bytes {
            return Err(SinkFault::Full);
        }
        self.left -= 1.0;
        self.bytes_left -= bytes;
        Ok(())
    }

    /// Refunds the difference between the largest outcome and the actual one.
    pub(super) fn repay(&mut self, outcome: usize) {
        let over = Share::OUTCOME_BYTES.saturating_sub(OVERHEAD + outcome);
        self.bytes_left = (self.bytes_left + over as f64).min(UNIDENTIFIED_BYTES);
    }
}

/// The budget accumulates for up to a minute, so that a short burst is recorded in full.
const BURST_SECONDS: f64 = 60.0;

/// The burst plus one minute's refill must stay below 1 MiB, with some room for the counts.
const UNIDENTIFIED_BYTES: f64 = 480.0 * 1024.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn limits_unidentified_refusals_to_a_mebibyte_per_minute() {
        for (bytes, outcome) in [(300, 200), (700, 200), (8000, 500)] {
            let share = Share { entries: 1, bytes };
            let start = Instant::now();
            let mut budget = Budget::new(u32::MAX, start);
            // Ten minutes at a thousand refusals per second, and the time and size of each stored
            // one.
            let mut stored = Vec::new();
            for millis in 0..600_000 {
                let now = start + Duration::from_millis(millis);
                if budget.spend(now, share).is_ok() {
                    budget.repay(outcome);
                    stored.push((millis, bytes + OVERHEAD + outcome));
                }
            }
            let within = |from: u64| {
                let minute = stored
                    .iter()
                    .filter(|(at, _)| (from..from + 60_000).contains(at));
                minute.map(|(_, bytes)| bytes).sum::<usize>()
            };
            let most = (0..540).map(|second| within(second * 1000)).max().unwrap();
            assert!(most <= 1024 * 1024, "{most}");
            assert!(most > 900 * 1024, "the budget is not used: {most}");
        }
    }
}
