//! Messages on a byte stream: a length as a varint, then so many bytes.

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use crate::varint;

/// The bytes are not messages of the allowed length. The reader stays failed; the stream is of no more use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message is announced that is longer than the limit. Nothing was allocated for it.
    #[error("a message is longer than {max} bytes")]
    TooLong {
        /// The longest message allowed, in bytes without its length.
        max: usize,
    },
    /// The length of a message is not in its shortest form.
    #[error("the length of a message is not in its shortest form")]
    LengthNotMinimal,
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    UnexpectedEof,
}

/// A message is longer than the limit and was not encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message has {len} bytes, more than the {max} allowed")]
pub struct TooLong {
    /// Its bytes.
    pub len: usize,
    /// The longest message allowed.
    pub max: usize,
}

/// Encodes the message that consists of `parts`, one behind the other.
///
/// # Errors
/// All parts together are longer than `max` bytes.
pub fn encode(parts: &[&[u8]], max: usize) -> Result<Vec<u8>, TooLong> {
    let len = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    if len > max {
        return Err(TooLong { len, max });
    }
    let prefix = u64::try_from(len).unwrap_or(u64::MAX);
    let mut encoded = Vec::with_capacity(len.saturating_add(varint::len(prefix)));
    varint::encode_to(prefix, &mut encoded);
    parts.iter().for_each(|part| encoded.extend_from_slice(part));
    Ok(encoded)
}

/// Cuts a byte stream into messages, wherever the stream itself was cut.
///
/// | state | input | next |
/// |---|---|---|
/// | length | the first bytes of a length | length |
/// | | a length of at most the limit | body, or whole if it is 0 |
/// | | a length above the limit, or not in its shortest form | failed |
/// | | end of stream, no byte of a length read | length: the stream ended well |
/// | | end of stream, otherwise | failed |
/// | body | fewer bytes than it lacks | body |
/// | | the bytes that it lacks | whole |
/// | | end of stream | failed |
/// | whole | [`next`](Self::next) | length |
/// | | anything else | whole: no input is taken |
/// | failed | anything | failed |
///
/// It holds one message at most. A length above the limit is refused at its first byte that shows it,
/// before anything is allocated, and the buffer grows with what has arrived, not with what was announced:
/// it occupies at most twice of that and never more than the message.
#[derive(Debug)]
pub struct MessageReader {
    max: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Length { bytes: [u8; varint::MAX_LEN], count: usize },
    Body { len: usize, body: Vec<u8> },
    Whole(Bytes),
    Failed(Error),
}

impl State {
    const START: Self = Self::Length { bytes: [0; varint::MAX_LEN], count: 0 };
}

impl MessageReader {
    /// A reader of messages of at most `max` bytes, their lengths not counted.
    pub fn new(max: usize) -> Self {
        Self { max, state: State::START }
    }

    /// Takes bytes off the front of `data`, at most to the end of one message, and returns how many. While
    /// a whole message waits in [`next`](Self::next) it takes none.
    ///
    /// # Errors
    /// What came is no message of the allowed length.
    pub fn handle_recv(&mut self, data: &[u8]) -> Result<usize, Error> {
        let mut taken = 0_usize;
        loop {
            let rest = data.get(taken..).unwrap_or_default();
            let count = match &mut self.state {
                State::Length { .. } => self.read_length(rest)?,
                State::Body { len, body } => {
                    let count = len.saturating_sub(body.len()).min(rest.len());
                    grow(body, count, *len);
                    body.extend_from_slice(rest.get(..count).unwrap_or_default());
                    if body.len() == *len {
                        self.state = State::Whole(core::mem::take(body).into());
                    }
                    count
                }
                State::Whole(_) => return Ok(taken),
                State::Failed(error) => return Err(*error),
            };
            taken = taken.saturating_add(count);
            if count == 0 && !matches!(self.state, State::Whole(_)) {
                return Ok(taken);
            }
        }
    }

    /// Takes the next message off the front of `chunk`; without one, takes all of it. A message that lies whole
    /// in the chunk is a slice of it and not copied.
    ///
    /// # Errors
    /// What came is no message of the allowed length.
    pub fn handle_chunk(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, Error> {
        if let State::Length { count: 0, .. } = self.state
            && let Some(message) = split_message(chunk, self.max)
        {
            return Ok(Some(message));
        }
        let waiting = self.next();
        if waiting.is_some() {
            return Ok(waiting);
        }
        let taken = self.handle_recv(chunk)?;
        chunk.advance(taken);
        Ok(self.next())
    }

    /// The stream sends no more. Take the whole message, if there is one, first.
    ///
    /// # Errors
    /// It ended inside a message.
    pub fn handle_eof(&mut self) -> Result<(), Error> {
        match &self.state {
            State::Failed(error) => Err(*error),
            State::Length { count: 0, .. } | State::Whole(_) => Ok(()),
            State::Length { .. } | State::Body { .. } => self.fail(Error::UnexpectedEof),
        }
    }

    /// The message that is complete, without its length.
    #[allow(clippy::should_implement_trait, reason = "more input may follow None")]
    pub fn next(&mut self) -> Option<Bytes> {
        let State::Whole(message) = &mut self.state else { return None };
        let message = core::mem::take(message);
        self.state = State::START;
        Some(message)
    }

    /// Bytes that the message held occupies.
    pub fn memory_used(&self) -> usize {
        match &self.state {
            State::Body { body, .. } => body.capacity(),
            State::Whole(message) => message.len(),
            State::Length { .. } | State::Failed(_) => 0,
        }
    }

    /// The length of the message that has begun, once it is known, or that is whole; else 0.
    pub fn announced(&self) -> usize {
        match &self.state {
            State::Body { len, .. } => *len,
            State::Whole(message) => message.len(),
            State::Length { .. } | State::Failed(_) => 0,
        }
    }

    /// Takes the bytes of a length that are in `data`, one at a time: none behind it is touched.
    fn read_length(&mut self, data: &[u8]) -> Result<usize, Error> {
        let State::Length { bytes, count } = &mut self.state else { return Ok(0) };
        let max = u64::try_from(self.max).unwrap_or(u64::MAX);
        for (taken, byte) in data.iter().enumerate() {
            if let Some(free) = bytes.get_mut(*count) {
                *free = *byte;
            }
            *count = count.saturating_add(1);
            match varint::decode(bytes.get(..*count).unwrap_or_default(), max) {
                Ok(None) => {}
                Ok(Some((len, _))) => {
                    let len = usize::try_from(len).unwrap_or(usize::MAX);
                    self.state =
                        if len == 0 { State::Whole(Bytes::new()) } else { State::Body { len, body: Vec::new() } };
                    return Ok(taken.saturating_add(1));
                }
                Err(varint::Error::NotMinimal) => return self.fail(Error::LengthNotMinimal),
                Err(varint::Error::TooLong | varint::Error::TooLarge { .. }) => {
                    return self.fail(Error::TooLong { max: self.max });
                }
            }
        }
        Ok(data.len())
    }

    fn fail<T>(&mut self, error: Error) -> Result<T, Error> {
        self.state = State::Failed(error);
        Err(error)
    }
}

/// Takes a message off the front of `chunk`, if it is all there and as it should be.
fn split_message(chunk: &mut Bytes, max: usize) -> Option<Bytes> {
    let (len, prefix) = varint::decode(chunk, u64::try_from(max).unwrap_or(u64::MAX)).ok()??;
    let end = usize::try_from(len).ok()?.checked_add(prefix)?;
    let mut message = match chunk.len() {
        have if have < end => return None,
        have if have == end => core::mem::take(chunk),
        _ => chunk.split_to(end),
    };
    message.advance(prefix);
    // An empty slice would keep its chunk in memory.
    Some(if message.is_empty() { Bytes::new() } else { message })
}

/// Makes room for `more` bytes: twice the room as often as needed, but never beyond the message.
fn grow(body: &mut Vec<u8>, more: usize, len: usize) {
    let needed = body.len().saturating_add(more);
    if needed > body.capacity() {
        let room = needed.max(body.capacity().saturating_mul(2)).min(len);
        body.reserve_exact(room.saturating_sub(body.len()));
    }
}
