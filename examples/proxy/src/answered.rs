//! The body of an answer, from the model server to the caller.
//!
//! A caller that takes nothing of it for a while loses it: the connection to the model
//! server, and the place there, are for others. Nobody asks for a body that nobody reads, so
//! somebody else looks at the clock.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use spanner_tower::BoxError;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::addresses::Rewriting;
use crate::held::Held;
use crate::rejection::{self, Received};
use crate::upstream::Upstream;

/// The body of an answer. The upstream's place is free for another when it is dropped.
pub(crate) struct UpstreamBody {
    kind: Kind,
    of: Option<Sender>,
}

/// The model server that an answer comes from.
struct Sender {
    upstream: Upstream,
    /// Whether it was sent a credential of the proxy.
    credential: bool,
}

enum Kind {
    /// The proxy's own.
    Text(Full<Bytes>),
    /// The model server's.
    Open {
        shared: Arc<Mutex<Shared>>,
        watch: AbortHandle,
    },
    /// Of the model server, and at its end from the beginning.
    Ended(Either<Received, Rewriting>),
}

struct Shared {
    open: Option<(Either<Received, Rewriting>, Held)>,
    /// Since when the caller has something to take; `None` while it waits.
    ready_since: Option<Instant>,
}

/// Why an answer ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Lost {
    #[error("the caller does not read the answer")]
    Unread,
    #[error("the place is needed for another request without a caller")]
    TakenBack,
}

impl UpstreamBody {
    pub(crate) const fn text(text: Full<Bytes>) -> Self {
        let kind = Kind::Text(text);
        Self { kind, of: None }
    }

    /// The same, of an upstream that learns if it breaks off.
    pub(crate) fn of(mut self, upstream: Upstream, credential: bool) -> Self {
        self.of = Some(Sender {
            upstream,
            credential,
        });
        self
    }

    /// What comes from a model server, where this is held until it has ended.
    pub(crate) fn open(body: Either<Received, Rewriting>, held: Held, stall: Duration) -> Self {
        if body.is_end_stream() {
            return Self {
                kind: Kind::Ended(body),
                of: None,
            };
        }
        let shared = Arc::new(Mutex::new(Shared {
            open: Some((body, held)),
            ready_since: Some(Instant::now()),
        }));
        let watch = tokio::spawn(watch(Arc::downgrade(&shared), stall)).abort_handle();
        Self {
            kind: Kind::Open { shared, watch },
            of: None,
        }
    }
}

/// Closes what is not read for this long.
async fn watch(shared: Weak<Mutex<Shared>>, stall: Duration) {
    let mut left = stall;
    loop {
        sleep(left).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut shared = lock(&shared);
        let unread = shared.ready_since.map_or(Duration::ZERO, |it| it.elapsed());
        left = stall.saturating_sub(unread);
        if left.is_zero() {
            shared.open = None;
            return;
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kind {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let shared = match self {
            Self::Text(text) => return Pin::new(text).poll_frame(cx).map_err(Into::into),
            Self::Ended(body) => return Pin::new(body).poll_frame(cx),
            Self::Open { shared, .. } => shared,
        };
        let mut shared = lock(shared);
        let Some((body, held)) = &mut shared.open else {
            return Poll::Ready(Some(Err(Lost::Unread.into())));
        };
        if held.poll_taken_back(cx).is_ready() {
            shared.open = None;
            return Poll::Ready(Some(Err(Lost::TakenBack.into())));
        }
        let polled = Pin::new(body).poll_frame(cx);
        shared.ready_since = polled.is_ready().then(Instant::now);
        polled
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut polled = self.kind.poll(cx);
        let Some(sender) = &self.of else {
            return polled;
        };
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    rejection::look_at_trailers(trailers, sender.credential);
                }
            }
            Poll::Ready(Some(Err(error))) if !error.is::<Lost>() => {
                sender.upstream.broke_off(&**error);
            }
            Poll::Ready(Some(Err(_)) | None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Text(text) => text.is_end_stream(),
            Kind::Ended(body) => body.is_end_stream(),
            Kind::Open { shared, .. } => {
                let shared = lock(shared);
                shared
                    .open
                    .as_ref()
                    .is_some_and(|(body, _)| body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Text(text) => text.size_hint(),
            Kind::Ended(body) => body.size_hint(),
            Kind::Open { shared, .. } => {
                let shared = lock(shared);
                shared
                    .open
                    .as_ref()
                    .map_or_else(SizeHint::new, |(body, _)| body.size_hint())
            }
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        if let Kind::Open { watch, .. } = &self.kind {
            watch.abort();
        }
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamBody")
    }
}
