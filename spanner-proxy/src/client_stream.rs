//! What a client's connection must do to stay open.
//!
//! 1. Its first bytes select the HTTP version. They must arrive in time, since the limits of
//!    either version apply only afterwards.
//! 2. The client must read what it is sent. If it accepts nothing for a while, the connection
//!    fails.
//! 3. HTTP/2 frames without content are limited: see [`FrameBudget`].
//! 4. Request targets have no fragment: see [`TargetFilter`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::frame_budget::FrameBudget;
use crate::http2::FrameReader;
use crate::meters;
use crate::observed_stream::{ObservedStream, StreamObserver};
use crate::target_filter::{Protocol, TargetFilter};

/// A client's connection.
pub(crate) type ClientStream<T> = ObservedStream<T, ClientObserver>;

/// Applies the rules of this module to a connection.
#[derive(Debug)]
pub(crate) struct ClientObserver {
    targets: TargetFilter,
    frames: FrameBudget,
    sent: FrameReader,
    /// When the HTTP version must be known; `None` once it is.
    opening: Option<Pin<Box<Sleep>>>,
    /// How long the client may accept nothing.
    stall: Duration,
    /// When the client must have accepted something; `None` while it does.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl ClientObserver {
    /// The HTTP version must be known after `opening`, and the client must accept something
    /// every `stall`.
    pub(crate) fn new(opening: Duration, stall: Duration) -> Self {
        Self {
            targets: TargetFilter::default(),
            frames: FrameBudget::new(),
            sent: FrameReader::default(),
            opening: Some(Box::pin(sleep(opening))),
            stall,
            stalled: None,
        }
    }
}

impl StreamObserver for ClientObserver {
    fn on_read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let frames = &mut self.frames;
        let mut within_budget = true;
        self.targets
            .filter(bytes, |header| within_budget &= frames.received(header));
        if self.targets.protocol().is_some() {
            self.opening = None;
        }
        match within_budget {
            true => Ok(()),
            false => {
                meters::cut_off();
                Err(io::Error::other("too many HTTP/2 frames without content"))
            }
        }
    }

    fn poll_read_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(opening) = &mut self.opening else {
            return Poll::Pending;
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no request began in time");
        opening.as_mut().poll(cx).map(|()| late())
    }

    fn on_write(&mut self, buffers: &[io::IoSlice<'_>], mut sent: usize) {
        self.stalled = None;
        if self.targets.protocol() != Some(Protocol::Http2) {
            return;
        }
        for buffer in buffers {
            let (written, _) = buffer.split_at(sent.min(buffer.len()));
            let frames = &mut self.frames;
            self.sent.read(written, |header| frames.sent(header));
            sent -= written.len();
        }
    }

    fn poll_write_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        let late = "the client does not read the response";
        let late = || io::Error::new(io::ErrorKind::TimedOut, late);
        stalled.as_mut().poll(cx).map(|()| late())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::http2::{PREFACE, frame};

    const TIME: Duration = Duration::from_secs(30);

    fn observed<T>(stream: T) -> ClientStream<T> {
        ClientStream::new(stream, ClientObserver::new(TIME, TIME))
    }

    /// Whether a connection that begins with these bytes and then stays silent is closed.
    async fn times_out(first: &[u8]) -> bool {
        let (mut client, server) = duplex(64);
        let mut server = observed(server);
        client.write_all(first).await.unwrap();
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
    async fn a_connection_whose_http_version_stays_unknown_is_closed() {
        let rows: [(&[u8], bool); 6] = [
            (b"", true),
            (b"P", true),
            (b"PRI * HTTP/2.0\r\n", true),
            // HTTP/1 by its second byte; its head has a time limit of its own.
            (b"POST", false),
            (b"GET / HTTP/1.1\r\n", false),
            (PREFACE, false),
        ];
        for (first, expected) in rows {
            assert_eq!(times_out(first).await, expected, "{first:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_closed() {
        let (client, server) = duplex(64);
        let mut server = observed(server);
        let written = timeout(TIME * 2, server.write_all(&[0; 100]))
            .await
            .unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_content_are_limited_over_http2_only() {
        let priority = frame(0x2, 0, &[0; 5]);
        for (beginning, expected) in [(&PREFACE[..], true), (b"GET / HTTP/1.1\r\n", false)] {
            let (mut client, server) = duplex(1 << 20);
            client.write_all(beginning).await.unwrap();
            client.write_all(&priority.repeat(5_000)).await.unwrap();
            drop(client);
            let mut all = Vec::new();
            let read = observed(server).read_to_end(&mut all).await;
            assert_eq!(read.is_err(), expected);
        }
    }
}
