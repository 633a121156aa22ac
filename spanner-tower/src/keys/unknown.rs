//! When an issuer may be asked about keys that are not known.
//!
//! Anybody can write a token with any `kid`, so each fetch that such a token causes is paid
//! from a budget. What comes of it decides whether it is paid:
//!
//! 1. A fetch that brings a new key is free: only the issuer can make one, so that its
//!    rotations cost what they must, one fetch each, however fast they follow one another.
//! 2. A fetch that brings none is paid: one is earned every 30 seconds, and what is not used
//!    is saved, four at most. The first is there at start. Two are at least five seconds
//!    apart, so that a rotation right after a stranger's guess is found five seconds later.
//! 3. A `kid` that was asked for in vain is not asked for again for 30 seconds, then for a
//!    minute: a client that goes on sending a token of a withdrawn key leaves the rest of
//!    the budget to others.
//!
//! So strangers cause one fetch per 30 seconds of the process's life and no more, at any
//! rate. While they use up all of it, a rotation is found up to 30 seconds late.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// One fetch in vain is earned in this time: 120 an hour, which no provider limits.
const EARNED: Duration = Duration::from_secs(30);
/// So many are saved at most: several rotations that are guessed at in a row.
const SAVED: f64 = 4.0;
/// Two are so far apart at least, so that a stranger's guess does not spend all that is saved.
const APART: Duration = Duration::from_secs(5);
/// How long a `kid` is not asked for again, after the first time: as long as one fetch is earned in.
const AGAIN: Duration = Duration::from_secs(30);
/// The same after further times, so that several withdrawn keys do not use up the budget.
const MAX_AGAIN: Duration = Duration::from_secs(60);
/// So many names are remembered, in some 10 KB; what is over it is bounded by the budget alone.
const REMEMBERED: usize = 256;
/// So many new keys in a row are free, and one more in this time: an issuer whose every
/// document has another key is not asked by everybody who likes to.
const ROTATIONS: f64 = 8.0;
/// See [`ROTATIONS`].
const ROTATION: Duration = Duration::from_secs(2);

/// What is left of the budget, and which names were asked for in vain.
pub(super) struct Unknown {
    vain: RateLimit,
    rotations: RateLimit,
    not_before: Option<Instant>,
    missed: HashMap<u64, Missed>,
    hasher: RandomState,
}

struct Missed {
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
    /// Whether a fetch may be made for this name now.
    pub(super) fn may_ask(&mut self, key_id: Option<&str>, now: Instant) -> bool {
        let name = self.hasher.hash_one(key_id);
        let missed = self.missed.get(&name);
        let early = self.not_before.is_some_and(|time| now < time);
        !early && missed.is_none_or(|missed| now >= missed.until) && self.vain.has(now)
    }

    /// A fetch landed that was made for an unknown name.
    pub(super) fn asked(&mut self, gained: bool, now: Instant) {
        if gained && self.rotations.take(now) {
            return;
        }
        self.vain.take(now);
        self.not_before = Some(now + APART);
    }

    /// A name was not there.
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
            self.missed.insert(name, Missed { until, pause });
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

    /// Takes one, as far as there is one.
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
