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
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::addresses::Rewriting;
use crate::upstream_lease::Held;
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
    /// The proxy's own, or nothing.
    Text(Full<Bytes>),
    /// The model server's.
    Open {
        shared: Arc<Mutex<Shared>>,
        watch: AbortHandle,
    },
}

struct Shared {
    /// The answer, or why the rest of it is not passed on.
    open: Result<(Either<Received, Rewriting>, Held), Lost>,
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
            return Self::text(Full::default());
        }
        let token = held.token();
        let shared = Arc::new(Mutex::new(Shared {
            open: Ok((body, held)),
            ready_since: Some(Instant::now()),
        }));
        let watch = tokio::spawn(watch(Arc::downgrade(&shared), stall, token)).abort_handle();
        Self {
            kind: Kind::Open { shared, watch },
            of: None,
        }
    }
}

/// Closes what is not read for this long, or as soon as its place is taken back.
async fn watch(shared: Weak<Mutex<Shared>>, stall: Duration, taken_back: CancellationToken) {
    let mut left = stall;
    loop {
        let is_late = timeout(left, taken_back.cancelled()).await.is_err();
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut shared = lock(&shared);
        let unread = shared.ready_since.map_or(Duration::ZERO, |it| it.elapsed());
        left = stall.saturating_sub(unread);
        if left.is_zero() || !is_late {
            let lost = if is_late {
                Lost::Unread
            } else {
                Lost::TakenBack
            };
            shared.open = Err(lost);
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
            Self::Open { shared, .. } => shared,
        };
        let mut shared = lock(shared);
        let (body, held) = match &mut shared.open {
            Ok(open) => open,
            Err(lost) => return Poll::Ready(Some(Err((*lost).into()))),
        };
        if held.poll_taken_back(cx).is_ready() {
            shared.open = Err(Lost::TakenBack);
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
            Kind::Open { shared, .. } => {
                let shared = lock(shared);
                shared
                    .open
                    .as_ref()
                    .is_ok_and(|(body, _)| body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Text(text) => text.size_hint(),
            Kind::Open { shared, .. } => {
                let shared = lock(shared);
                shared
                    .open
                    .as_ref()
                    .map_or_else(|_| SizeHint::new(), |(body, _)| body.size_hint())
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
