//! The body of a response, from the model server to the caller.
//!
//! If the caller does not read it for a while, it is aborted, which frees the connection to the
//! model server and the slot there. A body that is not read is not polled either, so a task of
//! its own watches the time.

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

use crate::addresses::RewrittenBody;
use crate::rejection::{self, Received};
use crate::upstream::Upstream;
use crate::upstream_lease::UpstreamLease;

/// The body of a response. Dropping it ends the upstream's lease.
pub(crate) struct UpstreamBody {
    kind: Kind,
    source: Option<BodySource>,
}

/// The model server that a response comes from.
struct BodySource {
    upstream: Upstream,
    /// Whether the proxy has a credential for it.
    credential: bool,
}

enum Kind {
    /// A body of the proxy's own, perhaps empty.
    Text(Full<Bytes>),
    /// The model server's body.
    Open {
        shared: Arc<Mutex<Shared>>,
        watchdog: AbortHandle,
    },
}

struct Shared {
    /// The body with its lease, or why it was aborted.
    open: Result<(Either<Received, RewrittenBody>, UpstreamLease), Aborted>,
    /// Since when the caller has something to read; `None` while it waits for more.
    ready_since: Option<Instant>,
}

/// Why a body was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Aborted {
    #[error("the caller does not read the response")]
    Unread,
    #[error("another request to a public route needs the slot")]
    Evicted,
}

impl UpstreamBody {
    pub(crate) const fn text(text: Full<Bytes>) -> Self {
        let kind = Kind::Text(text);
        Self { kind, source: None }
    }

    /// The same, with the upstream that logs a failure of the body.
    pub(crate) fn with_source(mut self, upstream: Upstream, credential: bool) -> Self {
        self.source = Some(BodySource {
            upstream,
            credential,
        });
        self
    }

    /// A body from a model server, with the lease that it holds until its end.
    pub(crate) fn open(
        body: Either<Received, RewrittenBody>,
        lease: UpstreamLease,
        stall: Duration,
    ) -> Self {
        if body.is_end_stream() {
            return Self::text(Full::default());
        }
        let token = lease.token();
        let shared = Arc::new(Mutex::new(Shared {
            open: Ok((body, lease)),
            ready_since: Some(Instant::now()),
        }));
        let watchdog = tokio::spawn(watch(Arc::downgrade(&shared), stall, token)).abort_handle();
        Self {
            kind: Kind::Open { shared, watchdog },
            source: None,
        }
    }
}

/// Aborts a body that is not read for `stall`, or as soon as its lease is evicted.
async fn watch(shared: Weak<Mutex<Shared>>, stall: Duration, evicted: CancellationToken) {
    let mut left = stall;
    loop {
        let is_late = timeout(left, evicted.cancelled()).await.is_err();
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut shared = lock(&shared);
        let unread = shared.ready_since.map_or(Duration::ZERO, |it| it.elapsed());
        left = stall.saturating_sub(unread);
        if left.is_zero() || !is_late {
            let aborted = if is_late {
                Aborted::Unread
            } else {
                Aborted::Evicted
            };
            shared.open = Err(aborted);
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
        let (body, lease) = match &mut shared.open {
            Ok(open) => open,
            Err(aborted) => return Poll::Ready(Some(Err((*aborted).into()))),
        };
        if lease.poll_evicted(cx).is_ready() {
            shared.open = Err(Aborted::Evicted);
            return Poll::Ready(Some(Err(Aborted::Evicted.into())));
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
        let Some(source) = &self.source else {
            return polled;
        };
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    rejection::check_trailers(trailers, source.credential);
                }
            }
            Poll::Ready(Some(Err(error))) if !error.is::<Aborted>() => {
                source.upstream.broke_off(&**error);
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
        if let Kind::Open { watchdog, .. } = &self.kind {
            watchdog.abort();
        }
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamBody")
    }
}
