//! Detects steps of the wall clock.
//!
//! The order of entries is the order of their sequences. A clock step is recorded as an event, so
//! that an auditor does not mistake times that run backwards for a forgery.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::entry::Entry;

/// The wall clock, compared with a monotonic clock.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: fn() -> Timestamp,
    last: (Timestamp, Instant),
}

impl Clock {
    pub(crate) fn new(wall: fn() -> Timestamp) -> Self {
        Self {
            wall,
            last: (wall(), Instant::now()),
        }
    }

    /// The event to record if the clock was set since the last call.
    pub(crate) fn look(&mut self) -> Option<Entry> {
        let (found, now) = ((self.wall)(), Instant::now());
        let (then, at) = std::mem::replace(&mut self.last, (found, now));
        let elapsed = now.duration_since(at);
        let expected = then.checked_add(elapsed).ok()?;
        // NTP slews a clock by at most half a millisecond per second; twice that is tolerated.
        let tolerated = STEP + elapsed / 1000;
        stepped(expected, found, tolerated)
    }
}

/// The event to record if the ledger's last entry is later than now.
pub(crate) fn behind(last: Timestamp, now: Timestamp) -> Option<Entry> {
    (last > now).then(|| stepped(last, now, STEP)).flatten()
}

fn stepped(expected: Timestamp, found: Timestamp, tolerated: Duration) -> Option<Entry> {
    let by: SignedDuration = found.duration_since(expected);
    (by.unsigned_abs() > tolerated).then(|| {
        let body = json!({"expected": expected, "found": found, "by_ms": by.as_millis()});
        Entry::event(CLOCK_STEP, body)
    })
}

pub(crate) const CLOCK_STEP: &str = "ledger.clock_step";
/// More than scheduling delays cause, and less than an administrator changes when setting a
/// clock.
const STEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn by(entry: Option<Entry>) -> Option<i64> {
        match entry? {
            Entry::Event(event) if event.event == CLOCK_STEP => event.body["by_ms"].as_i64(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reports_a_clock_step_once_in_either_direction() {
        static SET: AtomicI64 = AtomicI64::new(0);
        let mut clock = Clock::new(|| {
            let set = SignedDuration::from_secs(SET.load(Ordering::Relaxed));
            Timestamp::now().checked_add(set).unwrap()
        });
        assert_eq!(by(clock.look()), None);
        let hour = 3_600;
        let mut before = 0;
        for set in [hour, 0, -hour, -1_795_000_000, 0] {
            SET.store(set, Ordering::Relaxed);
            let seen = by(clock.look()).unwrap();
            let meant = (set - before) * 1000;
            assert!((seen - meant).abs() < 1000, "{seen} for {meant}");
            assert_eq!(by(clock.look()), None);
            before = set;
        }
    }

    #[test]
    fn reports_a_last_entry_in_the_future() {
        let now = at("2026-11-25T12:00:00Z");
        assert_eq!(
            by(behind(at("2026-11-25T13:00:00Z"), now)),
            Some(-3_600_000)
        );
        assert_eq!(by(behind(at("2026-11-25T12:00:01Z"), now)), None);
        assert_eq!(by(behind(at("2025-11-25T12:00:00Z"), now)), None);
    }
}
