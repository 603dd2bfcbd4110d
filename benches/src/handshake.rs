//! Whole handshakes, both ends on one thread, and the operations that no handshake can do without.

use std::{hint::black_box, sync::Arc};

use septa_core::{
    Connection, ExpectedPeer, Identity, Instant, Link, ProtocolId, PublicKey, Seed,
    connection::{Config, TRANSMIT_BUFFER, YAMUX},
    crypto::{Provider, X25519Key},
    noise::{Credentials, Finished, Handshake},
};

/// Two nodes that meet again and again.
pub struct Handshakes {
    provider: Arc<dyn Provider>,
    credentials: [Arc<Credentials>; 2],
    config: Arc<Config>,
    buffer: Vec<u8>,
    static_key: Box<dyn X25519Key>,
    signed: Signed,
    round: u64,
}

struct Signed {
    public_key: PublicKey,
    message: [u8; 56],
    signature: [u8; 64],
}

impl Handshakes {
    /// Nodes with Ed25519 identities.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        let identity = |byte| Identity::from_ed25519_seed([byte; 32]);
        let credentials = [1, 2]
            .map(|byte| Arc::new(Credentials::new(&identity(byte), provider.clone(), Seed::from_bytes([byte; 32]))));
        let message = [7; 56];
        let signature = identity(3).sign(&*provider, &message);
        let signed = Signed { public_key: identity(3).public_key().clone(), message, signature };
        Self {
            static_key: provider.x25519_key(&[9; 32]),
            provider,
            credentials,
            config: Arc::new(Config::default()),
            buffer: vec![0; TRANSMIT_BUFFER],
            signed,
            round: 0,
        }
    }

    /// The least that one handshake costs both ends together: two ephemeral keys, six agreements and two
    /// strict verifications with a key that was read before.
    pub fn least(&mut self) {
        for byte in [1, 2] {
            black_box(self.provider.x25519_key(black_box(&[byte; 32])));
        }
        for _ in 0..6 {
            black_box(self.static_key.agree(black_box(self.static_key.public_key())));
        }
        for _ in 0..2 {
            let Signed { public_key, message, signature } = &self.signed;
            assert_eq!(public_key.verify(black_box(message), signature), Ok(()));
        }
    }

    /// The Noise handshake alone.
    pub fn noise(&mut self) -> [Finished; 2] {
        let [dialer_seed, listener_seed] = self.seeds();
        let [dialer, listener] = self.credentials.clone();
        let muxers: [ProtocolId; 1] = [YAMUX];
        let expected = ExpectedPeer::Exactly(listener.peer_id());
        let mut dialer = Handshake::initiator(dialer, expected, &muxers, dialer_seed);
        let mut listener = Handshake::responder(listener, ExpectedPeer::Any, &muxers, listener_seed);
        while dialer.wants_transmit() || listener.wants_transmit() {
            let sent = dialer.poll_transmit(&mut self.buffer);
            listener.handle_recv(&self.buffer[..sent]).expect("an honest initiator");
            let sent = listener.poll_transmit(&mut self.buffer);
            dialer.handle_recv(&self.buffer[..sent]).expect("an honest responder");
        }
        [dialer, listener].map(|end| end.finish().expect("the handshake is complete"))
    }

    /// From two new connections to two open ones.
    pub fn connections(&mut self) -> [Connection; 2] {
        let [dialer_seed, listener_seed] = self.seeds();
        let [dialer, listener] = self.credentials.clone();
        let link = Link::dialer(ExpectedPeer::Exactly(listener.peer_id()), dialer_seed);
        let mut dialer = Connection::new(link, self.config.clone(), dialer, Instant::EPOCH);
        let mut listener =
            Connection::new(Link::listener(listener_seed), self.config.clone(), listener, Instant::EPOCH);
        while !(dialer.is_open() && listener.is_open()) {
            self.transmit(&mut dialer, &mut listener);
            self.transmit(&mut listener, &mut dialer);
        }
        [dialer, listener]
    }

    fn transmit(&mut self, from: &mut Connection, to: &mut Connection) {
        while from.wants_transmit() {
            let sent = from.poll_transmit(Instant::EPOCH, &mut self.buffer).expect("a large buffer");
            to.handle_recv(Instant::EPOCH, &mut self.buffer[..sent]).expect("an open connection takes input");
        }
    }

    fn seeds(&mut self) -> [Seed; 2] {
        self.round += 1;
        let mut root = [0; 32];
        root[..8].copy_from_slice(&self.round.to_be_bytes());
        let mut root = Seed::from_bytes(root);
        [root.child("dialer"), root.child("listener")]
    }
}
