//! Who a peer is: [`Identity`] signs, [`PublicKey`] verifies.
//!
//! Signing goes through the [`Provider`], verification does not: libraries differ in which Ed25519
//! forgeries they accept, and peers must agree on who signed what.

#[cfg(feature = "ecdsa")]
mod ecdsa;
mod public_key;
#[cfg(feature = "rsa")]
mod rsa;
#[cfg(feature = "secp256k1")]
mod secp256k1;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::SigningKey;
pub use public_key::{BadSignature, PublicKey};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{PeerId, Seed, crypto::Provider, protobuf};

/// Smallest RSA modulus accepted, in bits. Stops peers whose identity can be factored.
pub const RSA_MIN_BITS: usize = 2048;
/// Largest RSA modulus accepted, in bits. Stops strangers from buying milliseconds of our time with a larger one.
pub const RSA_MAX_BITS: usize = 8192;

// `KeyType` of the libp2p peer-ids spec.
const RSA: u64 = 0;
const ED25519: u64 = 1;
const SECP256K1: u64 = 2;
const ECDSA: u64 = 3;
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
    /// A key type that is unknown, or a private key of another type than Ed25519.
    #[error("key type {0} is not supported")]
    UnsupportedType(u64),
    /// A public key of a type that this build leaves out.
    #[error("{key_type} keys need the feature `{feature}` of septa-core, which this build leaves out")]
    FeatureDisabled {
        /// The type of the key.
        key_type: &'static str,
        /// The Cargo feature that adds it.
        feature: &'static str,
    },
    /// The key has not the length that its type requires.
    #[error("the key has {actual} bytes")]
    Length {
        /// How many bytes it has.
        actual: usize,
    },
    /// A public key that is no point of its curve. With Ed25519 also one that is not the canonical encoding
    /// of its point, or of small order: anybody can make signatures that such a key accepts.
    #[error("the public key is not an acceptable point of its curve")]
    InvalidPoint,
    /// An RSA or ECDSA public key that is not the DER encoding of a SubjectPublicKeyInfo: with
    /// `rsaEncryption`, or with an uncompressed point of P-256.
    #[error("the public key is not the DER encoding of a key of its type")]
    NotDer,
    /// An RSA modulus below [`RSA_MIN_BITS`] or above [`RSA_MAX_BITS`]. Nothing was computed with it.
    #[error("an RSA key of {bits} bits is refused; {RSA_MIN_BITS} to {RSA_MAX_BITS} are accepted")]
    RsaSize {
        /// Bits of the modulus.
        bits: usize,
    },
    /// An RSA modulus that is even, or an exponent that is even, below 3 or above 2^31 - 1.
    #[error("the RSA modulus or exponent cannot be used")]
    RsaNumbers,
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
        let data = match key_data(encoded)? {
            (ED25519, data) => data,
            (other, _) => return Err(Error::UnsupportedType(other)),
        };
        let (seed, public_keys) = match data.len() {
            64 | 96 => data.split_first_chunk::<32>().ok_or(Error::MissingData)?,
            actual => return Err(Error::Length { actual }),
        };
        let identity = Self::from_ed25519_seed(*seed);
        let own = identity.public_key.ed25519_bytes();
        if public_keys.chunks(32).all(|key| own.is_some_and(|own| key == own)) {
            Ok(identity)
        } else {
            Err(Error::KeyMismatch)
        }
    }

    /// The libp2p `PrivateKey` message of 68 bytes, wiped when dropped.
    pub fn to_protobuf(&self) -> Zeroizing<Vec<u8>> {
        let mut data = Zeroizing::new([0; 64]);
        for (to, from) in
            data.iter_mut().zip(self.seed.iter().chain(self.public_key.ed25519_bytes().into_iter().flatten()))
        {
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

/// Type and bytes of a `PublicKey` or `PrivateKey` message. Both have the same two fields; the last of each
/// counts, and unknown ones are passed over.
fn key_data(encoded: &[u8]) -> Result<(u64, &[u8]), Error> {
    let (mut key_type, mut data) = (None, None);
    for field in protobuf::Reader::new(encoded) {
        match field? {
            (TYPE_FIELD, value) => key_type = Some(value.uint64()?),
            (DATA_FIELD, value) => data = Some(value.bytes()?),
            _ => {}
        }
    }
    Ok((key_type.ok_or(Error::MissingType)?, data.ok_or(Error::MissingData)?))
}
