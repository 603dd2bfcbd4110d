//! ECDSA public keys on secp256k1, over SHA-256.

use k256::ecdsa::{Signature, VerifyingKey, signature::Verifier};

use super::{BadSignature, Error};

/// A key that was checked: a compressed point.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secp256k1Key([u8; COMPRESSED_LEN]);

impl Secp256k1Key {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let key: &[u8; COMPRESSED_LEN] = bytes.try_into().map_err(|_| Error::Length { actual: bytes.len() })?;
        // The tag says which y belongs to x. 5 is one of the library's own that leaves it open, and with which a
        // key would have two peer ids.
        if !matches!(key, [2 | 3, ..]) {
            return Err(Error::InvalidPoint);
        }
        VerifyingKey::from_sec1_bytes(key).map_err(|_| Error::InvalidPoint)?;
        Ok(Self(*key))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes the lower S only, as BIP 62 and with it the libp2p spec want, and as js and rust do. The library
    /// sees to it.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_sec1_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| BadSignature)?;
        key.verify(message, &signature).map_err(|_| BadSignature)
    }
}

const COMPRESSED_LEN: usize = 33;
