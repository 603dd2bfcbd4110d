//! Messages as they go onto a stream, one behind the other in blocks.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::{
    buf::{SendQueue, SpareBlocks},
    varint,
};

/// A message to send, borrowed until there is room for it.
///
/// [`Bytes`] of 1 KiB and more are shared, not copied: what they are a part of stays in memory until they
/// have been sent.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'m> {
    /// To be copied.
    Copied(&'m [u8]),
    /// To be shared if it is long, else copied.
    Shared(&'m Bytes),
}

impl Payload<'_> {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl<'m> From<&'m [u8]> for Payload<'m> {
    fn from(bytes: &'m [u8]) -> Self {
        Self::Copied(bytes)
    }
}

impl<'m, const N: usize> From<&'m [u8; N]> for Payload<'m> {
    fn from(bytes: &'m [u8; N]) -> Self {
        Self::Copied(bytes)
    }
}

impl<'m> From<&'m alloc::vec::Vec<u8>> for Payload<'m> {
    fn from(bytes: &'m alloc::vec::Vec<u8>) -> Self {
        Self::Copied(bytes)
    }
}

impl<'m> From<&'m Bytes> for Payload<'m> {
    fn from(bytes: &'m Bytes) -> Self {
        Self::Shared(bytes)
    }
}

/// Entries of the table of lengths that are kept while the queue is empty.
const SPARE_LENGTHS: usize = 64;

/// Encoded messages in order, each a length and so many bytes, and how much of the first was handed out.
///
/// The bytes of all of them lie in blocks, small messages side by side, so that one write takes many of them
/// and none is allocated for. Every message has at least the byte of its length; so one of which nothing was
/// handed out is told from one that was begun.
#[derive(Debug)]
pub(super) struct EncodedQueue {
    /// What is left of the first message, if messages behind it were dropped. Comes before `blocks`.
    begun: SendQueue,
    blocks: SendQueue,
    /// Lengths of the encoded messages that were not handed out whole.
    lengths: VecDeque<usize>,
    /// Bytes of the first that were handed out.
    front_sent: usize,
    /// The sum of `lengths`.
    bytes: usize,
    spares: SpareBlocks,
}

/// Messages, and the bytes that they have when encoded.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Amount {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl EncodedQueue {
    pub(super) fn new() -> Self {
        Self {
            begun: SendQueue::default(),
            blocks: SendQueue::default(),
            lengths: VecDeque::new(),
            front_sent: 0,
            bytes: 0,
            // Blocks are not kept: a queue for each peer and channel is empty most of the time.
            spares: SpareBlocks::new(0),
        }
    }

    /// What waits, a message that was begun included as a whole.
    pub(super) fn level(&self) -> Amount {
        Amount { messages: self.lengths.len(), bytes: self.bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Whether a part of the first message was handed out.
    pub(super) fn is_begun(&self) -> bool {
        self.front_sent > 0
    }

    /// Bytes of the first message that were not handed out, if others were.
    pub(super) fn begun_left(&self) -> usize {
        let length = self.lengths.front().copied().unwrap_or(0);
        if self.is_begun() { length.saturating_sub(self.front_sent) } else { 0 }
    }

    /// Appends the message that consists of `head` and `payload`.
    pub(super) fn push(&mut self, head: &[u8], payload: Payload<'_>) {
        let len = head.len().saturating_add(payload.as_bytes().len());
        let mut buffer = [0; varint::MAX_LEN];
        let prefix = varint::encode(u64::try_from(len).unwrap_or(u64::MAX), &mut buffer);
        let encoded = prefix.len().saturating_add(len);
        self.blocks.write(prefix, usize::MAX, &mut self.spares);
        self.blocks.write(head, usize::MAX, &mut self.spares);
        match payload {
            Payload::Shared(bytes) if bytes.len() >= SendQueue::MIN_SHARED_LEN => {
                self.blocks.write_chunk(&mut bytes.clone(), usize::MAX, &mut self.spares);
            }
            Payload::Copied(bytes) => {
                self.blocks.write(bytes, usize::MAX, &mut self.spares);
            }
            Payload::Shared(bytes) => {
                self.blocks.write(bytes, usize::MAX, &mut self.spares);
            }
        }
        self.lengths.push_back(encoded);
        self.bytes = self.bytes.saturating_add(encoded);
    }

    /// The first bytes that wait, as many as lie side by side.
    pub(super) fn peek(&self) -> &[u8] {
        self.first().front()
    }

    /// The same without copying, if they are a shared message.
    pub(super) fn peek_shared(&self) -> Option<Bytes> {
        self.first().front_shared()
    }

    fn first(&self) -> &SendQueue {
        if self.begun.is_empty() { &self.blocks } else { &self.begun }
    }

    /// The first `len` bytes were handed out. Returns what is now handed out whole.
    pub(super) fn transmitted(&mut self, len: usize) -> Amount {
        let len = len.min(self.bytes.saturating_sub(self.front_sent));
        self.consume(len);
        self.front_sent = self.front_sent.saturating_add(len);
        let mut whole = Amount::default();
        while let Some(length) = self.lengths.front().copied()
            && length <= self.front_sent
        {
            self.front_sent = self.front_sent.saturating_sub(length);
            self.lengths.pop_front();
            whole.add(length);
        }
        self.bytes = self.bytes.saturating_sub(whole.bytes);
        self.shrink();
        whole
    }

    /// Drops what is left of the message that was begun, if there is one.
    pub(super) fn drop_begun(&mut self) -> bool {
        if !self.is_begun() {
            return false;
        }
        self.consume(self.begun_left());
        let length = self.lengths.pop_front().unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(length);
        self.front_sent = 0;
        self.shrink();
        true
    }

    /// Drops the first message that was not begun. False if there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let is_begun = self.is_begun();
        let Some(length) = self.lengths.remove(usize::from(is_begun)) else { return false };
        if is_begun && self.begun.is_empty() {
            self.set_begun_aside(self.begun_left());
        }
        self.blocks.consume(length, &mut self.spares);
        self.bytes = self.bytes.saturating_sub(length);
        self.shrink();
        true
    }

    /// Drops everything and returns what it was.
    pub(super) fn clear(&mut self) -> Amount {
        let dropped = self.level();
        *self = Self::new();
        dropped
    }

    /// Bytes of memory in use.
    pub(super) fn memory_used(&self) -> usize {
        let lengths = self.lengths.capacity().saturating_mul(size_of::<usize>());
        self.begun.capacity().saturating_add(self.blocks.capacity()).saturating_add(lengths)
    }

    /// Moves the first `len` bytes out of the blocks, so that those behind them can be dropped.
    fn set_begun_aside(&mut self, mut len: usize) {
        while let Some(mut chunk) = self.blocks.take_chunk(len, &mut self.spares) {
            len = len.saturating_sub(chunk.len());
            self.begun.write_chunk(&mut chunk, usize::MAX, &mut self.spares);
        }
    }

    fn consume(&mut self, len: usize) {
        let begun = self.begun.len().min(len);
        self.begun.consume(begun, &mut self.spares);
        self.blocks.consume(len.saturating_sub(begun), &mut self.spares);
    }

    fn shrink(&mut self) {
        if self.lengths.is_empty() {
            self.lengths.shrink_to(SPARE_LENGTHS);
        }
    }
}
