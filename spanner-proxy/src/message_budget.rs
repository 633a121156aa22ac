//! Limits what is held of unfinished WebSocket messages, per socket and in all.
//!
//! A message is assembled from its frames before it is examined. Until a caller was allowed
//! something, its messages must be small; after that, all sockets share one budget.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What all WebSockets hold beyond what is free for each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inboxes(Arc<AtomicUsize>);

/// What one WebSocket holds; its reader and the consumer of its messages share it.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bytes since the last message.
    came: AtomicUsize,
    /// The most that there may be.
    limit: AtomicUsize,
    all: Inboxes,
}

/// A stream of which only so much is read for one message as its inbox allows.
#[derive(Debug)]
pub(crate) struct Bounded<T> {
    stream: T,
    inbox: Inbox,
}

/// What each message may have whatever others hold, in bytes.
const SMALL: usize = 64 * 1024;
/// The largest message of a caller that was not allowed anything yet: enough to set up a session.
const FIRST: usize = 256 * 1024;
/// What all sockets hold beyond [`SMALL`] each: 32 of the largest messages.
const MAX_HELD: usize = 512 << 20;

impl Inboxes {
    pub(crate) fn inbox(&self) -> Inbox {
        Inbox(Arc::new(Shared {
            came: AtomicUsize::new(0),
            limit: AtomicUsize::new(FIRST),
            all: self.clone(),
        }))
    }
}

impl Inbox {
    /// Allows messages of this size from now on.
    pub(crate) fn allow(&self, bytes: usize) {
        self.0.limit.store(bytes + SMALL, Ordering::Relaxed);
    }

    /// A whole message was consumed.
    pub(crate) fn taken(&self) {
        let came = self.0.came.swap(0, Ordering::Relaxed);
        let beyond = came.saturating_sub(SMALL);
        self.0.all.0.fetch_sub(beyond, Ordering::Relaxed);
    }

    /// Counts bytes that arrived; returns whether they may be held.
    fn hold(&self, bytes: usize) -> bool {
        let before = self.0.came.fetch_add(bytes, Ordering::Relaxed);
        let now = before + bytes;
        let beyond = now.saturating_sub(SMALL) - before.saturating_sub(SMALL);
        let all = self.0.all.0.fetch_add(beyond, Ordering::Relaxed) + beyond;
        now <= self.0.limit.load(Ordering::Relaxed) && (beyond == 0 || all <= MAX_HELD)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let beyond = self.came.get_mut().saturating_sub(SMALL);
        self.all.0.fetch_sub(beyond, Ordering::Relaxed);
    }
}

impl<T> Bounded<T> {
    pub(crate) const fn new(stream: T, inbox: Inbox) -> Self {
        Self { stream, inbox }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Bounded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if !self.inbox.hold(buffer.filled().len() - before) {
            buffer.set_filled(before);
            let much = "more of a message than is held";
            return Poll::Ready(Err(io::Error::other(much)));
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Bounded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_held_for_those_who_may_do_nothing() {
        let all = Inboxes::default();
        let inbox = all.inbox();
        assert!(inbox.hold(FIRST));
        assert!(!inbox.hold(1));
        inbox.taken();
        inbox.allow(1 << 20);
        assert!(inbox.hold(1 << 20));
        assert!(!inbox.hold(SMALL + 1));
        drop(inbox);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn small_messages_are_held_whatever_others_hold() {
        let all = Inboxes::default();
        let (large, small) = (all.inbox(), all.inbox());
        large.allow(MAX_HELD + SMALL);
        assert!(large.hold(MAX_HELD + SMALL));
        assert!(small.hold(SMALL));
        assert!(!small.hold(1));
        large.taken();
        assert!(small.hold(1));
    }
}
