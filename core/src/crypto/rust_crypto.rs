//! The provider that works everywhere: RustCrypto and dalek, pure Rust.

use alloc::boxed::Box;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{AeadKey, OpenFailed, Provider, TAG_LEN, X25519Key};

/// RustCrypto's ChaCha20-Poly1305 and SHA-256, dalek's X25519 and Ed25519.
///
/// What `no_std`, wasm and the simulator use.
#[derive(Clone, Copy, Default, Debug)]
pub struct RustCrypto;

impl Provider for RustCrypto {
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey> {
        Box::new(Cipher(ChaCha20Poly1305::new(key.into())))
    }

    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key> {
        let secret = StaticSecret::from(*secret);
        let public = PublicKey::from(&secret);
        Box::new(KeyPair { secret, public })
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(seed).sign(message).to_bytes()
    }
}

struct Cipher(ChaCha20Poly1305);

// `ChaCha20Poly1305` wipes its own key; the wrapper has nothing else to wipe.
impl ZeroizeOnDrop for Cipher where ChaCha20Poly1305: ZeroizeOnDrop {}

impl AeadKey for Cipher {
    fn seal_in_place(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        match self.0.encrypt_inout_detached(nonce.into(), associated, (&mut *data).into()) {
            Ok(tag) => tag.into(),
            // Only a message over 256 GiB fails. Never let its plaintext out.
            Err(_) => {
                data.zeroize();
                [0; TAG_LEN]
            }
        }
    }

    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed> {
        self.0.decrypt_inout_detached(nonce.into(), associated, data.into(), tag.into()).map_err(|_| OpenFailed)
    }
}

struct KeyPair {
    secret: StaticSecret,
    public: PublicKey,
}

// `StaticSecret` wipes itself, and the other half is public.
impl ZeroizeOnDrop for KeyPair where StaticSecret: ZeroizeOnDrop {}

impl X25519Key for KeyPair {
    fn public_key(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }

    fn agree(&self, public: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.diffie_hellman(&PublicKey::from(*public)).to_bytes())
    }
}
