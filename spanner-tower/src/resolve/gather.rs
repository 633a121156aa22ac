//! Reads as much of a body as the decision needs, within limits of size and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use spanner_core::{Outage, Refusal, RequestFault};
use tokio::time::Sleep;

use super::body::BodyLate;
use super::{BodyCut, BoxError, Limits};
use crate::shares::BodyReservation;

/// A body that is being read for a decision.
pub(super) struct Reading<B> {
    pub(super) body: Pin<Box<B>>,
    /// Counts the bytes that are held.
    pub(super) room: BodyReservation,
    deadlines: Deadlines,
}

impl<B> Reading<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B, limits: &Limits, room: BodyReservation) -> Self {
        Self {
            body: Box::pin(body),
            room,
            deadlines: Deadlines {
                wait: limits.body_wait,
                pause: limits.body_pause,
                sleep: None,
                gap: None,
            },
        }
    }

    /// The next frame, if it arrives in time and there is room for it.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, Refusal> {
        let frame = self.arrival().await?;
        self.deadlines.gap = None;
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            self.room.keep(data.len()).map_err(Outage::Share)?;
        }
        Ok(frame)
    }

    async fn arrival(&mut self) -> Result<Option<Frame<Bytes>>, RequestFault> {
        poll_fn(|cx| match self.body.as_mut().poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Ok(Some(frame))),
            Poll::Ready(Some(Err(error))) => {
                let error: BoxError = error.into();
                Poll::Ready(Err(match error {
                    error if error.is::<BodyLate>() => RequestFault::Slow,
                    error if error.is::<BodyCut>() => RequestFault::Cut,
                    _ => RequestFault::Incomplete,
                }))
            }
            Poll::Pending => self
                .deadlines
                .poll_end(cx)
                .map(|()| Err(RequestFault::Slow)),
        })
        .await
    }

    /// Restarts the time limit for the rest of the body.
    pub(super) fn wait_again(&mut self) {
        self.deadlines.sleep = None;
    }

    /// The trailers of an empty body.
    ///
    /// # Errors
    /// [`RequestFault::ContentType`] if the body is not empty, because its type is unknown.
    pub(super) async fn nothing(&mut self) -> Result<Option<HeaderMap>, Refusal> {
        while let Some(frame) = self.frame().await? {
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(_) => return Err(RequestFault::ContentType.into()),
                Err(frame) => return Ok(frame.into_trailers().ok()),
            }
        }
        Ok(None)
    }
}

/// The time limits for the whole body and for its next piece. The timers start only when
/// something has to wait, so a body that is available at once needs no runtime.
struct Deadlines {
    wait: Duration,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    gap: Option<Pin<Box<Sleep>>>,
}

impl Deadlines {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (wait, pause) = (self.wait, self.pause);
        let mut ends = |sleep: &mut Option<Pin<Box<Sleep>>>, time| {
            sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(time)))
                .as_mut()
                .poll(cx)
                .is_ready()
        };
        match ends(&mut self.sleep, wait) || ends(&mut self.gap, pause) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}
