//! What one end of a connection sends, taken apart down to the records of Noise.

use septa_core::{noise, varint};

use super::{plain::Plain, sealed::Sealed};

/// Bytes of a line of multistream-select. A longer one is none.
const MAX_LINE: u64 = 1024;

/// One end's output.
///
/// | state | left for | when |
/// |---|---|---|
/// | `Negotiating` | `Handshake` | the line that names Noise was sent |
/// | `Handshake` | `Records` | this end's last handshake message was sent |
/// | any | `Opaque` | there was something else |
pub(super) struct Wire {
    state: State,
    /// What is not complete. Never more than a record.
    buffer: Vec<u8>,
    /// The numbers of the handshake messages that this end sends.
    messages: &'static [u8],
}

enum State {
    /// Lines of multistream-select, in the clear.
    Negotiating,
    /// So many messages were sent.
    Handshake(usize),
    Records(Plain),
    /// Nobody knows what this is.
    Opaque,
}

/// Why nothing was taken off.
pub(super) enum Stop {
    /// It is not complete.
    Incomplete,
    /// It is not what it should be.
    Foreign,
}

impl Wire {
    pub(super) fn dialer() -> Self {
        Self { state: State::Negotiating, buffer: Vec::new(), messages: &[1, 3] }
    }

    pub(super) fn listener() -> Self {
        Self { state: State::Negotiating, buffer: Vec::new(), messages: &[2] }
    }

    /// Takes bytes that are sent, and says what has become complete.
    pub(super) fn take(&mut self, bytes: &[u8], sealed: &Sealed, say: &mut dyn FnMut(&str)) {
        if let State::Opaque = self.state {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut rest = buffer.as_slice();
        loop {
            match self.step(rest, sealed, say) {
                Ok(left) => rest = left,
                Err(Stop::Incomplete) => break,
                Err(Stop::Foreign) => {
                    say("something else than libp2p");
                    self.state = State::Opaque;
                    return;
                }
            }
        }
        let len = rest.len();
        buffer.drain(..buffer.len() - len);
        // Idle connections hold nothing.
        if len > 0 {
            self.buffer = buffer;
        }
    }

    /// Takes one thing off the front.
    fn step<'b>(&mut self, bytes: &'b [u8], sealed: &Sealed, say: &mut dyn FnMut(&str)) -> Result<&'b [u8], Stop> {
        match &mut self.state {
            State::Negotiating => {
                let (line, rest) = line(bytes)?;
                say(&format!("multistream {}", line.escape_ascii()));
                if line == noise::PROTOCOL.as_str().as_bytes() {
                    self.state = State::Handshake(0);
                }
                Ok(rest)
            }
            State::Handshake(sent) => {
                let (message, rest) = message(bytes)?;
                let number = self.messages.get(*sent).copied().unwrap_or_default();
                say(&format!("noise handshake message {number}, {} bytes", message.len()));
                *sent += 1;
                if *sent == self.messages.len() {
                    self.state = State::Records(Plain::default());
                }
                Ok(rest)
            }
            State::Records(plain) => {
                let (record, rest) = message(bytes)?;
                match sealed.take(record) {
                    Some(plaintext) => {
                        say(&format!("noise record, {} bytes", plaintext.len()));
                        plain.take(&plaintext, say);
                    }
                    None => {
                        say(&format!("noise record, {} bytes, sealed by somebody else", record.len()));
                        plain.give_up();
                    }
                }
                Ok(rest)
            }
            State::Opaque => Err(Stop::Foreign),
        }
    }
}

/// A line of multistream-select without its length and its end, and what follows.
pub(super) fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    let decoded = varint::decode(bytes, MAX_LINE).map_err(|_| Stop::Foreign)?;
    let (len, prefix) = decoded.ok_or(Stop::Incomplete)?;
    let len = usize::try_from(len).map_err(|_| Stop::Foreign)?;
    let (line, rest) = bytes.split_at(prefix).1.split_at_checked(len).ok_or(Stop::Incomplete)?;
    Ok((line.strip_suffix(b"\n").ok_or(Stop::Foreign)?, rest))
}

/// A message of Noise without its length, and what follows.
fn message(bytes: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    let (len, rest) = bytes.split_first_chunk::<{ noise::RECORD_HEADER_LEN }>().ok_or(Stop::Incomplete)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(Stop::Incomplete)
}
