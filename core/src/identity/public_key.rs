use alloc::vec::Vec;
use core::{cmp::Ordering, fmt};

use ed25519_dalek::{Signature, VerifyingKey};

#[cfg(feature = "ecdsa")]
use super::ecdsa::EcdsaKey;
#[cfg(feature = "rsa")]
use super::rsa::RsaKey;
#[cfg(feature = "secp256k1")]
use super::secp256k1::Secp256k1Key;
use super::{DATA_FIELD, ECDSA, ED25519, Error, RSA, SECP256K1, TYPE_FIELD, key_data};
use crate::{PeerId, protobuf};

/// A peer's public key. Ed25519 is always supported; RSA, ECDSA on P-256 and secp256k1 are features.
///
/// Read leniently and kept as the key itself, so that [`to_protobuf`](Self::to_protobuf) and
/// [`peer_id`](Self::peer_id) are canonical however the message was encoded: one key, one peer id.
/// Ordered by type and bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Key);

#[derive(Clone, PartialEq, Eq)]
enum Key {
    Ed25519(VerifyingKey),
    #[cfg(feature = "rsa")]
    Rsa(RsaKey),
    #[cfg(feature = "ecdsa")]
    Ecdsa(EcdsaKey),
    #[cfg(feature = "secp256k1")]
    Secp256k1(Secp256k1Key),
}

/// The signature was not made for this message with the private key of this public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the signature is not valid")]
pub struct BadSignature;

impl PublicKey {
    /// Reads a libp2p `PublicKey` message.
    ///
    /// Type and data are required. Fields may be repeated (the last counts), unknown or in any order,
    /// as in go and rust; what is hashed is always the canonical encoding.
    ///
    /// # Errors
    /// [`Error::FeatureDisabled`] for a known type that this build leaves out; else what is wrong.
    pub fn from_protobuf(encoded: &[u8]) -> Result<Self, Error> {
        let (key_type, data) = key_data(encoded)?;
        match key_type {
            ED25519 => Self::from_ed25519_bytes(data),
            #[cfg(feature = "rsa")]
            RSA => RsaKey::from_der(data).map(Key::Rsa).map(Self),
            #[cfg(not(feature = "rsa"))]
            RSA => Err(Error::FeatureDisabled { key_type: "RSA", feature: "rsa" }),
            #[cfg(feature = "ecdsa")]
            ECDSA => EcdsaKey::from_der(data).map(Key::Ecdsa).map(Self),
            #[cfg(not(feature = "ecdsa"))]
            ECDSA => Err(Error::FeatureDisabled { key_type: "ECDSA", feature: "ecdsa" }),
            #[cfg(feature = "secp256k1")]
            SECP256K1 => Secp256k1Key::from_bytes(data).map(Key::Secp256k1).map(Self),
            #[cfg(not(feature = "secp256k1"))]
            SECP256K1 => Err(Error::FeatureDisabled { key_type: "secp256k1", feature: "secp256k1" }),
            other => Err(Error::UnsupportedType(other)),
        }
    }

    /// Reads the 32 bytes of an Ed25519 public key.
    ///
    /// Refuses keys under which signatures are ambiguous: points of small order and encodings that
    /// are not canonical (RFC 8032, section 5.1.3).
    pub fn from_ed25519_bytes(key: &[u8]) -> Result<Self, Error> {
        let key: &[u8; 32] = key.try_into().map_err(|_| Error::Length { actual: key.len() })?;
        let verifying_key = VerifyingKey::from_bytes(key).map_err(|_| Error::InvalidPoint)?;
        if verifying_key.is_weak() || !is_reduced(key) {
            return Err(Error::InvalidPoint);
        }
        Ok(Self::from_verifying_key(verifying_key))
    }

    pub(super) fn from_verifying_key(key: VerifyingKey) -> Self {
        Self(Key::Ed25519(key))
    }

    /// The 32 bytes of the key if it is an Ed25519 key.
    pub fn ed25519_bytes(&self) -> Option<&[u8; 32]> {
        match &self.0 {
            Key::Ed25519(key) => Some(key.as_bytes()),
            #[cfg(any(feature = "rsa", feature = "ecdsa", feature = "secp256k1"))]
            _ => None,
        }
    }

    /// Type and bytes, as in the message.
    fn parts(&self) -> (u64, &[u8]) {
        match &self.0 {
            Key::Ed25519(key) => (ED25519, key.as_bytes()),
            #[cfg(feature = "rsa")]
            Key::Rsa(key) => (RSA, key.as_der()),
            #[cfg(feature = "ecdsa")]
            Key::Ecdsa(key) => (ECDSA, key.as_der()),
            #[cfg(feature = "secp256k1")]
            Key::Secp256k1(key) => (SECP256K1, key.as_bytes()),
        }
    }

    /// The libp2p `PublicKey` message, in the one encoding that is hashed to a peer id.
    pub fn to_protobuf(&self) -> Vec<u8> {
        let (key_type, data) = self.parts();
        // Tag and type, tag and at most 3 bytes of length.
        let mut out = Vec::with_capacity(data.len().saturating_add(6));
        protobuf::Writer::new(&mut out).uint64(TYPE_FIELD, key_type).bytes(DATA_FIELD, data);
        out
    }

    /// The id of the peer that holds the private key.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_public_key(self)
    }

    /// Checks that `signature` was made over `message` with the private key.
    ///
    /// Ed25519 is checked strictly: small-order components and non-canonical scalars are refused,
    /// which plain RFC 8032 verification leaves open. The others sign a SHA-256 hash: RSA with PKCS#1 v1.5,
    /// ECDSA in strict DER, where secp256k1 takes only the lower S and P-256 either.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match &self.0 {
            Key::Ed25519(key) => {
                let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
                key.verify_strict(message, &signature).map_err(|_| BadSignature)
            }
            #[cfg(feature = "rsa")]
            Key::Rsa(key) => key.verify(message, signature),
            #[cfg(feature = "ecdsa")]
            Key::Ecdsa(key) => key.verify(message, signature),
            #[cfg(feature = "secp256k1")]
            Key::Secp256k1(key) => key.verify(message, signature),
        }
    }
}

/// Whether the y that `key` encodes is below the prime 2^255 - 19, as its one canonical encoding is.
///
/// The sign of x is ambiguous only where x is 0, which are points of small order. Encoding the point again
/// would show the same at the price of an inversion in each handshake.
fn is_reduced(key: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = key;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key_type, data) = self.parts();
        f.write_str(match key_type {
            RSA => "Rsa(",
            ECDSA => "Ecdsa(",
            SECP256K1 => "Secp256k1(",
            _ => "Ed25519(",
        })?;
        for byte in data {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}
