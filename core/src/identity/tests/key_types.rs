//! RSA, ECDSA and secp256k1: what is accepted, and what is refused for which reason.

use alloc::string::String;

use super::*;

const RSA: &str = "rsa";
const ECDSA: &str = "ecdsa";
const SECP256K1: &str = "secp256k1";

struct Vector {
    name: String,
    outcome: String,
    public_key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

fn signatures(key_type: &str) -> Vec<Vector> {
    let vectors = parse(include_str!("../../../tests/vectors/key_signatures.json"), "signatures");
    let of_type = vectors.iter().filter(|vector| field(vector, "type") == key_type);
    let read = |vector: &Value| Vector {
        name: field(vector, "name").to_string(),
        outcome: field(vector, "outcome").to_string(),
        public_key: unhex(field(vector, "public_key_protobuf_hex")),
        message: unhex(field(vector, "message_hex")),
        signature: unhex(field(vector, "signature_hex")),
    };
    of_type.map(read).collect()
}

/// The first valid signature whose name starts with `name`.
fn valid(key_type: &str, name: &str) -> (PublicKey, Vector) {
    let mut vectors = signatures(key_type).into_iter();
    let vector = vectors.find(|vector| vector.outcome == "valid" && vector.name.starts_with(name)).unwrap();
    (PublicKey::from_protobuf(&vector.public_key).unwrap(), vector)
}

/// The data of a `PublicKey` message.
fn data(public_key: &[u8]) -> Vec<u8> {
    key_data(public_key).unwrap().1.to_vec()
}

#[test]
fn signatures_by_openssl_are_judged_as_they_should_be() {
    let mut outcomes = [0; 3];
    for vector in [RSA, ECDSA, SECP256K1].into_iter().flat_map(signatures) {
        let verified =
            PublicKey::from_protobuf(&vector.public_key).map(|key| key.verify(&vector.message, &vector.signature));
        let index = match vector.outcome.as_str() {
            "valid" => {
                assert_eq!(verified, Ok(Ok(())), "{}", vector.name);
                0
            }
            "bad signature" => {
                assert_eq!(verified, Ok(Err(BadSignature)), "{}", vector.name);
                1
            }
            "bad key" => {
                assert!(verified.is_err(), "{}", vector.name);
                2
            }
            other => panic!("unknown outcome {other}"),
        };
        outcomes[index] += 1;
    }
    assert_eq!(outcomes, [10, 4, 4]);
}

#[test]
fn a_signature_changed_anywhere_is_refused() {
    for (key_type, name) in [(RSA, "2048 bits, exponent 65537"), (ECDSA, "peer-ids"), (SECP256K1, "peer-ids")] {
        let (key, Vector { message, signature, .. }) = valid(key_type, name);
        for byte in 0..signature.len() {
            for bit in [0x01, 0x10, 0x80] {
                let mut changed = signature.clone();
                changed[byte] ^= bit;
                assert_eq!(key.verify(&message, &changed), Err(BadSignature), "{key_type}, byte {byte}");
            }
        }
        for len in 0..signature.len() {
            assert_eq!(key.verify(&message, &signature[..len]), Err(BadSignature), "{key_type}, {len} bytes");
        }
        assert_eq!(key.verify(&message, &[&signature[..], &[0]].concat()), Err(BadSignature), "{key_type}");
        assert_eq!(key.verify(&message, &[&[0], &signature[..]].concat()), Err(BadSignature), "{key_type}");
        assert_eq!(key.verify(&message[1..], &signature), Err(BadSignature), "{key_type}");
        assert_eq!(key.verify(&message, &vec![0xff; 20_000]), Err(BadSignature), "{key_type}");
    }
}

#[test]
fn a_signature_is_good_for_its_own_key_only() {
    let all =
        [(RSA, "2048 bits, exponent 65537"), (RSA, "2048 bits, exponent 3"), (ECDSA, "peer"), (SECP256K1, "peer")]
            .map(|(key_type, name)| valid(key_type, name));
    for (index, (key, vector)) in all.iter().enumerate() {
        for (other, (_, signed)) in all.iter().enumerate() {
            let expected = if index == other { Ok(()) } else { Err(BadSignature) };
            assert_eq!(key.verify(&vector.message, &signed.signature), expected);
        }
    }
}

/// DER of an ECDSA signature with these two integers, taken as they are.
fn ecdsa_der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| [&[0x02, bytes.len() as u8], bytes].concat();
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

#[test]
fn an_ecdsa_signature_is_strict_der_with_numbers_in_range() {
    for key_type in [ECDSA, SECP256K1] {
        let (key, Vector { message, signature, .. }) = valid(key_type, "peer-ids");
        let r_len = usize::from(signature[3]);
        let (r, s) = (signature[4..4 + r_len].to_vec(), signature[6 + r_len..].to_vec());
        assert_eq!(ecdsa_der(&r, &s), signature);
        let padded = |bytes: &[u8]| [&[0], bytes].concat();
        let cases = [
            ecdsa_der(&padded(&r), &s),
            ecdsa_der(&r, &padded(&s)),
            ecdsa_der(&[], &s),
            ecdsa_der(&[0], &s),
            ecdsa_der(&r, &[0]),
            ecdsa_der(&[0xff; 32], &s),
            ecdsa_der(&padded(&[0xff; 32]), &s),
            ecdsa_der(&r, &padded(&[0xff; 32])),
            ecdsa_der(&padded(&[0xff; 40]), &s),
            // Lengths in the long form, which BER allows.
            [&[0x30, 0x81, signature[1]], &signature[2..]].concat(),
            [&[0x30, 0x80], &signature[2..], &[0, 0]].concat(),
            // Bytes behind S, inside the sequence.
            [&[0x30, signature[1] + 2], &signature[2..], &[0x05, 0x00]].concat(),
            // R and S without any DER.
            [&r[r.len() - 32..], &s[s.len() - 32..]].concat(),
        ];
        for case in cases {
            assert_eq!(key.verify(&message, &case), Err(BadSignature), "{key_type}: {}", hex::encode(case));
        }
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    let mut p256 = data(&valid(ECDSA, "peer-ids").1.public_key);
    *p256.last_mut().unwrap() ^= 1;
    assert_eq!(PublicKey::from_protobuf(&encoded(3, &p256)), Err(Error::InvalidPoint));
    // x and y above the field's prime.
    p256[27..].fill(0xff);
    assert_eq!(PublicKey::from_protobuf(&encoded(3, &p256)), Err(Error::InvalidPoint));

    // 5^3 + 7 is no square.
    let mut compressed = [0; 33];
    (compressed[0], compressed[32]) = (2, 5);
    assert_eq!(PublicKey::from_protobuf(&encoded(2, &compressed)), Err(Error::InvalidPoint));
    compressed[1..].fill(0xff);
    assert_eq!(PublicKey::from_protobuf(&encoded(2, &compressed)), Err(Error::InvalidPoint));
    // A tag that is none of a compressed point, and the point at infinity.
    let mut secp256k1 = data(&valid(SECP256K1, "peer-ids").1.public_key);
    for tag in [0, 1, 4, 5, 6, 7] {
        secp256k1[0] = tag;
        assert_eq!(PublicKey::from_protobuf(&encoded(2, &secp256k1)), Err(Error::InvalidPoint), "{tag}");
    }
}

#[test]
fn a_key_has_one_encoding_and_no_other_length() {
    let compressed = data(&valid(SECP256K1, "peer-ids").1.public_key);
    for len in (0..=66).filter(|len| *len != 33) {
        let read = PublicKey::from_protobuf(&encoded(2, &[&compressed[..], &[0; 33]].concat()[..len]));
        assert_eq!(read, Err(Error::Length { actual: len }));
    }
    for (number, key_type, name) in [(3, ECDSA, "peer-ids"), (0, RSA, "2048")] {
        let der = data(&valid(key_type, name).1.public_key);
        assert!(PublicKey::from_protobuf(&encoded(number, &der)).is_ok());
        for len in 0..der.len() {
            assert_eq!(PublicKey::from_protobuf(&encoded(number, &der[..len])), Err(Error::NotDer), "{len} bytes");
        }
        assert_eq!(PublicKey::from_protobuf(&encoded(number, &[&der[..], &[0]].concat())), Err(Error::NotDer));
        // Everything before the numbers is fixed.
        for byte in 0..if number == 3 { 27 } else { 24 } {
            let mut changed = der.clone();
            changed[byte] ^= 0x40;
            assert_eq!(PublicKey::from_protobuf(&encoded(number, &changed)), Err(Error::NotDer), "byte {byte}");
        }
    }
    // The same point, compressed: 09 bytes of structure less for x alone.
    let uncompressed = data(&valid(ECDSA, "peer-ids").1.public_key);
    let mut shorter = uncompressed[..59].to_vec();
    (shorter[1], shorter[24]) = (0x39, 0x22);
    shorter[26] = 2 + (uncompressed[90] & 1);
    assert_eq!(PublicKey::from_protobuf(&encoded(3, &shorter)), Err(Error::NotDer));
}

/// SubjectPublicKeyInfo of an RSA key. Lengths are minimal, the content of the integers is taken as it is.
fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = unhex("300d06092a864886f70d0101010500");
    let numbers = tlv(0x30, &[tlv(0x02, modulus), tlv(0x02, exponent)].concat());
    tlv(0x30, &[algorithm, tlv(0x03, &[&[0], &numbers[..]].concat())].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = match content.len() {
        len @ 0..=0x7f => vec![len as u8],
        len @ 0x80..=0xff => vec![0x81, len as u8],
        len => vec![0x82, (len >> 8) as u8, len as u8],
    };
    [&[tag], &len[..], content].concat()
}

fn read_rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, Error> {
    PublicKey::from_protobuf(&encoded(0, &rsa_der(modulus, exponent)))
}

const F4: [u8; 3] = [1, 0, 1];

/// An odd number of so many bits, with the zero in front that keeps it positive where one is needed.
fn odd(bits: usize) -> Vec<u8> {
    let mut bytes = vec![0x5b; bits / 8 + 1];
    bytes[0] = (1_u16 << (bits % 8) >> 1) as u8;
    if bits.is_multiple_of(8) {
        bytes[1] |= 0x80;
    }
    bytes
}

#[test]
fn an_rsa_modulus_has_2048_to_8192_bits() {
    for bits in [2048, 2049, 3072, 4096, 8191, 8192] {
        assert!(read_rsa(&odd(bits), &F4).is_ok(), "{bits} bits");
    }
    for bits in [8, 512, 1024, 2040, 2047, 8193, 8200, 16_384, 65_536] {
        assert_eq!(read_rsa(&odd(bits), &F4), Err(Error::RsaSize { bits }));
    }
    // The size is judged first: nothing else about such a key matters.
    assert_eq!(read_rsa(&[&odd(8193)[..], &[0]].concat(), &[0x7f; 500]), Err(Error::RsaSize { bits: 8201 }));
}

#[test]
fn rsa_numbers_that_weaken_or_slow_down_verification_are_refused() {
    let modulus = odd(2048);
    for exponent in [&[3][..], &[0x11], &F4, &[0x7f, 0xff, 0xff, 0xff], &[0, 0x81]] {
        assert!(read_rsa(&modulus, exponent).is_ok(), "{exponent:?}");
    }
    let too_large = [0, 0x80, 0, 0, 1];
    for exponent in [&[1][..], &[2], &[4], &[1, 0, 0], &too_large, &[1, 0, 0, 0, 1], &[0x7f; 256]] {
        assert_eq!(read_rsa(&modulus, exponent), Err(Error::RsaNumbers), "{exponent:?}");
    }
    let mut even = odd(2048);
    *even.last_mut().unwrap() ^= 1;
    assert_eq!(read_rsa(&even, &F4), Err(Error::RsaNumbers));
}

#[test]
fn rsa_integers_are_positive_and_as_short_as_possible() {
    let modulus = odd(2048);
    let negative = &modulus[1..];
    let padded = [&[0], &modulus[..]].concat();
    for modulus in [&[][..], &[0], negative, &padded] {
        assert_eq!(read_rsa(modulus, &F4), Err(Error::NotDer));
    }
    for exponent in [&[][..], &[0], &[0, 1, 0, 1], &[0x81], &[0xff, 0xff]] {
        assert_eq!(read_rsa(&modulus, exponent), Err(Error::NotDer), "{exponent:?}");
    }
}

#[test]
fn rsa_lengths_are_in_their_shortest_form() {
    let der = rsa_der(&odd(2048), &F4);
    assert_eq!(der[..4], [0x30, 0x82, 0x01, 0x22]);
    let cases = [
        [&[0x30, 0x83, 0x00], &der[2..]].concat(),
        [&[0x30, 0x80], &der[4..], &[0, 0]].concat(),
        [&[0x30, 0x82, 0x00, 0x22], &der[4..]].concat(),
        [&der[..der.len() - 5], &[0x02, 0x81, 0x03], &F4].concat(),
    ];
    for case in cases {
        assert_eq!(PublicKey::from_protobuf(&encoded(0, &case)), Err(Error::NotDer), "{}", hex::encode(&case[..8]));
    }
}

#[test]
fn keys_of_all_types_are_ordered_by_type_and_bytes_and_shown_in_hex() {
    let keys = vectors().iter().map(|key| unhex(field(key, "public_key_protobuf_hex"))).collect::<Vec<_>>();
    let mut keys: Vec<_> = keys.iter().map(|key| PublicKey::from_protobuf(key).unwrap()).collect();
    keys.sort();
    for (key, name) in keys.iter().zip(["Rsa", "Ed25519", "Secp256k1", "Ecdsa"]) {
        assert_eq!(format!("{key:?}"), format!("{name}({})", hex::encode(data(&key.to_protobuf()))));
        assert_eq!(keys.iter().filter(|other| *other == key).count(), 1);
    }
}

proptest::proptest! {
    #[test]
    fn whatever_is_read_as_a_key_is_written_as_it_was(
        key_type in 0_u64..4,
        at in proptest::prelude::any::<proptest::sample::Index>(),
        byte in proptest::prelude::any::<u8>(),
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100),
    ) {
        let name = [RSA, "", SECP256K1, ECDSA][key_type as usize];
        let good = signatures(name).first().map_or(vec![1; 32], |vector| data(&vector.public_key));
        let mut changed = good.clone();
        *at.get_mut(&mut changed) = byte;
        for key in [good, changed, noise] {
            let message = encoded(key_type, &key);
            if let Ok(read) = PublicKey::from_protobuf(&message) {
                assert_eq!(read.to_protobuf(), message);
                assert_eq!(read.verify(b"message", &key), Err(BadSignature));
            }
        }
    }
}
