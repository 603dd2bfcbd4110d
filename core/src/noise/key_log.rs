//! The keys of connections, for who must read what was captured.

use alloc::sync::Arc;
use core::{fmt, str::FromStr};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Opener, cipher_state::CipherState};
use crate::crypto::Provider;

/// Is told the keys of every connection; see [`Credentials::dangerous_key_log`](super::Credentials::dangerous_key_log).
///
/// Called once for each end that has come to the end of a handshake, before its first record. The dialer gets
/// there before the listener, which may still refuse it. Core writes to no file:
/// what becomes of the keys is up to the implementation.
pub trait KeyLog: Send + Sync {
    /// Takes down the keys of one connection.
    fn log(&self, keys: &TransportKeys);
}

/// The two keys of one connection: all that is needed to read what both ends have said.
///
/// Its text, as [`Display`](fmt::Display) writes and [`FromStr`] reads it, is one line of four words:
///
/// ```text
/// NOISE_XX_25519_ChaChaPoly_SHA256 HASH KEY KEY
/// ```
///
/// The words behind the label are 32 bytes in hex each: the handshake hash, the key of what the initiator
/// sends, the key of what the responder sends. The hash names the connection: it is SHA-256 over what anybody
/// has seen of the handshake, so that a reader can compute it from a capture without any key. Debug output
/// shows nothing but the hash.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct TransportKeys {
    /// The same on both ends and different for every handshake.
    pub handshake_hash: [u8; 32],
    /// The ChaCha20-Poly1305 key of what the initiator sends, the end that dialed.
    pub initiator_to_responder: [u8; 32],
    /// The key of what the responder sends.
    pub responder_to_initiator: [u8; 32],
}

impl TransportKeys {
    /// What opens the records of the initiator and of the responder, from the first one on.
    pub fn openers(&self, provider: &Arc<dyn Provider>) -> [Opener; 2] {
        [&self.initiator_to_responder, &self.responder_to_initiator]
            .map(|key| Opener::new(CipherState::new(provider.clone(), key)))
    }
}

impl fmt::Display for TransportKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LABEL)?;
        for word in [&self.handshake_hash, &self.initiator_to_responder, &self.responder_to_initiator] {
            f.write_str(" ")?;
            write_hex(f, word)?;
        }
        Ok(())
    }
}

/// The text is not a line of a key log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a line of a Noise key log: the label {LABEL} and three words of 64 hex digits")]
pub struct InvalidKeyLogLine;

impl FromStr for TransportKeys {
    type Err = InvalidKeyLogLine;

    /// Takes the line without its end. Space around it is passed over, and so is the case of the digits.
    fn from_str(line: &str) -> Result<Self, InvalidKeyLogLine> {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some(LABEL) {
            return Err(InvalidKeyLogLine);
        }
        let mut key = || words.next().and_then(read_hex).ok_or(InvalidKeyLogLine);
        let keys = Self { handshake_hash: key()?, initiator_to_responder: key()?, responder_to_initiator: key()? };
        if words.next().is_none() { Ok(keys) } else { Err(InvalidKeyLogLine) }
    }
}

impl fmt::Debug for TransportKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportKeys(")?;
        write_hex(f, &self.handshake_hash)?;
        f.write_str(", ..)")
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex(word: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let (pairs, rest) = word.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high?.checked_mul(16)?.checked_add(low?)?).ok()?;
    }
    Some(bytes)
}

const LABEL: &str = "NOISE_XX_25519_ChaChaPoly_SHA256";
