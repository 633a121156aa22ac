//! Which credentials must be replaced soon, from what the ledger saw of them.

use std::collections::HashMap;

use jiff::SignedDuration;
use serde::Serialize;
use spanner_core::Timestamp;
use spanner_core::record::{CallerEntry, Decision, PrincipalEntry};

use crate::entry::Entry;
use crate::error::ReadError;
use crate::reader::Reader;
use crate::select::Selection;

/// A credential that will be refused soon, for its age or past its expiry, and was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AgingCredential {
    /// Whose it is.
    pub subject: PrincipalEntry,
    /// Who acts with it, the current one first.
    pub actors: Vec<PrincipalEntry>,
    /// The OAuth client that got it.
    pub client: Option<String>,
    /// Its identifier (`jti`).
    pub token_id: Option<String>,
    /// The first 16 bytes of its SHA-256, in hexadecimal.
    pub token_hash: Option<String>,
    /// When it was issued, to the second.
    pub issued: Timestamp,
    /// From when on it is refused.
    pub refused_from: Timestamp,
    /// When it was used last.
    pub last_used: Timestamp,
    /// How often it was used, so far as the ledger goes back.
    pub uses: u64,
}

impl Reader {
    /// The credentials past 80 % of their permitted age at a time, or of a life of a day or
    /// longer, and not yet past all of it; the most urgent first. Keeps those in memory, and
    /// none else.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged or cannot be read. What a newer version wrote is
    /// left out.
    pub fn aging_credentials(&self, now: Timestamp) -> Result<Vec<AgingCredential>, ReadError> {
        let mut found: HashMap<Identity, AgingCredential> = HashMap::new();
        for numbered in self.known(&Selection::new())? {
            let Entry::Decision(decision) = numbered?.entry else {
                continue;
            };
            if decision.time > now {
                continue;
            }
            let Some(aging) = AgingCredential::of(&decision, now) else {
                continue;
            };
            let last_used = aging.last_used;
            let known = found.entry(aging.identity()).or_insert(aging);
            known.uses += 1;
            known.last_used = known.last_used.max(last_used);
        }
        let mut all: Vec<_> = found.into_values().collect();
        all.sort_by(|one, other| {
            let order = |it: &AgingCredential| (it.refused_from, it.identity());
            order(one).cmp(&order(other))
        });
        Ok(all)
    }
}

/// Shorter lives end all the time; see `Freshness::RotateSoon`.
const LONG_LIVED: SignedDuration = SignedDuration::from_hours(24);

/// What tells credentials apart: the whole token's hash where there is one.
type Identity = (Option<String>, Option<String>, String, String, Timestamp);

impl AgingCredential {
    fn of(decision: &Decision, now: Timestamp) -> Option<Self> {
        let caller = decision.caller.as_ref()?;
        let CallerEntry {
            token_age_s,
            token_max_age_s,
            ..
        } = caller;
        let seconds = |count: u64| i64::try_from(count).ok().map(SignedDuration::from_secs);
        let issued = decision.time.checked_sub(seconds(*token_age_s)?).ok()?;
        let expires = caller.token_expires;
        let life = expires.map(|expires| expires.duration_since(issued));
        let aged = token_max_age_s
            .and_then(seconds)
            .and_then(|age| issued.checked_add(age).ok());
        let refused_from = aged.into_iter().chain(expires).min()?;
        let mostly_over = |span: SignedDuration| {
            let most = span.checked_mul(4).and_then(|it| it.checked_div(5));
            most.is_some_and(|most| now.duration_since(issued) >= most)
        };
        let soon = token_max_age_s.and_then(seconds).is_some_and(mostly_over)
            || life.is_some_and(|life| life >= LONG_LIVED && mostly_over(life));
        (soon && now < refused_from).then(|| Self {
            subject: caller.subject.clone(),
            actors: caller.actors.clone(),
            client: caller.client.clone(),
            token_id: caller.token_id.clone(),
            token_hash: caller.token_hash.clone(),
            issued,
            refused_from,
            last_used: decision.time,
            uses: 0,
        })
    }

    /// Whose it is: the subject, and the actor that acts for it.
    #[must_use]
    pub fn who(&self) -> String {
        self.subject.through(&self.actors).to_string()
    }

    fn identity(&self) -> Identity {
        let PrincipalEntry {
            issuer, subject, ..
        } = &self.subject;
        // Without a hash, what is issued in one second to one subject is one credential.
        let issued = match self.token_hash {
            Some(_) => Timestamp::UNIX_EPOCH,
            None => self.issued,
        };
        (
            self.token_hash.clone(),
            self.token_id.clone(),
            issuer.clone(),
            subject.clone(),
            issued,
        )
    }
}
