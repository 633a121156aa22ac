//! The admission of a request: from its head until it is forwarded.
//!
//! Until a request is forwarded, what was read of its body is in memory, so the number of
//! admissions is limited. When all are taken, the request that has waited longest for its body is
//! evicted; requests of which little has arrived are evicted before those of which much has.
//!
//! While a request is admitted, its connection is active, except while the caller does not send
//! its body.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use spanner_tower::{BodyLate, BoxError};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::connections::{ActiveRequest, ConnectionHandle};
use crate::draining_body::DrainingBody;
use crate::slot_pool::{PoolSlot, SlotPool};

/// The admission of a request, as one of its extensions. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Mutex<Option<Admitted>>>);

#[derive(Debug)]
struct Admitted {
    slot: PoolSlot,
    connection: ConnectionHandle,
    /// `None` while the caller does not send the body.
    active: Option<ActiveRequest>,
}

pin_project! {
    /// A request's body as the caller sends it. While the request is admitted and the body does
    /// not arrive, the request may be evicted, and the body fails.
    pub(crate) struct CallerBody {
        #[pin]
        body: DrainingBody,
        admission: Option<Admission>,
        #[pin]
        evicted: WaitForCancellationFutureOwned,
        bytes: u64,
    }
}

impl Admission {
    /// Admits a request with this body. `None` if all slots are held by requests whose bodies
    /// arrived.
    pub(crate) async fn take(
        pool: &SlotPool,
        connection: ConnectionHandle,
        body: DrainingBody,
    ) -> (Option<Self>, CallerBody) {
        let token = CancellationToken::new();
        let admission = pool.acquire(token.clone()).await.map(|slot| {
            let active = Some(connection.clone().activate());
            let admitted = Admitted {
                slot,
                connection,
                active,
            };
            Self(Arc::new(Mutex::new(Some(admitted))))
        });
        let body = CallerBody {
            body,
            admission: admission.clone(),
            evicted: token.cancelled_owned(),
            bytes: 0,
        };
        (admission, body)
    }

    /// Ends the admission: the request is forwarded.
    pub(crate) fn end(&self) {
        drop(self.admitted().take());
    }

    fn admitted(&self) -> std::sync::MutexGuard<'_, Option<Admitted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    fn mark_waiting(&mut self, rank: u8) {
        self.slot.mark_waiting(rank);
        self.active = None;
    }

    fn mark_busy(&mut self) {
        self.slot.mark_busy();
        let connection = &self.connection;
        self.active
            .get_or_insert_with(|| connection.clone().activate());
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
        let Some(admission) = this.admission else {
            return polled.map_err(Into::into);
        };
        let mut guard = admission.admitted();
        let Some(admitted) = guard.as_mut() else {
            return polled.map_err(Into::into);
        };
        match polled {
            Poll::Pending => {
                admitted.mark_waiting(rank(*this.bytes));
                ready!(this.evicted.poll(cx));
                // The refusal needs no slot.
                drop(guard.take());
                Poll::Ready(Some(Err(BodyLate::new().into())))
            }
            Poll::Ready(frame) => {
                admitted.mark_busy();
                let data = frame.as_ref().and_then(|it| it.as_ref().ok()?.data_ref());
                *this.bytes += data.map_or(0, |data| data.len() as u64);
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
    /// Bytes per rank: most chat requests fit into the first, and 255 ranks reach 16 MiB.
    const STEP: u64 = 64 * 1024;
    u8::try_from(bytes / STEP).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::Connections;

    #[tokio::test]
    async fn a_connection_is_active_until_its_request_is_forwarded() {
        let connection = Connections::new(1, 1).enter().await.unwrap();
        let pool = SlotPool::new(1);
        let (admission, body) =
            Admission::take(&pool, connection.clone(), DrainingBody::ended()).await;
        assert!(connection.is_active());
        admission.unwrap().end();
        assert!(!connection.is_active());
        drop(body);
    }

    #[test]
    fn the_rank_grows_with_what_arrived() {
        assert_eq!([0, 65_535, 65_536, 1 << 40].map(rank), [0, 0, 1, 255]);
    }
}
