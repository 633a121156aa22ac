//! Drains a request's body that was not read to its end.
//!
//! Over HTTP/1, the next request follows the body on the same connection. Unless the body is
//! read to its end, the connection is closed, and a client that is still sending gets a reset
//! instead of the response.
//!
//! 1. The rest of a dropped body is read and discarded, up to [`MAX_DISCARDED`] bytes and for at
//!    most [`LINGER`]. Meanwhile the request is not admitted, and the connection is idle.
//! 2. If more than [`MAX_SHORT`] bytes are left, or their number is unknown, the response has
//!    `connection: close`, so that the client does not use the connection again.
//! 3. A client that waits for `100 Continue` is not asked for a body that is not read.
//!
//! HTTP/2 needs none of this: each stream ends by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// A body whose rest is discarded if it is dropped before its end.
pub(crate) struct DrainingBody {
    /// `None` once it has ended.
    body: Option<Incoming>,
    http1: bool,
    /// Whether the client waits for `100 Continue`.
    waits: bool,
    closes: Arc<AtomicBool>,
}

/// Whether the response must close the connection.
#[derive(Debug)]
pub(crate) struct ConnectionClose(Arc<AtomicBool>);

impl DrainingBody {
    pub(crate) fn new(parts: &Parts, body: Incoming) -> (Self, ConnectionClose) {
        let closes = Arc::<AtomicBool>::default();
        let body = Self {
            body: Some(body),
            http1: parts.version < Version::HTTP_2,
            waits: parts.headers.contains_key(EXPECT),
            closes: Arc::clone(&closes),
        };
        (body, ConnectionClose(closes))
    }

    /// A body that has ended.
    #[cfg(test)]
    pub(crate) fn ended() -> Self {
        Self {
            body: None,
            http1: true,
            waits: false,
            closes: Arc::default(),
        }
    }
}

impl ConnectionClose {
    /// Adds `connection: close` to a response if the connection cannot be used again.
    pub(crate) fn apply_to(&self, headers: &mut HeaderMap) {
        if self.0.load(Ordering::Acquire) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Drop for DrainingBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else {
            return;
        };
        if !self.http1 || body.is_end_stream() {
            return;
        }
        let left = body.size_hint().upper();
        let is_short = left.is_some_and(|left| left <= MAX_SHORT);
        if self.waits || !is_short {
            self.closes.store(true, Ordering::Release);
        }
        // A body may be dropped while the runtime shuts down.
        if let (false, Ok(runtime)) = (self.waits, Handle::try_current()) {
            runtime.spawn(timeout(LINGER, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = MAX_DISCARDED;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else {
            return;
        };
        left = rest;
    }
}

impl Body for DrainingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let ended = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(ended, Body::size_hint)
    }
}

impl std::fmt::Debug for DrainingBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Arriving")
    }
}

/// The longest rest after which the connection is used again, in bytes: most requests are shorter.
const MAX_SHORT: u64 = 64 * 1024;
/// How much of one body is discarded, in bytes: enough for a photograph. A client that sends more may
/// miss the response.
const MAX_DISCARDED: usize = 16 << 20;
/// How long a rest is discarded: a slow link sends some megabytes in that time.
const LINGER: Duration = Duration::from_secs(2);
