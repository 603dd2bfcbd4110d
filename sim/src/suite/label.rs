//! Messages that say which they are, and prove themselves.
//!
//! ```text
//! message: place of the sender (4 bytes), its life (4 bytes), number (8 bytes), then bytes that follow from these
//! ```

use super::exchange::fill;

/// Before the bytes that follow from it: no message is shorter.
pub(super) const LEN: usize = 16;

/// Which message it is of those that a sender sends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Label {
    pub(super) place: u32,
    pub(super) life: u32,
    pub(super) number: u64,
}

impl Label {
    /// The message, of this length or a little longer if it must be.
    pub(super) fn write(self, length: usize) -> Vec<u8> {
        let mut body = vec![0; length.max(LEN)];
        body[..4].copy_from_slice(&self.place.to_be_bytes());
        body[4..8].copy_from_slice(&self.life.to_be_bytes());
        body[8..LEN].copy_from_slice(&self.number.to_be_bytes());
        fill(hash(&body[..LEN]), 0, &mut body[LEN..]);
        body
    }

    /// `None` unless each byte is as it was written.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (place, rest) = body.split_first_chunk()?;
        let (life, rest) = rest.split_first_chunk()?;
        let number = rest.first_chunk()?;
        let label = Self {
            place: u32::from_be_bytes(*place),
            life: u32::from_be_bytes(*life),
            number: u64::from_be_bytes(*number),
        };
        (label.write(body.len()) == body).then_some(label)
    }
}

/// FNV-1a.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
