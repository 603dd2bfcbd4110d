//! Streams that live for one question and one answer.

use std::sync::Arc;

use septa_core::{Connection, ProtocolId, connection::StreamId, crypto::Provider, testing::End};

use crate::Ends;

const CHURN: ProtocolId = ProtocolId::from_static("/bench/churn/1");
const ASK: &[u8] = b"ex";
const ANSWER: &[u8] = b"!";

/// An open pair without streams.
pub struct Churn(Ends);

impl Churn {
    /// Two nodes that use `provider`.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self(Ends::new(provider, CHURN))
    }

    /// Opens `count` streams, negotiates, asks and answers on each of them, and releases them at both ends.
    pub fn round(&mut self, count: usize) {
        let mut asked = Vec::with_capacity(count);
        for _ in 0..count {
            let id = self.0.open();
            say(&mut self.0.pair.dialer.connection, id, ASK);
            asked.push(id);
        }
        let mut answered = 0;
        self.0.carry(End::Dialer, |listener| {
            while let Some(id) = listener.accept() {
                hear(listener, id, ASK);
                say(listener, id, ANSWER);
                listener.stream(id).release();
                answered += 1;
            }
        });
        assert_eq!(answered, count);
        self.0.carry(End::Listener, |_| {});
        let dialer = &mut self.0.pair.dialer.connection;
        for id in asked {
            hear(dialer, id, ANSWER);
            dialer.stream(id).release();
        }
        for connection in End::BOTH {
            while self.0.pair.connection(connection).poll_event().is_some() {}
        }
    }
}

fn say(connection: &mut Connection, id: StreamId, data: &[u8]) {
    assert_eq!(connection.stream(id).write(data), Ok(data.len()));
    assert_eq!(connection.stream(id).finish(), Ok(()));
}

fn hear(connection: &mut Connection, id: StreamId, expected: &[u8]) {
    let mut buffer = [0; 8];
    let n = connection.stream(id).read(&mut buffer).expect("it has arrived");
    assert_eq!(&buffer[..n], expected);
    assert_eq!(connection.stream(id).read(&mut buffer), Ok(0));
}
