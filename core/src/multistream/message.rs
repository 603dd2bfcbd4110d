//! Messages: a length, a text, a newline. [`Reader`] takes them apart, [`Outgoing`] writes them.

use alloc::vec::Vec;

use super::{Error, MAX_MESSAGE_LEN, MAX_NEGOTIATION_LEN};
use crate::ProtocolId;

/// Text of the header, the first message of either end.
pub(super) const HEADER: &str = "/multistream/1.0.0";
/// Text with which a listener refuses a proposal.
pub(super) const NA: &str = "na";

/// Cuts the received bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Reader {
    state: State,
    /// The body of a message that arrives in pieces; kept until the next call, because the text that
    /// `read` returned points into it.
    partial: Vec<u8>,
    /// Bytes taken so far, with the whole body of a message whose length is known.
    total: usize,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Length,
    /// The first byte of a length said that another follows; its seven bits.
    SecondLengthByte(u8),
    Body(usize),
}

impl Reader {
    /// Takes at most one message off the front of `data`: how many bytes it took, and the text if the
    /// message is complete. Without a text all of `data` was taken.
    pub(super) fn read<'a>(&'a mut self, data: &'a [u8]) -> Result<(usize, Option<&'a str>), Error> {
        let mut rest = data;
        loop {
            match self.state {
                State::Length => {
                    self.partial = Vec::new();
                    let Some((&byte, tail)) = rest.split_first() else { return Ok((data.len(), None)) };
                    self.count(1)?;
                    rest = tail;
                    self.state =
                        if byte < 0x80 { self.body(byte.into())? } else { State::SecondLengthByte(byte & 0x7f) };
                }
                State::SecondLengthByte(low) => {
                    let Some((&high, tail)) = rest.split_first() else { return Ok((data.len(), None)) };
                    self.count(1)?;
                    rest = tail;
                    self.state = self.body(two_byte_length(low, high)?)?;
                }
                State::Body(length) => {
                    let before = data.len().saturating_sub(rest.len());
                    return self.read_body(length, rest).map(|(taken, text)| (before.saturating_add(taken), text));
                }
            }
        }
    }

    fn read_body<'a>(&'a mut self, length: usize, data: &'a [u8]) -> Result<(usize, Option<&'a str>), Error> {
        let missing = length.saturating_sub(self.partial.len());
        let Some((body, _)) = data.split_at_checked(missing) else {
            if !data.is_empty() {
                self.partial.reserve_exact(missing);
                self.partial.extend_from_slice(data);
            }
            return Ok((data.len(), None));
        };
        self.state = State::Length;
        if self.partial.is_empty() {
            return Ok((missing, Some(text(body)?)));
        }
        self.partial.extend_from_slice(body);
        Ok((missing, Some(text(&self.partial)?)))
    }

    fn body(&mut self, length: usize) -> Result<State, Error> {
        match length {
            0 => Err(Error::EmptyMessage),
            1..=MAX_MESSAGE_LEN => self.count(length).map(|()| State::Body(length)),
            _ => Err(Error::MessageTooLong),
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Error> {
        self.total = self.total.saturating_add(bytes);
        if self.total > MAX_NEGOTIATION_LEN { Err(Error::TooManyBytes) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(super) fn buffer_capacity(&self) -> usize {
        self.partial.capacity()
    }
}

fn two_byte_length(low: u8, high: u8) -> Result<usize, Error> {
    match high {
        0 => Err(Error::LengthNotMinimal),
        1..0x80 => Ok(usize::from(low) | usize::from(high) << 7),
        _ => Err(Error::LengthTooLong),
    }
}

fn text(body: &[u8]) -> Result<&str, Error> {
    let text = body.strip_suffix(b"\n").ok_or(Error::MissingNewline)?;
    core::str::from_utf8(text).map_err(|_| Error::NotUtf8)
}

/// What waits to be sent, always in this order: the header, refusals, a name.
///
/// Refusals are a number, so that a dialer whose proposals come faster than our answers leave costs
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    header: bool,
    refusals: usize,
    name: Option<ProtocolId>,
    /// Bytes of all that which are already sent.
    sent: usize,
}

impl Outgoing {
    pub(super) fn push_header(&mut self) {
        self.header = true;
    }

    pub(super) fn push_refusal(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
    }

    /// A proposal or its echo. Nothing may be pushed behind it before it is sent.
    pub(super) fn push_name(&mut self, name: ProtocolId) {
        self.name = Some(name);
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.header && self.refusals == 0 && self.name.is_none()
    }

    /// Writes as much as fits into `out`, and returns how much that is.
    pub(super) fn poll_transmit(&mut self, out: &mut [u8]) -> usize {
        if self.is_empty() {
            return 0;
        }
        let header = self.header.then_some(HEADER).into_iter();
        let refusals = core::iter::repeat_n(NA, self.refusals);
        let name = self.name.iter().map(ProtocolId::as_str);

        let mut writer = Writer { skip: self.sent, out, written: 0 };
        let complete = header.chain(refusals).chain(name).all(|text| writer.message(text));
        let written = writer.written;
        if complete {
            *self = Self::default();
        } else {
            self.sent = self.sent.saturating_add(written);
        }
        written
    }
}

/// Copies a sequence of messages but for its first `skip` bytes, until `out` is full.
struct Writer<'a> {
    skip: usize,
    out: &'a mut [u8],
    written: usize,
}

impl Writer<'_> {
    /// Whether all of the message is written.
    fn message(&mut self, text: &str) -> bool {
        let (length, length_len) = length_prefix(text.len().saturating_add(1));
        let length = length.get(..length_len).unwrap_or_default();
        self.part(length) && self.part(text.as_bytes()) && self.part(b"\n")
    }

    fn part(&mut self, bytes: &[u8]) -> bool {
        let skipped = self.skip.min(bytes.len());
        self.skip = self.skip.saturating_sub(skipped);
        let bytes = bytes.get(skipped..).unwrap_or_default();

        let free = self.out.get_mut(self.written..).unwrap_or_default();
        let count = bytes.len().min(free.len());
        free.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.written = self.written.saturating_add(count);
        count == bytes.len()
    }
}

/// The length as a varint and how many of its bytes count. Names are too short to need a third.
fn length_prefix(length: usize) -> ([u8; 2], usize) {
    let [low, high, ..] = length.to_le_bytes();
    if length < 0x80 { ([low, 0], 1) } else { ([low | 0x80, high << 1 | low >> 7], 2) }
}
