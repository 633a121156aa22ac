//! The clock and the identifiers that this crate needs from its environment.

use std::sync::Arc;
use std::time::Duration;

use crate::{PromotionId, RecordId, Timestamp};

/// Provides the time and identifiers, so that this crate has no clock and no randomness.
///
/// It is called for each request, so it must not block. `spanner-tower` has `SystemHost`;
/// `spanner_core::testing` has one that tests control.
///
/// # Security
/// If an attacker can set the clock of a host, expired tokens become valid. If a host repeats an
/// identifier, two records cannot be distinguished.
pub trait Host: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// A monotonic clock, for durations: the time since a fixed, arbitrary moment. Default: the
    /// wall clock, which can be set back.
    fn monotonic(&self) -> Duration {
        let since = self.now().duration_since(Timestamp::UNIX_EPOCH);
        Duration::try_from(since).unwrap_or_default()
    }

    /// A new, unique identifier: a UUIDv7 (RFC 9562 §5.7).
    fn record_id(&self) -> RecordId;

    /// A new, unique identifier of a promotion. Default: made like that of a record.
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
