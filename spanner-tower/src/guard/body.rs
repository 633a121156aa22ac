//! The response's body, watched to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use spanner_core::{Refusal, Settlement};
use tracing::Span;

use super::answer::{self, Realm};
use super::service::fault_of;
use super::trace;
use crate::resolve::{Broken, UsageScan, remove_ours};
use crate::shares::Taken;

pin_project! {
    /// A response's body: the inner service's, or the guard's own answer. Its end, failure
    /// or drop settles the record.
    pub struct GuardBody<R> {
        #[pin]
        kind: Kind<R>,
    }
}

pin_project! {
    #[project = KindOf]
    enum Kind<R> {
        Answer { text: Option<Bytes> },
        Forwarded { #[pin] body: R, watch: Option<Watch> },
        Ended,
    }
}

/// What is kept until the body ends.
struct Watch {
    settlement: Settlement,
    /// One of the caller's requests, until the answer ends.
    _share: Option<Taken>,
    /// Ends with the answer.
    span: Span,
    broken: Broken,
    realm: Arc<Realm>,
    /// Bytes still to come according to `Content-Length`: a server stops asking for frames
    /// when it has sent as many.
    remaining: Option<u64>,
    usage: Option<UsageScan>,
}

impl<R> GuardBody<R> {
    /// The guard's own answer, whose record is settled already.
    pub(super) fn answer(text: Bytes) -> Self {
        Self {
            kind: Kind::Answer {
                text: (!text.is_empty()).then_some(text),
            },
        }
    }
}

impl<R: Body> GuardBody<R> {
    /// What the inner service answered.
    pub(super) fn forwarded(
        body: R,
        head: &Head<'_>,
        mut settlement: Settlement,
        broken: Broken,
        realm: &Arc<Realm>,
        share: Option<Taken>,
    ) -> Self {
        settlement.head(head.status.as_u16());
        if let Some(code) = grpc_status(head.headers) {
            settlement.grpc_status(code);
        }
        let remaining = head.length();
        if head.is_bodiless() || body.is_end_stream() || remaining == Some(0) {
            settlement.finish();
            drop(settlement);
            return Self {
                kind: Kind::Forwarded { body, watch: None },
            };
        }
        let watch = Some(Watch {
            settlement,
            _share: share,
            span: Span::current(),
            broken,
            realm: Arc::clone(realm),
            remaining,
            usage: head
                .reports_usage
                .then(|| UsageScan::of(head.headers))
                .flatten(),
        });
        Self {
            kind: Kind::Forwarded { body, watch },
        }
    }
}

/// What of a response's head says how its body ends.
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// Whether a model was run, which APIs report in tokens.
    pub(super) reports_usage: bool,
}

impl Head<'_> {
    /// Responses that have no body whatever their headers say (RFC 9110 §6.4.1).
    fn is_bodiless(&self) -> bool {
        self.method == Method::HEAD
            || self.status == StatusCode::NO_CONTENT
            || self.status == StatusCode::NOT_MODIFIED
    }

    fn length(&self) -> Option<u64> {
        self.headers
            .get(http::header::CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }
}

/// The gRPC status in headers or trailers.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Says in trailers whose failure they report, and lets nobody else say it.
fn blame(frame: &mut Frame<Bytes>) {
    if let Some(trailers) = frame.trailers_mut() {
        remove_ours(trailers);
        if let Some(whose) = fault_of(StatusCode::OK, grpc_status(trailers)) {
            trailers.insert(answer::FAULT, answer::fault(whose));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        trace::ended(&self.span, &self.settlement);
    }
}

impl Watch {
    fn saw(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            if let Some(usage) = &mut self.usage {
                self.settlement.usage(usage.feed(data));
                if let Some(model) = usage.served() {
                    self.settlement.served(model);
                }
            }
            let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.settlement.sent(bytes);
            self.remaining = self
                .remaining
                .map(|remaining| remaining.saturating_sub(bytes));
        }
        if let Some(code) = frame.trailers_ref().and_then(grpc_status) {
            self.settlement.grpc_status(code);
            if let Some(whose) = fault_of(StatusCode::OK, Some(code)) {
                self.settlement.blame(whose);
            }
        }
    }

    fn finish(mut self) {
        self.settlement.finish();
    }

    fn broke(mut self) {
        self.settlement.broke();
    }

    /// Ends the record, and says in trailers why.
    fn refused(mut self, refusal: &Refusal) -> HeaderMap {
        self.settlement.grpc_status(refusal.notice().status.grpc());
        self.settlement.refused();
        answer::trailers(refusal, &self.realm)
    }
}

impl<R> Body for GuardBody<R>
where
    R: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut kind = self.project().kind;
        let (mut body, watch) = match kind.as_mut().project() {
            KindOf::Answer { text } => return Poll::Ready(text.take().map(|t| Ok(Frame::data(t)))),
            KindOf::Ended => return Poll::Ready(None),
            KindOf::Forwarded { body, watch } => (body, watch),
        };
        let polled = body.as_mut().poll_frame(cx);
        // An answer that is asked for its next frame may read the request for it: what was
        // found wrong there comes before whatever the service makes of it.
        let refusal = watch.as_ref().map(|watch| watch.broken.poll_broken(cx));
        if let Some(Poll::Ready(refusal)) = refusal {
            let trailers = watch.take().map(|watch| watch.refused(&refusal));
            kind.set(Kind::Ended);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.unwrap_or_default()))));
        }
        let mut polled = ready!(polled);
        if let Some(Ok(frame)) = &mut polled {
            blame(frame);
        }
        match &polled {
            None => {
                if let Some(watch) = watch.take() {
                    watch.finish();
                }
            }
            Some(Err(_)) => {
                if let Some(watch) = watch.take() {
                    watch.broke();
                }
            }
            Some(Ok(frame)) => {
                if let Some(watch) = watch.as_mut() {
                    watch.broken.moved();
                    watch.saw(frame);
                }
                let last = frame.is_trailers() || body.is_end_stream();
                if watch
                    .as_ref()
                    .is_some_and(|watch| last || watch.remaining == Some(0))
                    && let Some(watch) = watch.take()
                {
                    watch.finish();
                }
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Answer { text } => text.is_none(),
            // While the request may still be broken off, trailers may follow.
            Kind::Forwarded { body, .. } => body.is_end_stream(),
            Kind::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Answer { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Forwarded { body, .. } => body.size_hint(),
            Kind::Ended => SizeHint::with_exact(0),
        }
    }
}

impl<R> std::fmt::Debug for GuardBody<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuardBody")
    }
}
