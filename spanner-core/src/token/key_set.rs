//! An issuer's key set (RFC 7517 §5).

use std::fmt;
use std::sync::Arc;

use crate::refusal::TokenFault;
use crate::token::algorithm::Algorithm;
use crate::token::json::{Defect, Json, Members};
use crate::token::key::{self, Key, Purpose, SkippedKeyReason};

/// The keys that an issuer signs with, checked: each can be used. Cheap to clone; never
/// empty.
#[derive(Clone)]
pub struct KeySet {
    keys: Arc<[Key]>,
}

/// What [`KeySet::parse`] found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ParsedKeySet {
    /// The keys that can be used.
    pub keys: KeySet,
    /// The keys that cannot be used, for the log.
    pub skipped: Vec<SkippedKey>,
}

/// A key that is not used, and why. `Display` does not print key material.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedKey {
    /// Its place in the set, from 0.
    pub index: usize,
    /// Its `kid`, where that is one.
    pub key_id: Option<String>,
    /// What is wrong with it.
    pub reason: SkippedKeyReason,
}

/// Why a whole key set cannot be used. The previous key set then stays in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Longer than [`KeySet::MAX_BYTES`].
    #[error(
        "the key set has {bytes} bytes, at most {} are read",
        KeySet::MAX_BYTES
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not one JSON object with an array `keys`.
    #[error("the key set is no JSON object with an array `keys`")]
    Malformed,
    /// A member occurs twice, in the set or in a key.
    #[error("a member of the key set stands twice")]
    DuplicateMember,
    /// More keys than [`KeySet::MAX_KEYS`], or a list within one that is absurdly long.
    #[error(
        "the key set has more than {} keys, or a key with a list that is too long",
        KeySet::MAX_KEYS
    )]
    TooManyKeys,
    /// No key can be used.
    #[error("no key of the set can be used{}", listed(skipped))]
    NoUsableKey {
        /// Why not, for each.
        skipped: Vec<SkippedKey>,
    },
}

impl KeySet {
    /// The longest key set, in bytes: 100 keys with certificate chains fit.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// The most keys in a set. Issuers have two to five; tokens without a `kid` try all.
    pub const MAX_KEYS: usize = 100;

    /// Reads a key set. A key that cannot be used is skipped, not fatal: issuers publish
    /// encryption keys and new types of keys beside those that sign tokens. Of two
    /// different keys with one `kid` and type, neither is used.
    ///
    /// # Errors
    /// [`KeySetError`] when the set as a whole cannot be used.
    pub fn parse(json: &[u8]) -> Result<ParsedKeySet, KeySetError> {
        if json.len() > Self::MAX_BYTES {
            return Err(KeySetError::TooLarge { bytes: json.len() });
        }
        let set = Members::read(json, |name| name == "keys").map_err(|defect| match defect {
            Defect::Syntax => KeySetError::Malformed,
            Defect::Duplicate => KeySetError::DuplicateMember,
            Defect::Items => KeySetError::TooManyKeys,
        })?;
        let Some(Json::Array(listed)) = set.get("keys") else {
            return Err(KeySetError::Malformed);
        };
        if listed.len() > Self::MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let (keys, skipped) = sort_out(listed);
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey { skipped });
        }
        Ok(ParsedKeySet {
            keys: Self { keys: keys.into() },
            skipped,
        })
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Always `false`: a set without a usable key is an error.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key has this `kid`, so that fetching the set again would not help.
    #[must_use]
    pub fn contains_key_id(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.has_id(key_id))
    }

    /// Whether it has a key that `earlier` does not have, by `kid`: the issuer has begun to
    /// publish a new one.
    #[must_use]
    pub fn has_more_than(&self, earlier: &Self) -> bool {
        self.keys.iter().any(|key| match key.id.as_deref() {
            Some(id) => !earlier.contains_key_id(id),
            None => earlier.keys.iter().all(|it| it.id.is_some()),
        })
    }

    /// The key for a token: by `kid` first, then by type and algorithm. Without a `kid`
    /// it must be the only one that fits; trying several would multiply what a forged
    /// token costs.
    pub(super) fn choose(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        purpose: Purpose,
    ) -> Result<&Key, TokenFault> {
        let fits = |key: &&Key| key.purpose == purpose && key.fits(algorithm);
        let mut fitting = self.keys.iter().filter(fits);
        match key_id {
            Some(id) if !self.contains_key_id(id) => Err(TokenFault::UnknownKey),
            Some(id) => fitting
                .find(|key| key.has_id(id))
                .ok_or(TokenFault::KeyMismatch),
            None => match (fitting.next(), fitting.next()) {
                (Some(only), None) => Ok(only),
                (None, _) | (Some(_), Some(_)) => Err(TokenFault::UnknownKey),
            },
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.id.as_deref());
        f.write_str("KeySet ")?;
        f.debug_list().entries(ids).finish()
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key_id {
            Some(id) => write!(f, "key `{id}`: {}", self.reason),
            None => write!(f, "key {} of the set: {}", self.index, self.reason),
        }
    }
}

/// Separates the usable keys from the others.
fn sort_out(listed: &[Json]) -> (Vec<Key>, Vec<SkippedKey>) {
    let mut keys = Vec::with_capacity(listed.len());
    let mut skipped = Vec::new();
    for (index, value) in listed.iter().enumerate() {
        match Key::parse(value) {
            Ok(key) => keys.push((index, key)),
            Err(reason) => skipped.push(SkippedKey {
                index,
                key_id: id_of(value),
                reason,
            }),
        }
    }
    let ambiguous: Vec<usize> = keys
        .iter()
        .filter(|(_, key)| keys.iter().any(|(_, other)| key.is_ambiguous_with(other)))
        .map(|(index, _)| *index)
        .collect();
    let (ambiguous, usable): (Vec<_>, Vec<_>) = keys
        .into_iter()
        .partition(|(index, _)| ambiguous.contains(index));
    skipped.extend(ambiguous.into_iter().map(|(index, key)| SkippedKey {
        index,
        key_id: key.id,
        reason: SkippedKeyReason::Ambiguous,
    }));
    (usable.into_iter().map(|(_, key)| key).collect(), skipped)
}

fn id_of(value: &Json) -> Option<String> {
    match value {
        Json::Object(jwk) => key::key_id(jwk).ok().flatten(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => None,
    }
}

/// The first few reasons, for a message of one line.
fn listed(skipped: &[SkippedKey]) -> String {
    let mut text = String::new();
    for key in skipped.iter().take(4) {
        text.push_str("; ");
        text.push_str(&key.to_string());
    }
    text
}
