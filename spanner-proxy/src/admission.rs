//! The turn of a request: from its head until it is forwarded.
//!
//! Until then, what was read of its body is kept in memory, so the number of turns is limited.
//! When all are taken, the request that has waited longest for its body gives up its turn;
//! those of which little has arrived go before those of which much has.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use spanner_tower::{BodyLate, BoxError};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::slot_pool::{Crowd, Seat};
use crate::draining_body::Arriving;

/// A request's turn, which it carries along. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Turn(Arc<Mutex<Option<Seat>>>);

pin_project! {
    /// A body as the caller sends it. If it holds a turn and does not arrive, it fails when
    /// others need the turn.
    pub(crate) struct CallerBody {
        #[pin]
        body: Arriving,
        turn: Option<Turn>,
        #[pin]
        taken_back: WaitForCancellationFutureOwned,
        bytes: u64,
    }
}

impl Turn {
    /// Takes a turn for the request with this body. There is none if all are held by requests
    /// whose bodies arrived.
    pub(crate) async fn take(turns: &Crowd, body: Arriving) -> (Option<Self>, CallerBody) {
        let token = CancellationToken::new();
        let seat = turns.sit(token.clone()).await;
        let turn = seat.map(|seat| Self(Arc::new(Mutex::new(Some(seat)))));
        let body = CallerBody {
            body,
            turn: turn.clone(),
            taken_back: token.cancelled_owned(),
            bytes: 0,
        };
        (turn, body)
    }

    /// The request is forwarded.
    pub(crate) fn end(&self) {
        drop(self.seat().take());
    }

    fn seat(&self) -> std::sync::MutexGuard<'_, Option<Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        let Some(turn) = this.turn else {
            return polled.map_err(Into::into);
        };
        let mut held = turn.seat();
        let Some(seat) = held.as_mut() else {
            return polled.map_err(Into::into);
        };
        match polled {
            Poll::Pending => {
                seat.wait(rank(*this.bytes));
                ready!(this.taken_back.poll(cx));
                // Refusing the request does not need the turn.
                drop(held.take());
                Poll::Ready(Some(Err(BodyLate::new().into())))
            }
            Poll::Ready(frame) => {
                seat.busy();
                let came = frame.as_ref().and_then(|it| it.as_ref().ok()?.data_ref());
                *this.bytes += came.map_or(0, |data| data.len() as u64);
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl std::fmt::Debug for CallerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallerBody")
    }
}

/// The rank of a body of which this many bytes have arrived.
fn rank(bytes: u64) -> u8 {
    const STEP: u64 = 64 * 1024;
    u8::try_from(bytes / STEP).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_counts() {
        assert_eq!([0, 65_535, 65_536, 1 << 40].map(rank), [0, 0, 1, 255]);
    }
}
