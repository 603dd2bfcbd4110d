mod records;
mod vectors;

use alloc::{sync::Arc, vec::Vec};

use super::{
    Credentials, Error, Finished, Handshake, StaticKey,
    keys::KeyPair,
    xx::{InitiatorStart, ResponderStart},
};
use crate::{
    ExpectedPeer, Identity, ProtocolId,
    crypto::{Provider, RustCrypto},
};

const YAMUX: ProtocolId = ProtocolId::from_static("/yamux/1.0.0");

// The secrets of the libp2p transcript.
const INITIATOR_IDENTITY: u8 = 1;
const RESPONDER_IDENTITY: u8 = 2;
const INITIATOR_STATIC: [u8; 32] = [3; 32];
const RESPONDER_STATIC: [u8; 32] = [4; 32];
const INITIATOR_EPHEMERAL: [u8; 32] = [5; 32];
const RESPONDER_EPHEMERAL: [u8; 32] = [6; 32];

fn provider() -> Arc<dyn Provider> {
    Arc::new(RustCrypto)
}

fn identity(byte: u8) -> Identity {
    Identity::from_ed25519_seed([byte; 32])
}

fn key_pair(secret: [u8; 32]) -> KeyPair {
    KeyPair::from_secret(&RustCrypto, secret.into())
}

fn credentials(identity_byte: u8, static_secret: [u8; 32]) -> Arc<Credentials> {
    let static_key = StaticKey::from_secret_dangerous(provider(), static_secret);
    Arc::new(Credentials::sign(static_key, &identity(identity_byte)))
}

/// Everything that waits to be sent.
fn drain(handshake: &mut Handshake) -> Vec<u8> {
    let mut out = [0; 0x1_0000];
    let mut sent = Vec::new();
    while handshake.wants_transmit() {
        let len = handshake.poll_transmit(&mut out);
        sent.extend_from_slice(&out[..len]);
    }
    assert_eq!(handshake.poll_transmit(&mut out), 0);
    sent
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut message = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message.extend_from_slice(body);
    message
}
