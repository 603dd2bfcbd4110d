//! What core needs of a cryptography library: the [`Provider`] trait and its implementations.
//!
//! A provider is a value, so that no feature flag can weaken a build: the simulator's fast insecure
//! cipher enters as a value too. Ed25519 *verification* is not here: it is always dalek's
//! `verify_strict`, because providers differ in which forgeries they accept (see [`crate::identity`]).

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
mod rust_crypto;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use core::fmt;

#[cfg(feature = "aws-lc-rs")]
pub use aws_lc::AwsLc;
pub use rust_crypto::RustCrypto;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Bytes of a ChaCha20-Poly1305 tag.
pub const TAG_LEN: usize = 16;

/// A cryptography library.
///
/// Implementations are stateless and deterministic: every key and nonce is an argument, and all give the
/// same bytes for the same arguments.
pub trait Provider: Send + Sync + fmt::Debug {
    /// The AEAD of RFC 8439 with `key`.
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey>;

    /// X25519 (RFC 7748) with the private key `secret`, which is clamped on use.
    ///
    /// Computes the public key, which costs as much as an agreement: keep what it returns.
    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key>;

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

/// One X25519 private key, wiped when dropped.
pub trait X25519Key: ZeroizeOnDrop + Send + Sync {
    /// The public key that belongs to it.
    fn public_key(&self) -> &[u8; 32];

    /// The shared secret with the owner of `public`.
    ///
    /// All zero if `public` is a point of small order. The caller must refuse that.
    fn agree(&self, public: &[u8; 32]) -> Zeroizing<[u8; 32]>;
}

/// The tag does not belong to this ciphertext, key, nonce and associated data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the record is not authentic")]
pub struct OpenFailed;
