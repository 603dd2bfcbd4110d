mod hostile;
mod key_log;
mod muxers;
mod oracle;
mod peers;
mod records;
mod splits;
mod vectors;

use alloc::{sync::Arc, vec::Vec};

use super::Tested;
use crate::{
    ExpectedPeer, Identity, PeerId, ProtocolId,
    crypto::Provider,
    noise::{
        Credentials, Error, Finished, Handshake, StaticKey,
        keys::KeyPair,
        xx::{InitiatorStart, ResponderStart},
    },
};

const YAMUX: ProtocolId = ProtocolId::from_static("/yamux/1.0.0");
const MPLEX: ProtocolId = ProtocolId::from_static("/mplex/6.7.0");

// The secrets of the libp2p transcript.
const INITIATOR_IDENTITY: u8 = 1;
const RESPONDER_IDENTITY: u8 = 2;
const INITIATOR_STATIC: [u8; 32] = [3; 32];
const RESPONDER_STATIC: [u8; 32] = [4; 32];
const INITIATOR_EPHEMERAL: [u8; 32] = [5; 32];
const RESPONDER_EPHEMERAL: [u8; 32] = [6; 32];

fn provider() -> Arc<dyn Provider> {
    Arc::new(Tested)
}

fn identity(byte: u8) -> Identity {
    Identity::from_ed25519_seed([byte; 32])
}

fn key_pair(secret: [u8; 32]) -> KeyPair {
    KeyPair::from_secret(&Tested, &secret)
}

fn credentials(identity_byte: u8, static_secret: [u8; 32]) -> Arc<Credentials> {
    let static_key = StaticKey::from_secret_dangerous(provider(), static_secret);
    Arc::new(Credentials::sign(static_key, &identity(identity_byte)))
}

fn initiator_credentials() -> Arc<Credentials> {
    credentials(INITIATOR_IDENTITY, INITIATOR_STATIC)
}

fn responder_credentials() -> Arc<Credentials> {
    credentials(RESPONDER_IDENTITY, RESPONDER_STATIC)
}

fn initiator_expecting(expected: ExpectedPeer, muxers: &[ProtocolId]) -> Handshake {
    Handshake::initiator_with(initiator_credentials(), expected, muxers, key_pair(INITIATOR_EPHEMERAL))
}

fn responder_expecting(expected: ExpectedPeer, muxers: &[ProtocolId]) -> Handshake {
    Handshake::responder_with(responder_credentials(), expected, muxers, key_pair(RESPONDER_EPHEMERAL))
}

fn initiator(muxers: &[ProtocolId]) -> Handshake {
    initiator_expecting(ExpectedPeer::Exactly(identity(RESPONDER_IDENTITY).peer_id()), muxers)
}

fn responder(muxers: &[ProtocolId]) -> Handshake {
    responder_expecting(ExpectedPeer::Any, muxers)
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

/// The three messages of an honest handshake, with their lengths, and its two results.
fn honest_run(muxers: &[ProtocolId]) -> ([Vec<u8>; 3], Finished, Finished) {
    let (mut initiator, mut responder) = (initiator(muxers), responder(muxers));
    let message_1 = drain(&mut initiator);
    assert_eq!(responder.handle_recv(&message_1), Ok(message_1.len()));
    let message_2 = drain(&mut responder);
    assert_eq!(initiator.handle_recv(&message_2), Ok(message_2.len()));
    let message_3 = drain(&mut initiator);
    assert_eq!(responder.handle_recv(&message_3), Ok(message_3.len()));
    ([message_1, message_2, message_3], initiator.finish().unwrap(), responder.finish().unwrap())
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut message = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message.extend_from_slice(body);
    message
}

/// The honest payload of the end with these secrets.
fn honest_payload(identity_byte: u8, static_secret: [u8; 32]) -> Vec<u8> {
    credentials(identity_byte, static_secret).payload(&[])
}

/// Lets a stranger who follows Noise, but sends `payload` and `static_key`, answer `initiator`.
fn answer_initiator(initiator: &mut Handshake, static_key: &KeyPair, payload: &[u8]) -> Result<usize, Error> {
    let mut message_1 = drain(initiator).split_off(2);
    let stranger = ResponderStart::new(provider(), &[], key_pair(RESPONDER_EPHEMERAL));
    let (stranger, _) = stranger.read_message_1(&mut message_1).unwrap();
    let mut message_2 = Vec::new();
    stranger.write_message_2(static_key, payload, &mut message_2).unwrap();
    initiator.handle_recv(&framed(&message_2))
}

/// Lets a stranger who follows Noise, but sends `payload` and `static_key`, call `responder`.
fn call_responder(responder: &mut Handshake, static_key: &KeyPair, payload: &[u8]) -> Result<usize, Error> {
    let mut message_1 = Vec::new();
    let stranger = InitiatorStart::new(provider(), &[], key_pair(INITIATOR_EPHEMERAL));
    let stranger = stranger.write_message_1(&[], &mut message_1).unwrap();
    responder.handle_recv(&framed(&message_1)).unwrap();
    let mut message_2 = drain(responder).split_off(2);
    let (stranger, _) = stranger.read_message_2(&mut message_2).unwrap();
    let mut message_3 = Vec::new();
    stranger.write_message_3(static_key, payload, &mut message_3).unwrap();
    responder.handle_recv(&framed(&message_3))
}

/// Shows `payload` to an initiator and to a responder, from a peer whose static secret is `static_secret`.
fn show_to_both(static_secret: [u8; 32], payload: &[u8]) -> [Result<PeerId, Error>; 2] {
    let mut caller = initiator_expecting(ExpectedPeer::Any, &[]);
    let as_responder = answer_initiator(&mut caller, &key_pair(static_secret), payload);
    let mut called = responder(&[]);
    let as_initiator = call_responder(&mut called, &key_pair(static_secret), payload);
    [outcome(caller, as_responder), outcome(called, as_initiator)]
}

/// The peer that was accepted, or the error, after which nothing may be left.
fn outcome(mut handshake: Handshake, received: Result<usize, Error>) -> Result<PeerId, Error> {
    match received {
        Ok(_) => {
            drain(&mut handshake);
            Ok(handshake.finish().unwrap().peer)
        }
        Err(error) => {
            assert!(!handshake.wants_transmit(), "a failed handshake has something to send");
            assert_eq!(handshake.poll_transmit(&mut [0; 1024]), 0);
            assert!(!handshake.is_finished());
            assert_eq!(handshake.handle_recv(&[0; 3]), Err(error.clone()));
            assert_eq!(handshake.handle_recv(&[]), Err(error.clone()));
            assert!(handshake.finish().is_err());
            Err(error)
        }
    }
}
