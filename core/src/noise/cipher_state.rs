//! One ChaCha20-Poly1305 key and its message counter (Noise specification, CipherState).

use alloc::{boxed::Box, sync::Arc};
use core::fmt;

use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::crypto::{AeadKey, OpenFailed, Provider, TAG_LEN};

/// A key that encrypts or decrypts up to 2^64 - 1 messages, each under its own nonce.
pub(super) struct CipherState {
    provider: Arc<dyn Provider>,
    key: Zeroizing<[u8; 32]>,
    /// The key as the provider uses it, which takes more memory: only between the first message and a
    /// rest.
    expanded: Option<Box<dyn AeadKey>>,
    nonce: u64,
}

/// The counter stands at 2^64 - 1, which Noise reserves for rekeying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Exhausted;

/// Why a message was not decrypted. The counter has not moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DecryptError {
    NotAuthentic,
    Exhausted,
}

impl CipherState {
    pub(super) fn new(provider: Arc<dyn Provider>, key: &[u8; 32]) -> Self {
        Self { provider, key: Zeroizing::new(*key), expanded: None, nonce: 0 }
    }

    /// Frees what can be made again from the key.
    pub(super) fn rest(&mut self) {
        self.expanded = None;
        #[cfg(septa_mutant = "nonce-lost-at-rest")]
        {
            self.nonce = 0;
        }
    }

    fn expanded(&mut self) -> &dyn AeadKey {
        &**self.expanded.get_or_insert_with(|| self.provider.chacha20_poly1305(&self.key))
    }

    /// Encrypts `data` in place and returns its tag; the counter moves.
    pub(super) fn encrypt(&mut self, associated: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], Exhausted> {
        let next = self.nonce.checked_add(1).ok_or(Exhausted)?;
        let nonce = nonce_bytes(self.nonce);
        let tag = self.expanded().seal_in_place(&nonce, associated, data);
        self.nonce = next;
        Ok(tag)
    }

    /// Decrypts `data` in place; the counter moves only if the tag is right.
    pub(super) fn decrypt(
        &mut self,
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), DecryptError> {
        let next = self.nonce.checked_add(1).ok_or(DecryptError::Exhausted)?;
        let nonce = nonce_bytes(self.nonce);
        self.expanded()
            .open_in_place(&nonce, associated, data, tag)
            .map_err(|OpenFailed| DecryptError::NotAuthentic)?;
        self.nonce = next;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    #[cfg(test)]
    pub(super) fn set_nonce_dangerous(&mut self, nonce: u64) {
        self.nonce = nonce;
    }
}

// The key is wiped by its wrapper, and every `AeadKey` wipes itself.
impl ZeroizeOnDrop for CipherState where dyn AeadKey: ZeroizeOnDrop {}

impl fmt::Debug for CipherState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CipherState").field("nonce", &self.nonce).finish_non_exhaustive()
    }
}

/// 32 zero bits and the counter, little-endian (Noise specification, the ChaChaPoly cipher functions).
fn nonce_bytes(counter: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}
