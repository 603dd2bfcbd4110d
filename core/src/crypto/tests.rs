//! What every [`Provider`] must do. Each test is a function over a provider; `provider_tests!` runs
//! them all against each.

use super::*;
use crate::{identity::BadSignature, testing::providers};
use alloc::vec;
use std::format;

macro_rules! provider_tests {
    ($($test:ident)*) => {
        mod rust_crypto {
            $(#[test] fn $test() { super::$test(&crate::crypto::RustCrypto); })*
        }
        #[cfg(feature = "aws-lc-rs")]
        mod aws_lc {
            $(#[test] fn $test() { super::$test(&crate::crypto::AwsLc); })*
        }
    };
}

provider_tests! {
    sealing_gives_the_record_of_rfc_8439
    a_sealed_record_opens_again_whatever_its_length
    a_record_changed_anywhere_is_not_opened
    x25519_computes_the_functions_of_rfc_7748
    x25519_agrees_on_the_shared_secret_of_rfc_7748
    x25519_with_a_point_of_small_order_gives_zero
    sha256_hashes_its_parts_as_one
    signatures_are_those_of_rfc_8032
    an_empty_record_has_a_tag_too
    nothing_is_left_of_a_record_that_was_not_opened
    x25519_ignores_what_clamping_and_the_top_bit_hide
    an_ed25519_signature_verifies_and_a_changed_one_does_not
}

#[test]
fn debug_output_of_a_provider_names_it() {
    let names: alloc::vec::Vec<_> = providers().iter().map(|provider| format!("{provider:?}")).collect();
    assert_eq!(names, if cfg!(feature = "aws-lc-rs") { vec!["RustCrypto", "AwsLc"] } else { vec!["RustCrypto"] });
}

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// RFC 8439, section 2.8.2.
fn sealing_gives_the_record_of_rfc_8439(provider: &dyn Provider) {
    let key = provider.chacha20_poly1305(&unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"));
    let nonce = unhex("070000004041424344454647");
    let associated: [u8; 12] = unhex("50515253c0c1c2c3c4c5c6c7");
    let plaintext = b"Ladies and Gentlemen of the class of '99: \
        If I could offer you only one tip for the future, sunscreen would be it.";

    let mut data = *plaintext;
    let tag = key.seal_in_place(&nonce, &associated, &mut data);
    let ciphertext = "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
        3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
        92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
        3ff4def08e4b7a9de576d26586cec64b6116";
    assert_eq!(hex::encode(data), ciphertext);
    assert_eq!(hex::encode(tag), "1ae10b594f09e26a7e902ecbd0600691");

    assert_eq!(key.open_in_place(&nonce, &associated, &mut data, &tag), Ok(()));
    assert_eq!(data, *plaintext);
}

fn a_sealed_record_opens_again_whatever_its_length(provider: &dyn Provider) {
    let key = provider.chacha20_poly1305(&[3; 32]);
    for len in (0..=130).chain([1024, 16_396, 65_519]) {
        let plaintext: alloc::vec::Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
        let mut data = plaintext.clone();
        let tag = key.seal_in_place(&[4; 12], b"", &mut data);
        assert!(len < 8 || data != plaintext, "{len} bytes stayed in the clear");
        assert_eq!(key.open_in_place(&[4; 12], b"", &mut data, &tag), Ok(()));
        assert_eq!(data, plaintext);
    }
}

fn a_record_changed_anywhere_is_not_opened(provider: &dyn Provider) {
    let key = provider.chacha20_poly1305(&[3; 32]);
    let (nonce, associated, plaintext) = ([4; 12], *b"associated", [5; 40]);
    let mut sealed = plaintext;
    let tag = key.seal_in_place(&nonce, &associated, &mut sealed);
    let open =
        |key: &dyn AeadKey, nonce: &[u8; 12], associated: &[u8], mut data: alloc::vec::Vec<u8>, tag: &[u8; 16]| {
            let opened = key.open_in_place(nonce, associated, &mut data, tag);
            assert!(opened.is_ok() || data != plaintext, "the plaintext was let out");
            opened
        };
    assert_eq!(open(&*key, &nonce, &associated, sealed.to_vec(), &tag), Ok(()));

    for bit in 0..8 * sealed.len() {
        let mut changed = sealed;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&*key, &nonce, &associated, changed.to_vec(), &tag), Err(OpenFailed));
    }
    for bit in 0..8 * TAG_LEN {
        let mut changed = tag;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&*key, &nonce, &associated, sealed.to_vec(), &changed), Err(OpenFailed));
    }
    for bit in 0..8 * nonce.len() {
        let mut changed = nonce;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&*key, &changed, &associated, sealed.to_vec(), &tag), Err(OpenFailed));
    }
    for cut in 0..associated.len() {
        assert_eq!(open(&*key, &nonce, &associated[..cut], sealed.to_vec(), &tag), Err(OpenFailed));
    }
    for cut in 0..sealed.len() {
        assert_eq!(open(&*key, &nonce, &associated, sealed[..cut].to_vec(), &tag), Err(OpenFailed));
    }
    let other = provider.chacha20_poly1305(&[2; 32]);
    assert_eq!(open(&*other, &nonce, &associated, sealed.to_vec(), &tag), Err(OpenFailed));
}

fn an_empty_record_has_a_tag_too(provider: &dyn Provider) {
    let key = provider.chacha20_poly1305(&[3; 32]);
    let tag = key.seal_in_place(&[4; 12], b"", &mut []);
    assert_eq!(tag, RustCrypto.chacha20_poly1305(&[3; 32]).seal_in_place(&[4; 12], b"", &mut []));
    assert_eq!(key.open_in_place(&[4; 12], b"", &mut [], &tag), Ok(()));
    assert_eq!(key.open_in_place(&[4; 12], b"", &mut [], &[0; TAG_LEN]), Err(OpenFailed));
    assert_eq!(key.open_in_place(&[4; 12], b"other", &mut [], &tag), Err(OpenFailed));
}

fn nothing_is_left_of_a_record_that_was_not_opened(provider: &dyn Provider) {
    let key = provider.chacha20_poly1305(&[3; 32]);
    for len in [1, 16, 64, 1024, 20_000] {
        let plaintext = vec![b'p'; len];
        let mut data = plaintext.clone();
        let mut tag = key.seal_in_place(&[4; 12], b"", &mut data);
        tag[15] ^= 1;
        assert_eq!(key.open_in_place(&[4; 12], b"", &mut data, &tag), Err(OpenFailed));
        assert!(len < 16 || !data.windows(16).any(|window| window == &plaintext[..16]), "{len} bytes");
    }
}

/// RFC 7748, section 5.2.
fn x25519_computes_the_functions_of_rfc_7748(provider: &dyn Provider) {
    let table = [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ];
    for (scalar, point, product) in table {
        assert_eq!(hex::encode(*provider.x25519_key(&unhex(scalar)).agree(&unhex(point))), product);
    }

    let mut scalar = [0; 32];
    scalar[0] = 9;
    let mut point = scalar;
    for round in 1..=1000 {
        let product = *provider.x25519_key(&scalar).agree(&point);
        (scalar, point) = (product, scalar);
        let expected = match round {
            1 => "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
            1000 => "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
            _ => continue,
        };
        assert_eq!(hex::encode(scalar), expected, "round {round}");
    }
}

/// RFC 7748, section 6.1.
fn x25519_agrees_on_the_shared_secret_of_rfc_7748(provider: &dyn Provider) {
    let alice = provider.x25519_key(&unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = provider.x25519_key(&unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let (alice_public, bob_public) = (*alice.public_key(), *bob.public_key());
    assert_eq!(hex::encode(alice_public), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    assert_eq!(hex::encode(bob_public), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    assert_eq!(hex::encode(*alice.agree(&bob_public)), shared);
    assert_eq!(hex::encode(*bob.agree(&alice_public)), shared);
}

/// The caller refuses the zero; a provider must hand it over rather than fail in its own way.
fn x25519_with_a_point_of_small_order_gives_zero(provider: &dyn Provider) {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let key = provider.x25519_key(&[0x42; 32]);
    for point in points {
        assert_eq!(*key.agree(&unhex(point)), [0; 32], "{point}");
    }
}

/// RFC 7748, section 5: three bits of the scalar are cleared, one is set, and the top bit of the point is masked.
fn x25519_ignores_what_clamping_and_the_top_bit_hide(provider: &dyn Provider) {
    let clamped = |mut secret: [u8; 32]| {
        secret[0] &= 0xf8;
        secret[31] = secret[31] & 0x7f | 0x40;
        secret
    };
    for secret in [[0; 32], [0xff; 32], [0x5a; 32]] {
        let (raw, clamped) = (provider.x25519_key(&secret), provider.x25519_key(&clamped(secret)));
        assert_eq!(raw.public_key(), clamped.public_key());
        let mut point = *provider.x25519_key(&[7; 32]).public_key();
        let shared = raw.agree(&point);
        assert_eq!(shared, clamped.agree(&point));
        assert_eq!(shared, RustCrypto.x25519_key(&secret).agree(&point));
        point[31] |= 0x80;
        assert_eq!(shared, raw.agree(&point));
    }
}

/// Whatever signs, it is the one strict verification that judges.
fn an_ed25519_signature_verifies_and_a_changed_one_does_not(provider: &dyn Provider) {
    let identity = crate::testing::identity(7);
    let signature = identity.sign(provider, b"message");
    assert_eq!(signature, identity.sign(&RustCrypto, b"message"));
    assert_eq!(identity.public_key().verify(b"message", &signature), Ok(()));
    for bit in 0..8 * signature.len() {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(identity.public_key().verify(b"message", &changed), Err(BadSignature), "bit {bit}");
    }
    assert_eq!(identity.public_key().verify(b"massage", &signature), Err(BadSignature));
}

/// FIPS 180-2, appendix B.
fn sha256_hashes_its_parts_as_one(provider: &dyn Provider) {
    let table: [(&[&[u8]], &str); 5] = [
        (&[], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (&[b"", b""], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (&[b"abc"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (&[b"a", b"", b"bc"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            &[b"abcdbcdecdefdefgefghfghighijhijkijkl", b"jklmklmnlmnomnopnopq"],
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ];
    for (parts, digest) in table {
        assert_eq!(hex::encode(provider.sha256(parts)), digest);
    }
    let many = vec![&[b'a'; 1000][..]; 1000];
    let digest = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    assert_eq!(hex::encode(provider.sha256(&many)), digest);
}

/// RFC 8032, section 7.1: tests 1, 2, 3 and SHA(abc).
fn signatures_are_those_of_rfc_8032(provider: &dyn Provider) {
    let vectors = include_str!("../../tests/vectors/ed25519_rfc8032.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    for vector in vectors["signatures"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        let made = provider.ed25519_sign(&unhex(text("private_key")), &hex::decode(text("message")).unwrap());
        assert_eq!(hex::encode(made), text("signature"));
    }
}
