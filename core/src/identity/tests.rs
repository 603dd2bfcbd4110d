mod key_types;

use super::*;
use crate::{InvalidPeerId, crypto::RustCrypto};
use alloc::{format, string::ToString, vec};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde_json::Value;

fn vectors() -> Vec<Value> {
    parse(include_str!("../../tests/vectors/peer_id_vectors.json"), "keys")
}

fn parse(vectors: &str, name: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(vectors).unwrap()[name].as_array().unwrap().clone()
}

fn unhex(value: &str) -> Vec<u8> {
    hex::decode(value).unwrap()
}

fn field<'a>(key: &'a Value, name: &str) -> &'a str {
    key[name].as_str().unwrap()
}

fn identity() -> Identity {
    Identity::from_ed25519_seed([7; 32])
}

/// A `PublicKey` or `PrivateKey` message of those two fields.
fn encoded(key_type: u64, data: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    protobuf::Writer::new(&mut out).uint64(1, key_type).bytes(2, data);
    out
}

#[test]
fn what_an_identity_signs_its_public_key_verifies() {
    let identity = Identity::generate(Seed::from_bytes([7; 32]));
    let signature = identity.sign(&RustCrypto, b"message");
    assert_eq!(identity.public_key().verify(b"message", &signature), Ok(()));
    assert_eq!(identity.public_key().verify(b"massage", &signature), Err(BadSignature));
    let other = Identity::from_ed25519_seed([8; 32]);
    assert_eq!(other.public_key().verify(b"message", &signature), Err(BadSignature));
}

#[test]
fn the_same_seed_gives_the_same_identity_and_another_seed_another() {
    let generate = |byte| Identity::generate(Seed::from_bytes([byte; 32])).peer_id();
    assert_eq!(generate(1), generate(1));
    assert_ne!(generate(1), generate(2));
    // Generating derives; it does not use the seed as the key.
    assert_ne!(generate(1), Identity::from_ed25519_seed([1; 32]).peer_id());
}

#[test]
fn a_known_private_key_has_its_known_public_key_and_id() {
    let identity = Identity::from_ed25519_seed([1; 32]);
    let public = "080112208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    assert_eq!(hex::encode(identity.public_key().to_protobuf()), public);
    assert_eq!(identity.peer_id().to_string(), "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5");
    assert_eq!(identity.peer_id(), identity.public_key().peer_id());
}

#[test]
fn every_key_of_the_spec_is_read_and_written_and_names_its_peer() {
    let mut types = vec![];
    for key in vectors() {
        let private = unhex(field(&key, "private_key_protobuf_hex"));
        let public = unhex(field(&key, "public_key_protobuf_hex"));
        let public_key = PublicKey::from_protobuf(&public).unwrap();
        assert_eq!(public_key.to_protobuf(), public);
        let peer: PeerId = field(&key, "peer_id_base58btc").parse().unwrap();
        assert_eq!(public_key.peer_id(), peer);
        assert_eq!(peer.to_string(), field(&key, "peer_id_base58btc"));
        assert_eq!(field(&key, "peer_id_cid_v1_base32").parse(), Ok(peer));
        let inlined = field(&key, "multihash") == "identity";
        assert_eq!(peer.public_key(), inlined.then(|| public_key.clone()));
        match Identity::from_protobuf(&private) {
            Ok(identity) => {
                assert_eq!(*identity.to_protobuf(), private);
                assert_eq!(identity.public_key(), &public_key);
                assert_eq!(identity.public_key().ed25519_bytes().unwrap().as_slice(), &public[4..]);
            }
            // Others verify, but do not sign.
            Err(error) => {
                assert_eq!(error, Error::UnsupportedType(private[1].into()));
                assert_eq!(public_key.ed25519_bytes(), None);
            }
        }
        types.push(field(&key, "type").to_string());
    }
    assert_eq!(types, ["ecdsa", "ed25519", "secp256k1", "rsa"]);
}

#[test]
fn a_legacy_private_key_repeats_its_public_key() {
    let identity = identity();
    let own = *identity.public_key().ed25519_bytes().unwrap();
    let other = *Identity::from_ed25519_seed([8; 32]).public_key().ed25519_bytes().unwrap();
    let read = |keys: &[[u8; 32]]| {
        let data: Vec<u8> = keys.iter().flatten().copied().collect();
        Identity::from_protobuf(&encoded(1, &data)).map(|read| read.peer_id())
    };
    assert_eq!(read(&[[7; 32], own]), Ok(identity.peer_id()));
    assert_eq!(read(&[[7; 32], own, own]), Ok(identity.peer_id()));
    assert_eq!(read(&[[7; 32], other]), Err(Error::KeyMismatch));
    assert_eq!(read(&[[7; 32], own, other]), Err(Error::KeyMismatch));
    assert_eq!(read(&[[7; 32], other, own]), Err(Error::KeyMismatch));
}

#[test]
fn keys_of_a_wrong_length_are_refused() {
    let data = [vec![7; 32], identity().public_key().ed25519_bytes().unwrap().repeat(4)].concat();
    for len in (0..=160).filter(|len| ![64, 96].contains(len)) {
        let refused = Identity::from_protobuf(&encoded(1, &data[..len])).unwrap_err();
        assert_eq!(refused, Error::Length { actual: len });
    }
    for len in (0..=64).filter(|len| *len != 32) {
        let refused = PublicKey::from_protobuf(&encoded(1, &data[32..32 + len]));
        assert_eq!(refused, Err(Error::Length { actual: len }));
    }
}

#[test]
fn a_key_cut_anywhere_or_without_a_field_is_refused() {
    let private = identity().to_protobuf();
    let public = identity().public_key().to_protobuf();
    for cut in 0..private.len() {
        assert!(Identity::from_protobuf(&private[..cut]).is_err(), "private key cut at {cut}");
    }
    for cut in 0..public.len() {
        let expected = match cut {
            0 => Error::MissingType,
            2 => Error::MissingData,
            _ => Error::Protobuf(protobuf::Error::Truncated),
        };
        assert_eq!(PublicKey::from_protobuf(&public[..cut]), Err(expected), "public key cut at {cut}");
    }
    assert_eq!(PublicKey::from_protobuf(&public[2..]), Err(Error::MissingType));
    let text_as_type = [&[0x0a, 0x01, 0x01], &public[2..]].concat();
    assert_eq!(PublicKey::from_protobuf(&text_as_type), Err(Error::Protobuf(protobuf::Error::WrongType)));
}

#[test]
fn however_a_key_is_encoded_it_has_one_canonical_encoding_and_one_peer_id() {
    let identity = identity();
    let canonical = identity.public_key().to_protobuf();
    let (key_type, data) = canonical.split_at(2);
    let foreign = [
        [data, key_type].concat(),
        [key_type, data, &[0x1a, 0x01, 0xff]].concat(),
        [&[0x08, 0x00], key_type, data].concat(),
        [key_type, &[0x12, 0x00], data].concat(),
        [&[0x88, 0x80, 0x00, 0x81, 0x80, 0x00], data].concat(),
    ];
    for encoded in foreign {
        let key = PublicKey::from_protobuf(&encoded).unwrap();
        assert_eq!(&key, identity.public_key());
        assert_eq!(key.to_protobuf(), canonical);
        assert_eq!(key.peer_id(), identity.peer_id());

        // An id that inlines such an encoding is another id, which no key has.
        let inlined = [&[0x00, u8::try_from(encoded.len()).unwrap()], &encoded[..]].concat();
        match PeerId::from_bytes(&inlined) {
            Ok(id) => {
                assert_ne!(id, identity.peer_id());
                assert_eq!(id.public_key(), None);
            }
            Err(error) => assert_eq!((error, encoded.len() > 42), (InvalidPeerId::Multihash, true)),
        }
    }
}

#[test]
fn the_signatures_of_rfc_8032_are_verified_and_changed_ones_are_not() {
    for vector in parse(include_str!("../../tests/vectors/ed25519_rfc8032.json"), "signatures") {
        let (message, signature) = (unhex(field(&vector, "message")), unhex(field(&vector, "signature")));
        let key = PublicKey::from_ed25519_bytes(&unhex(field(&vector, "public_key"))).unwrap();
        let signer = Identity::from_ed25519_seed(unhex(field(&vector, "private_key")).try_into().unwrap());
        assert_eq!(signer.public_key(), &key);
        assert_eq!(key.verify(&message, &signature), Ok(()));
        for bit in 0..8 * signature.len() {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.verify(&message, &changed), Err(BadSignature), "bit {bit}");
        }
        for len in 0..signature.len() {
            assert_eq!(key.verify(&message, &signature[..len]), Err(BadSignature), "{len} bytes");
        }
        assert_eq!(key.verify(&message, &[&signature[..], &[0]].concat()), Err(BadSignature));
        assert_eq!(key.verify(&[&message[..], &[0]].concat(), &signature), Err(BadSignature));
    }
}

#[test]
fn a_signature_with_the_group_order_added_is_refused() {
    // L, little-endian. Adding it to S leaves the verification equation true.
    let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let identity = identity();
    for provider in crate::testing::providers() {
        let mut signature = identity.sign(&*provider, b"message");
        assert_eq!(identity.public_key().verify(b"message", &signature), Ok(()));
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(&order) {
            let sum = u16::from(*byte) + u16::from(*add) + carry;
            carry = sum >> 8;
            *byte = (sum & 0xff) as u8;
        }
        assert_eq!(carry, 0);
        assert_eq!(identity.public_key().verify(b"message", &signature), Err(BadSignature));
    }
}

#[test]
fn a_signature_whose_nonce_is_of_small_order_is_refused() {
    // R is the neutral element and S is k times the private key: lax verifiers take it.
    let forgery = unhex(
        "0100000000000000000000000000000000000000000000000000000000000000\
        d4c5323131ff9683cfb3d30197c786c9043f1052d6c2d5293f19d6f36b911104",
    );
    let identity = identity();
    let lax = VerifyingKey::from_bytes(identity.public_key().ed25519_bytes().unwrap()).unwrap();
    assert!(lax.verify(b"message", &Signature::from_slice(&forgery).unwrap()).is_ok());
    assert_eq!(identity.public_key().verify(b"message", &forgery), Err(BadSignature));
}

#[test]
fn public_keys_of_small_order_are_refused() {
    let points = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];
    for point in points {
        let point = unhex(point);
        // Points of the curve, which only their order makes unusable.
        assert!(VerifyingKey::from_bytes(point.as_slice().try_into().unwrap()).is_ok());
        assert_eq!(PublicKey::from_ed25519_bytes(&point), Err(Error::InvalidPoint));
        assert_eq!(PublicKey::from_protobuf(&encoded(1, &point)), Err(Error::InvalidPoint));
    }
}

#[test]
fn a_public_key_has_one_encoding() {
    let mut second_encodings = 0;
    // y from p to 2^255 - 1 also encodes y - p, from 0 to 18.
    for excess in 0..=18_u8 {
        for sign in [0x00, 0x80] {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (0xed + excess, 0x7f | sign);
            assert_eq!(PublicKey::from_ed25519_bytes(&point), Err(Error::InvalidPoint));
            let lax = VerifyingKey::from_bytes(&point);
            if lax.is_ok_and(|lax| !lax.is_weak()) {
                second_encodings += 1;
                let mut canonical = [0; 32];
                (canonical[0], canonical[31]) = (excess, sign);
                assert!(PublicKey::from_ed25519_bytes(&canonical).is_ok());
            }
        }
    }
    assert!(second_encodings > 0, "no case tests what it should");
}

#[test]
fn bytes_that_are_no_point_of_the_curve_are_refused() {
    let mut point = [0; 32];
    point[0] = 2;
    assert_eq!(PublicKey::from_ed25519_bytes(&point), Err(Error::InvalidPoint));
}

#[test]
fn keys_are_ordered_by_their_bytes() {
    let mut keys: Vec<PublicKey> =
        (0..8).map(|byte| Identity::from_ed25519_seed([byte; 32]).public_key().clone()).collect();
    keys.sort();
    assert!(keys.is_sorted_by(|left, right| left.ed25519_bytes() < right.ed25519_bytes()));
}

#[test]
fn a_private_key_is_wiped_and_never_shown() {
    fn is_wiped<T: ZeroizeOnDrop>(_: &T) {}
    let identity = Identity::from_ed25519_seed([0xa7; 32]);
    is_wiped(&identity);
    is_wiped(&identity.to_protobuf());
    let shown = format!("{identity:?} {identity:#?}");
    assert!(shown.contains(&identity.peer_id().to_string()));
    for secret in ["a7", "A7", "167, 167"] {
        assert!(!shown.replace(&identity.peer_id().to_string(), "").contains(secret), "{shown}");
    }
    // It was written without growing, so that no copy stays behind.
    assert_eq!(identity.to_protobuf().capacity(), identity.to_protobuf().len());
}

#[test]
fn debug_output_shows_the_public_key_in_hex() {
    let key = Identity::from_ed25519_seed([1; 32]).public_key().clone();
    let shown = "Ed25519(8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c)";
    assert_eq!(format!("{key:?}"), shown);
}
