//! The request's body as the inner service sees it: the bytes read for the decision, unchanged,
//! and then the rest.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use spanner_core::{Inquiry, Meter, RequestFault};

use super::BoxError;
use super::broken::Broken;
use super::buffer::Pieces;
use super::head::clean;
use super::pace::Pace;
use super::{stream, watch};
use crate::shares::BodyReservation;

/// The body of an admitted request.
///
/// The bytes read for the decision are replayed unchanged, without a copy. On a stream whose
/// messages name models, each message is held until it is decided. A refused message ends the
/// body with [`BodyError::Refused`], and the inner service never sees it.
pub struct RequestBody<B> {
    replay: Pieces,
    rest: Rest<B>,
    meter: Meter,
    broken: Broken,
    /// Whether the body ended because the request was aborted.
    stopped: bool,
    pace: Pace,
    /// Released with the bytes that were read.
    room: BodyReservation,
}

enum Rest<B> {
    /// Only the trailers, which were read.
    Read { trailers: Option<HeaderMap> },
    /// The rest, which needs no examination.
    Open { body: Pin<Box<B>> },
    /// Only trailers, which were not read yet.
    OneMessage { body: Pin<Box<B>> },
    /// Messages that are authorized one by one.
    Stream { watch: Box<stream::Watch<B>> },
    /// A body that is scanned to its end.
    Scanned { watch: Box<watch::Watch<B>> },
}

/// Why a request's body ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// A later message was refused, or the caller may not continue. The guard answers the
    /// caller; the reader of the body should give up.
    Refused,
    /// The body of the server in front of the guard failed.
    Body(BoxError),
}

/// The error with which a body in front of the guard reports that it is abandoned, because it
/// arrives too slowly or because others need its memory. The guard refuses the request with 408.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyLate;

impl BodyLate {
    /// The error.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Default for BodyLate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for BodyLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body does not arrive in time")
    }
}

impl std::error::Error for BodyLate {}

impl BodyError {
    fn is_late(&self) -> bool {
        matches!(self, Self::Body(error) if error.is::<BodyLate>())
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the guard broke the request off"),
            Self::Body(_) => f.write_str("the request's body failed"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused => None,
            Self::Body(error) => Some(&**error),
        }
    }
}

impl<B> RequestBody<B> {
    /// A body that was not read and needs no decision.
    pub(crate) fn unread(body: B) -> Self {
        let body = Box::pin(body);
        Self::new(Bytes::new(), Rest::Open { body })
    }

    /// A body that was read completely.
    pub(super) fn read(bytes: Pieces, trailers: Option<HeaderMap>) -> Self {
        Self::new(bytes, Rest::Read { trailers })
    }

    /// A body whose only message was read.
    pub(super) fn one_message(message: Bytes, body: Pin<Box<B>>) -> Self {
        Self::new(message, Rest::OneMessage { body })
    }

    /// A stream whose first message was read and decided.
    pub(super) fn stream(first: Bytes, watch: stream::Watch<B>) -> Self {
        let watch = Box::new(watch);
        Self::new(first, Rest::Stream { watch })
    }

    /// A body whose beginning was read and decided.
    pub(super) fn scanned(beginning: Pieces, watch: watch::Watch<B>) -> Self {
        let watch = Box::new(watch);
        Self::new(beginning, Rest::Scanned { watch })
    }

    /// A body whose relevant part was read and decided.
    pub(super) fn decided(beginning: Pieces, body: Pin<Box<B>>) -> Self {
        Self::new(beginning, Rest::Open { body })
    }

    fn new(replay: impl Into<Pieces>, rest: Rest<B>) -> Self {
        Self {
            replay: replay.into(),
            rest,
            meter: Meter::default(),
            broken: Broken::default(),
            stopped: false,
            pace: Pace::none(),
            room: BodyReservation::default(),
        }
    }

    /// Counts the bytes that were read against this reservation.
    pub(super) fn holding(self, room: BodyReservation) -> Self {
        Self { room, ..self }
    }

    /// Connects the body to its permit. The meter counts its bytes, the inquiry authorizes later
    /// messages, and `broken` reports a refusal to the response. Without an inquiry, a later
    /// message that names another model is refused. From now on the body must keep a minimum
    /// pace.
    pub(crate) fn attach(
        &mut self,
        meter: Meter,
        inquiry: Option<Inquiry>,
        broken: Broken,
        pace: Pace,
    ) {
        self.meter = meter;
        self.pace = pace;
        self.broken = broken.clone();
        match &mut self.rest {
            Rest::Stream { watch } => watch.attach(inquiry, broken),
            Rest::Scanned { watch } => watch.attach(inquiry, broken),
            Rest::Read { .. } | Rest::Open { .. } | Rest::OneMessage { .. } => {}
        }
    }
}

impl<B> RequestBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.rest {
            Rest::Read { trailers } => Poll::Ready(trailers.take().map(|t| Ok(Frame::trailers(t)))),
            Rest::Open { body } => body
                .as_mut()
                .poll_frame(cx)
                .map_err(inner)
                .map_err(|error| {
                    if error.is_late() {
                        self.broken.set(RequestFault::Slow.into());
                    }
                    error
                }),
            Rest::Stream { watch } => watch.poll_frame(cx),
            Rest::Scanned { watch } => watch.poll_frame(cx),
            Rest::OneMessage { body } => {
                let polled = body.as_mut().poll_frame(cx).map_err(inner);
                let further =
                    |frame: &Frame<Bytes>| frame.data_ref().is_some_and(|d| !d.is_empty());
                if matches!(&polled, Poll::Ready(Some(Ok(frame))) if further(frame)) {
                    self.broken.set(RequestFault::Message.into());
                    self.rest = Rest::Read { trailers: None };
                    return Poll::Ready(Some(Err(BodyError::Refused)));
                }
                polled
            }
        }
    }
}

impl<B> RequestBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn rest_is_over(&self) -> bool {
        match &self.rest {
            Rest::Read { trailers } => trailers.is_none(),
            Rest::Open { body } | Rest::OneMessage { body } => body.is_end_stream(),
            Rest::Stream { watch } => watch.is_end_stream(),
            Rest::Scanned { watch } => watch.is_end_stream(),
        }
    }

    /// Abandons a body that arrives too slowly.
    fn give_up(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.rest {
            // Messages that were not decided yet are refused and recorded as well.
            Rest::Stream { watch } => watch.late(),
            Rest::Scanned { watch } => watch.late(),
            Rest::Read { .. } | Rest::Open { .. } | Rest::OneMessage { .. } => {
                self.broken.set(RequestFault::Slow.into());
                self.rest = Rest::Read { trailers: None };
                return Poll::Ready(Some(Err(BodyError::Refused)));
            }
        }
        self.poll_rest(cx)
    }
}

impl<B> RequestBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Waits until this many bytes of the body have arrived, or its end. Use it in a service
    /// that takes a scarce resource, such as a connection, only when it has something to send.
    /// The bytes are kept and returned first. Bytes that were read for the decision count. A
    /// gRPC call of one message is awaited to its end, because nothing follows.
    ///
    /// # Errors
    /// [`BodyError`], as when the body is read.
    pub async fn gather(&mut self, bytes: usize) -> Result<(), BodyError> {
        while (self.replay.len() < bytes.max(1) || matches!(self.rest, Rest::OneMessage { .. }))
            && !self.rest_is_over()
        {
            match std::future::poll_fn(|cx| self.poll_paced(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.replay.push(data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        self.rest = Rest::Read { trailers };
                        break;
                    }
                },
                Some(Err(error)) => return Err(error),
                None => {
                    self.rest = Rest::Read { trailers: None };
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads and keeps up to `most` bytes of a body that is normally examined as it is
    /// forwarded, and returns whether that was all of it. A body that needs no examination is
    /// not read.
    ///
    /// # Errors
    /// [`BodyError`], as when the body is read.
    pub(crate) async fn examine(&mut self, most: usize) -> Result<bool, BodyError> {
        match self.rest {
            Rest::Read { .. } | Rest::Open { .. } => Ok(true),
            Rest::OneMessage { .. } | Rest::Stream { .. } | Rest::Scanned { .. } => {
                self.gather(most.saturating_add(1)).await?;
                Ok(self.rest_is_over() && self.replay.len() <= most)
            }
        }
    }

    /// Polls the rest of the body, which must keep a minimum pace.
    fn poll_paced(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.poll_rest(cx);
        let in_time = match &polled {
            Poll::Pending => self.pace.poll_late(cx, &self.broken).is_pending(),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.pace.came(bytes, &self.broken)
            }
            Poll::Ready(None | Some(Err(_))) => true,
        };
        match in_time {
            true => polled,
            false => self.give_up(cx),
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.broken.is_stopped(cx) && !self.stopped {
            self.stopped = true;
            self.replay.clear();
            // The decisions on later messages end here.
            self.rest = Rest::Read { trailers: None };
            return Poll::Ready(Some(Err(BodyError::Refused)));
        }
        let mut polled = match self.replay.pop() {
            None => self.poll_paced(cx),
            Some(piece) => {
                if self.replay.is_empty() {
                    drop(std::mem::take(&mut self.room));
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            clean(trailers);
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.meter
                .add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.replay.is_empty() && self.rest_is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.rest {
            Rest::Read { .. } => SizeHint::with_exact(0),
            Rest::Open { body } | Rest::OneMessage { body } => body.size_hint(),
            Rest::Stream { watch } => watch.size_hint(),
            Rest::Scanned { watch } => watch.size_hint(),
        };
        longer(&rest, self.replay.len())
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestBody")
    }
}

pub(super) fn inner(error: impl Into<BoxError>) -> BodyError {
    BodyError::Body(error.into())
}

/// The size hint of a body that follows some bytes.
pub(super) fn longer(rest: &SizeHint, bytes: usize) -> SizeHint {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(bytes));
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper.saturating_add(bytes));
    }
    hint
}
