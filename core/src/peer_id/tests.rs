use super::*;
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use proptest::prelude::*;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/peer_id_vectors.json")).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn every_key_vector_gives_its_id_in_every_form() {
    let vectors = vectors();
    let keys = vectors["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 4);
    for key in keys {
        let id = PeerId::from_encoded_key(&unhex(&key["public_key_protobuf_hex"]));
        assert_eq!(id.as_bytes(), unhex(&key["peer_id_multihash_hex"]));
        assert_eq!(PeerId::from_bytes(id.as_bytes()), Ok(id));
        let text = key["peer_id_base58btc"].as_str().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(key["peer_id_cid_v1_base32"].as_str().unwrap().parse(), Ok(id));
        assert_eq!(format!("{id:?}"), format!("PeerId({text})"));
    }
}

#[test]
fn both_text_forms_of_the_spec_name_the_same_peer() {
    for form in vectors()["string_forms"].as_array().unwrap() {
        let id: PeerId = form["base58btc"].as_str().unwrap().parse().unwrap();
        assert_eq!(form["cid_v1_base32"].as_str().unwrap().parse(), Ok(id));
        assert_eq!(id.as_bytes(), unhex(&form["multihash_hex"]));
        assert_eq!(id.public_key().is_some(), form.get("inlined_public_key_protobuf_hex").is_some());
    }
}

#[test]
fn an_inlined_ed25519_key_can_be_taken_out_again() {
    let key = &vectors()["keys"][1];
    let id: PeerId = key["peer_id_base58btc"].as_str().unwrap().parse().unwrap();
    let public_key = id.public_key().unwrap();
    assert_eq!(public_key.to_protobuf(), unhex(&key["public_key_protobuf_hex"]));
    assert_eq!(PeerId::from_public_key(&public_key), id);
}

/// A multihash whose digest has `len` bytes.
fn multihash(code: u8, len: usize) -> Vec<u8> {
    let digest = (0..len).map(|index| u8::try_from(index + 1).unwrap());
    [code, u8::try_from(len).unwrap()].into_iter().chain(digest).collect()
}

/// Unpadded lower-case base32, bit by bit.
fn base32(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1)).collect();
    bits.chunks(5)
        .map(|chunk| {
            let digit = (0..5).fold(0, |digit, bit| (digit << 1) | usize::from(*chunk.get(bit).unwrap_or(&0)));
            char::from(b"abcdefghijklmnopqrstuvwxyz234567"[digit])
        })
        .collect()
}

fn cid(id: &[u8]) -> String {
    String::from("b") + &base32(&[&[0x01, 0x72], id].concat())
}

#[test]
fn an_inlined_key_has_at_most_42_bytes_and_a_hash_exactly_32() {
    for len in 0..=60 {
        let inlined = multihash(0x00, len);
        assert_eq!(PeerId::from_bytes(&inlined).is_ok(), len <= 42, "{len} bytes inlined");
        let hashed = multihash(0x12, len);
        assert_eq!(PeerId::from_bytes(&hashed).is_ok(), len == 32, "{len} bytes of hash");
        for code in [0x11, 0x13, 0x80, 0x92] {
            assert_eq!(PeerId::from_bytes(&multihash(code, len)), Err(InvalidPeerId::Multihash));
        }
    }
}

#[test]
fn keys_of_up_to_42_bytes_are_inlined_and_longer_ones_hashed() {
    let inlined = PeerId::from_encoded_key(&[1; 42]);
    assert_eq!(inlined.as_bytes(), [&[0x00, 42][..], &[1; 42]].concat());
    let hashed = PeerId::from_encoded_key(&[1; 43]);
    assert_eq!(hashed.as_bytes(), [&[0x12, 32][..], Sha256::digest([1; 43]).as_slice()].concat());
    assert_eq!(hashed.public_key(), None);
}

#[test]
fn an_id_cut_or_extended_anywhere_is_refused() {
    for id in [multihash(0x00, 0), multihash(0x00, 36), multihash(0x00, 42), multihash(0x12, 32)] {
        let text = PeerId::from_bytes(&id).unwrap().to_string();
        for cut in 0..id.len() {
            assert_eq!(PeerId::from_bytes(&id[..cut]), Err(InvalidPeerId::Multihash));
            assert!(cid(&id[..cut]).parse::<PeerId>().is_err());
        }
        for cut in 0..text.len() {
            // Base58 has no framing: by chance a part may be an id, but never this one.
            assert_ne!(text[..cut].parse::<PeerId>().map(|part| part.as_bytes().to_vec()), Ok(id.clone()));
        }
        let extended = [&id[..], &[0]].concat();
        assert_eq!(PeerId::from_bytes(&extended), Err(InvalidPeerId::Multihash));
        assert!(cid(&extended).parse::<PeerId>().is_err());
    }
    // The same code and length, not in their shortest form.
    assert_eq!(PeerId::from_bytes(&[0x80, 0x00, 0x00]), Err(InvalidPeerId::Multihash));
    assert_eq!(PeerId::from_bytes(&[&[0x12, 0xa0, 0x00], &[7; 32][..]].concat()), Err(InvalidPeerId::Multihash));
}

#[test]
fn text_is_measured_before_it_is_decoded() {
    let longest = cid(&multihash(0x00, 42));
    assert_eq!(longest.len(), MAX_TEXT_LEN);
    assert!(longest.parse::<PeerId>().is_ok());
    assert_eq!((longest + "a").parse::<PeerId>(), Err(InvalidPeerId::TextTooLong));
    assert_eq!("1".repeat(MAX_TEXT_LEN + 1).parse::<PeerId>(), Err(InvalidPeerId::TextTooLong));
    // Shorter than the limit and yet more bytes than an id has.
    for text in ["1".repeat(MAX_TEXT_LEN), "z".repeat(MAX_TEXT_LEN), "b".repeat(MAX_TEXT_LEN)] {
        assert!(text.parse::<PeerId>().is_err(), "{text}");
    }
}

#[test]
fn text_that_is_no_peer_id_is_refused() {
    let good = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
    let id: PeerId = good.parse().unwrap();
    let codec = |bytes: &[u8]| String::from("b") + &base32(&[bytes, id.as_bytes()].concat());
    let table = [
        (String::new(), InvalidPeerId::Multihash),
        ("b".into(), InvalidPeerId::Cid),
        ("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5O".into(), InvalidPeerId::Text),
        ("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5\u{e9}".into(), InvalidPeerId::Text),
        (" 12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA".into(), InvalidPeerId::Text),
        (good.to_uppercase(), InvalidPeerId::Text),
        (good.replace('7', "8"), InvalidPeerId::Text),
        (format!("{good}="), InvalidPeerId::Text),
        // The last digit of 36 bytes has two bits to spare; they must be zero.
        (good.strip_suffix('e').unwrap().to_string() + "f", InvalidPeerId::Text),
        (format!("{good}a"), InvalidPeerId::Text),
        // CIDs of version 2, of raw data, of dag-pb.
        (codec(&[0x02, 0x72]), InvalidPeerId::Cid),
        (codec(&[0x01, 0x55]), InvalidPeerId::Cid),
        (codec(&[0x01, 0x70]), InvalidPeerId::Cid),
        (cid(&multihash(0x12, 31)), InvalidPeerId::Multihash),
        (cid(&multihash(0x13, 32)), InvalidPeerId::Multihash),
    ];
    for (text, error) in table {
        assert_eq!(text.parse::<PeerId>(), Err(error), "{text}");
    }
}

#[test]
fn a_hashed_and_an_inlined_id_of_one_key_are_different() {
    let inlined: PeerId = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA".parse().unwrap();
    let digest = Sha256::digest(inlined.public_key().unwrap().to_protobuf());
    let hashed = PeerId::from_bytes(&[&[0x12, 32], digest.as_slice()].concat()).unwrap();
    assert_ne!(inlined, hashed);
}

#[test]
fn an_inlined_key_that_is_none_or_unsupported_is_not_handed_out() {
    // A key of type 4, which nobody has.
    let unknown = [&[0x00, 6, 0x08, 4, 0x12, 2], &[1, 1][..]].concat();
    assert_eq!(PeerId::from_bytes(&unknown).unwrap().public_key(), None);
    assert_eq!(PeerId::from_bytes(&[0x00, 0x00]).unwrap().public_key(), None);
}

fn any_id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..=42).prop_map(|key| [
            &[0x00, u8::try_from(key.len()).unwrap()],
            &key[..]
        ]
        .concat()),
        any::<[u8; 32]>().prop_map(|digest| [&[0x12, 32], &digest[..]].concat()),
    ]
}

proptest! {
    #[test]
    fn every_id_survives_every_form(bytes in any_id()) {
        let id = PeerId::from_bytes(&bytes).unwrap();
        prop_assert_eq!(id.as_bytes(), &bytes);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(cid(&bytes).parse(), Ok(id));
        let theirs = ::multiaddr::PeerId::from_bytes(&bytes).unwrap();
        prop_assert_eq!(theirs.to_string(), id.to_string());
    }

    #[test]
    fn ids_compare_as_their_bytes(left in any_id(), right in any_id()) {
        let ids = [&left, &right].map(|bytes| PeerId::from_bytes(bytes).unwrap());
        prop_assert_eq!(ids[0].cmp(&ids[1]), left.cmp(&right));
        prop_assert_eq!(ids[0] == ids[1], left == right);
    }

    #[test]
    fn libp2p_agrees_on_which_bytes_are_an_id(
        code in proptest::sample::select(vec![0x00, 0x12, 0x13, 0x80]), len in 0_u8..80, actual in 0_usize..80, exact: bool,
    ) {
        let digest = vec![7; if exact { len.into() } else { actual }];
        let bytes = [&[code, len], &digest[..]].concat();
        let theirs = ::multiaddr::PeerId::from_bytes(&bytes).is_ok();
        // libp2p takes SHA-256 digests of any length; a digest of another length names nobody.
        prop_assert_eq!(PeerId::from_bytes(&bytes).is_ok(), theirs && (code == 0x00 || len == 32));
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "[1Qbmafz2-7A-Z\\PC]{0,80}") {
        if let Ok(id) = text.parse::<PeerId>() {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
