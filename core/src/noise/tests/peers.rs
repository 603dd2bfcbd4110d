//! Who the peer is: identities, signatures and the payload that carries them.

use alloc::{vec, vec::Vec};

use prost::Message;
use serde_json::Value;

use super::*;
use crate::{
    PublicKey, identity,
    noise::{credentials::signing_input, payload},
    protobuf::{self, Writer},
};

const STRANGER: u8 = 7;
const STATIC: [u8; 32] = [8; 32];

fn assert_both(payload: &[u8], expected: Result<PeerId, Error>) {
    assert_eq!(show_to_both(STATIC, payload), [expected.clone(), expected]);
}

fn accepted() -> Result<PeerId, Error> {
    Ok(identity(STRANGER).peer_id())
}

/// Identity key and signature of the stranger.
fn honest_parts() -> (Vec<u8>, Vec<u8>) {
    let claim = signing_input(key_pair(STATIC).public());
    let identity = identity(STRANGER);
    (identity.public_key().to_protobuf(), identity.sign(&Tested, &claim).to_vec())
}

fn payload_of(identity_key: &[u8], signature: &[u8]) -> Vec<u8> {
    payload::encode(identity_key, signature, [])
}

#[test]
fn an_honest_stranger_is_accepted_by_who_expects_nobody() {
    let (identity_key, signature) = honest_parts();
    assert_both(&payload_of(&identity_key, &signature), accepted());
}

#[test]
fn a_dialer_refuses_the_wrong_peer_and_does_not_introduce_itself() {
    let expected = identity(RESPONDER_IDENTITY).peer_id();
    let mut caller = initiator_expecting(ExpectedPeer::Exactly(expected), &[]);
    let (identity_key, signature) = honest_parts();
    let answered = answer_initiator(&mut caller, &key_pair(STATIC), &payload_of(&identity_key, &signature));
    // `outcome` checks that no byte of message 3 comes out.
    let found = identity(STRANGER).peer_id();
    assert_eq!(outcome(caller, answered), Err(Error::WrongPeer { expected, found }));
}

#[test]
fn a_listener_may_expect_a_peer_too() {
    let expected = identity(INITIATOR_IDENTITY).peer_id();
    let mut called = responder_expecting(ExpectedPeer::Exactly(expected), &[]);
    let (identity_key, signature) = honest_parts();
    let received = call_responder(&mut called, &key_pair(STATIC), &payload_of(&identity_key, &signature));
    let found = identity(STRANGER).peer_id();
    assert_eq!(outcome(called, received), Err(Error::WrongPeer { expected, found }));
}

#[test]
fn an_impostor_never_sees_message_3() {
    let expected = identity(RESPONDER_IDENTITY);
    let (_, signature) = honest_parts();
    // The key of the peer that is wanted, with a signature that only the stranger could make.
    let forged = payload_of(&expected.public_key().to_protobuf(), &signature);
    let mut caller = initiator(&[]);
    let answered = answer_initiator(&mut caller, &key_pair(STATIC), &forged);
    assert_eq!(outcome(caller, answered), Err(Error::BadSignature));
}

#[test]
fn a_signature_for_anything_else_is_refused() {
    let (identity_key, signature) = honest_parts();
    let sign = |message: &[u8]| identity(STRANGER).sign(&Tested, message).to_vec();
    let static_key = *key_pair(STATIC).public();
    let another_static_key = sign(&signing_input(key_pair([9; 32]).public()));
    let without_prefix = sign(&static_key);
    let another_identity = identity(1).sign(&Tested, &signing_input(&static_key)).to_vec();
    let longer = [signature.as_slice(), &[0]].concat();
    let cases = [
        another_static_key,
        without_prefix,
        another_identity,
        with_large_s(&signature),
        signature[..63].to_vec(),
        longer,
        vec![],
        vec![0; 64],
    ];
    for bad in cases {
        assert_both(&payload_of(&identity_key, &bad), Err(Error::BadSignature));
    }
}

#[test]
fn a_bit_flipped_anywhere_in_the_signature_is_refused() {
    let (identity_key, signature) = honest_parts();
    for byte in 0..signature.len() {
        let mut flipped = signature.clone();
        flipped[byte] ^= 0x10;
        assert_both(&payload_of(&identity_key, &flipped), Err(Error::BadSignature));
    }
}

#[test]
fn missing_parts_are_told_apart() {
    let (identity_key, signature) = honest_parts();
    assert_both(&[], Err(Error::MissingIdentityKey));
    let mut only_signature = Vec::new();
    Writer::new(&mut only_signature).bytes(2, &signature);
    assert_both(&only_signature, Err(Error::MissingIdentityKey));
    let mut only_key = Vec::new();
    Writer::new(&mut only_key).bytes(1, &identity_key);
    assert_both(&only_key, Err(Error::MissingSignature));
}

/// The vectors are signatures of the static key whose secret is [`STATIC`].
#[test]
fn peers_with_keys_of_every_type_are_accepted_and_known_by_their_id() {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/key_signatures.json")).unwrap();
    let claim = hex::encode(signing_input(key_pair(STATIC).public()));
    let mut outcomes = [0; 3];
    for vector in vectors["signatures"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        if text("message_hex") != claim {
            continue;
        }
        let identity_key = hex::decode(text("public_key_protobuf_hex")).unwrap();
        let payload = payload_of(&identity_key, &hex::decode(text("signature_hex")).unwrap());
        match PublicKey::from_protobuf(&identity_key) {
            Ok(key) if text("outcome") == "valid" => {
                outcomes[0] += 1;
                assert_both(&payload, Ok(key.peer_id()));
            }
            Ok(_) => {
                outcomes[1] += 1;
                assert_both(&payload, Err(Error::BadSignature));
            }
            Err(error) => {
                outcomes[2] += 1;
                assert_both(&payload, Err(Error::IdentityKey(error)));
            }
        }
    }
    assert_eq!(outcomes, [8, 4, 4]);
}

/// A node may hold a key of any type outside of this library.
#[test]
fn credentials_take_a_signature_of_another_type() {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/key_signatures.json")).unwrap();
    let rsa = &vectors["signatures"][0];
    let bytes = |name: &str| hex::decode(rsa[name].as_str().unwrap()).unwrap();
    let key = PublicKey::from_protobuf(&bytes("public_key_protobuf_hex")).unwrap();
    let static_key = StaticKey::from_secret_dangerous(provider(), STATIC);
    let credentials = Credentials::from_signature(static_key, key.clone(), &bytes("signature_hex")).unwrap();
    let ephemeral = key_pair(RESPONDER_EPHEMERAL);
    let mut responder = Handshake::responder_with(Arc::new(credentials), ExpectedPeer::Any, &[], ephemeral);
    let mut initiator = initiator_expecting(ExpectedPeer::Exactly(key.peer_id()), &[]);
    while initiator.wants_transmit() || responder.wants_transmit() {
        responder.handle_recv(&drain(&mut initiator)).unwrap();
        initiator.handle_recv(&drain(&mut responder)).unwrap();
    }
    assert_eq!(initiator.finish().unwrap().public_key, key);
}

#[test]
fn keys_that_cannot_be_used_are_told_apart() {
    let (identity_key, signature) = honest_parts();
    let with_type = |key_type| {
        let mut key = Vec::new();
        Writer::new(&mut key).uint64(1, key_type).bytes(2, &[1; 32]);
        key
    };
    let with_point = |point: &[u8]| {
        let mut key = Vec::new();
        Writer::new(&mut key).uint64(1, 1).bytes(2, point);
        key
    };
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    let cases = [
        (vec![], identity::Error::MissingType),
        (vec![8, 1], identity::Error::MissingData),
        (with_type(0), identity::Error::NotDer),
        (with_type(2), identity::Error::Length { actual: 32 }),
        (with_type(3), identity::Error::NotDer),
        (with_type(99), identity::Error::UnsupportedType(99)),
        (with_point(&[1; 31]), identity::Error::Length { actual: 31 }),
        (with_point(&identity_point), identity::Error::InvalidPoint),
        (identity_key[..10].to_vec(), identity::Error::Protobuf(protobuf::Error::Truncated)),
    ];
    for (key, expected) in cases {
        assert_both(&payload_of(&key, &signature), Err(Error::IdentityKey(expected)));
    }
}

#[test]
fn malformed_payloads_are_refused() {
    let (identity_key, signature) = honest_parts();
    let honest = payload_of(&identity_key, &signature);
    let with = |tail: &[u8]| [honest.as_slice(), tail].concat();
    let cases = [
        (with(&[0x0a]), protobuf::Error::Truncated),
        (with(&[0x22, 5, 0x12]), protobuf::Error::Truncated),
        (with(&[0x22, 2, 0x12, 9]), protobuf::Error::Truncated),
        (with(&[0x08, 1]), protobuf::Error::WrongType),
        (with(&[0x10, 1]), protobuf::Error::WrongType),
        (with(&[0x20, 1]), protobuf::Error::WrongType),
        (with(&[0x22, 2, 0x10, 1]), protobuf::Error::WrongType),
        (with(&[0x2b]), protobuf::Error::WireType(3)),
        (with(&[0x00, 0]), protobuf::Error::FieldNumber),
        (with(&[0xff; 11]), protobuf::Error::VarintTooLong),
    ];
    for (bad, expected) in cases {
        assert_both(&bad, Err(Error::MalformedPayload(expected)));
    }
}

#[test]
fn unknown_and_old_fields_are_passed_over() {
    let (identity_key, signature) = honest_parts();
    let honest = payload_of(&identity_key, &signature);
    let extras: [&[u8]; 6] = [
        &[0x22, 0],                                                 // empty extensions, as go and js send them
        &[0x1a, 3, b'o', b'l', b'd'],                               // field 3, the data of an older revision
        &[0x22, 4, 0x0a, 2, 1, 2],                                  // a certificate hash for WebTransport
        &[0x22, 4, 0x1a, 2, 1, 2],                                  // early data of py-libp2p
        &[0xc2, 0x3e, 1, 0],                                        // field 1000
        &[0x28, 5, 0x35, 1, 2, 3, 4, 0x39, 1, 2, 3, 4, 5, 6, 7, 8], // the other wire types
    ];
    for extra in extras {
        assert_both(&[extra, honest.as_slice()].concat(), accepted());
        assert_both(&[honest.as_slice(), extra].concat(), accepted());
    }
    let mut reversed = Vec::new();
    Writer::new(&mut reversed).bytes(2, &signature).bytes(1, &identity_key);
    assert_both(&reversed, accepted());
}

#[test]
fn the_last_of_a_repeated_field_counts() {
    let (identity_key, signature) = honest_parts();
    let honest = payload_of(&identity_key, &signature);
    let wrong = payload_of(&identity(1).public_key().to_protobuf(), &[0; 64]);
    assert_both(&[wrong.as_slice(), &honest].concat(), accepted());
    assert_both(&[honest.as_slice(), &wrong].concat(), Err(Error::BadSignature));
}

#[test]
fn a_signature_made_elsewhere_is_checked() {
    let static_key = || StaticKey::from_secret_dangerous(provider(), STATIC);
    let signer = identity(STRANGER);
    let signature = signer.sign(&Tested, &static_key().signing_input());
    let outside = Credentials::from_signature(static_key(), signer.public_key().clone(), &signature).unwrap();
    assert_eq!(outside.peer_id(), signer.peer_id());
    assert_eq!(outside.public_key(), signer.public_key());
    assert_eq!(outside.payload(&[]), credentials(STRANGER, STATIC).payload(&[]));
    assert_eq!(&static_key().signing_input()[..24], b"noise-libp2p-static-key:");
    assert_eq!(&static_key().signing_input()[24..], key_pair(STATIC).public());

    let another = StaticKey::from_secret_dangerous(provider(), [9; 32]);
    let refused = Credentials::from_signature(another, signer.public_key().clone(), &signature);
    assert_eq!(refused.unwrap_err(), Error::BadSignature);
    let refused = Credentials::from_signature(static_key(), identity(1).public_key().clone(), &signature);
    assert_eq!(refused.unwrap_err(), Error::BadSignature);
}

#[test]
fn the_same_seed_gives_the_same_handshake_and_another_seed_another() {
    let start = |byte| {
        let seed = || crate::Seed::from_bytes([byte; 32]);
        let credentials = Arc::new(Credentials::new(&identity(1), provider(), seed()));
        let mut initiator = Handshake::initiator(credentials.clone(), ExpectedPeer::Any, &[], seed());
        (credentials.payload(&[]), drain(&mut initiator))
    };
    assert_eq!(start(1), start(1));
    assert_ne!(start(1).0, start(2).0);
    assert_ne!(start(1).1, start(2).1);
}

#[derive(Clone, PartialEq, Message)]
struct ProstPayload {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    identity_sig: Option<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    extensions: Option<ProstExtensions>,
}

#[derive(Clone, PartialEq, Message)]
struct ProstExtensions {
    #[prost(bytes = "vec", repeated, tag = "1")]
    webtransport_certhashes: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "2")]
    stream_muxers: Vec<alloc::string::String>,
}

#[test]
fn prost_reads_and_writes_the_same_payload() {
    for muxers in [[].as_slice(), &[YAMUX], &[YAMUX, MPLEX]] {
        let ours = credentials(STRANGER, STATIC).payload(muxers);
        let theirs = ProstPayload::decode(ours.as_slice()).unwrap();
        assert_eq!((theirs.identity_key.clone().unwrap(), theirs.identity_sig.clone().unwrap()), honest_parts());
        let listed = theirs.extensions.as_ref().map(|extensions| extensions.stream_muxers.clone());
        let expected = (!muxers.is_empty()).then(|| muxers.iter().map(|muxer| muxer.as_str().into()).collect());
        assert_eq!(listed, expected);
        assert_eq!(theirs.encode_to_vec(), ours);
    }
}

/// The same signature with the group order added to S, which RFC 8032 forbids (section 5.1.7).
fn with_large_s(signature: &[u8]) -> Vec<u8> {
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0;
    let mut large = signature.to_vec();
    for (byte, add) in large[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    large
}
