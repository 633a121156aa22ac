//! A connection that must begin to speak, must listen, and must not chatter.
//!
//! 1. Which HTTP version it speaks is told by its first bytes, and until they are there no
//!    other time limit counts.
//! 2. A client that takes nothing of what it is sent is left after a while.
//! 3. Frames of HTTP/2 that do no work are [bounded](crate::frame_budget).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::frame_budget::{Budget, Frames};
use crate::meters;
use crate::target_filter::PREFACE;

/// A stream whose first bytes are waited for only so long, and its reader.
#[derive(Debug)]
pub(crate) struct Patience<T> {
    stream: T,
    /// What is still waited for, and until when; `None` once it came.
    waiting: Option<(usize, Pin<Box<Sleep>>)>,
    speaks: Speaks,
    /// How long the client may take nothing.
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Speaks {
    /// So many bytes were as HTTP/2 begins.
    Unknown(usize),
    Http1,
    Http2(Box<Http2>),
}

#[derive(Debug)]
struct Http2 {
    budget: Budget,
    received: Frames,
    sent: Frames,
}

impl<T> Patience<T> {
    pub(crate) fn new(stream: T, time: Duration, stall: Duration) -> Self {
        let waiting = Some((PREFACE.len(), Box::pin(sleep(time))));
        Self {
            stream,
            waiting,
            speaks: Speaks::Unknown(0),
            stall,
            stalled: None,
        }
    }

    /// Looks at what came; whether the client may go on.
    fn listen(&mut self, mut bytes: &[u8]) -> bool {
        if let Speaks::Unknown(seen) = &mut self.speaks {
            let due = PREFACE.get(*seen..).unwrap_or_default();
            let (first, rest) = bytes.split_at(bytes.len().min(due.len()));
            if !due.starts_with(first) {
                self.speaks = Speaks::Http1;
                return true;
            }
            *seen += first.len();
            if *seen < PREFACE.len() {
                return true;
            }
            self.speaks = Speaks::Http2(Box::new(Http2 {
                budget: Budget::new(),
                received: Frames::default(),
                sent: Frames::default(),
            }));
            bytes = rest;
        }
        match &mut self.speaks {
            Speaks::Http2(http2) => http2.budget.received(&mut http2.received, bytes),
            Speaks::Unknown(_) | Speaks::Http1 => true,
        }
    }

    /// Looks at what was sent of these.
    fn told<'b>(&mut self, slices: impl Iterator<Item = &'b [u8]>, mut sent: usize) {
        if let Speaks::Http2(http2) = &mut self.speaks {
            for slice in slices {
                let (part, _) = slice.split_at(sent.min(slice.len()));
                http2.budget.sent(&mut http2.sent, part);
                sent -= part.len();
            }
        }
    }

    /// Whether the client takes something in time.
    fn poll_taken(
        &mut self,
        polled: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        let late = "the client does not read what it is sent";
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, late)))
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
            if !self.listen(bytes) {
                meters::cut_off();
                buffer.set_filled(before);
                let idle = "too many frames that do no work";
                return Poll::Ready(Err(io::Error::other(idle)));
            }
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
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(sent)) = &polled {
            self.told(std::iter::once(bytes), *sent);
        }
        self.poll_taken(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(sent)) = &polled {
            self.told(slices.iter().map(|slice| &**slice), *sent);
        }
        self.poll_taken(polled, cx)
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
        let mut server = Patience::new(server, TIME, TIME);
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
        let rows: [(&[u8], bool); 5] = [
            (b"", true),
            (b"PRI * HTTP/2.0\r\n", true),
            (b"POST", true),
            (b"GET / HTTP/1.1\r\n", false),
            (PREFACE, false),
        ];
        for (said, expected) in rows {
            assert_eq!(is_given_up(said).await, expected, "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_left() {
        let (client, server) = duplex(64);
        let mut server = Patience::new(server, TIME, TIME);
        let written = timeout(TIME * 2, server.write_all(&[0; 100]))
            .await
            .unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_only_chatters_is_cut_off() {
        let priority = [0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
        for (beginning, expected) in [(&PREFACE[..], true), (b"GET / HTTP/1.1\r\n", false)] {
            let (mut client, server) = duplex(1 << 20);
            client.write_all(beginning).await.unwrap();
            client.write_all(&priority.repeat(5_000)).await.unwrap();
            drop(client);
            let mut server = Patience::new(server, TIME, TIME);
            let mut all = Vec::new();
            let read = server.read_to_end(&mut all).await;
            assert_eq!(read.is_err(), expected);
        }
    }
}
