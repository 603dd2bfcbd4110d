//! Tokio's I/O traits on a stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use septa_driver::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A [`Stream`] for code that is written against tokio. Shutting it down finishes this end's half.
#[derive(Debug)]
pub struct TokioStream(Stream);

impl TokioStream {
    /// The stream itself.
    pub fn get_ref(&self) -> &Stream {
        &self.0
    }

    /// The stream itself, for what tokio's traits cannot say.
    pub fn get_mut(&mut self) -> &mut Stream {
        &mut self.0
    }

    /// Gives the stream back.
    pub fn into_inner(self) -> Stream {
        self.0
    }
}

impl From<Stream> for TokioStream {
    fn from(stream: Stream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for TokioStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let free = buffer.initialize_unfilled();
        let count = ready!(futures_io::AsyncRead::poll_read(Pin::new(&mut self.0), cx, free))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TokioStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        futures_io::AsyncWrite::poll_write(Pin::new(&mut self.0), cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_close(Pin::new(&mut self.0), cx)
    }
}
