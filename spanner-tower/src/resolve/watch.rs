//! A large body that is scanned to its end while it is forwarded.
//!
//! The last piece is always held, so that a body that contradicts the decision never arrives
//! complete.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use spanner_core::{Inquiry, Pair, RequestFault, Target};

use super::BoxError;
use super::body::{BodyError, inner, longer};
use super::broken::Broken;
use super::evidence::Content;
use super::later::LaterDecisions;
use super::reader::Reader;

/// Resolves what a body with this content touches.
pub(super) type PairsOf = Arc<dyn Fn(&Content) -> Result<Vec<Pair>, RequestFault> + Send + Sync>;

/// The rest of a body, and its content so far.
pub(super) struct Watch<B> {
    body: Pin<Box<B>>,
    reader: Reader,
    count: usize,
    pairs_of: PairsOf,
    asking: LaterDecisions,
    /// The bytes that arrived and were not read yet.
    unread: Bytes,
    held: Bytes,
    end: End,
}

/// Whether the inner body has ended.
enum End {
    Open,
    /// It has ended. The held piece is released once everything is decided.
    Reached(Option<Frame<Bytes>>),
    Passed,
}

impl<B> Watch<B> {
    pub(super) fn new(
        body: Pin<Box<B>>,
        reader: Reader,
        pairs_of: PairsOf,
        unread: Bytes,
        first: &Target,
    ) -> Self {
        Self {
            body,
            count: reader.count(),
            reader,
            pairs_of,
            asking: LaterDecisions::new(first),
            unread,
            held: Bytes::new(),
            end: End::Open,
        }
    }

    pub(super) fn attach(&mut self, inquiry: Option<Inquiry>, broken: Broken) {
        self.asking.attach(inquiry, broken);
    }

    /// Reads a piece and asks about new pairs.
    fn read(&mut self, piece: &[u8]) -> Result<(), RequestFault> {
        self.reader.feed(piece)?;
        if self.reader.count() != self.count {
            self.count = self.reader.count();
            self.asking
                .ask((self.pairs_of)(&self.reader.content(true))?);
        }
        Ok(())
    }

    fn read_end(&mut self) -> Result<(), RequestFault> {
        self.reader.end()?;
        self.asking
            .ask((self.pairs_of)(&self.reader.content(false))?);
        Ok(())
    }

    /// Notes that the body is too slow.
    pub(super) fn late(&mut self) {
        self.asking.refuse(RequestFault::Slow.into());
    }

    pub(super) const fn is_end_stream(&self) -> bool {
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
            match mem::replace(&mut self.end, End::Passed) {
                End::Open => self.end = End::Open,
                End::Reached(trailers) if self.held.is_empty() => {
                    self.asking.finish();
                    return Poll::Ready(trailers.map(Ok));
                }
                End::Reached(trailers) => {
                    self.end = End::Reached(trailers);
                    let last = mem::take(&mut self.held);
                    return Poll::Ready(Some(Ok(Frame::data(last))));
                }
                End::Passed => return Poll::Ready(None),
            }
            let unread = mem::take(&mut self.unread);
            let arrived = match unread.is_empty() {
                true => ready!(self.body.as_mut().poll_frame(cx)),
                false => Some(Ok(Frame::data(unread))),
            };
            let read = match arrived {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        let read = self.read(&piece);
                        if read.is_ok() && !piece.is_empty() {
                            let held = mem::replace(&mut self.held, piece);
                            if !held.is_empty() {
                                return Poll::Ready(Some(Ok(Frame::data(held))));
                            }
                        }
                        read
                    }
                    Err(trailers) => {
                        self.end = End::Reached(Some(trailers));
                        self.read_end()
                    }
                },
                Some(Err(error)) => {
                    self.asking.fail();
                    return Poll::Ready(Some(Err(inner(error))));
                }
                None => {
                    self.end = End::Reached(None);
                    self.read_end()
                }
            };
            if let Err(fault) = read {
                self.asking.refuse(fault.into());
            }
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.asking.is_over() {
            return SizeHint::with_exact(0);
        }
        longer(&self.body.size_hint(), self.held.len() + self.unread.len())
    }
}
