//! The fast provider: AWS-LC, whose ciphers and curves are assembly.

use alloc::boxed::Box;

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, PrivateKey, UnparsedPublicKey, X25519},
    digest,
    signature::Ed25519KeyPair,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{AeadKey, OpenFailed, Provider, RustCrypto, TAG_LEN, X25519Key};

/// AWS-LC's ChaCha20-Poly1305, X25519, SHA-256 and Ed25519 signatures. Behind the feature `aws-lc-rs`.
///
/// Needs `std` and a C compiler. Each key is a small allocation of the C library; where that cannot be
/// made, [`RustCrypto`] takes its place, which computes the same.
#[derive(Clone, Copy, Default, Debug)]
pub struct AwsLc;

impl Provider for AwsLc {
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey> {
        match UnboundKey::new(&CHACHA20_POLY1305, key) {
            Ok(key) => Box::new(Cipher(LessSafeKey::new(key))),
            Err(_) => RustCrypto.chacha20_poly1305(key),
        }
    }

    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key> {
        match KeyPair::new(secret) {
            Some(pair) => Box::new(pair),
            None => RustCrypto.x25519_key(secret),
        }
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            hash.update(part);
        }
        let digest = hash.finish();
        // SHA-256 is never anything but 32 bytes.
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        let signature = Ed25519KeyPair::from_seed_unchecked(seed).ok().and_then(|pair| pair.try_sign(message).ok());
        let signature = signature.and_then(|signature| signature.as_ref().first_chunk().copied());
        signature.unwrap_or_else(|| RustCrypto.ed25519_sign(seed, message))
    }
}

/// A key in memory of AWS-LC.
struct Cipher(LessSafeKey);

// The key is in one allocation of AWS-LC, which overwrites every allocation before it frees it
// (`OPENSSL_free`). It cannot be observed from here, and the types do not say so: this is its promise.
impl ZeroizeOnDrop for Cipher {}

impl AeadKey for Cipher {
    fn seal_in_place(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(associated), data).ok();
        tag.and_then(|tag| tag.as_ref().first_chunk().copied()).unwrap_or_else(|| {
            // Only a message over 256 GiB fails. Never let its plaintext out.
            data.zeroize();
            [0; TAG_LEN]
        })
    }

    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        match self.0.open_in_place_separate_tag(nonce, Aad::from(associated), tag, data) {
            Ok(_) => Ok(()),
            Err(_) => Err(OpenFailed),
        }
    }
}

struct KeyPair {
    secret: PrivateKey,
    public: [u8; 32],
}

impl KeyPair {
    fn new(secret: &[u8; 32]) -> Option<Self> {
        let secret = PrivateKey::from_private_key(&X25519, secret).ok()?;
        let public = *secret.compute_public_key().ok()?.as_ref().first_chunk()?;
        Some(Self { secret, public })
    }
}

// As for `Cipher`: the private half is in an allocation of AWS-LC, which it overwrites.
impl ZeroizeOnDrop for KeyPair {}

impl X25519Key for KeyPair {
    fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    fn agree(&self, public: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut shared = Zeroizing::new([0; 32]);
        let public = UnparsedPublicKey::new(&X25519, public);
        // AWS-LC fails where the result would be zero. Zero is what our caller refuses, so that any other
        // failure is refused with it.
        let _ = agreement::agree(&self.secret, public, (), |secret| {
            if let Some(secret) = secret.first_chunk() {
                *shared = *secret;
            }
            Ok(())
        });
        shared
    }
}
