//! The application's handle on a stream.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use septa_core::{
    Instant, ProtocolId,
    connection::{self as core, Priority, ReadError, StreamId, WriteError},
};

use crate::{
    error::OpenStreamError,
    inner::Inner,
    runtime::Runtime,
    shared::{Handle, Shared},
};

/// Longest piece that [`Stream::read_chunk`] returns, in bytes.
const MAX_CHUNK: usize = 64 * 1024;

/// A bidirectional stream of bytes, for one protocol.
///
/// Reads and writes with the traits of `futures-io`, or without copying through
/// [`read_chunk`](Self::read_chunk) and [`write_chunk`](Self::write_chunk). Closing it as an
/// [`AsyncWrite`] is [`finish`](Self::finish). Errors of the traits carry a [`ReadError`] or
/// [`WriteError`] as their source.
///
/// Data that is written leaves by itself once the connection's task gets to run. A writer that
/// computes for long without awaiting delays it, unless it flushes.
///
/// Dropping a stream gives it up: if either half is not over, the stream is reset with code 0, and
/// what was written but has not left is lost. To be sure that the peer has read everything, finish,
/// then read until the end.
pub struct Stream {
    shared: Arc<Shared>,
    id: StreamId,
    /// `None` on streams that the endpoint itself serves: those do not keep a connection open.
    _keeps_open: Option<Handle>,
}

impl Stream {
    pub(crate) fn new(handle: Handle, id: StreamId) -> Self {
        Self { shared: handle.shared().clone(), id, _keeps_open: Some(handle) }
    }

    pub(crate) fn of_service(shared: &Arc<Shared>, id: StreamId) -> Self {
        Self { shared: shared.clone(), id, _keeps_open: None }
    }

    /// The stream's number on its connection.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The protocol, once it is agreed. A stream opened for a single protocol may not be there yet.
    pub fn protocol(&self) -> Option<ProtocolId> {
        self.shared.task(|inner| inner.core().ok().and_then(|core| core.stream(self.id).protocol().cloned()))
    }

    /// Waits until the peer has agreed on a protocol.
    ///
    /// # Errors
    /// It did not agree, or the connection is over. Drop the stream.
    pub async fn negotiated(&mut self) -> Result<ProtocolId, OpenStreamError> {
        poll_fn(|cx| {
            self.shared.transfer(|inner| {
                let protocol = match inner.core() {
                    Ok(core) => core.stream(self.id).protocol().cloned(),
                    Err(reason) => return Poll::Ready(Err(OpenStreamError::ConnectionLost(reason))),
                };
                if let Some(protocol) = protocol {
                    return Poll::Ready(Ok(protocol));
                }
                let reason = inner.reason();
                let state = inner.stream_state(self.id);
                match (state.refused(), reason) {
                    (Some(refused), _) => Poll::Ready(Err(OpenStreamError::Refused(refused))),
                    (None, Some(reason)) => Poll::Ready(Err(OpenStreamError::ConnectionLost(reason))),
                    (None, None) => {
                        state.wait_for_protocol(cx.waker());
                        Poll::Pending
                    }
                }
            })
        })
        .await
    }

    /// The next bytes, at most 64 KiB, without copying them; `None` is the end of the stream.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`ReadError`]; never `Blocked`. What came before the error was read already.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|cx| self.poll_read_chunk(cx)).await
    }

    /// Writes all of `chunk`, without copying large ones. `chunk` is left with what was not taken, so
    /// that a dropped future can be continued.
    ///
    /// # Errors
    /// See [`WriteError`]; never `Blocked`.
    pub async fn write_chunk(&mut self, chunk: &mut Bytes) -> Result<(), WriteError> {
        while !chunk.is_empty() {
            poll_fn(|cx| self.poll_write_chunk(cx, chunk)).await?;
        }
        Ok(())
    }

    /// Writes all of `data` and flushes: what writing and flushing as an [`AsyncWrite`] do, for fewer locks and,
    /// unless somebody else is sending or the socket is full, without waking the connection's task. For a
    /// request, or an answer, that is complete.
    ///
    /// Returns when all is in the stream's queue. What the socket does not take at once leaves by itself. If the
    /// future is dropped, a part of `data` may have been written.
    ///
    /// # Errors
    /// See [`WriteError`]; never `Blocked`.
    pub async fn send(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        loop {
            let count = poll_fn(|cx| self.poll_send(cx, data)).await.map_err(|error| *error)?;
            data = data.get(count..).unwrap_or_default();
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    /// Ends this end's half after what was written. Reading goes on. Does not wait.
    ///
    /// # Errors
    /// The half is already over; see [`WriteError`].
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.finish_writing()
    }

    pub(crate) fn finish_writing(&self) -> Result<(), WriteError> {
        self.shared.command(|inner| match inner.core() {
            Ok(core) => core.stream(self.id).finish(),
            Err(reason) => Err(WriteError::ConnectionLost(reason)),
        })
    }

    /// Cuts both halves off and tells the peer `code`, which is advisory (see
    /// [`septa_core::connection::codes::stream`]). What was written and has not left is lost.
    pub fn reset(&mut self, code: u32) {
        self.cut_off(code);
    }

    /// Whether the peer may still send; what it has sent may not be read yet.
    pub(crate) fn is_receiving(&self) -> bool {
        self.shared.quietly(|inner| inner.core().is_ok_and(|core| core.stream(self.id).is_receiving()))
    }

    /// Whether nothing can be written any more: it is reset, or the connection is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.shared
            .quietly(|inner| inner.core().map_or(true, |core| core.stream(self.id).lost() != WriteError::Blocked))
    }

    pub(crate) fn cut_off(&self, code: u32) {
        self.command(|mut stream| stream.reset(code));
    }

    /// Tells that no more input is wanted: what comes is thrown away. Once this end has finished too,
    /// the peer is told with a reset.
    pub fn stop(&mut self, code: u32) {
        self.command(|mut stream| stream.stop(code));
    }

    /// Changes the stream's share of the way out beside the other streams of its connection. The peer is
    /// not told.
    pub fn set_priority(&mut self, priority: Priority) {
        self.command(|mut stream| stream.set_priority(priority));
    }

    pub(crate) fn poll_read_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        self.poll_read_with(cx, |stream| stream.read_chunk(MAX_CHUNK))
    }

    pub(crate) fn poll_write_chunk(&self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<usize, WriteError>> {
        self.poll_write_with(cx, |stream| stream.write_chunk(chunk))
    }

    /// Ready when nothing can be written any more, which a reader does not hear of behind the end of the input.
    pub(crate) fn poll_lost(&self, cx: &mut Context<'_>) -> Poll<WriteError> {
        self.poll_write_with(cx, |stream| Err::<Infallible, _>(stream.lost())).map(|lost| match lost {
            Err(error) => error,
        })
    }

    pub(crate) fn poll_write_slice(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, WriteError>> {
        self.poll_write_with(cx, |stream| stream.write(data))
    }

    pub(crate) async fn read(&mut self, out: &mut [u8]) -> Result<usize, ReadError> {
        poll_fn(|cx| self.poll_read_with(cx, |stream| stream.read(out))).await
    }

    pub(crate) async fn write_all(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        while !data.is_empty() {
            let count = poll_fn(|cx| self.poll_write_slice(cx, data)).await?;
            data = data.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads until the peer has ended its half, so that dropping the stream cuts nothing off.
    pub(crate) async fn read_to_end(&mut self) {
        while let Ok(Some(_)) = self.read_chunk().await {}
    }

    fn poll_read_with<T>(
        &self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut core::Stream<'_>) -> Result<T, ReadError>,
    ) -> Poll<Result<T, ReadError>> {
        let outcome = self.shared.transfer(|inner| {
            let outcome = match inner.core() {
                Ok(core) => read(&mut core.stream(self.id)),
                Err(reason) => Err(ReadError::ConnectionLost(reason)),
            };
            match outcome {
                Ok(read) => Poll::Ready(Ok(read)),
                Err(ReadError::Blocked) => {
                    inner.stream_state(self.id).wait_to_read(cx.waker());
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(Box::new(error))),
            }
        });
        outcome.map_err(|error| *error)
    }

    fn poll_write_with<T>(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut core::Stream<'_>) -> Result<T, WriteError>,
    ) -> Poll<Result<T, WriteError>> {
        self.shared.transfer(|inner| self.write_or_wait(inner, cx, write)).map_err(|error| *error)
    }

    fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Box<WriteError>>> {
        self.shared.flush_after(|inner| self.write_or_wait(inner, cx, |stream| stream.write(data)))
    }

    /// The error is boxed, because it is ten times as long as what is returned mostly, and moved some times.
    fn write_or_wait<T>(
        &self,
        inner: &mut Inner,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut core::Stream<'_>) -> Result<T, WriteError>,
    ) -> Poll<Result<T, Box<WriteError>>> {
        let outcome = match inner.core() {
            Ok(core) => write(&mut core.stream(self.id)),
            Err(reason) => Err(WriteError::ConnectionLost(reason)),
        };
        match outcome {
            Ok(written) => Poll::Ready(Ok(written)),
            Err(WriteError::Blocked) => {
                inner.stream_state(self.id).wait_to_write(cx.waker());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(Box::new(error))),
        }
    }

    fn command(&self, f: impl FnOnce(core::Stream<'_>)) {
        self.shared.command(|inner| {
            if let Ok(core) = inner.core() {
                f(core.stream(self.id));
            }
        });
    }
}

/// Waits until the peer ends a stream that this end has finished, until `deadline` at most. If the peer may not write
/// either, anything that comes is an end.
pub(crate) async fn linger(stream: &Stream, runtime: &dyn Runtime, deadline: Instant, may_write: bool) {
    let mut timer = runtime.timer();
    timer.reset(Some(deadline));
    poll_fn(|cx| {
        if timer.poll_expired(cx).is_ready() {
            return Poll::Ready(());
        }
        match stream.poll_read_chunk(cx) {
            Poll::Ready(Ok(Some(_))) if may_write => {
                // One piece at a time, so that a peer that does not end is left in time.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if out.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_read_with(cx, |stream| stream.read(out)).map_err(read_error)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_write_with(cx, |stream| stream.write(data)).map_err(write_error)
    }

    /// Writes to the socket what waits to be sent on this connection, on the caller's thread, as far as
    /// the socket takes it. What it does not take leaves later by itself; this does not wait for that.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.finish() {
            Ok(()) | Err(WriteError::Finished) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(write_error(error))),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.command(|inner| {
            inner.forget_stream(self.id);
            if let Ok(core) = inner.core() {
                core.stream(self.id).release();
            }
        });
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).field("protocol", &self.protocol()).finish_non_exhaustive()
    }
}

fn read_error(error: ReadError) -> io::Error {
    let kind = match &error {
        ReadError::Reset(_) | ReadError::ResourceLimit => io::ErrorKind::ConnectionReset,
        ReadError::Refused(_) => io::ErrorKind::ConnectionRefused,
        ReadError::ConnectionLost(_) => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}

fn write_error(error: WriteError) -> io::Error {
    let kind = match &error {
        WriteError::Reset(_) | WriteError::ResourceLimit => io::ErrorKind::ConnectionReset,
        WriteError::Refused(_) => io::ErrorKind::ConnectionRefused,
        WriteError::ConnectionLost(_) => io::ErrorKind::ConnectionAborted,
        WriteError::Finished => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}
