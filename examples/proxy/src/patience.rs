//! A connection that must begin to speak.
//!
//! Which HTTP version it speaks is told by its first bytes, and until they are there no
//! other time limit counts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The bytes that begin HTTP/2 (RFC 9113 §3.4); as many tell the version.
const PREFACE: usize = 24;

/// A stream whose first bytes are waited for only so long.
#[derive(Debug)]
pub(crate) struct Patience<T> {
    stream: T,
    /// What is still waited for, and until when; `None` once it came.
    waiting: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<T> Patience<T> {
    pub(crate) fn new(stream: T, time: Duration) -> Self {
        let waiting = Some((PREFACE, Box::pin(sleep(time))));
        Self { stream, waiting }
    }

    /// Counts what came. A line that ends is a request of HTTP/1, which has its own limit.
    fn came(&mut self, bytes: &[u8]) {
        if let Some((left, _)) = &mut self.waiting {
            *left = left.saturating_sub(bytes.len());
            if *left == 0 || (!bytes.is_empty() && !bytes.starts_with(b"P")) {
                self.waiting = None;
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patience<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            let bytes = buffer.filled().get(before..).unwrap_or_default();
            self.came(bytes);
            return polled;
        }
        if let Some((_, deadline)) = &mut self.waiting
            && deadline.as_mut().poll(cx).is_ready()
        {
            let late = "no request began in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patience<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
