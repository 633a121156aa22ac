//! A stream whose messages name models: each is held back until it is decided.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use spanner_core::{Inquiry, Pair, Permit, Refusal, Refused, RequestFault, Settlement, Target};

use super::BoxError;
use super::body::{BodyError, inner, longer};
use super::broken::Broken;
use super::gather::Gathered;
use super::grpc::Framing;

/// Reads what a framed message touches.
pub(super) type ReadTarget = Arc<dyn Fn(Framing, &[u8]) -> Result<Target, Refusal> + Send + Sync>;

/// The rest of a stream, and what was decided about it.
pub(super) struct Watch<B> {
    body: Pin<Box<B>>,
    arrived: Gathered,
    framing: Framing,
    read: ReadTarget,
    allowed: Vec<Pair>,
    children: Vec<Settlement>,
    inquiry: Option<Inquiry>,
    broken: Broken,
    state: State,
}

enum State {
    /// Waiting for a whole message.
    Open,
    /// Waiting for the decision about a message.
    Deciding {
        pairs: Vec<Pair>,
        message: Bytes,
        decision: Pin<Box<dyn Future<Output = Result<Permit, Refused>> + Send>>,
    },
    /// Over, in one way or another.
    Ended,
}

impl<B> Watch<B> {
    /// The stream after its first message; `arrived` is what came with it.
    pub(super) fn new(
        body: Pin<Box<B>>,
        arrived: Gathered,
        framing: Framing,
        read: ReadTarget,
        first: &Target,
    ) -> Self {
        Self {
            body,
            arrived,
            framing,
            read,
            allowed: first.pairs().to_vec(),
            children: Vec::new(),
            inquiry: None,
            broken: Broken::default(),
            state: State::Open,
        }
    }

    pub(super) fn attach(&mut self, inquiry: Option<Inquiry>, broken: Broken) {
        self.inquiry = inquiry;
        self.broken = broken;
    }

    /// The next message, if all of it has arrived.
    fn next_message(&mut self) -> Result<Option<Bytes>, RequestFault> {
        match self.framing.frame_length(self.arrived.as_slice())? {
            Some(length) if length <= self.arrived.len() => Ok(Some(self.arrived.split_to(length))),
            _ => Ok(None),
        }
    }

    /// Lets a message pass whose pairs are known, and asks about another one.
    fn examine(&mut self, message: Bytes) -> Option<Bytes> {
        let target = match (self.read)(self.framing, &message) {
            Ok(target) => target,
            Err(refusal) => {
                self.refuse(refusal);
                return None;
            }
        };
        let unknown = |pair: &&Pair| !self.allowed.contains(pair);
        let pairs: Vec<Pair> = target.pairs().iter().filter(unknown).cloned().collect();
        if pairs.is_empty() {
            return Some(message);
        }
        if self.allowed.len() + pairs.len() > Target::MAX_PAIRS {
            self.refuse(RequestFault::TooManyModels.into());
            return None;
        }
        match (&self.inquiry, Target::of(pairs.iter().cloned())) {
            (Some(inquiry), Some(target)) => {
                let decision = Box::pin(inquiry.ask(target).recorded());
                self.state = State::Deciding {
                    pairs,
                    message,
                    decision,
                };
            }
            _ => self.give_up(RequestFault::SelectorConflict.into()),
        }
        None
    }

    /// Refuses what follows, and has that recorded.
    fn refuse(&mut self, refusal: Refusal) {
        match &self.inquiry {
            Some(inquiry) => {
                let decision = Box::pin(inquiry.refuse(refusal).recorded());
                let (pairs, message) = (Vec::new(), Bytes::new());
                self.state = State::Deciding {
                    pairs,
                    message,
                    decision,
                };
            }
            None => self.give_up(refusal),
        }
    }

    fn give_up(&mut self, refusal: Refusal) {
        self.children
            .drain(..)
            .for_each(|mut child| child.refused());
        self.broken.set(refusal);
        self.state = State::Ended;
    }

    fn finish(&mut self) {
        self.children.drain(..).for_each(|mut child| child.finish());
        self.state = State::Ended;
    }

    /// Waits for the decision; the message, if it may pass.
    fn poll_decision(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let State::Deciding { decision, .. } = &mut self.state else {
            return Poll::Ready(None);
        };
        let decided = ready!(decision.as_mut().poll(cx));
        let state = mem::replace(&mut self.state, State::Open);
        match (decided, state) {
            (Ok(permit), State::Deciding { pairs, message, .. }) => {
                let mut child = permit.forward();
                child.head(200);
                self.children.push(child);
                self.allowed.extend(pairs);
                Poll::Ready(Some(message))
            }
            (Ok(_), State::Open | State::Ended) => Poll::Ready(None),
            (Err(refused), _) => {
                let refusal = refused.refusal().clone();
                refused.settle(200, 0);
                self.give_up(refusal);
                Poll::Ready(None)
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        // Before that, a message may still be refused.
        matches!(self.state, State::Ended)
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
        if matches!(self.state, State::Ended) {
            return Poll::Ready(None);
        }
        loop {
            if let Some(message) = ready!(self.poll_decision(cx)) {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            if matches!(self.state, State::Ended) {
                return Poll::Ready(Some(Err(BodyError::Refused)));
            }
            match self.next_message() {
                Ok(Some(message)) => {
                    if let Some(message) = self.examine(message) {
                        return Poll::Ready(Some(Ok(Frame::data(message))));
                    }
                    continue;
                }
                Ok(None) => {}
                Err(fault) => {
                    self.refuse(fault.into());
                    continue;
                }
            }
            if let Some(end) = ready!(self.poll_arrival(cx)) {
                return Poll::Ready(end);
            }
        }
    }

    /// Takes in what comes next; the end of the stream, if that is it.
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
                self.state = State::Ended;
                return Poll::Ready(Some(Some(Err(inner(error)))));
            }
            None => None,
        };
        if self.arrived.len() > 0 {
            self.refuse(RequestFault::Incomplete.into());
            return Poll::Ready(None);
        }
        self.finish();
        Poll::Ready(Some(end))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let held = match &self.state {
            State::Deciding { message, .. } => message.len(),
            State::Open | State::Ended => 0,
        };
        if matches!(self.state, State::Ended) {
            return SizeHint::with_exact(0);
        }
        longer(&self.body.size_hint(), held + self.arrived.len())
    }
}
