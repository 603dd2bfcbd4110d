//! A peer that is honest through Noise and then says whatever a test wants.

use alloc::{sync::Arc, vec, vec::Vec};

use super::credentials_with;
use crate::{
    Connection, ExpectedPeer, Instant, Link, ProtocolId, Role, Seed,
    connection::{Config, NOISE, TRANSMIT_BUFFER, YAMUX},
    crypto::{Provider, RustCrypto},
    multistream::{Dialer, Listener, Progress},
    noise::{Handshake, Opener, RECORD_HEADER_LEN, RECORD_OVERHEAD, Sealer},
};

/// One [`Connection`] under test and, at its other end, the bare pieces: multistream-select, a Noise
/// handshake and the two cipher states. After [`upgrade`](Self::upgrade) the peer can
/// [`send`](Self::send) any plaintext.
///
/// # Panics
/// Like every test helper it panics where an honest upgrade fails.
pub struct RawPeer {
    /// The connection under test.
    pub connection: Connection,
    /// The time at both ends.
    pub now: Instant,
    role: Role,
    provider: Arc<dyn Provider>,
    muxers: Vec<ProtocolId>,
    keys: Option<(Sealer, Opener)>,
    /// Bytes of the connection that were not understood yet.
    input: Vec<u8>,
    plaintext: Vec<u8>,
}

impl RawPeer {
    /// A peer for a connection with the given `role`, which negotiates the muxer early.
    pub fn new(role: Role, config: Config) -> Self {
        Self::with_provider(role, config, Arc::new(RustCrypto))
    }

    /// [`new`](Self::new) with other cryptography at both ends.
    pub fn with_provider(role: Role, config: Config, provider: Arc<dyn Provider>) -> Self {
        Self::with_muxers(role, config, vec![YAMUX], provider)
    }

    /// A peer like rust-libp2p, which offers no muxer inside the handshake.
    pub fn without_early_muxer(role: Role, config: Config) -> Self {
        Self::with_muxers(role, config, Vec::new(), Arc::new(RustCrypto))
    }

    fn with_muxers(role: Role, config: Config, muxers: Vec<ProtocolId>, provider: Arc<dyn Provider>) -> Self {
        let now = Instant::EPOCH;
        let seed = Seed::from_bytes([8; 32]);
        let link = match role {
            Role::Dialer => Link::dialer(ExpectedPeer::Any, seed),
            Role::Listener => Link::listener(seed),
        };
        let connection = Connection::new(link, Arc::new(config), credentials_with(1, provider.clone()), now);
        Self { connection, now, role, provider, muxers, keys: None, input: Vec::new(), plaintext: Vec::new() }
    }

    /// Negotiates `/noise` and completes the handshake.
    pub fn secure(&mut self) {
        self.negotiate(NOISE, Self::exchange_clear);
        let seed = Seed::from_bytes([6; 32]);
        let credentials = credentials_with(2, self.provider.clone());
        let mut handshake = match self.role {
            Role::Dialer => Handshake::responder(credentials, ExpectedPeer::Any, &self.muxers, seed),
            Role::Listener => Handshake::initiator(credentials, ExpectedPeer::Any, &self.muxers, seed),
        };
        while !handshake.is_finished() {
            let mut out = vec![0; 1024];
            let n = handshake.poll_transmit(&mut out);
            out.truncate(n);
            self.exchange_clear(&out);
            let input = core::mem::take(&mut self.input);
            let consumed = handshake.handle_recv(&input).unwrap_or_else(|error| panic!("{error}"));
            self.input = input.get(consumed..).unwrap_or_default().to_vec();
        }
        let mut out = vec![0; 1024];
        let n = handshake.poll_transmit(&mut out);
        out.truncate(n);
        let Ok(finished) = handshake.finish() else { panic!("the handshake is finished") };
        self.keys = Some((finished.sealer, finished.opener));
        self.exchange_clear(&out);
    }

    /// [`secure`](Self::secure), then agrees on Yamux unless that was done early.
    pub fn upgrade(&mut self) {
        self.secure();
        if self.muxers.is_empty() {
            self.negotiate(YAMUX, |peer, out| {
                peer.send(out);
                peer.input = peer.receive();
            });
            self.plaintext = core::mem::take(&mut self.input);
        }
    }

    /// Seals `plaintext` in records and gives them to the connection.
    pub fn send(&mut self, plaintext: &[u8]) {
        for body in plaintext.chunks(32 * 1024) {
            let mut record = vec![0; body.len().saturating_add(RECORD_OVERHEAD)];
            record.iter_mut().skip(RECORD_HEADER_LEN).zip(body).for_each(|(to, from)| *to = *from);
            let Some((sealer, _)) = &mut self.keys else { panic!("not secured yet") };
            let sealed = sealer.seal_in_place(&mut record, body.len());
            assert_eq!(sealed, Ok(record.len()));
            self.send_raw(&record);
        }
    }

    /// Gives `bytes` to the connection as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        assert_eq!(self.connection.handle_recv(self.now, &mut bytes), Ok(()));
    }

    /// All plaintext that the connection has to say now.
    pub fn receive(&mut self) -> Vec<u8> {
        self.exchange_clear(&[]);
        let mut plaintext = core::mem::take(&mut self.plaintext);
        loop {
            let Some(header) = self.input.first_chunk::<RECORD_HEADER_LEN>() else { return plaintext };
            let len = usize::from(u16::from_be_bytes(*header)).saturating_add(RECORD_HEADER_LEN);
            assert!(self.input.len() >= len, "the connection hands out whole records");
            let mut record: Vec<u8> = self.input.drain(..len).collect();
            let Some((_, opener)) = &mut self.keys else { panic!("not secured yet") };
            match opener.open_in_place(&mut record) {
                Ok(body) => plaintext.extend_from_slice(body),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Gives `out` to the connection and appends its answer to the input.
    fn exchange_clear(&mut self, out: &[u8]) {
        if !out.is_empty() {
            self.send_raw(out);
        }
        let mut buffer = vec![0; TRANSMIT_BUFFER];
        while self.connection.wants_transmit() {
            let n = self.connection.poll_transmit(self.now, &mut buffer).unwrap_or_default();
            self.input.extend_from_slice(buffer.get(..n).unwrap_or_default());
        }
    }

    fn negotiate(&mut self, protocol: ProtocolId, mut exchange: impl FnMut(&mut Self, &[u8])) {
        let mut dialer = Dialer::single(protocol.clone());
        let mut listener = Listener::new([protocol].into_iter().collect());
        exchange(self, &[]);
        for _ in 0..8 {
            let input = core::mem::take(&mut self.input);
            let mut out = [0; 256];
            let (outcome, n) = match self.role {
                Role::Listener => (dialer.handle_recv(&input), dialer.poll_transmit(&mut out)),
                Role::Dialer => (listener.handle_recv(&input), listener.poll_transmit(&mut out)),
            };
            let Ok((consumed, progress)) = outcome else { panic!("{outcome:?}") };
            let rest = input.get(consumed..).unwrap_or_default().to_vec();
            exchange(self, out.get(..n).unwrap_or_default());
            self.input.splice(..0, rest);
            if let Progress::Agreed(_) = progress {
                return;
            }
        }
        panic!("no protocol was agreed");
    }
}
