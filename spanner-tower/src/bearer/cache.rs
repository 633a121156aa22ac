//! Tokens that were verified a moment ago.
//!
//! A signature costs more than everything else that the guard does, and a client sends the
//! same token with every request. Such caches have let strangers in, each by another way;
//! here
//!
//! 1. the key is the SHA-256 of the whole token, so that two tokens are never one;
//! 2. a cache belongs to one [`Bearer`](super::Bearer), and so to one configuration;
//! 3. an entry counts only with the very keys that verified it, and in the epoch of
//!    revocations in which it was verified: both were looked up before the work began, so
//!    that an entry that is stored late is not good any more;
//! 4. `exp`, `nbf`, age and revocation are looked at again on every hit;
//! 5. an entry lives for at most a minute, whatever the token says;
//! 6. only what was verified is stored, so that nobody fills it with garbage;
//! 7. a proof of possession is not part of it: each request has its own.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use spanner_core::token::VerifiedToken;
use tokio::time::Instant;

/// How many tokens are cached unless configured: the callers of a busy service, in about 4 MB.
pub(super) const ENTRIES: usize = 4_096;

/// The most that may be configured: about 1 GB.
pub(super) const MAX_ENTRIES: usize = 1 << 20;

/// How long an entry is good: what the cache cannot know (a withdrawn key, a revocation that is not
/// listed) counts within a minute.
const TTL: Duration = Duration::from_secs(60);

/// What a token is looked up by.
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
    /// Which keys.
    pub(super) keys: u64,
    /// Which revocations.
    pub(super) epoch: u64,
}

/// A token that was accepted, and when that counts.
#[derive(Clone)]
pub(super) struct CachedToken {
    pub(super) token: Arc<VerifiedToken>,
    era: Era,
    until: Instant,
}

impl CachedToken {
    /// Whether it counts in this era.
    pub(super) fn is_good_in(&self, era: Era) -> bool {
        self.era == era && Instant::now() < self.until
    }
}

pub(super) struct TokenCache {
    /// Absent where nothing is to be kept.
    kept: Option<Cache<TokenKey, CachedToken>>,
}

impl TokenCache {
    pub(super) fn new(entries: usize) -> Self {
        Self {
            // Most services see few tokens; room for the rest is made when they come.
            kept: (entries > 0)
                .then(|| Cache::with_weighter(entries.div_ceil(8), entries as u64, UnitWeighter)),
        }
    }

    /// The token, if it is kept. Whether it still counts is for the caller to find out.
    pub(super) fn get(&self, key: &TokenKey) -> Option<CachedToken> {
        self.kept.as_ref()?.get(key)
    }

    /// Keeps a token that was accepted.
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
