//! The three threads of a connection.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use septa_core::{Connection, ConnectionId, Instant, connection::TRANSMIT_BUFFER};

use crate::{
    application::{Clock, Session},
    inbox::{Letters, ToConnectionThread, ToNodeThread, connection_inbox, receive},
};

/// Starts them. The node hears `Gone` when the last of them is over, whatever happens.
///
/// # Errors
/// There are too many sockets.
pub(crate) fn start(
    clock: Clock,
    id: ConnectionId,
    connection: Connection,
    session: Session,
    socket: TcpStream,
    node: SyncSender<ToNodeThread>,
) -> io::Result<(Letters, JoinHandle<()>)> {
    // Small messages must not wait for the answer to those before.
    socket.set_nodelay(true)?;
    let (reading, writing) = (socket.try_clone()?, socket.try_clone()?);
    let (to_self, inbox) = connection_inbox();
    let letters = Letters::new(to_self.clone());
    let (to_reader, for_reader) = sync_channel(1);
    let (to_writer, for_writer) = sync_channel(1);
    let owner = Owner {
        clock,
        id,
        connection,
        session,
        socket,
        inbox,
        letters: letters.clone(),
        input: Input::Held { buffer: vec![0; 64 * 1024], start: 0, end: 0 },
        output: Output::Idle(vec![0; TRANSMIT_BUFFER]),
        to_reader,
        to_writer,
        node: node.clone(),
    };
    let thread = thread::spawn(move || {
        // In this order, so that it is dropped last.
        let _gone = Gone { id, node };
        let (told, telling) = (to_self.clone(), to_self);
        let reader = thread::spawn(move || read(reading, &for_reader, &told));
        let writer = thread::spawn(move || write(writing, &for_writer, &telling));
        owner.run();
        let _ = (reader.join(), writer.join());
    });
    Ok((letters, thread))
}

/// Reads as often as it gets a buffer, until the end of the input or of the connection.
fn read(mut socket: TcpStream, buffers: &Receiver<Vec<u8>>, connection: &SyncSender<ToConnectionThread>) {
    while let Ok(mut buffer) = buffers.recv() {
        let outcome = loop {
            match socket.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        if connection.send(ToConnectionThread::Received(buffer, outcome)).is_err() {
            return;
        }
    }
}

/// Writes what it gets, until the end of the connection.
fn write(mut socket: TcpStream, buffers: &Receiver<(Vec<u8>, usize)>, connection: &SyncSender<ToConnectionThread>) {
    while let Ok((buffer, count)) = buffers.recv() {
        let outcome = socket.write_all(&buffer[..count]);
        if connection.send(ToConnectionThread::Written(buffer, outcome)).is_err() {
            return;
        }
    }
}

/// Tells the node that the threads of a connection are over, also if they panic.
struct Gone {
    id: ConnectionId,
    node: SyncSender<ToNodeThread>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.node.send(ToNodeThread::Gone(self.id));
    }
}

/// The thread that owns the connection: it waits for nothing but its inbox and its deadline.
struct Owner {
    clock: Clock,
    id: ConnectionId,
    connection: Connection,
    session: Session,
    /// To half-close it, and to end what the others wait for.
    socket: TcpStream,
    inbox: Receiver<ToConnectionThread>,
    letters: Letters,
    input: Input,
    output: Output,
    to_reader: SyncSender<Vec<u8>>,
    to_writer: SyncSender<(Vec<u8>, usize)>,
    node: SyncSender<ToNodeThread>,
}

/// The reader's buffer.
enum Input {
    /// The reader has it.
    Lent,
    /// It is here, and what is in it from `start` to `end` has still to go into the connection, which may have no room
    /// for it until the node lets the peer in.
    Held { buffer: Vec<u8>, start: usize, end: usize },
    /// Nothing is read any more.
    Over,
}

/// The writer's buffer.
enum Output {
    /// The writer has it: no output is taken from the connection until it is back.
    Lent,
    Idle(Vec<u8>),
    /// Half-closed, or failed.
    Over,
}

impl Owner {
    fn run(mut self) {
        loop {
            self.settle();
            if self.connection.is_closed() {
                break;
            }
            if let Some(message) = receive(&self.inbox, self.clock, self.connection.poll_timeout()) {
                self.hear(message);
            }
            // Early, late and repeated calls are harmless.
            self.connection.handle_timeout(self.clock.now());
        }
        // The others are blocked in a call of the socket, or wait for a buffer that will not come.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn hear(&mut self, message: ToConnectionThread) {
        let now = self.clock.now();
        match message {
            ToConnectionThread::Mail => {
                let mut mailbox = self.letters.take();
                while let Some(message) = mailbox.take() {
                    self.connection.handle_node(now, message);
                }
            }
            ToConnectionThread::Received(_, Ok(0)) => {
                self.input = Input::Over;
                self.connection.handle_recv_eof(now);
            }
            ToConnectionThread::Received(buffer, Ok(end)) => self.input = Input::Held { buffer, start: 0, end },
            ToConnectionThread::Received(_, Err(_)) => {
                self.input = Input::Over;
                self.connection.handle_io_error(now);
            }
            ToConnectionThread::Written(buffer, Ok(())) => {
                self.output = Output::Idle(buffer);
                self.connection.handle_transmitted(now);
            }
            // The reader comes to an end too, behind the last word of the peer if there is one.
            ToConnectionThread::Written(_, Err(_)) => self.output = Output::Over,
        }
    }

    /// Does everything that can be done without waiting.
    fn settle(&mut self) {
        let now = self.clock.now();
        loop {
            let has_taken = self.take_input(now);
            // Events make output, and output that has left makes events.
            while let Some(event) = self.connection.poll_event() {
                if let Some(word) = self.session.handle(&mut self.connection, now, &event) {
                    self.tell(ToNodeThread::Word(word));
                }
            }
            let has_sent = self.transmit(now);
            if !has_taken && !has_sent {
                break;
            }
        }
        while let Some(message) = self.connection.poll_node() {
            self.tell(ToNodeThread::Said(self.id, Box::new(message)));
        }
    }

    /// Gives the connection what was read, as far as it has room, and the buffer back to the reader. True if the
    /// connection got something.
    fn take_input(&mut self, now: Instant) -> bool {
        let Input::Held { buffer, start, end } = &mut self.input else { return false };
        let room = self.connection.recv_room().min(*end - *start);
        let data = &mut buffer[*start..*start + room];
        self.connection.handle_recv(now, data).expect("there was room for it");
        *start += room;
        if start == end
            && let Input::Held { buffer, .. } = std::mem::replace(&mut self.input, Input::Lent)
        {
            // It has no other one, so there is room.
            let _ = self.to_reader.try_send(buffer);
        }
        room > 0
    }

    /// Gives the writer what the connection has to send. True if there was something.
    fn transmit(&mut self, now: Instant) -> bool {
        let Output::Idle(buffer) = &mut self.output else { return false };
        if self.connection.wants_transmit() {
            let count = self.connection.poll_transmit(now, buffer).expect("the buffer is long enough");
            // Nobody knows how long the writer will be blocked. If it is for too long, the connection gives up.
            self.connection.handle_transmit_blocked(now);
            if let Output::Idle(buffer) = std::mem::replace(&mut self.output, Output::Lent) {
                let _ = self.to_writer.try_send((buffer, count));
            }
            return true;
        }
        if self.connection.wants_shutdown() {
            // The peer may have closed first; then there is nothing left to half-close.
            let _ = self.socket.shutdown(Shutdown::Write);
            self.output = Output::Over;
        }
        false
    }

    /// The node waits for no connection, so this does not take long.
    fn tell(&self, message: ToNodeThread) {
        let _ = self.node.send(message);
    }
}
