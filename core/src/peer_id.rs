//! Peer ids: the multihash of a public key.

#[cfg(test)]
mod tests;

use core::{cmp::Ordering, fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::identity::PublicKey;

/// Longest public key that is inlined rather than hashed (libp2p peer-ids spec).
const MAX_INLINE_KEY_LEN: usize = 42;
/// Code, length and the longest inlined key.
const MAX_LEN: usize = 44;
/// Longest text: a CIDv1 of the longest id, in base32 with its multibase prefix.
const MAX_TEXT_LEN: usize = 75;

const IDENTITY: u8 = 0x00;
const SHA2_256: u8 = 0x12;
const CID_V1: u8 = 0x01;
const LIBP2P_KEY: u8 = 0x72;

/// Names a peer: a hash of its public key, or the key itself where that is short.
///
/// Two ids are equal if their bytes are; the hashed and the inlined form of one key are different
/// ids. Ordered by bytes. [`Display`](fmt::Display) writes base58btc; parsing also takes CIDv1 in
/// base32.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId {
    len: u8,
    // Zero behind `len`, so that the derived comparison holds.
    bytes: [u8; MAX_LEN],
}

/// The bytes or the text are not a peer id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPeerId {
    /// The text is longer than any peer id; it was not decoded.
    #[error("the text is too long for a peer id")]
    TextTooLong,
    /// The text is neither base58btc nor lower-case base32 with its prefix.
    #[error("the text is neither base58btc nor a CID in base32")]
    Text,
    /// A CID of another version or codec than a libp2p key.
    #[error("the CID does not name a libp2p key")]
    Cid,
    /// Not a SHA-256 multihash of 32 bytes nor an inlined key of at most 42.
    #[error("neither a SHA-256 multihash nor an inlined key of at most 42 bytes")]
    Multihash,
}

impl PeerId {
    /// Reads the binary form, a multihash: SHA-256 with 32 bytes or an inlined key of at most 42.
    ///
    /// Whether the inlined bytes are a key is left to [`PeerId::public_key`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidPeerId> {
        match bytes {
            [SHA2_256, 32, digest @ ..] if digest.len() == 32 => Self::new(SHA2_256, digest),
            [IDENTITY, len, key @ ..] if key.len() == usize::from(*len) => Self::new(IDENTITY, key),
            _ => Err(InvalidPeerId::Multihash),
        }
    }

    /// The id of the peer that holds the private key of `key`.
    pub fn from_public_key(key: &PublicKey) -> Self {
        Self::from_encoded_key(&key.to_protobuf())
    }

    fn from_encoded_key(key: &[u8]) -> Self {
        Self::new(IDENTITY, key).unwrap_or_else(|_| {
            let digest: [u8; 32] = Sha256::digest(key).into();
            let mut bytes = [0; MAX_LEN];
            for (to, from) in bytes.iter_mut().zip([SHA2_256, 32].iter().chain(&digest)) {
                *to = *from;
            }
            Self { len: 34, bytes }
        })
    }

    fn new(code: u8, digest: &[u8]) -> Result<Self, InvalidPeerId> {
        let digest_len = u8::try_from(digest.len()).map_err(|_| InvalidPeerId::Multihash)?;
        if digest.len() > MAX_INLINE_KEY_LEN {
            return Err(InvalidPeerId::Multihash);
        }
        let mut bytes = [0; MAX_LEN];
        for (to, from) in bytes.iter_mut().zip([code, digest_len].iter().chain(digest)) {
            *to = *from;
        }
        Ok(Self { len: digest_len.saturating_add(2), bytes })
    }

    /// The binary form, at most 44 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The public key, if the id contains one that we support.
    ///
    /// An inlined encoding that is not the canonical one belongs to no peer and gives `None`.
    pub fn public_key(&self) -> Option<PublicKey> {
        match self.as_bytes() {
            [IDENTITY, _, encoded @ ..] => {
                PublicKey::from_protobuf(encoded).ok().filter(|key| key.to_protobuf() == encoded)
            }
            _ => None,
        }
    }

    /// The id contains an encoded key, which nobody has looked at.
    pub(crate) fn is_inlined(&self) -> bool {
        self.as_bytes().first() == Some(&IDENTITY)
    }
}

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<Self, InvalidPeerId> {
        if text.len() > MAX_TEXT_LEN {
            return Err(InvalidPeerId::TextTooLong);
        }
        // No base58btc peer id starts with `b`: theirs start with `1` or `Qm`.
        if let Some(digits) = text.strip_prefix('b') {
            let mut cid = [0; MAX_LEN + 2];
            return match decode_base32(digits, &mut cid).ok_or(InvalidPeerId::Text)? {
                [CID_V1, LIBP2P_KEY, multihash @ ..] => Self::from_bytes(multihash),
                _ => Err(InvalidPeerId::Cid),
            };
        }
        let mut bytes = [0; MAX_LEN];
        let len = bs58::decode(text).onto(&mut bytes).map_err(|_| InvalidPeerId::Text)?;
        Self::from_bytes(bytes.get(..len).unwrap_or_default())
    }
}

/// Decodes unpadded lower-case base32 of RFC 4648 to the front of `out`. `None` if a character is
/// foreign, a bit is left over that is not zero, or `out` is too small.
fn decode_base32<'o>(text: &str, out: &'o mut [u8]) -> Option<&'o [u8]> {
    let mut free = out.iter_mut();
    let mut used: usize = 0;
    let (mut bits, mut count) = (0_u16, 0_u32);
    for digit in text.bytes() {
        let digit = match digit {
            b'a'..=b'z' => digit.wrapping_sub(b'a'),
            b'2'..=b'7' => digit.wrapping_sub(b'2').wrapping_add(26),
            _ => return None,
        };
        bits = (bits << 5) | u16::from(digit);
        count = count.saturating_add(5);
        if count >= 8 {
            count = count.saturating_sub(8);
            let [_, byte] = bits.checked_shr(count)?.to_be_bytes();
            *free.next()? = byte;
            used = used.saturating_add(1);
            bits &= 1_u16.checked_shl(count)?.wrapping_sub(1);
        }
    }
    if count < 5 && bits == 0 { out.get(..used) } else { None }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.as_bytes()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}
