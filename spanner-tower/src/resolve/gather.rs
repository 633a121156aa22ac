//! Reads as much of a body as is needed, within bounds of size and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use spanner_core::{Outage, RequestFault};
use tokio::time::Sleep;

use super::held::{BodyBudget, Charge};

/// Messages that have arrived. As long as they came in one piece, they are not copied.
#[derive(Debug)]
pub(super) struct Gathered {
    bytes: Pieces,
    charge: Charge,
}

#[derive(Debug)]
enum Pieces {
    One(Bytes),
    Many(BytesMut),
}

impl Gathered {
    pub(super) const fn none(budget: BodyBudget) -> Self {
        Self {
            bytes: Pieces::One(Bytes::new()),
            charge: Charge::none(budget),
        }
    }

    /// # Errors
    /// [`Outage::Bodies`] if the budget is used up.
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<(), Outage> {
        self.charge.add(bytes.len())?;
        match &mut self.bytes {
            Pieces::One(first) if first.is_empty() => *first = bytes,
            Pieces::One(first) => {
                let mut many = BytesMut::with_capacity(first.len() + bytes.len());
                many.extend_from_slice(first);
                many.extend_from_slice(&bytes);
                self.bytes = Pieces::Many(many);
            }
            Pieces::Many(many) => many.extend_from_slice(&bytes),
        }
        Ok(())
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match &self.bytes {
            Pieces::One(bytes) => bytes,
            Pieces::Many(bytes) => bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Takes the first bytes away, with their part of the budget; all of them, if there are
    /// fewer.
    pub(super) fn split_to(&mut self, length: usize) -> (Bytes, Charge) {
        let length = length.min(self.len());
        let bytes = match &mut self.bytes {
            Pieces::One(bytes) => bytes.split_to(length),
            Pieces::Many(bytes) => bytes.split_to(length).freeze(),
        };
        (bytes, self.charge.split(length))
    }
}

/// A body that is being read for a decision.
pub(super) struct Reading<B> {
    pub(super) body: Pin<Box<B>>,
    patience: Patience,
}

impl<B: Body<Data = Bytes>> Reading<B> {
    pub(super) fn new(body: B, wait: Duration) -> Self {
        Self {
            body: Box::pin(body),
            patience: Patience { wait, sleep: None },
        }
    }

    /// The next frame, if it comes in time.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, RequestFault> {
        poll_fn(|cx| match self.body.as_mut().poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Ok(Some(frame))),
            Poll::Ready(Some(Err(_))) => Poll::Ready(Err(RequestFault::Incomplete)),
            Poll::Pending => self.patience.poll_end(cx).map(|()| Err(RequestFault::Slow)),
        })
        .await
    }

    /// Waits for what is still to come as long as for what has come.
    pub(super) fn wait_again(&mut self) {
        self.patience.sleep = None;
    }

    /// The trailers of a body without a byte.
    ///
    /// # Errors
    /// [`RequestFault::ContentType`] if there is a byte, of a type that nobody named.
    pub(super) async fn nothing(&mut self) -> Result<Option<HeaderMap>, RequestFault> {
        while let Some(frame) = self.frame().await? {
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(_) => return Err(RequestFault::ContentType),
                Err(frame) => return Ok(frame.into_trailers().ok()),
            }
        }
        Ok(None)
    }
}

/// How long is waited in all. The timer runs only once there is something to wait for, so
/// that a body at hand needs no runtime.
struct Patience {
    wait: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.wait;
        self.sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)))
            .as_mut()
            .poll(cx)
    }
}
