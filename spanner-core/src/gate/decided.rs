//! A request whose decision is on its way into the record.

use std::fmt;

use super::attempt::Open;
use super::permit::Permit;
use super::settlement::Settlement;
use crate::RecordId;
use crate::record::OutcomeClass;
use crate::refusal::{Outage, Refusal};
use crate::sink::Acknowledgement;

/// A decision that the sink has taken and not yet acknowledged. It allows nothing.
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
    /// This is the only mint of permits.
    ///
    /// # Errors
    /// [`Refused`] when the decision refuses, or allows and could not be recorded: *what
    /// cannot be recorded is not served*.
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
    /// Like [`Decided::recorded`], where there is nothing to allow: a decision that allows
    /// after all is given up.
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

/// A refusal that stands in the record (or was counted, where there was no room). It owes
/// the outcome: call [`Refused::settle`] with the status that is sent.
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

    /// Why.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The record's identifier; absent if it was counted only, and no record can be found.
    #[must_use]
    pub const fn id(&self) -> Option<RecordId> {
        self.id
    }

    /// Gives the outcome: the reply with this status and a body of this length is sent. Where
    /// another enforcement point sends it, the decision says all that is known.
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
