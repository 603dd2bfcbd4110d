//! The published vectors of cacophony and snow, and a whole libp2p handshake.

use alloc::{boxed::Box, string::String, sync::Arc, vec, vec::Vec};
use std::sync::Mutex;

use serde_json::Value;

use super::*;
use crate::{
    crypto::{AeadKey, X25519Key},
    noise::{Opener, Sealer, cipher_state::CipherState, symmetric_state::SymmetricState},
};

const XX_VECTORS: &str = include_str!("../../../tests/vectors/noise_xx.json");
const TRANSCRIPT: &str = include_str!("../../../tests/vectors/noise_libp2p_transcript.json");

#[test]
fn cacophony_and_snow_vectors_pass() {
    let vectors: Value = serde_json::from_str(XX_VECTORS).unwrap();
    for source in ["cacophony", "snow"] {
        let sets = vectors[source].as_array().unwrap();
        assert!(!sets.is_empty(), "no vectors of {source}");
        for set in sets {
            run_xx_vector(set);
        }
    }
}

fn run_xx_vector(vector: &Value) {
    assert_eq!(vector["protocol_name"], "Noise_XX_25519_ChaChaPoly_SHA256");
    let messages: Vec<(Vec<u8>, Vec<u8>)> = vector["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (bytes(&message["payload"]), bytes(&message["ciphertext"])))
        .collect();
    let (initiator_static, responder_static) = (key(&vector["init_static"]), key(&vector["resp_static"]));
    let initiator = InitiatorStart::new(provider(), &bytes(&vector["init_prologue"]), key(&vector["init_ephemeral"]));
    let responder = ResponderStart::new(provider(), &bytes(&vector["resp_prologue"]), key(&vector["resp_ephemeral"]));
    let [first, second, third, transport @ ..] = messages.as_slice() else { panic!("a handshake has three messages") };

    let mut wire = Vec::new();
    let initiator = initiator.write_message_1(&first.0, &mut wire).unwrap();
    assert_eq!(wire, first.1);
    let (responder, payload) = responder.read_message_1(&mut wire).unwrap();
    assert_eq!(payload, first.0);

    let mut wire = Vec::new();
    let responder = responder.write_message_2(&responder_static, &second.0, &mut wire).unwrap();
    assert_eq!(wire, second.1);
    let (initiator, remote) = initiator.read_message_2(&mut wire).unwrap();
    assert_eq!((remote.payload, &remote.static_key), (&*second.0, responder_static.public()));

    let mut wire = Vec::new();
    let initiator = initiator.write_message_3(&initiator_static, &third.0, &mut wire).unwrap();
    assert_eq!(wire, third.1);
    let (responder, remote) = responder.read_message_3(&mut wire).unwrap();
    assert_eq!((remote.payload, &remote.static_key), (&*third.0, initiator_static.public()));

    assert_eq!(initiator.handshake_hash, responder.handshake_hash);
    if let Some(hash) = vector["handshake_hash"].as_str() {
        assert_eq!(hex::encode(initiator.handshake_hash), hash);
    }
    let cipher = |key| CipherState::new(provider(), key);
    // The responder speaks first: three handshake messages went before.
    let mut responder_to_initiator = (
        Sealer::new(cipher(&responder.responder_to_initiator)),
        Opener::new(cipher(&initiator.responder_to_initiator)),
    );
    let mut initiator_to_responder = (
        Sealer::new(cipher(&initiator.initiator_to_responder)),
        Opener::new(cipher(&responder.initiator_to_responder)),
    );
    for (index, (plaintext, ciphertext)) in transport.iter().enumerate() {
        let (sealer, opener) = if index % 2 == 0 { &mut responder_to_initiator } else { &mut initiator_to_responder };
        assert_record(sealer, opener, plaintext, &framed(ciphertext));
    }
    assert!(!transport.is_empty());
}

#[test]
fn the_libp2p_transcript_is_reproduced_byte_for_byte() {
    let transcript: Value = serde_json::from_str(TRANSCRIPT).unwrap();
    let log = Arc::new(KeyRecorder::default());
    let logging = |identity_byte, static_secret, log: Arc<KeyRecorder>| {
        let static_key = StaticKey::from_secret_dangerous(log, static_secret);
        Arc::new(Credentials::sign(static_key, &identity(identity_byte)))
    };
    let ours = logging(INITIATOR_IDENTITY, INITIATOR_STATIC, log.clone());
    let theirs = logging(RESPONDER_IDENTITY, RESPONDER_STATIC, Arc::new(KeyRecorder::default()));
    assert_eq!(ours.payload(&[YAMUX]), bytes(&transcript["init_payload_msg3"]));
    assert_eq!(theirs.payload(&[YAMUX]), bytes(&transcript["resp_payload_msg2"]));
    let (our_id, their_id) = (ours.peer_id(), theirs.peer_id());

    let exactly = ExpectedPeer::Exactly;
    let mut initiator = Handshake::initiator_with(ours, exactly(their_id), &[YAMUX], key_pair(INITIATOR_EPHEMERAL));
    let mut responder = Handshake::responder_with(theirs, exactly(our_id), &[YAMUX], key_pair(RESPONDER_EPHEMERAL));
    let message_1 = drain(&mut initiator);
    assert_eq!(message_1, bytes(&transcript["wire_msg1"]));
    responder.handle_recv(&message_1).unwrap();
    let message_2 = drain(&mut responder);
    assert_eq!(message_2, bytes(&transcript["wire_msg2"]));
    initiator.handle_recv(&message_2).unwrap();
    let message_3 = drain(&mut initiator);
    assert_eq!(message_3, bytes(&transcript["wire_msg3"]));
    responder.handle_recv(&message_3).unwrap();

    let (mut initiator, mut responder) = (initiator.finish().unwrap(), responder.finish().unwrap());
    let intermediate = &transcript["intermediate"];
    for (end, peer_id) in [(&initiator, "resp_peer_id"), (&responder, "init_peer_id")] {
        assert_eq!(hex::encode(end.handshake_hash), intermediate["h_final"].as_str().unwrap());
        assert_eq!(end.muxer, Some(YAMUX));
        assert_eq!(alloc::format!("{}", end.peer), transcript[peer_id].as_str().unwrap());
        assert_eq!(end.public_key.peer_id(), end.peer);
    }
    let records = transcript["transport"].as_array().unwrap();
    assert_eq!(records.len(), 3);
    for record in records {
        let (sealer, opener) = match record["dir"].as_str().unwrap() {
            "i->r" => (&mut initiator.sealer, &mut responder.opener),
            _ => (&mut responder.sealer, &mut initiator.opener),
        };
        assert_record(sealer, opener, &bytes(&record["plaintext"]), &bytes(&record["wire"]));
    }
    let expected_keys: Vec<&str> = ["k_after_ee", "k_after_es", "k_after_se", "k1", "k2"]
        .into_iter()
        .map(|name| intermediate[name].as_str().unwrap())
        .collect();
    assert_eq!(*log.0.lock().unwrap(), expected_keys);
}

#[test]
fn every_intermediate_hash_and_chaining_key_of_the_transcript_is_reproduced() {
    let transcript: Value = serde_json::from_str(TRANSCRIPT).unwrap();
    let intermediate = |name: &str| intermediate_value(&transcript, name);
    let dh = |ours: [u8; 32], theirs: [u8; 32]| key_pair(ours).agree(key_pair(theirs).public()).unwrap();
    let public = |secret: [u8; 32]| *key_pair(secret).public();
    assert_eq!(b"Noise_XX_25519_ChaChaPoly_SHA256".as_slice(), intermediate("h0"));

    let mut state = SymmetricState::new(provider(), &[]);
    assert_eq!(state.hash().as_slice(), intermediate("h_after_prologue_empty"));
    let mut wire = vec![];
    state.mix_hash(&public(INITIATOR_EPHEMERAL));
    state.encrypt_and_hash(&[], &mut wire).unwrap();
    assert_eq!(state.hash().as_slice(), intermediate("h_after_msg1"));

    state.mix_hash(&public(RESPONDER_EPHEMERAL));
    state.mix_key(&dh(RESPONDER_EPHEMERAL, INITIATOR_EPHEMERAL));
    assert_eq!(state.chaining_key().as_slice(), intermediate("ck_after_ee"));
    state.encrypt_and_hash(&public(RESPONDER_STATIC), &mut wire).unwrap();
    state.mix_key(&dh(RESPONDER_STATIC, INITIATOR_EPHEMERAL));
    assert_eq!(state.chaining_key().as_slice(), intermediate("ck_after_es"));
    state.encrypt_and_hash(&bytes(&transcript["resp_payload_msg2"]), &mut wire).unwrap();
    assert_eq!(state.hash().as_slice(), intermediate("h_after_msg2"));

    state.encrypt_and_hash(&public(INITIATOR_STATIC), &mut wire).unwrap();
    state.mix_key(&dh(INITIATOR_STATIC, RESPONDER_EPHEMERAL));
    assert_eq!(state.chaining_key().as_slice(), intermediate("ck_after_se"));
    state.encrypt_and_hash(&bytes(&transcript["init_payload_msg3"]), &mut wire).unwrap();
    assert_eq!(state.hash().as_slice(), intermediate("h_final"));
}

fn assert_record(sealer: &mut Sealer, opener: &mut Opener, plaintext: &[u8], wire: &[u8]) {
    let mut record = vec![0; plaintext.len() + 18];
    record[2..2 + plaintext.len()].copy_from_slice(plaintext);
    assert_eq!(sealer.seal_in_place(&mut record, plaintext.len()), Ok(wire.len()));
    assert_eq!(record, wire);
    assert_eq!(opener.open_in_place(&mut record).unwrap(), plaintext);
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn key(value: &Value) -> KeyPair {
    key_pair(bytes(value).try_into().unwrap())
}

fn intermediate_value(transcript: &Value, name: &str) -> Vec<u8> {
    bytes(&transcript["intermediate"][name])
}

/// Writes down every AEAD key it is asked for.
#[derive(Default, Debug)]
struct KeyRecorder(Mutex<Vec<String>>);

impl Provider for KeyRecorder {
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey> {
        self.0.lock().unwrap().push(hex::encode(key));
        Tested.chacha20_poly1305(key)
    }
    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key> {
        Tested.x25519_key(secret)
    }
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        Tested.sha256(parts)
    }
    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        Tested.ed25519_sign(seed, message)
    }
}
