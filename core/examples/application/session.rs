//! What the application does on one connection.

use std::collections::BTreeMap;

use septa_core::{
    Connection, Instant, Role,
    connection::{Event, ReadError, Stream, StreamId, WriteError},
};

use super::{ECHO, HANG_UP, MESSAGE_LEN};

/// The application's part of one connection: it hears the connection's events and calls its streams.
///
/// It lives as long as the connection and never waits: a call that is blocked is repeated at the event that follows.
pub(crate) struct Session {
    /// What it does when it is ready, if it is the one that dialed.
    plan: Plan,
    asking: Option<Asking>,
    echoes: BTreeMap<StreamId, Echo>,
}

/// What a visitor does behind the echo.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    AskToBeCutOff,
    Leave,
}

/// What a session tells the application of its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// The visit is over, and there is no other to come.
    Finished,
}

/// A question that is being sent while its echo comes back.
struct Asking {
    id: StreamId,
    written: usize,
    echoed: usize,
}

/// What was read from a stream and not yet written back. As long as there is some, no more is read, and the peer's window
/// does not move: a peer that only writes costs one buffer.
#[derive(Default)]
struct Echo {
    pending: Vec<u8>,
}

impl Session {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, asking: None, echoes: BTreeMap::new() }
    }

    /// Does what an event makes possible.
    pub(crate) fn handle(&mut self, connection: &mut Connection, now: Instant, event: &Event) -> Option<Word> {
        match *event {
            Event::Ready if connection.role() == Role::Dialer => {
                // With one protocol to propose, data may be written at once.
                let id = connection.open(now, &[ECHO]).expect("a connection that is ready takes streams");
                self.asking = Some(Asking { id, written: 0, echoed: 0 });
                self.go_on(connection, now, id)
            }
            Event::Incoming => {
                while let Some(id) = connection.accept() {
                    if connection.stream(id).protocol() == Some(&HANG_UP) {
                        // For the connection this is a dead network, and so it is for the peer: the socket is dropped.
                        connection.handle_io_error(now);
                        return None;
                    }
                    self.echoes.insert(id, Echo::default());
                }
                None
            }
            Event::Readable { id } | Event::Writable { id } => self.go_on(connection, now, id),
            Event::Refused { id, ref reason } => panic!("stream {id:?} was refused: {reason}"),
            _ => None,
        }
    }

    /// Goes on with a stream until it is blocked.
    fn go_on(&mut self, connection: &mut Connection, now: Instant, id: StreamId) -> Option<Word> {
        if let Some(echo) = self.echoes.get_mut(&id) {
            if echo.go_on(&mut connection.stream(id)).is_over() {
                self.echoes.remove(&id);
                connection.stream(id).release();
            }
            return None;
        }
        let asking = self.asking.as_mut().filter(|asking| asking.id == id)?;
        match asking.go_on(&mut connection.stream(id)) {
            Progress::Blocked => return None,
            Progress::Ended => assert_eq!(asking.echoed, MESSAGE_LEN, "the echo is as long as the message"),
            // The connection was lost on the way, of which the node hears.
            Progress::Failed => return None,
        }
        connection.stream(id).release();
        match self.plan {
            Plan::Leave => Some(Word::Finished),
            Plan::AskToBeCutOff => {
                connection.open(now, &[HANG_UP]).expect("it was open a moment ago");
                None
            }
        }
    }
}

/// How far a stream has come.
enum Progress {
    /// An event follows.
    Blocked,
    /// Both halves are over.
    Ended,
    Failed,
}

impl Progress {
    fn is_over(&self) -> bool {
        !matches!(self, Self::Blocked)
    }
}

impl Echo {
    fn go_on(&mut self, stream: &mut Stream<'_>) -> Progress {
        let mut buffer = [0; 16 * 1024];
        loop {
            while !self.pending.is_empty() {
                match stream.write(&self.pending) {
                    Ok(count) => drop(self.pending.drain(..count)),
                    Err(WriteError::Blocked) => return Progress::Blocked,
                    Err(_) => return Progress::Failed,
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) if stream.finish().is_ok() => return Progress::Ended,
                Ok(0) => return Progress::Failed,
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(ReadError::Blocked) => return Progress::Blocked,
                Err(_) => return Progress::Failed,
            }
        }
    }
}

impl Asking {
    fn go_on(&mut self, stream: &mut Stream<'_>) -> Progress {
        match self.write(stream) {
            Ok(()) | Err(WriteError::Blocked) => {}
            Err(_) => return Progress::Failed,
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Progress::Ended,
                Ok(count) => {
                    let expected = (self.echoed..).map(byte_at);
                    assert!(buffer[..count].iter().copied().eq(expected.take(count)), "the echo is what was sent");
                    self.echoed += count;
                }
                Err(ReadError::Blocked) => return Progress::Blocked,
                Err(_) => return Progress::Failed,
            }
        }
    }

    /// Writes what the stream takes, and ends this half behind the last byte.
    fn write(&mut self, stream: &mut Stream<'_>) -> Result<(), WriteError> {
        if self.written == MESSAGE_LEN {
            return Ok(());
        }
        while self.written < MESSAGE_LEN {
            let end = MESSAGE_LEN.min(self.written + 16 * 1024);
            let piece: Vec<u8> = (self.written..end).map(byte_at).collect();
            self.written += stream.write(&piece)?;
        }
        stream.finish()
    }
}

/// The message.
fn byte_at(index: usize) -> u8 {
    (index % 251) as u8
}
