//! Two open connections on one thread, and one buffer through which their bytes go.

use std::{sync::Arc, time::Duration};

use septa_core::{
    Connection, ExpectedPeer, Instant, Link, ProtocolId, Seed,
    connection::{Config, StreamId, TRANSMIT_BUFFER},
    crypto::Provider,
    testing::{Cuts, End, Pair, credentials_with},
};

/// Two open connections that serve one protocol.
pub struct Ends {
    /// The connections.
    pub pair: Pair,
    protocol: ProtocolId,
    wire: Vec<u8>,
}

impl Ends {
    /// Connects two nodes that use `provider` and serve `protocol`.
    pub fn new(provider: Arc<dyn Provider>, protocol: ProtocolId) -> Self {
        let now = Instant::EPOCH;
        let config = Arc::new(Config { protocols: [protocol.clone()].into_iter().collect(), ..Config::default() });
        let [near, far] = [1, 2].map(|number| credentials_with(number, provider.clone()));
        let seed = |byte| Seed::from_bytes([byte; 32]);
        let link = Link::dialer(ExpectedPeer::Exactly(far.peer_id()), seed(1));
        let dialer = Connection::new(link, config.clone(), near, now);
        let listener = Connection::new(Link::listener(seed(2)), config, far, now);
        let mut pair = Pair::join(dialer, listener, now, Duration::ZERO, Cuts::Whole);
        pair.run_until(|pair| pair.dialer.connection.is_open() && pair.listener.connection.is_open());
        pair.dialer.events.clear();
        pair.listener.events.clear();
        Self { pair, protocol, wire: vec![0; TRANSMIT_BUFFER] }
    }

    /// Opens a stream at the dialer.
    pub fn open(&mut self) -> StreamId {
        self.pair
            .dialer
            .connection
            .open(self.pair.now, std::slice::from_ref(&self.protocol))
            .expect("room for one more stream")
    }

    /// Carries all that `from` has to send to the other end, and has `receive` look at that after each piece.
    pub fn carry(&mut self, from: End, mut receive: impl FnMut(&mut Connection)) {
        let now = self.pair.now;
        let (dialer, listener) = (&mut self.pair.dialer.connection, &mut self.pair.listener.connection);
        let (sender, receiver) = match from {
            End::Dialer => (dialer, listener),
            End::Listener => (listener, dialer),
        };
        while let Ok(n @ 1..) = sender.poll_transmit(now, &mut self.wire) {
            receiver.handle_recv(now, &mut self.wire[..n]).expect("there is always room");
            receive(receiver);
        }
    }
}
