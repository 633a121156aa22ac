//! What the rules need of the world.

use std::sync::Arc;
use std::time::Duration;

use crate::{PromotionId, RecordId, Timestamp};

/// Tells the time and makes identifiers, so that this crate need not.
///
/// Called on the request's own path, so it must not block. `spanner-tower` ships
/// `SystemHost`; `spanner_core::testing` ships one that tests set by hand.
///
/// # Security
/// A host whose clock an attacker can move makes expired tokens valid; one that repeats
/// identifiers makes two records one.
pub trait Host: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// A clock that only ever goes on, for durations: the time since any moment that stays
    /// the same. Default: the wall clock, which somebody may set.
    fn monotonic(&self) -> Duration {
        let since = self.now().duration_since(Timestamp::UNIX_EPOCH);
        Duration::try_from(since).unwrap_or_default()
    }

    /// A fresh identifier: a UUIDv7 (RFC 9562 §5.7), never given before.
    fn record_id(&self) -> RecordId;

    /// A fresh identifier of a promotion. Default: made as a record's is.
    fn promotion_id(&self) -> PromotionId {
        PromotionId::from_u128(self.record_id().as_u128())
    }
}

impl<T: Host + ?Sized> Host for Arc<T> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }

    fn record_id(&self) -> RecordId {
        (**self).record_id()
    }

    fn promotion_id(&self) -> PromotionId {
        (**self).promotion_id()
    }
}
