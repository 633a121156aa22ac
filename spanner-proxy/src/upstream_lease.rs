//! What an answer holds until it ends: a place at the upstream, and its caller's connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::upstream_pool::OnLane;
use crate::connections::Work;
use crate::slot_pool::Seat;
use crate::upstream_queue::Place;

/// A place at an upstream.
#[derive(Debug)]
pub(crate) struct Held {
    kind: Kind,
    _work: Option<Work>,
    on_lane: Option<OnLane>,
}

#[derive(Debug)]
enum Kind {
    /// Of a caller.
    Caller { _place: Place },
    /// Of a request to a public route. It is taken back when others need it.
    Public {
        _seat: Seat,
        _share: Option<OwnedSemaphorePermit>,
        token: CancellationToken,
        taken_back: Pin<Box<WaitForCancellationFutureOwned>>,
    },
}

impl Held {
    pub(crate) const fn of_caller(place: Place, work: Option<Work>) -> Self {
        let kind = Kind::Caller { _place: place };
        Self {
            kind,
            _work: work,
            on_lane: None,
        }
    }

    /// A place that is taken back by a token.
    pub(crate) fn of_public(
        mut seat: Seat,
        share: Option<OwnedSemaphorePermit>,
        taken_back: CancellationToken,
        work: Option<Work>,
    ) -> Self {
        seat.idle();
        let kind = Kind::Public {
            _seat: seat,
            _share: share,
            taken_back: Box::pin(taken_back.clone().cancelled_owned()),
            token: taken_back,
        };
        Self {
            kind,
            _work: work,
            on_lane: None,
        }
    }

    /// Holds a connection to the model server as well.
    pub(crate) fn on_lane(&mut self, on_lane: Option<OnLane>) {
        self.on_lane = on_lane;
    }

    /// What is cancelled when the place must be given up.
    pub(crate) fn token(&self) -> CancellationToken {
        match &self.kind {
            Kind::Caller { .. } => CancellationToken::new(),
            Kind::Public { token, .. } => token.clone(),
        }
    }

    /// Waits until the place must be given up.
    pub(crate) fn poll_taken_back(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.kind {
            Kind::Caller { .. } => Poll::Pending,
            Kind::Public { taken_back, .. } => taken_back.as_mut().poll(cx),
        }
    }
}
