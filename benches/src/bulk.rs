//! Bulk transfer between two connections on one thread, through one wire buffer.

use septa_core::{
    Connection, Instant, ProtocolId,
    connection::{Config, ReadError, StreamId, TRANSMIT_BUFFER, WriteError},
    testing::{Pair, PairConfig},
};

const BULK: ProtocolId = ProtocolId::from_static("/bench/bulk/1");
/// What the application writes and reads at once.
const STEP: usize = 64 * 1024;

/// An open pair with one stream, and the buffers to move bytes with; it allocates nothing more.
pub struct Bulk {
    /// The two ends.
    pub pair: Pair,
    id: StreamId,
    wire: Vec<u8>,
    data: Vec<u8>,
    buffer: Vec<u8>,
}

impl Default for Bulk {
    fn default() -> Self {
        let config = || Config { protocols: [BULK].into_iter().collect(), ..Config::default() };
        let mut pair = Pair::open(PairConfig { dialer: config(), listener: config(), ..PairConfig::default() });
        let now = pair.now;
        let id = pair.dialer.connection.open(now, &[BULK]).expect("an open pair");
        pair.settle();
        assert_eq!(pair.listener.connection.accept(), Some(id));
        Self { pair, id, wire: vec![0; TRANSMIT_BUFFER], data: vec![7; STEP], buffer: vec![0; STEP] }
    }
}

impl Bulk {
    /// Moves `len` bytes from the dialer to the listener and returns how many records that took.
    pub fn transfer(&mut self, len: usize) -> u64 {
        let now = self.pair.now;
        let before = self.pair.dialer.connection.stats().records_sent;
        let (mut sent, mut received) = (0, 0);
        while received < len {
            sent += self.write(len - sent);
            received += self.carry(now);
        }
        self.pair.dialer.connection.stats().records_sent - before
    }

    fn write(&mut self, len: usize) -> usize {
        let mut sent = 0;
        while sent < len {
            match self.pair.dialer.connection.stream(self.id).write(&self.data[..STEP.min(len - sent)]) {
                Ok(n) => sent += n,
                Err(WriteError::Blocked) => break,
                Err(error) => panic!("{error}"),
            }
        }
        sent
    }

    fn carry(&mut self, now: Instant) -> usize {
        let (dialer, listener) = (&mut self.pair.dialer.connection, &mut self.pair.listener.connection);
        let mut received = 0;
        while let Ok(n @ 1..) = dialer.poll_transmit(now, &mut self.wire) {
            listener.handle_recv(now, &mut self.wire[..n]).expect("there is always room");
            received += read(listener, self.id, &mut self.buffer);
        }
        while let Ok(n @ 1..) = listener.poll_transmit(now, &mut self.wire) {
            dialer.handle_recv(now, &mut self.wire[..n]).expect("there is always room");
        }
        while dialer.poll_event().is_some() || listener.poll_event().is_some() {}
        received
    }

    /// Releases the stream at both ends.
    pub fn end(mut self) -> Pair {
        let _ = self.pair.dialer.connection.stream(self.id).finish();
        let _ = self.pair.listener.connection.stream(self.id).finish();
        self.pair.settle();
        for connection in [&mut self.pair.dialer.connection, &mut self.pair.listener.connection] {
            assert_eq!(connection.stream(self.id).read(&mut self.buffer), Ok(0));
            connection.stream(self.id).release();
        }
        self.pair.settle();
        self.pair
    }
}

fn read(connection: &mut Connection, id: StreamId, buffer: &mut [u8]) -> usize {
    let mut received = 0;
    loop {
        match connection.stream(id).read(buffer) {
            Ok(n) => received += n,
            Err(ReadError::Blocked) => return received,
            Err(error) => panic!("{error}"),
        }
    }
}
