//! The response's body. The guard watches it to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use spanner_core::{Refusal, Settlement};
use tracing::Span;

use super::answer::{self, Realm};
use super::fault::{fault_of, grpc_status};
use super::headers::{FAULT, fault};
use super::trace;
use super::vigil::Vigil;
use super::voice::Voice;
use crate::BoxError;
use crate::media::Sequence;
use crate::resolve::{Broken, ReportScan, remove_ours};
use crate::shares::CallerSlot;
use crate::surface::{Dialect, Reports};

pin_project! {
    /// The body of a response, from the inner service or from the guard itself. The record is
    /// settled when the body ends, fails or is dropped.
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

/// The state that lives until the body ends.
struct Watch {
    settlement: Settlement,
    /// Counts against the caller's concurrent requests until the response ends.
    _slot: Option<CallerSlot>,
    /// The request's span, which ends with the response.
    span: Span,
    broken: Broken,
    vigil: Vigil,
    voice: Voice,
    form: ErrorForm,
    realm: Arc<Realm>,
    /// The bytes that are still expected according to `Content-Length`. A server stops polling
    /// once it has sent that many.
    remaining: Option<u64>,
    reports: Option<ReportScan>,
    /// Whether the status is an error status.
    is_error: bool,
    /// Whether the bytes sent so far end with a line feed.
    ends_line: bool,
}

impl<R> GuardBody<R> {
    /// A body of the guard's own. Its record is settled already.
    pub(super) fn answer(text: Bytes) -> Self {
        Self {
            kind: Kind::Answer {
                text: (!text.is_empty()).then_some(text),
            },
        }
    }
}

impl<R: Body> GuardBody<R> {
    /// The body of the inner service's response.
    pub(super) fn forwarded(
        body: R,
        head: &Head<'_>,
        mut settlement: Settlement,
        watching: WatchContext,
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
            _slot: watching.slot,
            span: Span::current(),
            broken: watching.broken,
            vigil: watching.vigil,
            voice: watching.voice,
            form: ErrorForm::of(head.headers),
            realm: watching.realm,
            remaining,
            reports: head
                .reports
                .and_then(|reports| ReportScan::of(head.headers, reports, head.runs)),
            is_error: head.status.is_client_error() || head.status.is_server_error(),
            ends_line: true,
        });
        Self {
            kind: Kind::Forwarded { body, watch },
        }
    }
}

/// What watching a response needs.
pub(super) struct WatchContext {
    pub(super) broken: Broken,
    pub(super) vigil: Vigil,
    pub(super) voice: Voice,
    pub(super) realm: Arc<Realm>,
    /// Released when the response ends.
    pub(super) slot: Option<CallerSlot>,
}

/// How a body that has begun can report that it was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorForm {
    /// In trailers.
    Grpc,
    /// In an event (`text/event-stream`).
    Event,
    /// In a line of JSON.
    Line,
    /// Not at all: the body fails.
    None,
}

/// The error of a body that the guard cut off.
#[derive(Debug, thiserror::Error)]
#[error("the guard broke the answer off: {0}")]
struct BrokenOff(String);

impl ErrorForm {
    fn of(headers: &HeaderMap) -> Self {
        // Nothing can be inserted into encoded content, or appended beyond the announced length.
        let closed = headers.contains_key(CONTENT_ENCODING) || headers.contains_key(CONTENT_LENGTH);
        match Sequence::of(headers) {
            Sequence::Grpc => Self::Grpc,
            Sequence::Events if !closed => Self::Event,
            Sequence::Lines if !closed => Self::Line,
            Sequence::Events
            | Sequence::Lines
            | Sequence::One
            | Sequence::AwsEvents
            | Sequence::Unknown => Self::None,
        }
    }
}

/// The parts of the request and of the response's head that determine how the body ends.
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// What responses of the route report.
    pub(super) reports: Option<&'a Arc<Reports>>,
    /// Whether the request ran a model; APIs report that usage in tokens.
    pub(super) runs: bool,
}

impl Head<'_> {
    /// Whether the response has no body, whatever its headers say (RFC 9110 §6.4.1).
    fn is_bodiless(&self) -> bool {
        self.method == Method::HEAD
            || self.status == StatusCode::NO_CONTENT
            || self.status == StatusCode::NOT_MODIFIED
    }

    fn length(&self) -> Option<u64> {
        self.headers
            .get(CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }
}

/// Sets `spanner-fault` in trailers and removes any that the inner service set.
fn blame(frame: &mut Frame<Bytes>) {
    if let Some(trailers) = frame.trailers_mut() {
        remove_ours(trailers);
        if let Some(whose) = fault_of(StatusCode::OK, grpc_status(trailers)) {
            trailers.insert(FAULT, fault(whose));
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
            if let Some(reports) = &mut self.reports {
                reports.feed(data);
                reports.tell(&mut self.settlement, self.is_error);
            }
            if let Some(last) = data.last() {
                self.ends_line = *last == b'\n';
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
        if let Some(reports) = &mut self.reports {
            reports.end();
            reports.tell(&mut self.settlement, self.is_error);
        }
        self.settlement.finish();
    }

    fn broke(mut self) {
        self.settlement.broke();
    }

    /// Settles the record as refused and reports the reason in the form that the body allows.
    fn refused(mut self, refusal: &Refusal) -> Result<Frame<Bytes>, BoxError> {
        self.settlement.refused(refusal);
        let id = Some(self.settlement.id());
        let dialect = match (self.form, self.voice) {
            (ErrorForm::Grpc, _) | (_, Voice::Grpc) => {
                self.settlement.grpc_status(refusal.notice().status.grpc());
                let trailers = answer::trailers(refusal, id, &self.realm);
                return Ok(Frame::trailers(trailers));
            }
            (_, Voice::Http { dialect, .. }) => dialect,
        };
        let said = answer::text(refusal, dialect, id);
        let said = String::from_utf8_lossy(&said);
        match self.form {
            ErrorForm::Event => {
                let event = match dialect {
                    Dialect::Anthropic => "event: error\n",
                    _ => "",
                };
                let event = format!("\n\n{event}data: {said}\n\n");
                Ok(Frame::data(event.into()))
            }
            ErrorForm::Line => {
                let end = if self.ends_line { "" } else { "\n" };
                Ok(Frame::data(format!("{end}{said}\n").into()))
            }
            ErrorForm::Grpc | ErrorForm::None => {
                let notice = refusal.notice();
                Err(BrokenOff(notice.message).into())
            }
        }
    }
}

impl<R> Body for GuardBody<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut kind = self.project().kind;
        let (mut body, watch) = match kind.as_mut().project() {
            KindOf::Answer { text } => return Poll::Ready(text.take().map(|t| Ok(Frame::data(t)))),
            KindOf::Ended => return Poll::Ready(None),
            KindOf::Forwarded { body, watch } => (body, watch),
        };
        let polled = body.as_mut().poll_frame(cx);
        // Polling the response may make the service read the request. A refusal found there
        // takes precedence over the service's own reaction to it.
        let refusal = watch.as_mut().map(|watch| {
            // A body that has just ended is not checked again.
            let goes_on = match &polled {
                Poll::Ready(Some(Ok(_))) => !body.is_end_stream(),
                Poll::Ready(_) => false,
                Poll::Pending => true,
            };
            if goes_on {
                watch.vigil.watch(cx);
            }
            watch.broken.poll_broken(cx)
        });
        if let Some(Poll::Ready(refusal)) = refusal {
            let last = watch.take().map(|watch| watch.refused(&refusal));
            kind.set(Kind::Ended);
            return Poll::Ready(last);
        }
        let mut polled = ready!(polled).map(|frame| frame.map_err(Into::into));
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
            // Trailers may follow as long as the request may still be aborted.
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
