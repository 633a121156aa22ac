//! The cache of verified tokens.
//!
//! Verifying a signature costs more than everything else that the guard does, and a client sends
//! the same token with every request. Caches of this kind have admitted attackers in several
//! ways, so this one keeps to these rules:
//!
//! 1. The key is the SHA-256 of the whole token, so that two tokens never share an entry.
//! 2. A cache belongs to one [`Bearer`](super::Bearer), and so to one configuration.
//! 3. An entry is valid only for the keys and the revocation epoch that it was verified with.
//!    Both are read before verification starts, so that an entry that is stored late is already
//!    invalid.
//! 4. `exp`, `nbf`, age and revocation are checked again on every hit.
//! 5. An entry lives for at most a minute, whatever the token says.
//! 6. Only verified tokens are stored, so that nobody can fill the cache with garbage.
//! 7. A proof of possession is not part of the entry: each request needs its own.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use spanner_core::token::VerifiedToken;
use tokio::time::Instant;

/// The default number of cached tokens: the callers of a busy service, in about 4 MB.
pub(super) const ENTRIES: usize = 4_096;

/// The largest number of cached tokens that may be configured, in about 1 GB.
pub(super) const MAX_ENTRIES: usize = 1 << 20;

/// The lifetime of an entry: changes that the cache cannot see, such as a withdrawn key or a
/// revocation that is not listed, take effect within a minute.
const TTL: Duration = Duration::from_secs(60);

/// The key of a token in the cache.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey([u8; 32]);

impl TokenKey {
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// The circumstances under which a token was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era {
    /// The generation of the keys.
    pub(super) keys: u64,
    /// The epoch of the revocations.
    pub(super) epoch: u64,
}

/// A verified token, and the conditions under which the entry is valid.
#[derive(Clone)]
pub(super) struct CachedToken {
    pub(super) token: Arc<VerifiedToken>,
    era: Era,
    until: Instant,
}

impl CachedToken {
    /// Whether the entry is valid in this era.
    pub(super) fn is_good_in(&self, era: Era) -> bool {
        self.era == era && Instant::now() < self.until
    }
}

pub(super) struct TokenCache {
    /// `None` if the cache is disabled.
    kept: Option<Cache<TokenKey, CachedToken>>,
}

impl TokenCache {
    pub(super) fn new(entries: usize) -> Self {
        Self {
            // Most services see few tokens; the cache grows when more arrive.
            kept: (entries > 0)
                .then(|| Cache::with_weighter(entries.div_ceil(8), entries as u64, UnitWeighter)),
        }
    }

    /// The token, if it is cached. The caller checks whether the entry is still valid.
    pub(super) fn get(&self, key: &TokenKey) -> Option<CachedToken> {
        self.kept.as_ref()?.get(key)
    }

    /// Stores a verified token.
    pub(super) fn put(&self, key: TokenKey, token: Arc<VerifiedToken>, era: Era) {
        if let Some(kept) = &self.kept {
            let until = Instant::now() + TTL;
            kept.insert(key, CachedToken { token, era, until });
        }
    }

    pub(super) fn forget(&self, key: &TokenKey) {
        if let Some(kept) = &self.kept {
            kept.remove(key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.as_ref().map_or(0, Cache::len)
    }
}
