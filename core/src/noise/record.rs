//! Transport records: a 2-byte length and one sealed message each (noise-libp2p, wire format).

use alloc::boxed::Box;

use zeroize::ZeroizeOnDrop;

use super::{Error, cipher_state::CipherState};
use crate::crypto::TAG_LEN;

/// Bytes of the length in front of a record.
pub const RECORD_HEADER_LEN: usize = 2;
/// Bytes that a record is longer than its plaintext: the length and the tag.
pub const RECORD_OVERHEAD: usize = RECORD_HEADER_LEN + TAG_LEN;
/// Most plaintext of one record, in bytes.
pub const MAX_RECORD_PLAINTEXT: usize = 65_519;
/// Most bytes of one record with its header.
pub const MAX_RECORD_LEN: usize = MAX_RECORD_PLAINTEXT + RECORD_OVERHEAD;

/// Encrypts what this end sends. Independent of the [`Opener`]: the two may live on different threads.
#[derive(Debug)]
pub struct Sealer(CipherState);

/// Decrypts what this end receives.
///
/// After a record that was refused the key is gone and every call returns the same error: a stream
/// with a gap cannot be read on.
#[derive(Debug)]
pub struct Opener(Result<CipherState, Box<Error>>);

/// A record was not sealed. The buffer and the [`Sealer`] are as before the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// All 2^64 - 1 nonces of the key are used. The connection must close; nothing can be sent any more.
    #[error("the sending key has no nonce left")]
    NonceExhausted,
    /// More plaintext than [`MAX_RECORD_PLAINTEXT`].
    #[error("{len} bytes do not fit one record, which holds {MAX_RECORD_PLAINTEXT}")]
    PlaintextTooLong {
        /// Bytes of plaintext asked for.
        len: usize,
    },
    /// The buffer is shorter than the plaintext and [`RECORD_OVERHEAD`].
    #[error("the record needs a buffer of {needed} bytes")]
    BufferTooShort {
        /// Bytes that the sealed record takes.
        needed: usize,
    },
}

impl Sealer {
    pub(super) fn new(cipher: CipherState) -> Self {
        Self(cipher)
    }

    /// Frees what the provider made of the key until the next record: with AWS-LC more than half a KiB. For
    /// connections that are idle.
    pub fn rest(&mut self) {
        self.0.rest();
    }

    /// Seals `record[2..2 + len]` in place and returns how many bytes of `record` to send.
    ///
    /// On return they hold the length, the ciphertext and the tag: `len + RECORD_OVERHEAD` bytes.
    /// `len` may be 0. A receiver may not give record boundaries a meaning.
    pub fn seal_in_place(&mut self, record: &mut [u8], len: usize) -> Result<usize, SealError> {
        if len > MAX_RECORD_PLAINTEXT {
            return Err(SealError::PlaintextTooLong { len });
        }
        let needed = len.saturating_add(RECORD_OVERHEAD);
        let too_short = SealError::BufferTooShort { needed };
        let (header, rest) = record.split_first_chunk_mut::<RECORD_HEADER_LEN>().ok_or(too_short)?;
        let (plaintext, rest) = rest.split_at_mut_checked(len).ok_or(too_short)?;
        let tag_room = rest.first_chunk_mut::<TAG_LEN>().ok_or(too_short)?;

        *tag_room = self.0.encrypt(&[], plaintext).map_err(|_| SealError::NonceExhausted)?;
        *header = body_len_bytes(len.saturating_add(TAG_LEN));
        Ok(needed)
    }

    #[cfg(test)]
    pub(super) fn set_nonce_dangerous(&mut self, nonce: u64) {
        self.0.set_nonce_dangerous(nonce);
    }
}

impl Opener {
    pub(super) fn new(cipher: CipherState) -> Self {
        Self(Ok(cipher))
    }

    /// Frees what the provider made of the key until the next record, as [`Sealer::rest`] does.
    pub fn rest(&mut self) {
        if let Ok(cipher) = &mut self.0 {
            cipher.rest();
        }
    }

    /// Opens one whole record with its 2-byte length, in place, and returns its plaintext.
    ///
    /// The plaintext may be empty, which means nothing and is not the end of the stream.
    ///
    /// # Errors
    /// [`Error::RecordIncomplete`] if `record` is not exactly one record: the caller's mistake, and
    /// nothing has changed. Any other error is the remote's or an attacker's doing: the nonce has
    /// not moved, the key is wiped, and every later call fails with the same error.
    pub fn open_in_place<'r>(&mut self, record: &'r mut [u8]) -> Result<&'r mut [u8], Error> {
        let cipher = self.0.as_mut().map_err(|error| (**error).clone())?;
        let (header, body) = record.split_first_chunk_mut::<RECORD_HEADER_LEN>().ok_or(Error::RecordIncomplete)?;
        if body.len() != usize::from(u16::from_be_bytes(*header)) {
            return Err(Error::RecordIncomplete);
        }
        let opened = match body.split_last_chunk_mut::<TAG_LEN>() {
            None => Err(Error::RecordTooShort),
            Some((data, tag)) => cipher.decrypt(&[], data, tag).map(|()| data).map_err(Error::from),
        };
        if let Err(error) = &opened {
            self.0 = Err(Box::new(error.clone()));
        }
        opened
    }

    #[cfg(test)]
    pub(super) fn set_nonce_dangerous(&mut self, nonce: u64) {
        self.0.as_mut().unwrap().set_nonce_dangerous(nonce);
    }
}

impl ZeroizeOnDrop for Sealer where CipherState: ZeroizeOnDrop {}
impl ZeroizeOnDrop for Opener where CipherState: ZeroizeOnDrop {}

/// The length of a record or handshake message as it stands in front of it.
pub(crate) fn body_len_bytes(len: usize) -> [u8; RECORD_HEADER_LEN] {
    debug_assert!(len <= usize::from(u16::MAX), "a message is longer than its length can say");
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}
