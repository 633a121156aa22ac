//! The default clock and source of record ids.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use spanner_core::{Host, RecordId, Timestamp};

/// The system's wall clock, and UUIDv7 ids that increase within the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemHost;

impl Host for SystemHost {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    fn record_id(&self) -> RecordId {
        RecordId::from_u128(uuid::Uuid::now_v7().as_u128())
    }
}
