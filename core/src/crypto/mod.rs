//! What core needs of a cryptography library: the [`Provider`] trait and its pure-Rust implementation.
//!
//! A provider is a value, so that no feature flag can weaken a build: the simulator's fast insecure
//! cipher enters as a value too. Ed25519 *verification* is not here: it is always dalek's
//! `verify_strict`, because providers differ in which forgeries they accept (see [`crate::identity`]).

mod rust_crypto;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use core::fmt;

pub use rust_crypto::RustCrypto;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Bytes of a ChaCha20-Poly1305 tag.
pub const TAG_LEN: usize = 16;

/// A cryptography library.
///
/// Implementations are stateless and deterministic: every key and nonce is an argument.
pub trait Provider: Send + Sync + fmt::Debug {
    /// The AEAD of RFC 8439 with `key`.
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey>;

    /// The X25519 public key that belongs to `secret` (RFC 7748, clamped on use).
    fn x25519_public_key(&self, secret: &[u8; 32]) -> [u8; 32];

    /// X25519 of RFC 7748. The result may be all zero; the caller must refuse it.
    fn x25519(&self, secret: &[u8; 32], public: &[u8; 32]) -> Zeroizing<[u8; 32]>;

    /// SHA-256 of the concatenation of `parts`.
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32];

    /// Ed25519 signature (RFC 8032) over `message` with the private key `seed`.
    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64];
}

/// One ChaCha20-Poly1305 key, wiped when dropped.
pub trait AeadKey: ZeroizeOnDrop + Send + Sync {
    /// Encrypts `data` in place and returns its tag.
    fn seal_in_place(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; TAG_LEN];

    /// Checks `tag` in constant time and decrypts `data` in place.
    ///
    /// On failure `data` holds nothing secret, but its content is unspecified.
    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed>;
}

/// The tag does not belong to this ciphertext, key, nonce and associated data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the record is not authentic")]
pub struct OpenFailed;
