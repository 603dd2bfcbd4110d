//! Bulk transfer between two connections on one thread, through one wire buffer.

use std::sync::Arc;

use septa_core::{
    Connection, ProtocolId,
    connection::{Event, ReadError, StreamId, WriteError},
    crypto::{Provider, RustCrypto},
    testing::{End, Pair},
};

use crate::Ends;

const BULK: ProtocolId = ProtocolId::from_static("/bench/bulk/1");
/// What the application writes at once, if nothing else is asked for, and reads at once.
const STEP: usize = 64 * 1024;

/// An open pair with streams, and the buffers to move bytes with; it allocates nothing more.
pub struct Bulk {
    ends: Ends,
    ids: Vec<StreamId>,
    /// What each stream has still to write.
    left: Vec<usize>,
    data: Vec<u8>,
    buffer: Vec<u8>,
}

impl Default for Bulk {
    /// One stream, pure Rust.
    fn default() -> Self {
        Self::new(Arc::new(RustCrypto), 1, STEP)
    }
}

impl Bulk {
    /// `streams` open streams on one connection; the application writes `step` bytes at once.
    pub fn new(provider: Arc<dyn Provider>, streams: usize, step: usize) -> Self {
        let mut ends = Ends::new(provider, BULK);
        let ids: Vec<StreamId> = (0..streams).map(|_| ends.open()).collect();
        ends.pair.settle();
        let mut bulk = Self { ends, left: vec![0; streams], ids, data: vec![7; step], buffer: vec![0; STEP] };
        for _ in 0..streams {
            let listener = &mut bulk.ends.pair.listener.connection;
            let id = listener.accept().expect("a stream that was opened");
            // There is an event for what comes only after a read that found nothing.
            assert_eq!(read(listener, id, &mut bulk.buffer), 0);
        }
        bulk
    }

    /// Moves `len` bytes, in equal shares on all streams, from the dialer to the listener and returns how many
    /// records that took.
    pub fn transfer(&mut self, len: usize) -> u64 {
        let streams = self.ids.len();
        assert!(len.is_multiple_of(streams), "{len} bytes on {streams} streams");
        let before = self.ends.pair.dialer.connection.stats().records_sent;
        self.left.fill(len / streams);
        let mut received = 0;
        while received < len {
            self.write();
            received += self.carry();
        }
        self.ends.pair.dialer.connection.stats().records_sent - before
    }

    fn write(&mut self) {
        for (id, left) in self.ids.iter().zip(&mut self.left) {
            while *left > 0 {
                let data = &self.data[..self.data.len().min(*left)];
                match self.ends.pair.dialer.connection.stream(*id).write(data) {
                    Ok(n) => *left -= n,
                    Err(WriteError::Blocked) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn carry(&mut self) -> usize {
        let (mut received, buffer) = (0, &mut self.buffer);
        self.ends.carry(End::Dialer, |listener| {
            while let Some(event) = listener.poll_event() {
                if let Event::Readable { id } = event {
                    received += read(listener, id, buffer);
                }
            }
        });
        self.ends.carry(End::Listener, |dialer| while dialer.poll_event().is_some() {});
        received
    }

    /// Releases the streams at both ends.
    pub fn end(mut self) -> Pair {
        for end in End::BOTH {
            for id in &self.ids {
                let _ = self.ends.pair.connection(end).stream(*id).finish();
            }
        }
        self.ends.pair.settle();
        for end in End::BOTH {
            for id in &self.ids {
                let connection = self.ends.pair.connection(end);
                assert_eq!(connection.stream(*id).read(&mut self.buffer), Ok(0));
                connection.stream(*id).release();
            }
        }
        self.ends.pair.settle();
        self.ends.pair
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
