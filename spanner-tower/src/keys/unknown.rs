//! Limits the fetches that unknown keys cause.
//!
//! Anybody can write a token with any `kid`, so a fetch for an unknown `kid` is charged to a
//! budget. Its result decides the cost:
//!
//! 1. A fetch that finds a new key is free. Only the issuer can add keys, so each rotation costs
//!    one fetch, however fast rotations follow one another.
//! 2. A fetch that finds no new key costs one unit. A unit is earned every 30 seconds, and up to
//!    four are saved; the first is available at start. Such fetches are at least five seconds
//!    apart, so a rotation right after an attacker's guess is found five seconds later.
//! 3. A `kid` that was not found is not fetched again for 30 seconds, then for a minute. So a
//!    client that keeps sending a token of a withdrawn key leaves the rest of the budget to
//!    others.
//!
//! Attackers cause at most one fetch per 30 seconds of the process's life, whatever they send.
//! While they use up the budget, a rotation is found up to 30 seconds late.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The time in which one fetch without a new key is earned: 120 an hour, which no provider
/// limits.
const EARNED: Duration = Duration::from_secs(30);
/// The maximum of saved fetches: a few rotations in a row whose keys are asked for too early.
const SAVED: f64 = 4.0;
/// The minimum time between two such fetches, so that one attacker's guesses do not use up all
/// that is saved.
const APART: Duration = Duration::from_secs(5);
/// How long a `kid` is not fetched again after the first miss: the time in which one fetch is
/// earned.
const AGAIN: Duration = Duration::from_secs(30);
/// The same after further misses, so that several withdrawn keys do not use up the budget.
const MAX_AGAIN: Duration = Duration::from_secs(60);
/// The number of missing names remembered, in about 10 KB. Further names are limited by the
/// budget alone.
const REMEMBERED: usize = 256;
/// The number of new keys in a row that are free; one more is free per [`ROTATION`]. It limits
/// the fetches from an issuer that publishes a new key in every document.
const ROTATIONS: f64 = 8.0;
/// See [`ROTATIONS`].
const ROTATION: Duration = Duration::from_secs(2);

/// The rest of the budget, and the names that were not found.
pub(super) struct Unknown {
    vain: RateLimit,
    rotations: RateLimit,
    not_before: Option<Instant>,
    missed: HashMap<u64, MissingKey>,
    hasher: RandomState,
}

struct MissingKey {
    until: Instant,
    pause: Duration,
}

struct RateLimit {
    left: f64,
    most: f64,
    each: Duration,
    at: Instant,
}

impl Default for Unknown {
    fn default() -> Self {
        Self {
            vain: RateLimit::new(1.0, SAVED, EARNED),
            rotations: RateLimit::new(ROTATIONS, ROTATIONS, ROTATION),
            not_before: None,
            missed: HashMap::new(),
            hasher: RandomState::new(),
        }
    }
}

impl Unknown {
    /// Whether a fetch for this name is allowed now.
    pub(super) fn may_ask(&mut self, key_id: Option<&str>, now: Instant) -> bool {
        let name = self.hasher.hash_one(key_id);
        let missed = self.missed.get(&name);
        let early = self.not_before.is_some_and(|time| now < time);
        !early && missed.is_none_or(|missed| now >= missed.until) && self.vain.has(now)
    }

    /// Charges a completed fetch for an unknown name.
    pub(super) fn asked(&mut self, gained: bool, now: Instant) {
        if gained && self.rotations.take(now) {
            return;
        }
        self.vain.take(now);
        self.not_before = Some(now + APART);
    }

    /// Notes that a name was not found.
    pub(super) fn missed(&mut self, key_id: Option<&str>, now: Instant) {
        let name = self.hasher.hash_one(key_id);
        if let Some(missed) = self.missed.get_mut(&name) {
            if now >= missed.until {
                missed.pause = MAX_AGAIN;
                missed.until = now + MAX_AGAIN;
            }
            return;
        }
        if self.missed.len() >= REMEMBERED {
            self.missed
                .retain(|_, missed| now < missed.until + missed.pause);
        }
        if self.missed.len() < REMEMBERED {
            let (until, pause) = (now + AGAIN, AGAIN);
            self.missed.insert(name, MissingKey { until, pause });
        }
    }
}

impl RateLimit {
    fn new(left: f64, most: f64, each: Duration) -> Self {
        let at = Instant::now();
        Self {
            left,
            most,
            each,
            at,
        }
    }

    fn has(&mut self, now: Instant) -> bool {
        let earned = now
            .saturating_duration_since(self.at)
            .div_duration_f64(self.each);
        self.left = (self.left + earned).min(self.most);
        self.at = now;
        self.left >= 1.0
    }

    /// Takes one unit, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let has = self.has(now);
        self.left = (self.left - 1.0).max(0.0);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn strangers_cause_one_fetch_in_thirty_seconds_whatever_they_send() {
        let start = Instant::now();
        // Whether the flood begins at once, or after what can be saved was saved.
        for quiet in [0, 600] {
            let (mut unknown, mut fetches) = (Unknown::default(), 0_u64);
            for second in quiet..quiet + 3_600 {
                let now = start + SECOND * second;
                for guess in 0..20 {
                    let kid = format!("{second}-{guess}");
                    if unknown.may_ask(Some(&kid), now) {
                        fetches += 1;
                        unknown.asked(false, now);
                        unknown.missed(Some(&kid), now);
                    }
                }
                let life = u64::from(second) + 1;
                assert!(fetches <= 1 + life.div_ceil(30), "{fetches} in {life} s");
            }
            assert!(fetches >= 120, "{fetches}");
            assert!(unknown.missed.len() <= REMEMBERED);
        }
    }

    #[test]
    fn rotations_are_found_however_fast_they_follow() {
        let now = Instant::now();
        let mut unknown = Unknown::default();
        for landing in 0..8 {
            assert!(unknown.may_ask(Some("new"), now), "{landing}");
            unknown.asked(true, now);
        }
        for landing in 8..1_000 {
            let now = now + Duration::from_secs(2 * landing);
            assert!(unknown.may_ask(Some("new"), now), "{landing}");
            unknown.asked(true, now);
        }
    }

    #[test]
    fn a_rotation_after_a_guess_is_found_when_something_was_saved() {
        let start = Instant::now();
        let mut unknown = Unknown::default();
        let now = start + SECOND * 60;
        assert!(unknown.may_ask(Some("guess"), now));
        unknown.asked(false, now);
        unknown.missed(Some("guess"), now);
        assert!(!unknown.may_ask(Some("new"), now + SECOND * 4));
        assert!(!unknown.may_ask(Some("guess"), now + SECOND * 29));
        assert!(unknown.may_ask(Some("new"), now + SECOND * 5));
        assert!(unknown.may_ask(Some("guess"), now + SECOND * 30));
    }
}
