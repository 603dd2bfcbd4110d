//! One connection and its socket.

use std::task::{Context as TaskContext, Poll};

use septa_core::{Connection, ConnectionId, Instant, connection::Event};
use septa_driver::runtime::{Socket, SocketReader, SocketWriter};

use super::{
    Application, Context,
    context::Inner,
    memory::MemoryBound,
    work::{NOT_AGAIN, NOT_TOO_EARLY, NOTHING_LEFT, Work},
};

const CLOSED_LAST: &str = "Closed is said once and last";
const ROOM: &str = "there is the room that was told of";
const SENDS: &str = "there is something to send when it is said so, and only then";

/// Reads of one turn. Behind them the other connections have theirs.
const READS: usize = 16;

/// A connection and the socket under it.
///
/// | output | left for | when |
/// |---|---|---|
/// | `Open` | `Finished` | the connection has said its last word: the socket is half-closed |
/// | `Open` | `Failed` | the socket failed: what is left to read is read, then the connection is told |
pub(super) struct Transport {
    id: ConnectionId,
    connection: Connection,
    reader: Box<dyn SocketReader>,
    writer: Box<dyn SocketWriter>,
    /// Boxed, as most sockets take everything, and there are thousands of them.
    unsent: Option<Box<Unsent>>,
    output: Output,
    /// The last read has found nothing, and the socket has not woken the connection since.
    is_drained: bool,
    /// The same for room to write.
    is_full: bool,
    /// The connection has said that it is closed.
    has_closed: bool,
}

/// The last buffer, of which the socket did not take all.
struct Unsent {
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Open,
    Finished,
    Failed,
}

/// Why there is a turn.
#[derive(Clone, Copy)]
pub(super) struct Why {
    /// The socket may be ready.
    pub(super) is_woken: bool,
    /// The deadline has come that the connection had after its last turn.
    pub(super) is_due: bool,
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing is left to do until something happens.
    Done,
    /// Another turn is due, although nobody will say so.
    Busy,
    /// The connection is over and has said everything.
    Over,
}

impl Transport {
    pub(super) fn new(id: ConnectionId, connection: Connection, socket: Socket) -> Self {
        let Socket { reader, writer, .. } = socket;
        Self {
            id,
            connection,
            reader,
            writer,
            unsent: None,
            output: Output::Open,
            is_drained: false,
            is_full: false,
            has_closed: false,
        }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// Does everything that can be done without waiting. `cx` wakes it when the socket is ready.
    pub(super) fn take_turn(
        &mut self,
        cx: &mut TaskContext<'_>,
        why: Why,
        work: &mut Work,
        application: &mut dyn Application,
        inner: &mut Inner,
    ) -> Turn {
        let now = inner.now;
        if why.is_woken {
            (self.is_drained, self.is_full) = (false, false);
        }
        if why.is_due && self.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.connection.handle_timeout(now);
            work.counts.timers += 1;
            let next = self.poll_timeout();
            work.check(
                NOT_AGAIN,
                || next.is_none_or(|next| next > now),
                || format!("a timer that fired is due again at {next:?}"),
            );
        }
        for _ in 0..READS {
            let has_read = self.read(cx, now, work);
            self.settle(cx, work, application, inner);
            if !has_read {
                break;
            }
        }
        if self.output == Output::Failed && !self.can_read() && !self.connection.is_closed() {
            self.connection.handle_io_error(now);
            self.settle(cx, work, application, inner);
        }
        if work.is_checked {
            self.check_is_settled(work, now);
        }
        match () {
            () if self.connection.is_closed() => {
                work.check(CLOSED_LAST, || self.has_closed, || "what is closed has not said so".to_owned());
                self.unsent.take().into_iter().for_each(|unsent| work.buffers.put_output(unsent.buffer));
                Turn::Over
            }
            () if self.can_read() => Turn::Busy,
            () => Turn::Done,
        }
    }

    /// There may be input for which there is room.
    fn can_read(&self) -> bool {
        !self.is_drained && !self.connection.is_closed() && self.connection.recv_room() > 0
    }

    /// Reads once. False if there was nothing, or nothing may be read.
    fn read(&mut self, cx: &mut TaskContext<'_>, now: Instant, work: &mut Work) -> bool {
        // An empty read would look like the end.
        if !self.can_read() {
            return false;
        }
        let input = &mut work.buffers.input;
        let room = self.connection.recv_room().min(input.len());
        match self.reader.poll_read(cx, &mut input[..room]) {
            Poll::Ready(Ok(0)) => {
                self.is_drained = true;
                self.connection.handle_recv_eof(now);
            }
            Poll::Ready(Ok(count)) => {
                work.counts.deliveries += 1;
                work.counts.bytes += count as u64;
                let taken = self.connection.handle_recv(now, &mut input[..count]);
                work.check(ROOM, || taken.is_ok(), || format!("no room for {count} bytes of {room}"));
            }
            Poll::Ready(Err(_)) => {
                self.is_drained = true;
                self.connection.handle_io_error(now);
            }
            Poll::Pending => {
                self.is_drained = true;
                return false;
            }
        }
        true
    }

    /// Until the connection has neither events nor output, or the socket is full.
    fn settle(
        &mut self,
        cx: &mut TaskContext<'_>,
        work: &mut Work,
        application: &mut dyn Application,
        inner: &mut Inner,
    ) {
        loop {
            while self.connection.may_have_event() {
                let Some(event) = self.connection.poll_event() else { break };
                work.check(CLOSED_LAST, || !self.has_closed, || format!("an event behind Closed: {event:?}"));
                self.has_closed |= event == Event::Closed;
                application.connection_event(&mut Context(inner), self.id, &mut self.connection, event);
            }
            if !self.write(cx, inner.now, work) {
                break;
            }
        }
        while self.connection.wants_node() {
            let Some(message) = self.connection.poll_node() else { break };
            let now = inner.now;
            inner.node().handle_connection(now, self.id, message);
        }
    }

    /// Writes one buffer. False if there is nothing to write, or it could not be written.
    fn write(&mut self, cx: &mut TaskContext<'_>, now: Instant, work: &mut Work) -> bool {
        if !self.write_unsent(cx, now, work) {
            return false;
        }
        if !self.connection.wants_transmit() {
            if self.connection.wants_shutdown() && self.output == Output::Open {
                self.shut_down(cx);
            }
            return false;
        }
        let polled = self.connection.poll_transmit(now, &mut work.buffers.output);
        work.check(SENDS, || matches!(polled, Ok(1..)), || format!("what wanted to send gave {polled:?}"));
        let Ok(count @ 1..) = polled else { return false };
        let taken = self.push(cx, now, &work.buffers.output[..count]);
        if taken < count {
            let unsent = Unsent { buffer: work.buffers.take_output(), begin: taken, end: count };
            self.unsent = Some(Box::new(unsent));
        }
        true
    }

    /// Writes what is left of the last buffer. True if nothing is.
    fn write_unsent(&mut self, cx: &mut TaskContext<'_>, now: Instant, work: &mut Work) -> bool {
        let Some(mut unsent) = self.unsent.take() else { return true };
        unsent.begin += self.push(cx, now, &unsent.buffer[unsent.begin..unsent.end]);
        if unsent.begin < unsent.end {
            self.unsent = Some(unsent);
            return false;
        }
        work.buffers.put_output(unsent.buffer);
        true
    }

    /// Writes as much of `data` as the socket takes, and returns how much. A socket that has failed takes everything:
    /// whatever the connection still says goes nowhere.
    fn push(&mut self, cx: &mut TaskContext<'_>, now: Instant, data: &[u8]) -> usize {
        let mut taken = 0;
        while taken < data.len() && !self.is_full && self.output != Output::Failed {
            match self.writer.poll_write(cx, &data[taken..]) {
                Poll::Ready(Ok(count @ 1..)) => {
                    taken += count;
                    self.connection.handle_transmitted(now);
                }
                Poll::Pending => {
                    self.is_full = true;
                    self.connection.handle_transmit_blocked(now);
                }
                Poll::Ready(_) => self.output = Output::Failed,
            }
        }
        if self.output == Output::Failed { data.len() } else { taken }
    }

    /// Half-closes the socket.
    fn shut_down(&mut self, cx: &mut TaskContext<'_>) {
        match self.writer.poll_shutdown(cx) {
            // The peer may have closed first; then there is nothing left to half-close.
            Poll::Ready(_) => self.output = Output::Finished,
            Poll::Pending => {}
        }
    }

    /// What has said that it has nothing must have nothing.
    fn check_is_settled(&mut self, work: &mut Work, now: Instant) {
        let event = self.connection.poll_event();
        work.check(NOTHING_LEFT, || event.is_none(), || format!("another event behind the last one: {event:?}"));
        let message = self.connection.poll_node();
        work.check(NOTHING_LEFT, || message.is_none(), || format!("another message behind the last one: {message:?}"));
        work.require(NOT_TOO_EARLY, || self.check_early_timeout(now));
        if self.unsent.is_some() {
            return;
        }
        work.check(SENDS, || !self.connection.wants_transmit(), || "more to send than it was asked for".to_owned());
        for _ in 0..2 {
            let count = self.connection.poll_transmit(now, &mut work.buffers.output).unwrap_or(0);
            work.check(SENDS, || count == 0, || format!("{count} bytes to send where there was nothing to send"));
        }
    }

    /// Telling the time before its time changes nothing.
    fn check_early_timeout(&mut self, now: Instant) -> Result<(), String> {
        let look = |connection: &Connection| {
            (connection.poll_timeout(), connection.wants_transmit(), connection.memory_used(), connection.stats())
        };
        let before = look(&self.connection);
        if before.0.is_some_and(|deadline| deadline <= now) {
            return Ok(());
        }
        self.connection.handle_timeout(now);
        let after = look(&self.connection);
        if before != after {
            return Err(format!("told the time before its time, {before:?} became {after:?}"));
        }
        match (self.connection.poll_event(), self.connection.poll_node()) {
            (None, None) => Ok(()),
            said => Err(format!("told the time before its time, it said {said:?}")),
        }
    }

    /// A connection holds no more than its limits promise for the streams that it has.
    pub(super) fn check_memory(&self, bound: &MemoryBound) -> Result<(), String> {
        let streams = self.connection.stats().streams;
        let (used, bound) = (self.connection.memory_used(), bound.of(streams));
        if used <= bound {
            return Ok(());
        }
        Err(format!("a connection with {streams} streams holds {used} bytes of at most {bound}"))
    }
}
