//! One connection and its socket.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
};

use mio::{Interest, Registry, Token, event::Event as Readiness, net::TcpStream};
use septa_core::{
    Connection, ConnectionId, Instant,
    connection::TRANSMIT_BUFFER,
    link::{ToConnection, ToNode},
};

use crate::application::{Session, Word};

/// Reads of one turn. Behind them the other connections have theirs.
const READS: usize = 16;

/// Memory in which every connection of a loop reads and seals: none needs it between turns.
pub(crate) struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: vec![0; 64 * 1024], output: vec![0; TRANSMIT_BUFFER] }
    }
}

/// A connection, the application's part of it, and the socket under it.
///
/// | output | left for | when |
/// |---|---|---|
/// | `Open` | `Finished` | the connection has said its last word: the socket is half-closed |
/// | `Open` | `Failed` | the socket failed: what is left to read is read, then the connection is told |
pub(crate) struct Transport {
    id: ConnectionId,
    connection: Connection,
    session: Session,
    socket: TcpStream,
    token: Token,
    /// What `mio` watches the socket for.
    interest: Interest,
    /// The socket may have input: no read has been blocked since it was last announced.
    readable: bool,
    /// The socket may take output.
    writable: bool,
    /// The last buffer of which the socket did not take all, and how much it has taken.
    unsent: Vec<u8>,
    sent: usize,
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Open,
    Finished,
    Failed,
}

/// What came of a turn.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) to_node: Vec<ToNode>,
    pub(crate) word: Option<Word>,
    /// Another turn is due, although no event will say so.
    pub(crate) is_busy: bool,
    /// The connection is over and has nothing more to say.
    pub(crate) is_over: bool,
}

impl Transport {
    /// A connection over a `socket` that is registered with `interest`. Nothing is known of its readiness, so it has
    /// its first turn at once.
    pub(crate) fn new(
        id: ConnectionId,
        connection: Connection,
        session: Session,
        socket: TcpStream,
        token: Token,
        interest: Interest,
    ) -> Self {
        // Small messages must not wait for the answer to those before. That it is slow is no reason to give up.
        let _ = socket.set_nodelay(true);
        Self {
            id,
            connection,
            session,
            socket,
            token,
            interest,
            readable: true,
            writable: true,
            unsent: Vec::new(),
            sent: 0,
            output: Output::Open,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// When it needs a turn although the socket is silent.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// Notes what the socket is ready for. Hang-ups and errors are found by reading.
    pub(crate) fn note(&mut self, readiness: &Readiness) {
        self.readable |= readiness.is_readable() || readiness.is_read_closed() || readiness.is_error();
        self.writable |= readiness.is_writable() || readiness.is_write_closed() || readiness.is_error();
    }

    /// Takes a message of the node.
    pub(crate) fn handle_node(&mut self, now: Instant, message: ToConnection) {
        self.connection.handle_node(now, message);
    }

    /// Does everything that can be done without waiting.
    ///
    /// # Errors
    /// The socket cannot be watched.
    pub(crate) fn take_turn(&mut self, now: Instant, scratch: &mut Scratch, registry: &Registry) -> io::Result<Turn> {
        let mut turn = Turn::default();
        // 13.: early, late and repeated calls are harmless, but one that is due must not be left out.
        if self.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.connection.handle_timeout(now);
        }
        for _ in 0..READS {
            let has_read = self.read(now, &mut scratch.input);
            self.settle(now, &mut scratch.output, &mut turn);
            if !has_read {
                break;
            }
        }
        if self.output == Output::Failed && !self.can_read() {
            // 10.: the last word of the peer was read, if there was one.
            self.connection.handle_io_error(now);
            self.settle(now, &mut scratch.output, &mut turn);
        }
        self.watch(registry)?;
        turn.is_over = self.connection.is_closed();
        turn.is_busy = self.can_read();
        Ok(turn)
    }

    /// There may be input for which there is room.
    fn can_read(&self) -> bool {
        self.readable && !self.connection.is_closed() && self.connection.recv_room() > 0
    }

    /// 8.: reads once. False if there was nothing, or nothing may be read.
    fn read(&mut self, now: Instant, input: &mut [u8]) -> bool {
        // An empty read would look like the end.
        if !self.can_read() {
            return false;
        }
        let room = self.connection.recv_room().min(input.len());
        match self.socket.read(&mut input[..room]) {
            Ok(0) => {
                self.readable = false;
                self.connection.handle_recv_eof(now);
            }
            Ok(count) => self.connection.handle_recv(now, &mut input[..count]).expect("there was room for it"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return false;
            }
            Err(_) => {
                self.readable = false;
                self.connection.handle_io_error(now);
            }
        }
        true
    }

    /// 9. to 12.: until the connection has neither events nor output, or the socket is full.
    fn settle(&mut self, now: Instant, buffer: &mut [u8], turn: &mut Turn) {
        loop {
            while let Some(event) = self.connection.poll_event() {
                turn.word = self.session.handle(&mut self.connection, now, &event).or(turn.word);
            }
            if !self.write(now, buffer) {
                break;
            }
        }
        turn.to_node.extend(std::iter::from_fn(|| self.connection.poll_node()));
    }

    /// 10. and 11.: writes one buffer. False if there is nothing to write, or it could not be written.
    fn write(&mut self, now: Instant, buffer: &mut [u8]) -> bool {
        if !self.write_unsent(now) {
            return false;
        }
        if !self.connection.wants_transmit() {
            if self.connection.wants_shutdown() && self.output == Output::Open {
                // The peer may have closed first; then there is nothing left to half-close.
                let _ = self.socket.shutdown(Shutdown::Write);
                self.output = Output::Finished;
            }
            return false;
        }
        let count = self.connection.poll_transmit(now, buffer).expect("the buffer is long enough");
        let taken = self.push(now, &buffer[..count]);
        self.unsent.extend_from_slice(&buffer[taken..count]);
        true
    }

    /// Writes what is left of the last buffer. True if nothing is.
    fn write_unsent(&mut self, now: Instant) -> bool {
        let unsent = std::mem::take(&mut self.unsent);
        self.sent += self.push(now, &unsent[self.sent..]);
        if self.sent < unsent.len() {
            self.unsent = unsent;
            return false;
        }
        self.sent = 0;
        true
    }

    /// Writes as much of `data` as the socket takes, and returns how much. A socket that has failed takes everything:
    /// whatever the connection still says goes nowhere.
    fn push(&mut self, now: Instant, data: &[u8]) -> usize {
        let mut taken = 0;
        while taken < data.len() && self.writable && self.output != Output::Failed {
            match self.socket.write(&data[taken..]) {
                Ok(count @ 1..) => {
                    taken += count;
                    self.connection.handle_transmitted(now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    self.connection.handle_transmit_blocked(now);
                }
                Ok(_) | Err(_) => self.output = Output::Failed,
            }
        }
        if self.output == Output::Failed { data.len() } else { taken }
    }

    /// Has the socket watched for writability as long as output waits for it, and no longer.
    fn watch(&mut self, registry: &Registry) -> io::Result<()> {
        let wanted =
            if self.unsent.is_empty() { Interest::READABLE } else { Interest::READABLE.add(Interest::WRITABLE) };
        if wanted != self.interest {
            registry.reregister(&mut self.socket, self.token, wanted)?;
            self.interest = wanted;
        }
        Ok(())
    }

    /// Takes the socket out of the loop. Dropping it closes it.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        let _ = registry.deregister(&mut self.socket);
    }
}
