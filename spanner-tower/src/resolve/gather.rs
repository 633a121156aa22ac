//! Reads as much of a body as is needed, within bounds of size and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use spanner_core::RequestFault;
use tokio::time::Sleep;

/// Bytes that have arrived. As long as they came in one piece, they are not copied.
#[derive(Debug)]
pub(super) enum Gathered {
    One(Bytes),
    Many(BytesMut),
}

impl Default for Gathered {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Gathered {
    pub(super) fn push(&mut self, bytes: Bytes) {
        match self {
            Self::One(first) if first.is_empty() => *first = bytes,
            Self::One(first) => {
                let mut many = BytesMut::with_capacity(first.len() + bytes.len());
                many.extend_from_slice(first);
                many.extend_from_slice(&bytes);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.extend_from_slice(&bytes),
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Takes the first bytes away; all of them, if there are fewer.
    pub(super) fn split_to(&mut self, length: usize) -> Bytes {
        let length = length.min(self.len());
        match self {
            Self::One(bytes) => bytes.split_to(length),
            Self::Many(bytes) => bytes.split_to(length).freeze(),
        }
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
