//! A stream whose bytes are observed, and that its observer may fail.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Observes what is read from a stream and written to it.
///
/// [`ObservedStream`] calls it from the task that polls the stream. It must not block.
pub(crate) trait StreamObserver {
    /// Called with the bytes that were read, which it may change. None at the end of the stream.
    ///
    /// # Errors
    /// The read fails with this error, and the bytes are discarded.
    fn on_read(&mut self, bytes: &mut [u8]) -> io::Result<()>;

    /// Called while no bytes are available. A ready error fails the read.
    fn poll_read_pending(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }

    /// Called with the buffers of a write, of which the first `sent` bytes were written.
    fn on_write(&mut self, _: &[io::IoSlice<'_>], _sent: usize) {}

    /// Called while nothing can be written. A ready error fails the write.
    fn poll_write_pending(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }
}

/// A stream with its observer.
#[derive(Debug)]
pub(crate) struct ObservedStream<T, O> {
    stream: T,
    observer: O,
}

impl<T, O: StreamObserver> ObservedStream<T, O> {
    pub(crate) const fn new(stream: T, observer: O) -> Self {
        Self { stream, observer }
    }

    fn written(
        &mut self,
        polled: Poll<io::Result<usize>>,
        buffers: &[io::IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(sent)) => self.observer.on_write(buffers, *sent),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => return self.observer.poll_write_pending(cx).map(Err),
        }
        polled
    }
}

impl<T: AsyncRead + Unpin, O: StreamObserver + Unpin> AsyncRead for ObservedStream<T, O> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_pending() {
            return self.observer.poll_read_pending(cx).map(Err);
        }
        let bytes = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        if let Err(error) = self.observer.on_read(bytes) {
            buffer.set_filled(before);
            return Poll::Ready(Err(error));
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin, O: StreamObserver + Unpin> AsyncWrite for ObservedStream<T, O> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(polled, &[io::IoSlice::new(bytes)], cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.written(polled, buffers, cx)
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
