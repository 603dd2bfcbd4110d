//! Unsigned varints in the multiformats profile: minimal, at most nine bytes.
//!
//! Protobuf has a laxer profile of its own; see [`crate::protobuf`].

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

/// Most bytes of a varint ("unsigned-varint", practical maximum).
pub const MAX_LEN: usize = 9;

/// Greatest value that [`MAX_LEN`] bytes hold: 63 bits.
pub const MAX_VALUE: u64 = u64::MAX >> 1;

/// The bytes are not a varint that may stand here. Nothing was consumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shorter encoding of the same value exists.
    #[error("the varint is not minimal")]
    NotMinimal,
    /// The varint does not end within [`MAX_LEN`] bytes.
    #[error("the varint is longer than 9 bytes")]
    TooLong,
    /// The value is above what the caller allows.
    #[error("the varint is greater than {max}")]
    TooLarge {
        /// The greatest value allowed.
        max: u64,
    },
}

/// How many bytes [`encode`] uses for `value`.
pub const fn len(value: u64) -> usize {
    let mut len: usize = 1;
    let mut rest = if value > MAX_VALUE { MAX_VALUE } else { value } >> 7;
    while rest > 0 {
        rest >>= 7;
        len = len.saturating_add(1);
    }
    len
}

/// Writes `value` to the front of `out` and returns the bytes used.
///
/// A value above [`MAX_VALUE`] has no encoding and is written as [`MAX_VALUE`]; no length or code
/// comes near it.
pub fn encode(value: u64, out: &mut [u8; MAX_LEN]) -> &[u8] {
    let mut rest = value.min(MAX_VALUE);
    let len = len(rest);
    for byte in out.iter_mut().take(len) {
        *byte = low_bits(rest) | 0x80;
        rest >>= 7;
    }
    let used = out.get_mut(..len).unwrap_or_default();
    if let Some(last) = used.last_mut() {
        *last &= 0x7f;
    }
    used
}

/// Appends `value` to `out`, encoded as by [`encode`].
pub fn encode_to(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(encode(value, &mut [0; MAX_LEN]));
}

/// Reads a varint of at most `max` off the front of `data`: its value and how many bytes it has.
///
/// `None` means that more bytes are needed. A varint that must come out wrong is refused at its
/// first byte that shows it, so that a peer cannot hold a reader with a length it will never be
/// allowed. The answer does not depend on how many bytes follow.
pub fn decode(data: &[u8], max: u64) -> Result<Option<(u64, usize)>, Error> {
    let mut value: u64 = 0;
    let mut shift: u32 = 0;
    for (index, byte) in data.iter().take(MAX_LEN).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return match (*byte, index) {
                (0, 1..) => Err(Error::NotMinimal),
                _ if value > max => Err(Error::TooLarge { max }),
                _ => Ok(Some((value, index.saturating_add(1)))),
            };
        }
        shift = shift.saturating_add(7);
        // A minimal varint that goes on will set at least one of the higher bits.
        let least = value | 1_u64.checked_shl(shift).unwrap_or(0);
        if least > max && least <= MAX_VALUE {
            return Err(Error::TooLarge { max });
        }
    }
    if data.len() >= MAX_LEN { Err(Error::TooLong) } else { Ok(None) }
}

pub(crate) fn low_bits(value: u64) -> u8 {
    value.to_le_bytes().first().copied().unwrap_or(0) & 0x7f
}
