//! One stream of a connection, borrowed for a few calls.

use bytes::Bytes;

use super::{
    Connection, ReadError, WriteError,
    streams::{Entry, EntryState},
};
use crate::{
    ProtocolId,
    yamux::{self, Priority, StreamId},
};

/// One stream of a [`Connection`], borrowed for a few calls.
///
/// A stream is two halves: what this end writes until [`finish`](Self::finish), and what the peer
/// writes until its own. A stream lives until [`release`](Self::release), whatever the peer does.
#[derive(Debug)]
pub struct Stream<'c> {
    pub(super) connection: &'c mut Connection,
    pub(super) id: StreamId,
}

impl Stream<'_> {
    /// The number of this stream.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The agreed protocol; `None` until it is agreed.
    pub fn protocol(&self) -> Option<&ProtocolId> {
        self.connection.streams()?.protocol(self.id)
    }

    /// Copies received bytes into `out` and returns how many; 0 is the end of the stream, if `out` is
    /// not empty. Gives the peer credit for what was read.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, ReadError> {
        self.read_with(|session, id| session.read(id, out), |count| *count)
    }

    /// Takes at most `max` received bytes without copying them; `None` is the end of the stream.
    pub fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        self.read_with(|session, id| session.read_chunk(id, max), |chunk| chunk.as_ref().map_or(0, Bytes::len))
    }

    /// Copies as much of `data` as the send quota allows, at least one byte, and returns how much.
    ///
    /// The quota does not depend on the peer's window: bytes wait here until the peer grants credit.
    pub fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        self.write_with(|session, id| session.write(id, data))
    }

    /// Takes as much from the front of `data` as the send quota allows, and returns how much.
    pub fn write_chunk(&mut self, data: &mut Bytes) -> Result<usize, WriteError> {
        self.write_with(|session, id| session.write_chunk(id, data))
    }

    /// Whether the peer may still send: it has neither finished its half nor reset the stream, and the connection is not
    /// over. What it has sent may not be read yet.
    pub fn is_receiving(&mut self) -> bool {
        let (Some(streams), None) = self.connection.streams_mut() else { return false };
        streams.held(self.id).is_some_and(|(session, _)| session.is_receiving(self.id))
    }

    /// Why nothing can be written any more, or [`Blocked`](WriteError::Blocked) while something can: then
    /// [`Event::Writable`](super::Event::Writable) follows once when that changes, or earlier. For an end that has read
    /// all and still has to hear of a reset, which behind the end of the input no read tells.
    pub fn lost(&mut self) -> WriteError {
        match self.write_with(|session, id| Err(session.lost(id))) {
            Ok(_) => WriteError::Blocked,
            Err(error) => error,
        }
    }

    /// Ends this end's half after what was written. Reading goes on.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        let (streams, lost) = self.connection.streams_mut();
        if let Some(reason) = lost {
            return Err(WriteError::ConnectionLost(reason));
        }
        let streams = streams.ok_or(WriteError::Unknown)?;
        if let Some((_, Entry { state: EntryState::Refused(reason), .. })) = streams.held(self.id) {
            return Err(WriteError::Refused(reason.clone()));
        }
        streams.finish(self.id).map_err(write_error)
    }

    /// Cuts both halves off and tells the peer, with an advisory code
    /// (see [`codes::stream`](super::codes::stream)). What was written and not yet sent is lost. The
    /// stream is gone: later calls return `Unknown`, and no event of it comes. Does nothing once the
    /// connection is over.
    pub fn reset(&mut self, code: u32) {
        self.connection.reset_stream(self.id, code);
    }

    /// The reader is no longer interested: further input is discarded and reads return `Unknown`. The
    /// stream lives on for writing; once this end has finished, before or after, the peer is told with a
    /// reset that carries `code`. Does nothing once the connection is over.
    pub fn stop(&mut self, code: u32) {
        if let (Some(streams), None) = self.connection.streams_mut() {
            streams.stop(self.id, code);
        }
    }

    /// Changes the stream's share of the way out; see [`Priority`]. Does nothing once the connection is
    /// over.
    pub fn set_priority(&mut self, priority: Priority) {
        if let (Some(streams), None) = self.connection.streams_mut()
            && let Some((session, _)) = streams.held(self.id)
        {
            session.set_priority(self.id, priority);
        }
    }

    /// Gives the stream up, as dropping a handle does: nothing happens if both halves are over,
    /// otherwise the stream is reset with code 0.
    pub fn release(self) {
        self.connection.release_stream(self.id);
    }

    fn read_with<T>(
        &mut self,
        read: impl FnOnce(&mut yamux::Session, StreamId) -> Result<T, yamux::ReadError>,
        len: impl FnOnce(&T) -> usize,
    ) -> Result<T, ReadError> {
        let is_lost = self.connection.is_lost();
        let Some((session, entry)) = self.connection.any_streams().and_then(|streams| streams.held(self.id)) else {
            return Err(self.connection.lost().map_or(ReadError::Unknown, ReadError::ConnectionLost));
        };
        let outcome = match &entry.state {
            EntryState::Agreed(_) => read(session, self.id),
            EntryState::Negotiating(_) if entry.is_stopped() => Err(yamux::ReadError::Unknown),
            EntryState::Negotiating(_) => Err(yamux::ReadError::Blocked),
            EntryState::Refused(reason) => return Err(ReadError::Refused(reason.clone())),
        };
        match outcome {
            Ok(read) => {
                entry.traffic.count_received(len(&read));
                Ok(read)
            }
            Err(yamux::ReadError::Blocked) if is_lost => {
                Err(self.connection.lost().map_or(ReadError::Unknown, ReadError::ConnectionLost))
            }
            Err(yamux::ReadError::Blocked) => {
                entry.readable.arm();
                Err(ReadError::Blocked)
            }
            Err(yamux::ReadError::Reset(code)) => Err(ReadError::Reset(code)),
            Err(yamux::ReadError::ResourceLimit) => Err(ReadError::ResourceLimit),
            Err(yamux::ReadError::Unknown) => Err(ReadError::Unknown),
        }
    }

    fn write_with(
        &mut self,
        write: impl FnOnce(&mut yamux::Session, StreamId) -> Result<usize, yamux::WriteError>,
    ) -> Result<usize, WriteError> {
        if self.connection.is_lost() {
            return Err(self.connection.lost().map_or(WriteError::Unknown, WriteError::ConnectionLost));
        }
        let streams = self.connection.any_streams().ok_or(WriteError::Unknown)?;
        let (session, entry) = streams.held(self.id).ok_or(WriteError::Unknown)?;
        if let EntryState::Refused(reason) = &entry.state {
            return Err(WriteError::Refused(reason.clone()));
        }
        if !entry.is_writable_state() {
            if entry.is_finishing() {
                return Err(WriteError::Finished);
            }
            entry.writable.arm();
            return Err(WriteError::Blocked);
        }
        let outcome = write(session, self.id);
        match outcome {
            Ok(count @ 1..) => {
                entry.traffic.count_sent(count);
                streams.answered(self.id);
            }
            Err(yamux::WriteError::Blocked) => entry.writable.arm(),
            _ => {}
        }
        outcome.map_err(write_error)
    }
}

fn write_error(error: yamux::WriteError) -> WriteError {
    match error {
        yamux::WriteError::Blocked => WriteError::Blocked,
        yamux::WriteError::Reset(code) => WriteError::Reset(code),
        yamux::WriteError::ResourceLimit => WriteError::ResourceLimit,
        yamux::WriteError::Finished => WriteError::Finished,
        yamux::WriteError::Unknown => WriteError::Unknown,
    }
}
