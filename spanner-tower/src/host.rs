//! The clock and the source of identifiers that guards use unless told otherwise.

use spanner_core::{Host, RecordId, Timestamp};

/// The system's wall clock, and UUIDv7 identifiers that grow within the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemHost;

impl Host for SystemHost {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn record_id(&self) -> RecordId {
        RecordId::now_v7()
    }
}
