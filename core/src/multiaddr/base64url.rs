//! Base64url without padding (RFC 4648, section 5), as multibase prefix `u` means it.

use alloc::vec::Vec;
use core::fmt::{self, Write};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(crate) fn encode(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    for chunk in bytes.chunks(3) {
        let byte = |index| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        let digits = [bits >> 18, bits >> 12, bits >> 6, bits];
        for digit in digits.iter().take(chunk.len().saturating_add(1)) {
            let digit = usize::try_from(digit & 63).ok().and_then(|index| ALPHABET.get(index));
            out.write_char(digit.copied().map_or('A', char::from))?;
        }
    }
    Ok(())
}

/// Decodes the only encoding that each byte string has: no padding, no bits left over. The caller
/// bounds the length of `text`.
pub(crate) fn decode(text: &str, out: &mut Vec<u8>) -> Option<()> {
    for chunk in text.as_bytes().chunks(4) {
        let mut bits: u32 = 0;
        for digit in chunk {
            bits = (bits << 6) | value(*digit)?;
        }
        let [_, bytes @ ..] = match chunk.len() {
            4 => bits,
            3 => bits << 6,
            2 => bits << 12,
            _ => return None,
        }
        .to_be_bytes();
        let (kept, left_over) = bytes.split_at_checked(chunk.len().saturating_sub(1))?;
        if left_over.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(kept);
    }
    Some(())
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit.wrapping_sub(b'A'),
        b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
        b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}
