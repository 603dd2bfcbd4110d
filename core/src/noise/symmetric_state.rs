//! Chaining key, transcript hash and current cipher (Noise specification, SymmetricState).

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{
    Error, TransportKeys,
    cipher_state::{CipherState, DecryptError},
};
use crate::crypto::{Provider, TAG_LEN};

/// The state that both ends derive from the handshake messages.
///
/// Every handshake key encrypts at most two messages, so its counter cannot run out here.
#[derive(ZeroizeOnDrop)]
pub(super) struct SymmetricState {
    #[zeroize(skip)]
    provider: Arc<dyn Provider>,
    chaining_key: [u8; 32],
    hash: [u8; 32],
    // Wipes itself.
    #[zeroize(skip)]
    cipher: Option<CipherState>,
}

impl SymmetricState {
    /// Starts the transcript with the protocol's name and the prologue, which may be empty.
    pub(super) fn new(provider: Arc<dyn Provider>, prologue: &[u8]) -> Self {
        let mut state = Self { provider, chaining_key: *PROTOCOL_NAME, hash: *PROTOCOL_NAME, cipher: None };
        state.mix_hash(prologue);
        state
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = self.provider.sha256(&[&self.hash, data]);
    }

    pub(super) fn mix_key(&mut self, input: &[u8; 32]) {
        let (chaining_key, key) = two_keys(&self.chaining_key, input);
        self.chaining_key = *chaining_key;
        self.cipher = Some(CipherState::new(self.provider.clone(), &key));
    }

    /// Appends `plaintext` to `out`, encrypted as soon as there is a key.
    pub(super) fn encrypt_and_hash(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        out.extend_from_slice(plaintext);
        let written = out.get_mut(start..).unwrap_or_default();
        if let Some(cipher) = &mut self.cipher {
            let tag = cipher.encrypt(&self.hash, written).map_err(|_| Error::NonceExhausted)?;
            out.extend_from_slice(&tag);
        }
        let written = out.get(start..).unwrap_or_default();
        self.mix_hash(written);
        Ok(())
    }

    /// Decrypts `message` in place as soon as there is a key, and returns its plaintext.
    pub(super) fn decrypt_and_hash<'m>(&mut self, message: &'m mut [u8]) -> Result<&'m mut [u8], Error> {
        // The hash takes in the ciphertext, which decryption in place is about to overwrite.
        let hash_after = self.provider.sha256(&[&self.hash, message]);
        let plaintext = match &mut self.cipher {
            None => message,
            Some(cipher) => {
                let (data, tag) = message.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::MessageTooShort)?;
                cipher.decrypt(&self.hash, data, tag)?;
                data
            }
        };
        self.hash = hash_after;
        Ok(plaintext)
    }

    /// The key of each direction and the transcript hash.
    pub(super) fn split(self) -> TransportKeys {
        let (initiator_to_responder, responder_to_initiator) = two_keys(&self.chaining_key, &[]);
        TransportKeys {
            handshake_hash: self.hash,
            initiator_to_responder: *initiator_to_responder,
            responder_to_initiator: *responder_to_initiator,
        }
    }

    #[cfg(test)]
    pub(super) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    #[cfg(test)]
    pub(super) fn chaining_key(&self) -> &[u8; 32] {
        &self.chaining_key
    }
}

impl fmt::Debug for SymmetricState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricState(..)")
    }
}

impl From<DecryptError> for Error {
    fn from(error: DecryptError) -> Self {
        match error {
            DecryptError::NotAuthentic => Self::Decrypt,
            DecryptError::Exhausted => Self::NonceExhausted,
        }
    }
}

/// HKDF with two outputs (Noise specification, HKDF; it is RFC 5869 with the chaining key as salt and no info).
fn two_keys(chaining_key: &[u8; 32], input: &[u8]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let mut keys = Zeroizing::new([[0; 32]; 2]);
    // Expanding fails past 255 blocks of 32 bytes; this asks for two.
    let expanded = Hkdf::<Sha256>::new(Some(chaining_key), input).expand(&[], keys.as_flattened_mut());
    debug_assert!(expanded.is_ok(), "two blocks are within the bound of HKDF");
    let [first, second] = *keys;
    (Zeroizing::new(first), Zeroizing::new(second))
}

/// Exactly one hash long, so that it is the first hash itself and is not hashed.
const PROTOCOL_NAME: &[u8; 32] = b"Noise_XX_25519_ChaChaPoly_SHA256";
