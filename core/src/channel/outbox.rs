//! The sending half of a channel, for one peer.

use bytes::Bytes;

use super::{
    Config, DropCounts, DropReason, Epoch, Payload, Ticket, WhenFull,
    encoded_queue::EncodedQueue,
    gate::{Gate, Line},
    message::TooLong,
};

/// A message was not taken. Except for the count of what was too long, nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// It is longer than [`Config::max_message_len`]. It will never be taken.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// There is no room for it now, or others wait.
    #[error("messages wait up to the high watermark, or other senders do")]
    Full,
    /// There is no room, and [`Config::max_waiting`] senders wait already.
    #[error("too many senders wait")]
    TooManyWaiting,
    /// Nothing more is sent here.
    #[error("the channel is closed")]
    Closed,
}

/// What became of a message that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It waits for the stream.
    Queued,
    /// There was no room and it was dropped, as [`WhenFull::DropNewest`] asks for.
    Dropped,
}

/// A message of which the peer has received a part at most is gone with its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The connection on which it was begun.
    pub epoch: Epoch,
}

/// How much waits, and what became of the rest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Messages that were not handed out whole.
    pub messages: usize,
    /// Their bytes, with their lengths.
    pub bytes: usize,
    /// Senders that wait.
    pub waiting: usize,
    /// Messages handed out whole.
    pub sent_messages: u64,
    /// Their bytes, with their lengths.
    pub sent_bytes: u64,
    /// How often the level came to a high mark.
    pub times_blocked: u64,
    /// Messages that will not arrive.
    pub dropped: DropCounts,
}

impl OutboxStats {
    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.waiting = self.waiting.saturating_add(other.waiting);
        self.sent_messages = self.sent_messages.saturating_add(other.sent_messages);
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
        self.times_blocked = self.times_blocked.saturating_add(other.times_blocked);
        self.dropped.merge(&other.dropped);
        self
    }
}

/// The messages of one channel for one peer, until a stream takes them. It outlives connections.
///
/// Delivery is at most once and in order. A message is *begun* once any of its bytes was handed out
/// ([`transmitted`](Self::transmitted)). When the stream is lost, the one message that was begun and not
/// handed out whole is lost with it and reported; those that were handed out whole may or may not have
/// arrived and are not sent again; those that were not begun wait for the next stream.
///
/// | state | `push`, `enter` | `stream_opened` | `stream_lost` | `finish` | `close` |
/// |---|---|---|---|---|---|
/// | accepting | by the watermarks | hands out | begun message lost | finishing | finishing, all dropped |
/// | finishing | `Closed` | hands out | begun message lost | - | all dropped |
///
/// Senders that wait hold a [`Ticket`], which is a place in the line and no permit: only the first may go
/// on, when the level has fallen to the low marks and as long as it is below the high ones. After every call
/// that takes `&mut self` wake those that [`next_to_wake`](Self::next_to_wake) names, until it names none.
///
/// The level never exceeds the high marks by more than one message. (With [`WhenFull::DropOldest`] the message that
/// was begun cannot be dropped: if it alone reaches a high mark, it and one more message are the most.)
#[derive(Debug)]
pub struct Outbox {
    state: State,
    /// The connection of the stream that takes messages, while there is one.
    stream: Option<Epoch>,
    queue: EncodedQueue,
    gate: Gate,
    line: Line,
    max_message_len: usize,
    when_full: WhenFull,
    sent_messages: u64,
    sent_bytes: u64,
    dropped: DropCounts,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Accepting,
    Finishing,
}

impl Outbox {
    /// An empty one, without a stream. `config` should be [valid](Config::validate).
    pub fn new(config: &Config) -> Self {
        Self {
            state: State::Accepting,
            stream: None,
            queue: EncodedQueue::new(),
            gate: Gate::new(config.watermarks),
            line: Line::new(config.max_waiting),
            max_message_len: config.max_message_len,
            when_full: config.when_full,
            sent_messages: 0,
            sent_bytes: 0,
            dropped: DropCounts::default(),
        }
    }

    /// Takes a message if there is room and nobody waits.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push<'m>(&mut self, message: impl Into<Payload<'m>>) -> Result<Pushed, PushError> {
        self.try_push(None, message.into())
    }

    /// Takes a message if there is room and the caller is first in the line; otherwise has it wait.
    ///
    /// A sender begins with a `ticket` of `None`. After [`PushError::Full`] it holds one, and calls again with the
    /// same ticket and message when [`next_to_wake`](Self::next_to_wake) has named it (sooner does no harm).
    /// After every other outcome it holds none. One that gives up calls [`leave`](Self::leave).
    ///
    /// # Errors
    /// See [`PushError`]. `Full` means that the sender waits.
    pub fn enter<'m>(
        &mut self,
        ticket: &mut Option<Ticket>,
        message: impl Into<Payload<'m>>,
    ) -> Result<Pushed, PushError> {
        let outcome = self.try_push(*ticket, message.into());
        if outcome == Err(PushError::Full) {
            return self.line.wait(ticket).map_or(Err(PushError::TooManyWaiting), |()| outcome);
        }
        if let Some(ticket) = ticket.take() {
            self.line.leave(ticket);
        }
        outcome
    }

    /// The holder of `ticket` gives up. Nobody else loses anything by it.
    pub fn leave(&mut self, ticket: Ticket) {
        self.line.leave(ticket);
    }

    /// A sender that waits and should call [`enter`](Self::enter) again: the first in the line once it may go
    /// on, or, when nothing more is sent here, each of them. Names nobody twice for the same reason.
    pub fn next_to_wake(&mut self) -> Option<Ticket> {
        match self.state {
            State::Accepting if self.gate.is_open() => self.line.wake_first(),
            State::Accepting => None,
            State::Finishing => self.line.dismiss_first(),
        }
    }

    /// Whether [`push`](Self::push) would take a message now.
    pub fn is_ready(&self) -> bool {
        self.state == State::Accepting
            && (self.when_full != WhenFull::Wait || (self.gate.is_open() && self.line.is_first(None)))
    }

    /// Whether messages wait and there is no stream to take them.
    pub fn wants_stream(&self) -> bool {
        self.stream.is_none() && !self.queue.is_empty()
    }

    /// There is a stream to take messages, on the connection of that number. A stream that was there before
    /// is taken for lost.
    pub fn stream_opened(&mut self, epoch: Epoch) -> Option<Lost> {
        let lost = self.stream_lost();
        self.stream = Some(epoch);
        lost
    }

    /// The stream is gone, alone or with its connection. Returns what was lost for certain; see [`Outbox`]. Does
    /// nothing if there is no stream.
    pub fn stream_lost(&mut self) -> Option<Lost> {
        let epoch = self.stream.take()?;
        let is_lost = self.queue.drop_begun();
        if is_lost {
            self.dropped.add(DropReason::StreamLost, 1);
            self.update_gate();
        }
        is_lost.then_some(Lost { epoch })
    }

    /// The bytes to write next, as many as lie side by side; empty if there are none or there is no stream.
    ///
    /// Write them, then say with [`transmitted`](Self::transmitted) how many the stream has taken.
    pub fn peek_transmit(&self) -> &[u8] {
        if self.stream.is_some() { self.queue.peek() } else { &[] }
    }

    /// The same bytes to write without copying, if they belong to a long message that is shared.
    pub fn peek_shared(&self) -> Option<Bytes> {
        self.stream.and_then(|_| self.queue.peek_shared())
    }

    /// The stream has taken so many bytes of [`peek_transmit`](Self::peek_transmit). More than there are
    /// count as all; without a stream it does nothing.
    pub fn transmitted(&mut self, len: usize) {
        if self.stream.is_none() {
            return;
        }
        let whole = self.queue.transmitted(len);
        if whole.messages > 0 {
            self.sent_messages = self.sent_messages.saturating_add(as_u64(whole.messages));
            self.sent_bytes = self.sent_bytes.saturating_add(as_u64(whole.bytes));
            self.update_gate();
        }
    }

    /// Whether [`peek_transmit`](Self::peek_transmit) has something.
    pub fn wants_transmit(&self) -> bool {
        self.stream.is_some() && !self.queue.is_empty()
    }

    /// Bytes that are left of the message that was begun; 0 between two messages. Another stream may then be used
    /// without losing anything.
    pub fn begun_left(&self) -> usize {
        self.queue.begun_left()
    }

    /// Takes no more messages. Those that wait are still handed out; senders that wait are refused.
    pub fn finish(&mut self) {
        self.state = State::Finishing;
    }

    /// Whether nothing more will be handed out, so that the stream can be finished.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finishing && self.queue.is_empty()
    }

    /// Drops everything that waits, counts it under `reason` and refuses senders that wait. Returns whether a
    /// message was begun: then the stream must be reset, not finished.
    pub fn close(&mut self, reason: DropReason) -> Option<Lost> {
        self.finish();
        let stream = self.stream.take().filter(|_| self.queue.is_begun());
        let dropped = self.queue.clear();
        self.dropped.add(reason, as_u64(dropped.messages));
        self.update_gate();
        stream.map(|epoch| Lost { epoch })
    }

    /// How much waits, and what became of the rest.
    pub fn stats(&self) -> OutboxStats {
        let level = self.queue.level();
        OutboxStats {
            messages: level.messages,
            bytes: level.bytes,
            waiting: self.line.len(),
            sent_messages: self.sent_messages,
            sent_bytes: self.sent_bytes,
            times_blocked: self.gate.times_blocked(),
            dropped: self.dropped,
        }
    }

    /// Bytes of memory that the messages occupy.
    pub fn memory_used(&self) -> usize {
        self.queue.memory_used()
    }

    fn try_push(&mut self, ticket: Option<Ticket>, message: Payload<'_>) -> Result<Pushed, PushError> {
        if self.state == State::Finishing {
            return Err(PushError::Closed);
        }
        let (len, max) = (message.as_bytes().len(), self.max_message_len);
        if len > max {
            self.dropped.add(DropReason::TooLong, 1);
            return Err(PushError::TooLong(TooLong { len, max }));
        }
        match self.when_full {
            WhenFull::Wait if !self.gate.is_open() || !self.line.is_first(ticket) => return Err(PushError::Full),
            WhenFull::DropNewest if self.is_full() => {
                self.dropped.add(DropReason::BufferFull, 1);
                return Ok(Pushed::Dropped);
            }
            WhenFull::DropOldest => {
                while self.is_full() && self.queue.drop_oldest() {
                    self.dropped.add(DropReason::BufferFull, 1);
                }
            }
            WhenFull::Wait | WhenFull::DropNewest => {}
        }
        self.queue.push(&[], message);
        self.update_gate();
        Ok(Pushed::Queued)
    }

    fn is_full(&self) -> bool {
        let level = self.queue.level();
        self.gate.is_reached(level.messages, level.bytes)
    }

    fn update_gate(&mut self) {
        let level = self.queue.level();
        self.gate.update(level.messages, level.bytes);
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
