//! A request whose decision is being recorded.

use std::fmt;

use super::attempt::Open;
use super::permit::Permit;
use super::settlement::Settlement;
use crate::RecordId;
use crate::record::OutcomeClass;
use crate::refusal::{Outage, Refusal};
use crate::sink::Acknowledgement;

/// A decision that the sink accepted and has not acknowledged yet. It allows nothing.
#[must_use = "dropping a decision abandons the request"]
pub struct Decided {
    pending: Option<Pending>,
    refusal: Option<Refusal>,
}

struct Pending {
    open: Open,
    acknowledged: Acknowledgement,
    settlement: Settlement,
}

impl Decided {
    pub(super) fn new(
        open: Open,
        acknowledged: Acknowledgement,
        settlement: Settlement,
        refusal: Option<Refusal>,
    ) -> Self {
        Self {
            pending: Some(Pending {
                open,
                acknowledged,
                settlement,
            }),
            refusal,
        }
    }

    pub(super) const fn never(refusal: Refusal) -> Self {
        Self {
            pending: None,
            refusal: Some(refusal),
        }
    }

    /// Waits until the decision is as durable as the sink was configured to make it.
    ///
    /// Permits are made only here.
    ///
    /// # Errors
    /// [`Refused`] if the decision denies the request, or if it allows the request and could not be
    /// recorded: *what cannot be recorded is not served*.
    pub async fn recorded(self) -> Result<Permit, Refused> {
        let Some(Pending {
            open,
            acknowledged,
            mut settlement,
        }) = self.pending
        else {
            let refusal = self.refusal.unwrap_or_else(|| Outage::Abandoned.into());
            return Err(Refused {
                refusal: Box::new(refusal),
                id: None,
                settlement: None,
            });
        };
        let id = open.id;
        let stored = acknowledged.await;
        let refusal = match (self.refusal, stored) {
            (None, Ok(())) => return Ok(Permit::new(open, settlement)),
            (None, Err(_)) => {
                settlement.classify(OutcomeClass::GuardFailed);
                Outage::Record.into()
            }
            (Some(refusal), _) => {
                settlement.classify(OutcomeClass::Refused);
                refusal
            }
        };
        Err(Refused::of(refusal, id, settlement))
    }
}

impl Decided {
    /// Like [`Decided::recorded`], for a request that was refused. If the decision allows it all
    /// the same, the permit is abandoned.
    pub async fn refused(self) -> Refused {
        match self.recorded().await {
            Err(refused) => refused,
            Ok(permit) => Refused {
                refusal: Box::new(Outage::Abandoned.into()),
                id: Some(permit.id()),
                settlement: Some(Box::new(permit.forward())),
            },
        }
    }
}

impl fmt::Debug for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decided")
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}

/// A refusal that was recorded, or counted if the sink had no room. It owes an outcome: call
/// [`Refused::settle`] with the status that is sent.
#[must_use = "a refusal owes its caller an answer"]
pub struct Refused {
    refusal: Box<Refusal>,
    id: Option<RecordId>,
    settlement: Option<Box<Settlement>>,
}

impl Refused {
    pub(super) fn of(refusal: Refusal, id: RecordId, settlement: Settlement) -> Self {
        Self {
            refusal: Box::new(refusal),
            id: settlement.is_recorded().then_some(id),
            settlement: Some(Box::new(settlement)),
        }
    }

    /// The reason for the refusal.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The record's identifier; `None` if the refusal was only counted, so that there is no record.
    #[must_use]
    pub const fn id(&self) -> Option<RecordId> {
        self.id
    }

    /// Records the outcome: the response has this status and a body of this length. It does nothing
    /// if another enforcement point sends the response.
    pub fn settle(mut self, status: u16, body_bytes: u64) {
        if let Some(settlement) = &mut self.settlement
            && settlement.is_owed()
        {
            settlement.head(status);
            settlement.sent(body_bytes);
            settlement.finish();
        }
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("refusal", &self.refusal)
            .field("id", &self.id)
            .finish()
    }
}
