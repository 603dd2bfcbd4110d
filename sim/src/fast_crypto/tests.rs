use septa_core::crypto::{AeadKey, Provider, TAG_LEN};

use super::FastCrypto;

const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

fn key() -> Box<dyn AeadKey> {
    FastCrypto.chacha20_poly1305(&KEY)
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn sealed(len: usize, associated: &[u8]) -> (Vec<u8>, [u8; TAG_LEN]) {
    let mut data = plaintext(len);
    let tag = key().seal_in_place(&NONCE, associated, &mut data);
    (data, tag)
}

#[test]
fn what_was_sealed_opens_at_every_length() {
    for len in 0..200 {
        for associated in [&b""[..], b"associated", &[1; 32], &[1; 100]] {
            let (mut data, tag) = sealed(len, associated);
            key().open_in_place(&NONCE, associated, &mut data, &tag).unwrap();
            assert_eq!(data, plaintext(len));
        }
    }
}

#[test]
fn every_bit_that_flips_is_noticed() {
    for len in [0, 1, 7, 8, 31, 32, 33, 100, 199] {
        let (data, tag) = sealed(len, b"associated");
        for bit in 0..8 * (len + TAG_LEN) {
            let (mut data, mut tag) = (data.clone(), tag);
            match bit / 8 {
                byte if byte < len => data[byte] ^= 1 << (bit % 8),
                byte => tag[byte - len] ^= 1 << (bit % 8),
            }
            assert!(key().open_in_place(&NONCE, b"associated", &mut data, &tag).is_err(), "bit {bit} of {len} bytes");
        }
    }
}

#[test]
fn two_bytes_that_change_places_are_noticed() {
    let (data, tag) = sealed(200, b"");
    for one in 0..200 {
        for other in one + 1..200 {
            let mut data = data.clone();
            data.swap(one, other);
            if data != sealed(200, b"").0 {
                assert!(key().open_in_place(&NONCE, b"", &mut data, &tag).is_err(), "{one} and {other}");
            }
        }
    }
}

#[test]
fn a_record_that_lost_or_gained_zeros_is_noticed() {
    let mut zeros = vec![0; 40];
    let tag = key().seal_in_place(&NONCE, b"", &mut zeros);
    for len in 0..40 {
        assert!(key().open_in_place(&NONCE, b"", &mut zeros[..len].to_vec(), &tag).is_err(), "{len}");
        let (mut data, tag) = sealed(len, b"");
        data.push(0);
        assert!(key().open_in_place(&NONCE, b"", &mut data, &tag).is_err(), "{len}");
    }
}

#[test]
fn every_bit_of_key_nonce_and_associated_data_matters() {
    // Those that end within the first block too, and nothing at all.
    [0, 1, 12, 31, 32, 50].into_iter().for_each(every_bit_matters_at);
}

fn every_bit_matters_at(len: usize) {
    let (sealed, tag) = sealed(len, b"associated");
    let opens = |key: &[u8; 32], nonce: &[u8; 12], associated: &[u8]| {
        FastCrypto.chacha20_poly1305(key).open_in_place(nonce, associated, &mut sealed.clone(), &tag).is_ok()
    };
    assert!(opens(&KEY, &NONCE, b"associated"));
    for bit in 0..8 * KEY.len() {
        let mut key = KEY;
        key[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&key, &NONCE, b"associated"), "bit {bit} of the key, {len} bytes");
    }
    for bit in 0..8 * NONCE.len() {
        let mut nonce = NONCE;
        nonce[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&KEY, &nonce, b"associated"), "bit {bit} of the nonce, {len} bytes");
    }
    for bit in 0..8 * 10 {
        let mut associated = *b"associated";
        associated[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&KEY, &NONCE, &associated), "bit {bit} of the associated data");
    }
    for associated in [&b""[..], b"associate", b"associated\0"] {
        assert!(!opens(&KEY, &NONCE, associated), "{associated:?}");
    }
}

#[test]
fn what_leaves_differs_from_the_plaintext_and_from_nonce_to_nonce() {
    let (data, _) = sealed(64, b"");
    assert_ne!(data, plaintext(64));
    let mut other = plaintext(64);
    key().seal_in_place(&[9; 12], b"", &mut other);
    assert!(data.chunks(8).zip(other.chunks(8)).all(|(one, other)| one != other));
}

#[test]
fn both_sides_agree_and_each_pair_of_keys_on_something_else() {
    let keys: Vec<_> = (0..20_u8).map(|number| FastCrypto.x25519_key(&[number.wrapping_mul(37); 32])).collect();
    let mut agreed = Vec::new();
    for (index, one) in keys.iter().enumerate() {
        for other in &keys[..index] {
            let shared = one.agree(other.public_key());
            assert_eq!(shared, other.agree(one.public_key()));
            assert!(!agreed.contains(&shared), "two pairs share a secret");
            agreed.push(shared);
        }
    }
}

#[test]
fn a_public_key_of_zeros_gives_zeros_which_the_handshake_refuses() {
    assert_eq!(*FastCrypto.x25519_key(&[3; 32]).agree(&[0; 32]), [0; 32]);
}

/// The same bytes on every platform, and for ever: hashes of whole runs are kept.
#[test]
fn the_bytes_are_known() {
    let (data, tag) = sealed(5, b"associated");
    assert_eq!((hex(&data), hex(&tag)), ("95e624e157".to_owned(), "f902642bf74adaab534fcc01c55589bb".to_owned()));
    assert_eq!(
        hex(FastCrypto.x25519_key(&[3; 32]).public_key()),
        "3fb392103daa502b3fb392103daa502b3fb392103daa502b3fb392103daa502b"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
