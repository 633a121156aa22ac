//! A stream whose messages name models. Each message is held until it is decided.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use spanner_core::{Inquiry, Pair, Refusal, RequestFault, Target};

use super::BoxError;
use super::body::{BodyError, inner, longer};
use super::broken::Broken;
use super::buffer::Contiguous;
use super::grpc::Framing;
use super::later::LaterDecisions;

/// Resolves what a later framed message touches.
pub(super) type ReadPairs = Arc<dyn Fn(Framing, &[u8]) -> Result<Vec<Pair>, Refusal> + Send + Sync>;

/// The rest of a stream, and the decisions about it.
pub(super) struct Watch<B> {
    body: Pin<Box<B>>,
    arrived: Contiguous,
    framing: Framing,
    read: ReadPairs,
    asking: LaterDecisions,
    /// The message that is being decided.
    message: Option<Bytes>,
}

impl<B> Watch<B> {
    /// The stream after its first message. `arrived` is the data that arrived with that message.
    pub(super) fn new(
        body: Pin<Box<B>>,
        arrived: Contiguous,
        framing: Framing,
        read: ReadPairs,
        first: &Target,
    ) -> Self {
        Self {
            body,
            arrived,
            framing,
            read,
            asking: LaterDecisions::new(first),
            message: None,
        }
    }

    pub(super) fn attach(&mut self, inquiry: Option<Inquiry>, broken: Broken) {
        self.asking.attach(inquiry, broken);
    }

    /// Holds the next message and asks about it; returns whether a complete one has arrived.
    fn next_message(&mut self) -> Result<bool, Refusal> {
        match self.framing.frame_length(self.arrived.as_slice())? {
            Some(length) if length <= self.arrived.len() => {
                let message = self.arrived.split_to(length);
                let pairs = (self.read)(self.framing, &message)?;
                self.message = Some(message);
                self.asking.ask(pairs);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Notes that the stream is too slow.
    pub(super) fn late(&mut self) {
        self.asking.refuse(RequestFault::Slow.into());
    }

    pub(super) const fn is_end_stream(&self) -> bool {
        // Before that, a message may still be refused.
        self.asking.is_over()
    }
}

impl<B> Watch<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.asking.is_over() {
            return Poll::Ready(None);
        }
        loop {
            if !ready!(self.asking.poll(cx)) {
                return Poll::Ready(Some(Err(BodyError::Refused)));
            }
            if let Some(message) = self.message.take() {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            match self.next_message() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(refusal) => {
                    self.asking.refuse(refusal);
                    continue;
                }
            }
            if let Some(end) = ready!(self.poll_arrival(cx)) {
                return Poll::Ready(end);
            }
        }
    }

    /// Reads what arrives next, including the end of the stream.
    #[expect(
        clippy::type_complexity,
        reason = "what `poll_frame` answers, if anything"
    )]
    fn poll_arrival(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Option<Result<Frame<Bytes>, BodyError>>>> {
        let end = match ready!(self.body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.arrived.push(data);
                    return Poll::Ready(None);
                }
                Err(trailers) => Some(Ok(trailers)),
            },
            Some(Err(error)) => {
                self.asking.fail();
                return Poll::Ready(Some(Some(Err(inner(error)))));
            }
            None => None,
        };
        if self.arrived.len() > 0 {
            self.asking.refuse(RequestFault::Incomplete.into());
            return Poll::Ready(None);
        }
        self.asking.finish();
        Poll::Ready(Some(end))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.asking.is_over() {
            return SizeHint::with_exact(0);
        }
        let held = self.message.as_ref().map_or(0, Bytes::len);
        longer(&self.body.size_hint(), held + self.arrived.len())
    }
}
