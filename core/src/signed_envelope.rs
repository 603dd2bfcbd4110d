//! Signed envelopes (libp2p RFC 0002): a payload that can be passed on by anybody and still proves
//! who made it.
//!
//! What is signed includes a domain, which is not in the envelope: the reader chooses it. A signature
//! made for one purpose is therefore worth nothing for another.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::{Identity, PublicKey, crypto::Provider, identity, protobuf, varint};

/// Longest envelope that is read or written, in bytes. Envelopes are stored and passed on; without a
/// limit a stranger decides how much, and how much of it is hashed to check one signature.
pub const MAX_LEN: usize = 8192;

/// An envelope cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It would be longer than [`MAX_LEN`].
    #[error("the signed envelope has {len} bytes, more than 8192")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// The bytes are not an envelope, or not the one that is wanted. Nothing in it may be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is longer than [`MAX_LEN`]; it was not read.
    #[error("the signed envelope is longer than 8192 bytes")]
    TooLong,
    /// It is not protobuf, or a field has the wrong type.
    #[error("the signed envelope cannot be read: {0}")]
    Protobuf(#[from] protobuf::Error),
    /// There is no public key.
    #[error("the signed envelope has no public key")]
    MissingKey,
    /// The public key cannot be used.
    #[error("the key of the signed envelope is not usable: {0}")]
    Key(identity::Error),
    /// The payload is of another kind than the one asked for. Its signature was not checked.
    #[error("the signed envelope holds another kind of payload")]
    PayloadType,
    /// The signature is not of this key, payload and payload type, or was made for another domain.
    #[error("the signature of the envelope is not valid for this purpose")]
    BadSignature,
}

/// An envelope whose signature is not checked yet.
///
/// Borrows from the bytes that it was read from; those are what is kept and passed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedEnvelope<'e> {
    public_key: PublicKey,
    payload_type: &'e [u8],
    payload: &'e [u8],
    signature: &'e [u8],
}

impl<'e> SignedEnvelope<'e> {
    /// Reads an envelope of at most [`MAX_LEN`] bytes. Fields may be unknown or in any order, and the
    /// last of a repeated one counts; absent ones are empty, except the key, which is required.
    ///
    /// # Errors
    /// The bytes are not an envelope; see [`Error`].
    pub fn decode(envelope: &'e [u8]) -> Result<Self, Error> {
        if envelope.len() > MAX_LEN {
            return Err(Error::TooLong);
        }
        let (mut public_key, mut payload_type, mut payload, mut signature): (_, &[u8], &[u8], &[u8]) =
            (None, &[], &[], &[]);
        for field in protobuf::Reader::new(envelope) {
            match field? {
                (PUBLIC_KEY, value) => public_key = Some(value.bytes()?),
                (PAYLOAD_TYPE, value) => payload_type = value.bytes()?,
                (PAYLOAD, value) => payload = value.bytes()?,
                (SIGNATURE, value) => signature = value.bytes()?,
                _ => {}
            }
        }
        // Once, after the loop: decoding a key is slow, and thousands fit an envelope.
        let public_key = PublicKey::from_protobuf(public_key.ok_or(Error::MissingKey)?).map_err(Error::Key)?;
        Ok(Self { public_key, payload_type, payload, signature })
    }

    /// The payload, if it is of type `payload_type` and was signed for `domain`.
    ///
    /// It is the word of whoever holds the private key of [`public_key`](Self::public_key), which may
    /// be anybody's: compare that key with what the payload claims.
    ///
    /// # Errors
    /// [`Error::PayloadType`] or [`Error::BadSignature`].
    pub fn open(&self, domain: &str, payload_type: &[u8]) -> Result<&'e [u8], Error> {
        if self.payload_type != payload_type {
            return Err(Error::PayloadType);
        }
        let signed = signing_input(domain, payload_type, self.payload);
        self.public_key.verify(&signed, self.signature).map_err(|_| Error::BadSignature)?;
        Ok(self.payload)
    }

    /// The key that the envelope claims to be signed with.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The kind of payload that the envelope claims to hold.
    pub fn payload_type(&self) -> &'e [u8] {
        self.payload_type
    }
}

/// Signs `payload` for `domain` and puts it in an envelope.
///
/// # Errors
/// See [`SealError`]; nothing was signed.
pub fn seal(
    identity: &Identity,
    provider: &dyn Provider,
    domain: &str,
    payload_type: &[u8],
    payload: &[u8],
) -> Result<Vec<u8>, SealError> {
    // Before it is hashed and signed, and again with the signature.
    check_len(payload_type.len().saturating_add(payload.len()))?;
    let signature = identity.sign(provider, &signing_input(domain, payload_type, payload));
    let mut envelope = Vec::new();
    protobuf::Writer::new(&mut envelope)
        .bytes(PUBLIC_KEY, &identity.public_key().to_protobuf())
        .bytes(PAYLOAD_TYPE, payload_type)
        .bytes(PAYLOAD, payload)
        .bytes(SIGNATURE, &signature);
    check_len(envelope.len())?;
    Ok(envelope)
}

fn check_len(len: usize) -> Result<(), SealError> {
    if len > MAX_LEN { Err(SealError::TooLong { len }) } else { Ok(()) }
}

/// What is signed: domain, payload type and payload, each behind its length, so that no two
/// different envelopes come to the same bytes.
fn signing_input(domain: &str, payload_type: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut signed = Vec::new();
    for part in [domain.as_bytes(), payload_type, payload] {
        varint::encode_to(u64::try_from(part.len()).unwrap_or(u64::MAX), &mut signed);
        signed.extend_from_slice(part);
    }
    signed
}

const PUBLIC_KEY: u32 = 1;
const PAYLOAD_TYPE: u32 = 2;
const PAYLOAD: u32 = 3;
const SIGNATURE: u32 = 5;
