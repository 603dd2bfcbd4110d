//! Who a peer is: [`Identity`] signs, [`PublicKey`] verifies.
//!
//! Signing goes through the [`Provider`], verification does not: libraries differ in which Ed25519
//! forgeries they accept, and peers must agree on who signed what.

mod public_key;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::SigningKey;
pub use public_key::{BadSignature, PublicKey};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{PeerId, Seed, crypto::Provider, protobuf};

// `KeyType` of the libp2p peer-ids spec.
const ED25519: u64 = 1;
// Fields of its `PublicKey` and `PrivateKey`.
const TYPE_FIELD: u32 = 1;
const DATA_FIELD: u32 = 2;

/// The bytes are not a key that we can use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message is not well formed.
    #[error("the key is not a valid protobuf message: {0}")]
    Protobuf(#[from] protobuf::Error),
    /// The key type is absent.
    #[error("the key has no type")]
    MissingType,
    /// The key itself is absent.
    #[error("the key has no data")]
    MissingData,
    /// A key type that is unknown or not compiled in: RSA is 0, Secp256k1 2, ECDSA 3.
    #[error("key type {0} is not supported")]
    UnsupportedType(u64),
    /// The key has not the length that its type requires.
    #[error("the key has {actual} bytes")]
    Length {
        /// How many bytes it has.
        actual: usize,
    },
    /// An Ed25519 public key that is no point of the curve, not the canonical encoding of its point,
    /// or of small order: anybody can make signatures that such a key accepts.
    #[error("the Ed25519 public key is not a canonical point of large order")]
    InvalidPoint,
    /// A private key comes with a public key that is not its own.
    #[error("the public key does not belong to the private key")]
    KeyMismatch,
}

/// A peer's private key (Ed25519) with the public key and peer id that follow from it.
///
/// Wiped when dropped; not `Clone`, and never shown by `Debug`.
#[derive(ZeroizeOnDrop)]
pub struct Identity {
    seed: [u8; 32],
    #[zeroize(skip)]
    public_key: PublicKey,
    #[zeroize(skip)]
    peer_id: PeerId,
}

impl Identity {
    /// A new identity. The same seed gives the same identity.
    pub fn generate(mut seed: Seed) -> Self {
        Self::from_ed25519_seed(*Zeroizing::new(seed.secret_stream().next_key()))
    }

    /// The identity with this private key, called the seed in RFC 8032.
    pub fn from_ed25519_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let public_key = PublicKey::from_verifying_key(SigningKey::from_bytes(&seed).verifying_key());
        let peer_id = public_key.peer_id();
        Self { seed: *seed, public_key, peer_id }
    }

    /// Reads a libp2p `PrivateKey` message: 64 bytes, the seed and the public key, or the legacy form
    /// of 96 that repeats the public key.
    pub fn from_protobuf(encoded: &[u8]) -> Result<Self, Error> {
        let data = key_data(encoded)?;
        let (seed, public_keys) = match data.len() {
            64 | 96 => data.split_first_chunk::<32>().ok_or(Error::MissingData)?,
            actual => return Err(Error::Length { actual }),
        };
        let identity = Self::from_ed25519_seed(*seed);
        let own = identity.public_key.ed25519_bytes();
        if public_keys.chunks(32).all(|key| key == own) { Ok(identity) } else { Err(Error::KeyMismatch) }
    }

    /// The libp2p `PrivateKey` message of 68 bytes, wiped when dropped.
    pub fn to_protobuf(&self) -> Zeroizing<Vec<u8>> {
        let mut data = Zeroizing::new([0; 64]);
        for (to, from) in data.iter_mut().zip(self.seed.iter().chain(self.public_key.ed25519_bytes())) {
            *to = *from;
        }
        // Room for all of it: a vector that grows leaves its former content behind.
        let mut out = Zeroizing::new(Vec::with_capacity(68));
        protobuf::Writer::new(&mut out).uint64(TYPE_FIELD, ED25519).bytes(DATA_FIELD, data.as_slice());
        out
    }

    /// The key with which others verify what this identity signs.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The id under which others know this identity.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Signs `message` (Ed25519, RFC 8032).
    pub fn sign(&self, provider: &dyn Provider, message: &[u8]) -> [u8; 64] {
        provider.ed25519_sign(&self.seed, message)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id)
    }
}

/// The key bytes of a `PublicKey` or `PrivateKey` message. Both have the same two fields; the last
/// of each counts, and unknown ones are passed over.
fn key_data(encoded: &[u8]) -> Result<&[u8], Error> {
    let (mut key_type, mut data) = (None, None);
    for field in protobuf::Reader::new(encoded) {
        match field? {
            (TYPE_FIELD, value) => key_type = Some(value.uint64()?),
            (DATA_FIELD, value) => data = Some(value.bytes()?),
            _ => {}
        }
    }
    match key_type.ok_or(Error::MissingType)? {
        ED25519 => data.ok_or(Error::MissingData),
        other => Err(Error::UnsupportedType(other)),
    }
}
