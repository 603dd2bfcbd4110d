//! A provider that is fast and protects nothing, for targets that are about what lies above the records.

use alloc::boxed::Box;

use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::crypto::{AeadKey, OpenFailed, Provider, RustCrypto, TAG_LEN, X25519Key};

/// Agreement by addition and a cipher with a checksum. Signatures and hashes are real.
#[derive(Debug)]
pub(super) struct FastCrypto;

impl Provider for FastCrypto {
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey> {
        Box::new(Checksum(*key))
    }

    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key> {
        Box::new(Adder(*secret))
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        RustCrypto.sha256(parts)
    }

    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        RustCrypto.ed25519_sign(seed, message)
    }
}

struct Checksum([u8; 32]);

// Nothing here is secret.
impl ZeroizeOnDrop for Checksum {}

impl Checksum {
    fn tag(&self, nonce: &[u8; 12], associated: &[u8], data: &[u8]) -> [u8; TAG_LEN] {
        let parts = [&self.0[..], nonce, associated, data];
        let sum = parts.iter().flat_map(|part| part.chunks(8)).fold(0xcbf2_9ce4_8422_2325, |sum: u64, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
        });
        let mut tag = [0; TAG_LEN];
        tag[..8].copy_from_slice(&sum.to_le_bytes());
        tag
    }

    fn apply(&self, nonce: &[u8; 12], data: &mut [u8]) {
        let mask = self.0[0] ^ nonce[4];
        data.iter_mut().for_each(|byte| *byte ^= mask);
    }
}

impl AeadKey for Checksum {
    fn seal_in_place(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.apply(nonce, data);
        self.tag(nonce, associated, data)
    }

    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed> {
        if self.tag(nonce, associated, data) != *tag {
            return Err(OpenFailed);
        }
        self.apply(nonce, data);
        Ok(())
    }
}

struct Adder([u8; 32]);

// Nothing here is secret.
impl ZeroizeOnDrop for Adder {}

impl X25519Key for Adder {
    fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    fn agree(&self, public: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut shared = Zeroizing::new(self.0);
        shared.iter_mut().zip(public).for_each(|(ours, theirs)| *ours = ours.wrapping_add(*theirs));
        shared
    }
}
