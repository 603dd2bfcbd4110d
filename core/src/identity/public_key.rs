use alloc::vec::Vec;
use core::{cmp::Ordering, fmt};

use ed25519_dalek::{Signature, VerifyingKey};

use super::{DATA_FIELD, ED25519, Error, TYPE_FIELD, key_data};
use crate::{PeerId, protobuf};

/// A peer's public key. Ed25519 is supported.
///
/// Read leniently and kept as the key itself, so that [`to_protobuf`](Self::to_protobuf) and
/// [`peer_id`](Self::peer_id) are canonical however the key was encoded: one key, one peer id.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Key);

#[derive(Clone, PartialEq, Eq)]
enum Key {
    Ed25519(VerifyingKey),
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
    pub fn from_protobuf(encoded: &[u8]) -> Result<Self, Error> {
        Self::from_ed25519_bytes(key_data(encoded)?)
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

    pub(super) fn ed25519_bytes(&self) -> &[u8; 32] {
        let Key::Ed25519(key) = &self.0;
        key.as_bytes()
    }

    /// The libp2p `PublicKey` message, in the one encoding that is hashed to a peer id.
    pub fn to_protobuf(&self) -> Vec<u8> {
        let (key_type, data) = match &self.0 {
            Key::Ed25519(key) => (ED25519, key.as_bytes().as_slice()),
        };
        let mut out = Vec::with_capacity(data.len().saturating_add(4));
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
    /// which plain RFC 8032 verification leaves open.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match &self.0 {
            Key::Ed25519(key) => {
                let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
                key.verify_strict(message, &signature).map_err(|_| BadSignature)
            }
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
        match (&self.0, &other.0) {
            (Key::Ed25519(left), Key::Ed25519(right)) => left.as_bytes().cmp(right.as_bytes()),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Key::Ed25519(_) => "Ed25519(",
        })?;
        for byte in self.ed25519_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}
