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

    /// Counts what came. What does not begin as HTTP/2 does is HTTP/1, which has a limit of
    /// its own.
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    const TIME: Duration = Duration::from_secs(30);

    /// Whether a stream is given up on which this was said and no more.
    async fn is_given_up(said: &[u8]) -> bool {
        let (mut client, server) = duplex(64);
        let mut server = Patience::new(server, TIME);
        client.write_all(said).await.unwrap();
        let mut buffer = [0; 64];
        loop {
            match timeout(TIME * 2, server.read(&mut buffer)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.kind() == io::ErrorKind::TimedOut,
                Err(_) => return false,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_tells_no_version_is_given_up() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let rows: [(&[u8], bool); 5] = [
            (b"", true),
            (b"PRI * HTTP/2.0\r\n", true),
            (b"POST", true),
            (b"GET / HTTP/1.1\r\n", false),
            (preface, false),
        ];
        for (said, expected) in rows {
            assert_eq!(is_given_up(said).await, expected, "{said:?}");
        }
    }
}
