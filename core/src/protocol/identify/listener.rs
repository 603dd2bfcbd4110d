use alloc::vec::Vec;

use super::{EncodeError, Info};

/// The end that accepted the stream: it writes one message and ends its side.
///
/// What the stream receives means nothing; read it and throw it away.
#[derive(Debug)]
pub struct Listener {
    message: Vec<u8>,
    sent: usize,
}

impl Listener {
    /// A listener on a new stream that says `info`.
    ///
    /// # Errors
    /// `info` cannot be sent; see [`EncodeError`].
    pub fn new(info: &Info) -> Result<Self, EncodeError> {
        Ok(Self { message: info.encode()?, sent: 0 })
    }

    /// Writes what is to be sent into `out`, as much as fits, and returns its length.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> usize {
        let rest = self.message.get(self.sent..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.sent = self.sent.saturating_add(count);
        if self.sent == self.message.len() {
            *self = Self { message: Vec::new(), sent: 0 };
        }
        count
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to write.
    pub fn wants_transmit(&self) -> bool {
        !self.message.is_empty()
    }

    /// Whether all is written: end the sending side of the stream, then forget this machine.
    pub fn is_finished(&self) -> bool {
        self.message.is_empty()
    }
}
