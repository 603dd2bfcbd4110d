//! The receiving half of a channel, on one stream.

use alloc::collections::VecDeque;
use core::mem;

use bytes::Bytes;

use super::{
    Config, Epoch,
    message::{self, MessageReader},
};

/// A received message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The connection on which it came.
    pub epoch: Epoch,
    /// What the peer has sent. It may share memory with messages that came with it, up to 16 KiB: copy what
    /// is to be kept for long.
    pub body: Bytes,
}

/// There is no message to take. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// None has come yet.
    #[error("no message has come yet")]
    Blocked,
    /// The peer has ended the stream after a whole message.
    #[error("the peer sends no more messages")]
    Ended,
    /// What the peer sent behind the messages taken so far is not one. The stream is to be reset.
    #[error(transparent)]
    Failed(#[from] message::Error),
}

/// What has come and what waits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct InboxStats {
    /// Messages that wait for the application.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Messages that have come, those that wait included.
    pub received_messages: u64,
    /// Their bytes.
    pub received_bytes: u64,
}

impl InboxStats {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
            received_messages: self.received_messages.saturating_add(other.received_messages),
            received_bytes: self.received_bytes.saturating_add(other.received_bytes),
        }
    }
}

/// The messages that a peer sends on one stream of a channel.
///
/// | state | input | next |
/// |---|---|---|
/// | open | [`handle_chunk`](Self::handle_chunk) | open, or failed at a length that is not allowed |
/// | | [`handle_eof`](Self::handle_eof) | ended, or failed inside a message; if a part of the last chunk waits, when that was looked at |
/// | ended | anything | ended: no input is taken |
/// | failed | anything | failed: no input is taken |
///
/// Whole messages that came before the end or a failure can still be taken.
///
/// It looks at no more input when [`Config::max_received_messages`] or
/// [`Config::max_received_bytes`] wait, so at any time it holds less than those bytes and one message,
/// one more that is not whole, and the rest of one chunk. Messages that lie whole in a chunk are slices of it; a
/// chunk with a short message and the beginning of a long one is counted by the messages alone, so what is
/// occupied can be twice that.
#[derive(Debug)]
pub struct Inbox {
    state: State,
    epoch: Epoch,
    reader: MessageReader,
    /// Input that was not looked at.
    rest: Bytes,
    /// No more input will come.
    is_eof: bool,
    messages: VecDeque<Bytes>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    received_messages: u64,
    received_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    Ended,
    Failed(message::Error),
}

/// Entries of the queue that are kept while it is empty.
const SPARE_ENTRIES: usize = 64;

impl Inbox {
    /// For a stream of the connection with that number. `config` should be [valid](Config::validate).
    pub fn new(config: &Config, epoch: Epoch) -> Self {
        Self {
            state: State::Open,
            epoch,
            reader: MessageReader::new(config.max_message_len),
            rest: Bytes::new(),
            is_eof: false,
            messages: VecDeque::new(),
            bytes: 0,
            max_messages: config.max_received_messages,
            max_bytes: config.max_received_bytes,
            received_messages: 0,
            received_bytes: 0,
        }
    }

    /// Whether [`handle_chunk`](Self::handle_chunk) would take a chunk. While it does not, leave the input in the stream:
    /// its window stops the peer.
    pub fn wants_input(&self) -> bool {
        matches!(self.state, State::Open) && !self.is_eof && self.rest.is_empty() && self.has_room()
    }

    /// Takes a received chunk, or leaves it if no input is [wanted](Self::wants_input).
    ///
    /// # Errors
    /// What came is no message of the allowed length. The messages before it can be taken.
    pub fn handle_chunk(&mut self, chunk: &mut Bytes) -> Result<(), message::Error> {
        if self.wants_input() {
            self.rest = mem::take(chunk);
            self.advance();
        }
        self.outcome()
    }

    /// The stream sends no more.
    ///
    /// # Errors
    /// It ended inside a message. The messages before it can be taken.
    pub fn handle_eof(&mut self) -> Result<(), message::Error> {
        self.is_eof = true;
        self.advance();
        self.outcome()
    }

    /// The next message. It may make room: see [`wants_input`](Self::wants_input).
    ///
    /// # Errors
    /// There is none; see [`RecvError`].
    pub fn recv(&mut self) -> Result<Message, RecvError> {
        let Some(body) = self.messages.pop_front() else {
            return Err(match self.state {
                State::Open => RecvError::Blocked,
                State::Ended => RecvError::Ended,
                State::Failed(error) => RecvError::Failed(error),
            });
        };
        self.bytes = self.bytes.saturating_sub(body.len());
        if !self.rest.is_empty() {
            self.advance();
        }
        if self.messages.is_empty() {
            self.messages.shrink_to(SPARE_ENTRIES);
        }
        Ok(Message { epoch: self.epoch, body })
    }

    /// Whether [`recv`](Self::recv) would return something else than `Blocked`.
    pub fn is_readable(&self) -> bool {
        !self.messages.is_empty() || !matches!(self.state, State::Open)
    }

    /// What the peer did wrong, if it did. Known as soon as it is looked at, however many messages wait: the
    /// stream can be reset at once.
    pub fn failure(&self) -> Option<message::Error> {
        self.outcome().err()
    }

    /// What has come and what waits.
    pub fn stats(&self) -> InboxStats {
        InboxStats {
            messages: self.messages.len(),
            bytes: self.bytes,
            received_messages: self.received_messages,
            received_bytes: self.received_bytes,
        }
    }

    /// Bytes of memory in use, for each message its length.
    pub fn memory_used(&self) -> usize {
        let entries = self.messages.capacity().saturating_mul(size_of::<Bytes>());
        [self.rest.len(), self.reader.memory_used(), entries].into_iter().fold(self.bytes, usize::saturating_add)
    }

    fn has_room(&self) -> bool {
        self.messages.len() < self.max_messages && self.bytes < self.max_bytes
    }

    fn outcome(&self) -> Result<(), message::Error> {
        if let State::Failed(error) = self.state { Err(error) } else { Ok(()) }
    }

    /// Looks at the input as far as there is room.
    fn advance(&mut self) {
        if !matches!(self.state, State::Open) {
            return;
        }
        while self.has_room() && !self.rest.is_empty() {
            match self.reader.handle_chunk(&mut self.rest) {
                Ok(Some(message)) => {
                    self.received_messages = self.received_messages.saturating_add(1);
                    self.received_bytes = self.received_bytes.saturating_add(message.len().try_into().unwrap_or(0));
                    self.bytes = self.bytes.saturating_add(message.len());
                    self.messages.push_back(message);
                }
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
        }
        if self.rest.is_empty() {
            // An empty slice would keep its chunk in memory.
            self.rest = Bytes::new();
            if self.is_eof {
                match self.reader.handle_eof() {
                    Ok(()) => self.state = State::Ended,
                    Err(error) => self.fail(error),
                }
            }
        }
    }

    fn fail(&mut self, error: message::Error) {
        self.state = State::Failed(error);
        self.rest = Bytes::new();
    }
}
