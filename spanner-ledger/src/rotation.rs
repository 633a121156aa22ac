//! Finds credentials that must be replaced soon, from their use in the ledger.

use std::collections::HashMap;

use jiff::SignedDuration;
use serde::Serialize;
use spanner_core::Timestamp;
use spanner_core::record::{CallerEntry, Decision, PrincipalEntry};

use crate::entry::Entry;
use crate::error::ReadError;
use crate::reader::Reader;
use crate::select::Selection;

/// A credential that was used and will soon be refused because of its age or expiry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AgingCredential {
    /// The principal that the credential identifies.
    pub subject: PrincipalEntry,
    /// The actors that use it, the current one first.
    pub actors: Vec<PrincipalEntry>,
    /// The OAuth client that it was issued to.
    pub client: Option<String>,
    /// Its identifier (`jti`).
    pub token_id: Option<String>,
    /// The first 16 bytes of its SHA-256, in hexadecimal.
    pub token_hash: Option<String>,
    /// When it was issued, in seconds precision.
    pub issued: Timestamp,
    /// When it will be refused.
    pub refused_from: Timestamp,
    /// When it was last used.
    pub last_used: Timestamp,
    /// The number of uses that the ledger contains.
    pub uses: u64,
}

impl Reader {
    /// The credentials that have passed 80 % of their permitted age, or of a lifetime of at least
    /// one day, and are still valid. The most urgent ones come first. Holds only these
    /// credentials in memory.
    ///
    /// # Errors
    /// [`ReadError`] if the ledger is damaged or cannot be read. Entries in a newer format are
    /// omitted.
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

/// Shorter lifetimes expire routinely; see `Freshness::RotateSoon`.
const LONG_LIVED: SignedDuration = SignedDuration::from_hours(24);

/// Identifies a credential, by the hash of the whole token if it is known.
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

    /// The subject, and the actor that acts for it.
    #[must_use]
    pub fn who(&self) -> String {
        self.subject.through(&self.actors).to_string()
    }

    fn identity(&self) -> Identity {
        let PrincipalEntry {
            issuer, subject, ..
        } = &self.subject;
        // Without a hash, all credentials issued to one subject in one second count as one.
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
