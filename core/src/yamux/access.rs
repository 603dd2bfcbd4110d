//! Reading from and writing to streams.

use bytes::Bytes;

use super::{
    ReadError, Session, StreamId, WriteError,
    lifecycle::{held, place},
    scheduler::Streams,
    session::OwnGoAway,
    stream::{RecvHalf, SendHalf, Stream},
};
use crate::buf::{ChunkQueue, SendQueue, SpareBlocks};

impl Session {
    /// Copies received bytes into `out`. `Ok(0)`, for an `out` that is not empty, is the end of the
    /// stream. Returns credit to the remote for what was read.
    pub fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<usize, ReadError> {
        if out.is_empty() {
            return Ok(0);
        }
        Ok(self.take_received(id, |queue, spares| queue.read(out, spares))?.unwrap_or_default())
    }

    /// Takes at most `max` received bytes without copying them; `None` is the end of the stream.
    pub fn read_chunk(&mut self, id: StreamId, max: usize) -> Result<Option<Bytes>, ReadError> {
        if max == 0 {
            return Ok(readable(&mut self.streams, id)?.map(|_| Bytes::new()));
        }
        Ok(self.take_received(id, |queue, spares| queue.take_chunk(max, spares))?.flatten())
    }

    /// The first contiguous received bytes; empty at the end of the stream. Reads nothing: say what
    /// was used with [`consume`](Self::consume).
    pub fn peek(&mut self, id: StreamId) -> Result<&[u8], ReadError> {
        Ok(readable(&mut self.streams, id)?.map(|stream| stream.recv.front()).unwrap_or_default())
    }

    /// Reads and drops `n` received bytes, or all if there are fewer.
    pub fn consume(&mut self, id: StreamId, n: usize) {
        if self.streams.get(&id).is_some_and(|stream| !stream.recv.is_empty()) {
            // Of a stream that was stopped nothing is left, so there is no error but for one that is not held.
            let _ = self.take_received(id, |queue, spares| queue.consume(n, spares));
        }
    }

    /// Copies as much of `data` as the send quota has room for, at least one byte unless `data` is
    /// empty, and returns how much that was.
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        self.write_with(id, data.is_empty(), |queue, quota, spares| queue.write(data, quota, spares))
    }

    /// Takes as much off the front of `data` as the send quota has room for, without copying large
    /// chunks, and returns how much that was.
    pub fn write_chunk(&mut self, id: StreamId, data: &mut Bytes) -> Result<usize, WriteError> {
        self.write_with(id, data.is_empty(), |queue, quota, spares| queue.write_chunk(data, quota, spares))
    }

    /// Why nothing can be written any more, or [`Blocked`](WriteError::Blocked) while something can: then `Writable`
    /// follows once when that changes, or earlier. For an end that has read all and still has to hear of a reset.
    pub fn lost(&mut self, id: StreamId) -> WriteError {
        let Some(stream) = self.held_stream(id) else { return WriteError::Unknown };
        if let Err(error) = check_writable(stream) {
            return error;
        }
        (stream.write_armed, stream.writable) = (true, false);
        WriteError::Blocked
    }

    /// Closes our half: FIN follows what was written.
    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        let stream = self.held_stream(id).ok_or(WriteError::Unknown)?;
        check_writable(stream)?;
        stream.send_half = SendHalf::Finishing;
        stream.corked = false;
        (stream.write_armed, stream.writable) = (false, false);
        self.refresh(id);
        Ok(())
    }

    /// Whether the remote may still send on a stream: it has neither finished its half nor reset the stream.
    pub fn is_receiving(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_some_and(|stream| stream.recv_half == RecvHalf::Open)
    }

    /// Keeps back what is queued on a stream until more is written, the stream is finished or
    /// [uncorked](Self::uncork): then all of it leaves together. Window updates do not wait. Does nothing
    /// once the stream is finished.
    pub fn cork(&mut self, id: StreamId) {
        self.set_corked(id, true);
    }

    /// Lets what [`cork`](Self::cork) kept back leave.
    pub fn uncork(&mut self, id: StreamId) {
        self.set_corked(id, false);
    }

    fn set_corked(&mut self, id: StreamId, corked: bool) {
        if let Some(stream) = self.held_stream(id).filter(|stream| stream.send_half == SendHalf::Open) {
            stream.corked = corked;
            self.refresh(id);
            self.ready.compact(&mut self.streams);
            self.control.compact(&mut self.streams);
        }
    }

    /// Queues something unless it is empty or there is no room; arms the event when blocked.
    fn write_with(
        &mut self,
        id: StreamId,
        is_empty: bool,
        write: impl FnOnce(&mut SendQueue, usize, &mut SpareBlocks) -> usize,
    ) -> Result<usize, WriteError> {
        let quota = self.config.send_quota;
        let stream = held(&mut self.streams, id).ok_or(WriteError::Unknown)?;
        check_writable(stream)?;
        if self.own_go_away == OwnGoAway::Sent {
            return Err(WriteError::Finished);
        }
        if is_empty {
            return Ok(0);
        }
        if stream.send.len() >= quota {
            (stream.write_armed, stream.writable) = (true, false);
            return Err(WriteError::Blocked);
        }
        let written = write(&mut stream.send, quota, &mut self.spares);
        if core::mem::take(&mut stream.corked) {
            self.refresh(id);
        } else if stream.is_ready() {
            self.ready.insert(id, stream);
        }
        Ok(written)
    }

    /// Takes out of the receive queue; `None` at the end of the stream. Arms the event when blocked.
    fn take_received<T>(
        &mut self,
        id: StreamId,
        take: impl FnOnce(&mut ChunkQueue, &mut SpareBlocks) -> T,
    ) -> Result<Option<T>, ReadError> {
        let Some(stream) = readable(&mut self.streams, id)? else { return Ok(None) };
        let occupied = stream.recv.capacity();
        let taken = take(&mut stream.recv, &mut self.spares);
        self.account.recount(occupied, stream.recv.capacity());
        stream.credit_consumed();
        #[cfg(septa_mutant = "window-update-lost")]
        if stream.recv.is_empty() {
            return Ok(Some(taken));
        }
        // What there is to send changes only with the credit to return.
        if stream.update_due || stream.is_drained() {
            place(id, stream, &mut self.control, &mut self.ready, &mut self.account);
        }
        Ok(Some(taken))
    }
}

/// The stream if bytes wait, `None` at its end; arms the event when blocked.
fn readable(streams: &mut Streams, id: StreamId) -> Result<Option<&mut Stream>, ReadError> {
    let stream = held(streams, id).filter(|stream| !stream.stopped).ok_or(ReadError::Unknown)?;
    if !stream.recv.is_empty() {
        return Ok(Some(stream));
    }
    match stream.recv_half {
        RecvHalf::Finished => Ok(None),
        RecvHalf::Reset(code) => Err(ReadError::Reset(code)),
        RecvHalf::Shed => Err(ReadError::ResourceLimit),
        RecvHalf::Open => {
            (stream.read_armed, stream.readable) = (true, false);
            Err(ReadError::Blocked)
        }
    }
}

fn check_writable(stream: &Stream) -> Result<(), WriteError> {
    match stream.send_half {
        SendHalf::Open => Ok(()),
        SendHalf::Finishing | SendHalf::Finished | SendHalf::Aborting => Err(WriteError::Finished),
        SendHalf::Reset(code) => Err(WriteError::Reset(code)),
        SendHalf::Shed => Err(WriteError::ResourceLimit),
    }
}
