//! The response's body, watched to its end.

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
    _slot: Option<CallerSlot>,
    /// Ends with the answer.
    span: Span,
    broken: Broken,
    vigil: Vigil,
    voice: Voice,
    form: ErrorForm,
    realm: Arc<Realm>,
    /// Bytes still to come according to `Content-Length`: a server stops asking for frames
    /// when it has sent as many.
    remaining: Option<u64>,
    reports: Option<ReportScan>,
    /// Whether the status was that of an error.
    is_error: bool,
    /// Whether what was sent ends with the end of a line.
    ends_line: bool,
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
        watching: Watching,
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

/// What a response is watched for.
pub(super) struct Watching {
    pub(super) broken: Broken,
    pub(super) vigil: Vigil,
    pub(super) voice: Voice,
    pub(super) realm: Arc<Realm>,
    /// Given back at the end.
    pub(super) slot: Option<CallerSlot>,
}

/// How a body can say in its middle that it is broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorForm {
    /// By trailers.
    Grpc,
    /// By an event (`text/event-stream`).
    Event,
    /// By a line of JSON.
    Line,
    /// Only by breaking off.
    None,
}

/// A body that the guard broke off.
#[derive(Debug, thiserror::Error)]
#[error("the guard broke the answer off: {0}")]
struct BrokenOff(String);

impl ErrorForm {
    fn of(headers: &HeaderMap) -> Self {
        // Nothing can be written between what is encoded, or behind the announced length.
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

/// What of a response's head says how its body ends.
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// What answers of the route report.
    pub(super) reports: Option<&'a Arc<Reports>>,
    /// Whether a model was run, which APIs report in tokens.
    pub(super) runs: bool,
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
            .get(CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }
}

/// Says in trailers whose failure they report, and lets nobody else say it.
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

    /// Ends the record, and says why in the way that the body has for it.
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
        // An answer that is asked for its next frame may read the request for it: what was
        // found wrong there comes before whatever the service makes of it.
        let refusal = watch.as_mut().map(|watch| {
            // What ends now is not cut off any more.
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
