use alloc::{vec, vec::Vec};

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::crypto::RustCrypto;

const DOMAIN: &str = "libp2p-testing";
const TYPE: &[u8] = b"/libp2p/testdata";
const PAYLOAD: &[u8] = b"some payload";

/// The envelope as the protobuf compiler would have it.
#[derive(Clone, PartialEq, prost::Message)]
struct Oracle {
    #[prost(message, optional, tag = "1")]
    public_key: Option<OracleKey>,
    #[prost(bytes = "vec", tag = "2")]
    payload_type: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OracleKey {
    #[prost(uint64, required, tag = "1")]
    key_type: u64,
    #[prost(bytes = "vec", required, tag = "2")]
    data: Vec<u8>,
}

fn identity(seed: u8) -> Identity {
    Identity::from_ed25519_seed([seed; 32])
}

fn sealed() -> Vec<u8> {
    seal(&identity(1), &RustCrypto, DOMAIN, TYPE, PAYLOAD).unwrap()
}

fn open(envelope: &[u8]) -> Result<Vec<u8>, Error> {
    SignedEnvelope::decode(envelope)?.open(DOMAIN, TYPE).map(Vec::from)
}

#[test]
fn what_is_sealed_opens_and_says_who_sealed_it() {
    let envelope = sealed();
    let decoded = SignedEnvelope::decode(&envelope).unwrap();
    assert_eq!(decoded.open(DOMAIN, TYPE), Ok(PAYLOAD));
    assert_eq!(decoded.public_key(), identity(1).public_key());
    assert_eq!(decoded.payload_type(), TYPE);
}

#[test]
fn another_domain_or_payload_type_does_not_open_it() {
    let envelope = sealed();
    let decoded = SignedEnvelope::decode(&envelope).unwrap();
    for domain in ["libp2p-testin", "libp2p-testing/", ""] {
        assert_eq!(decoded.open(domain, TYPE), Err(Error::BadSignature), "{domain}");
    }
    for payload_type in [&b"/libp2p/testdat"[..], b"/libp2p/testdata/", b""] {
        assert_eq!(decoded.open(DOMAIN, payload_type), Err(Error::PayloadType));
    }
}

#[test]
fn bytes_cannot_move_between_what_is_signed() {
    let oracle = Oracle::decode(&sealed()[..]).unwrap();
    let moved =
        Oracle { payload_type: [TYPE, &PAYLOAD[..1]].concat(), payload: PAYLOAD[1..].to_vec(), ..oracle.clone() };
    let envelope = moved.encode_to_vec();
    let decoded = SignedEnvelope::decode(&envelope).unwrap();
    assert_eq!(decoded.open(DOMAIN, &moved.payload_type), Err(Error::BadSignature));
}

#[test]
fn no_bit_can_be_changed() {
    let envelope = sealed();
    for bit in 0..envelope.len() * 8 {
        let mut forged = envelope.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&forged).is_err(), "bit {bit}");
    }
}

#[test]
fn no_other_key_signature_or_payload_fits() {
    let oracle = Oracle::decode(&sealed()[..]).unwrap();
    let other = Oracle::decode(&seal(&identity(2), &RustCrypto, DOMAIN, TYPE, PAYLOAD).unwrap()[..]).unwrap();
    let forged = [
        Oracle { public_key: other.public_key, ..oracle.clone() },
        Oracle { signature: other.signature, ..oracle.clone() },
        Oracle { signature: vec![], ..oracle.clone() },
        Oracle { signature: [&oracle.signature[..], &[0]].concat(), ..oracle.clone() },
        Oracle { payload: b"some other".to_vec(), ..oracle.clone() },
        Oracle { payload: vec![], ..oracle },
    ];
    for forged in forged {
        assert_eq!(open(&forged.encode_to_vec()), Err(Error::BadSignature));
    }
}

#[test]
fn an_envelope_cut_anywhere_is_refused() {
    let envelope = sealed();
    for end in 0..envelope.len() {
        let error = open(&envelope[..end]).unwrap_err();
        let key_end = 38;
        let boundary = [0, key_end, key_end + 18, key_end + 18 + 14].contains(&end);
        match error {
            Error::MissingKey => assert_eq!(end, 0),
            Error::PayloadType => assert_eq!(end, key_end),
            Error::BadSignature => assert!(boundary, "{end}"),
            Error::Protobuf(protobuf::Error::Truncated) => assert!(!boundary, "{end}"),
            other => panic!("{other:?} after {end} bytes"),
        }
    }
}

#[test]
fn a_key_is_needed_that_can_be_used() {
    let oracle = Oracle::decode(&sealed()[..]).unwrap();
    let none = Oracle { public_key: None, ..oracle.clone() };
    assert_eq!(open(&none.encode_to_vec()), Err(Error::MissingKey));
    let foreign = OracleKey { key_type: 9, data: vec![1; 32] };
    let foreign = Oracle { public_key: Some(foreign), ..oracle.clone() };
    assert_eq!(open(&foreign.encode_to_vec()), Err(Error::Key(identity::Error::UnsupportedType(9))));
    let weak = Oracle { public_key: Some(OracleKey { key_type: 1, data: vec![0; 32] }), ..oracle };
    assert_eq!(open(&weak.encode_to_vec()), Err(Error::Key(identity::Error::InvalidPoint)));
}

#[test]
fn fields_may_be_unknown_and_in_any_order_and_must_have_their_type() {
    let envelope = sealed();
    let (key, rest) = envelope.split_at(38);
    let shuffled = [&[0x20, 7, 0x7a, 1, 0x41][..], rest, key].concat();
    assert_eq!(open(&shuffled).as_deref(), Ok(PAYLOAD));
    for field in [1, 2, 3, 5] {
        let wrong = [&envelope[..], &[field << 3, 1]].concat();
        assert_eq!(open(&wrong), Err(Error::Protobuf(protobuf::Error::WrongType)), "field {field}");
    }
}

#[test]
fn an_envelope_has_at_most_8192_bytes_each_way() {
    let overhead = seal(&identity(1), &RustCrypto, DOMAIN, TYPE, &[7; 1000]).unwrap().len() - 1000;
    let seal = |len: usize| seal(&identity(1), &RustCrypto, DOMAIN, TYPE, &vec![7; len]);
    let longest = seal(MAX_LEN - overhead).unwrap();
    assert_eq!(longest.len(), MAX_LEN);
    assert_eq!(open(&longest).map(|payload| payload.len()), Ok(MAX_LEN - overhead));
    assert_eq!(seal(MAX_LEN - overhead + 1), Err(SealError::TooLong { len: MAX_LEN + 1 }));
    assert!(matches!(seal(1 << 20), Err(SealError::TooLong { .. })));

    let padded = [&sealed()[..], &[0x20, 0].repeat(MAX_LEN)].concat();
    let fits = MAX_LEN - (MAX_LEN - sealed().len()) % 2;
    assert_eq!(open(&padded[..fits]).as_deref(), Ok(PAYLOAD));
    assert_eq!(open(&padded[..MAX_LEN + 1]), Err(Error::TooLong));
}

proptest! {
    #[test]
    fn it_is_encoded_as_the_protobuf_compiler_would(
        seed: u8, domain in "\\PC{0,40}", payload_type in prop::collection::vec(any::<u8>(), 1..200),
        payload in prop::collection::vec(any::<u8>(), 1..2000)
    ) {
        let envelope = seal(&identity(seed), &RustCrypto, &domain, &payload_type, &payload).unwrap();
        let oracle = Oracle::decode(&envelope[..]).unwrap();
        prop_assert_eq!(oracle.encode_to_vec(), envelope.clone());
        prop_assert_eq!(&oracle.payload_type, &payload_type);
        prop_assert_eq!(&oracle.payload, &payload);
        prop_assert_eq!(oracle.public_key.unwrap().encode_to_vec(), identity(seed).public_key().to_protobuf());
        let decoded = SignedEnvelope::decode(&envelope).unwrap();
        prop_assert_eq!(decoded.open(&domain, &payload_type), Ok(&payload[..]));
    }

    #[test]
    fn random_bytes_never_open(data in prop::collection::vec(prop_oneof![any::<u8>(), 0..0x40_u8], 0..300)) {
        prop_assert!(open(&data).is_err());
    }
}
