//! What a response holds until it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::connections::ActiveRequest;
use crate::slot_pool::PoolSlot;
use crate::upstream_pool::Http2Request;
use crate::upstream_queue::UpstreamSlot;

/// A slot at an upstream, the activity of the caller's connection, and a request on a connection
/// to the upstream. Dropping it frees them.
#[derive(Debug)]
pub(crate) struct UpstreamLease {
    kind: Kind,
    _active: Option<ActiveRequest>,
    http2: Option<Http2Request>,
}

#[derive(Debug)]
enum Kind {
    /// For the request of a caller.
    Caller { _slot: UpstreamSlot },
    /// For a request to a public route. It is evicted when others need the slot.
    Public {
        _slot: PoolSlot,
        _share: Option<OwnedSemaphorePermit>,
        token: CancellationToken,
        evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    },
}

impl UpstreamLease {
    pub(crate) const fn for_caller(slot: UpstreamSlot, active: Option<ActiveRequest>) -> Self {
        Self {
            kind: Kind::Caller { _slot: slot },
            _active: active,
            http2: None,
        }
    }

    /// A lease that `evicted` ends.
    pub(crate) fn for_public(
        mut slot: PoolSlot,
        share: Option<OwnedSemaphorePermit>,
        evicted: CancellationToken,
        active: Option<ActiveRequest>,
    ) -> Self {
        slot.mark_idle();
        let kind = Kind::Public {
            _slot: slot,
            _share: share,
            evicted: Box::pin(evicted.clone().cancelled_owned()),
            token: evicted,
        };
        Self {
            kind,
            _active: active,
            http2: None,
        }
    }

    /// Holds a request on an HTTP/2 connection as well.
    pub(crate) fn hold(&mut self, http2: Option<Http2Request>) {
        self.http2 = http2;
    }

    /// The token that is cancelled when the lease is evicted.
    pub(crate) fn token(&self) -> CancellationToken {
        match &self.kind {
            Kind::Caller { .. } => CancellationToken::new(),
            Kind::Public { token, .. } => token.clone(),
        }
    }

    /// Waits until the lease is evicted.
    pub(crate) fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.kind {
            Kind::Caller { .. } => Poll::Pending,
            Kind::Public { evicted, .. } => evicted.as_mut().poll(cx),
        }
    }
}
