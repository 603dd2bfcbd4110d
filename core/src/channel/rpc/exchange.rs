//! One request and its answer on a stream of their own: a message and the end of the stream in each direction.

use core::time::Duration;

use bytes::Bytes;

use super::{
    super::{
        Payload,
        encoded_queue::EncodedQueue,
        message::{self, MessageReader, TooLong},
    },
    AnswerError, Config,
};
use crate::Instant;

/// No message has come from the peer, and none will. The stream is to be reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What came is not a message of the allowed length, or the stream ended inside of it.
    #[error(transparent)]
    Message(#[from] message::Error),
    /// Something came behind the message.
    #[error("the peer sent more than one message")]
    TrailingBytes,
    /// The stream ended before the message.
    #[error("the peer ended the stream without a message")]
    NoMessage,
    /// The stream was lost before the message was whole.
    #[error("the stream was lost before the message was whole")]
    Lost,
    /// The deadline came before the message was whole.
    #[error("the message did not come in time")]
    TimedOut,
}

/// The one message that is to come.
///
/// | state | a whole message | bad input, end, loss, deadline | taken |
/// |---|---|---|---|
/// | expected | ready | ready with an error | - |
/// | ready | - | - | over |
/// | over | - | - | - |
#[derive(Debug)]
struct Incoming {
    state: State,
    reader: MessageReader,
    deadline: Instant,
}

#[derive(Debug)]
enum State {
    Expected,
    Ready(Result<Bytes, Error>),
    Over,
}

impl Incoming {
    fn new(config: &Config, now: Instant, timeout: Duration) -> Self {
        Self {
            state: State::Expected,
            reader: MessageReader::new(config.max_message_len),
            deadline: now.saturating_add(timeout),
        }
    }

    fn handle_chunk(&mut self, chunk: &mut Bytes) {
        let mut chunk = core::mem::take(chunk);
        if let State::Expected = self.state {
            match self.reader.handle_chunk(&mut chunk) {
                Ok(Some(_)) if !chunk.is_empty() => self.settle(Err(Error::TrailingBytes)),
                Ok(Some(message)) => self.settle(Ok(message)),
                Ok(None) => {}
                Err(error) => self.settle(Err(error.into())),
            }
        }
    }

    fn handle_eof(&mut self) {
        let outcome = self.reader.handle_eof();
        self.settle(outcome.map_or_else(|error| Err(error.into()), |()| Err(Error::NoMessage)));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        matches!(self.state, State::Expected).then_some(self.deadline).filter(|deadline| *deadline != Instant::NEVER)
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.settle(Err(Error::TimedOut));
        }
    }

    fn settle(&mut self, outcome: Result<Bytes, Error>) {
        if let State::Expected = self.state {
            self.state = State::Ready(outcome);
            self.reader = MessageReader::new(0);
        }
    }

    fn take(&mut self) -> Option<Result<Bytes, Error>> {
        if !matches!(self.state, State::Ready(_)) {
            return None;
        }
        match core::mem::replace(&mut self.state, State::Over) {
            State::Ready(outcome) => Some(outcome),
            State::Expected | State::Over => None,
        }
    }
}

macro_rules! stream_methods {
    () => {
        /// Takes a received chunk. What comes behind the message in a chunk of its own is dropped.
        pub fn handle_chunk(&mut self, chunk: &mut Bytes) {
            self.incoming.handle_chunk(chunk);
        }

        /// The peer sends no more.
        pub fn handle_eof(&mut self) {
            self.incoming.handle_eof();
        }

        /// The stream is gone.
        pub fn handle_lost(&mut self) {
            self.incoming.settle(Err(Error::Lost));
            self.queue.clear();
        }

        /// When [`handle_timeout`](Self::handle_timeout) is due.
        pub fn poll_timeout(&self) -> Option<Instant> {
            self.incoming.poll_timeout()
        }

        /// Time has passed.
        pub fn handle_timeout(&mut self, now: Instant) {
            self.incoming.handle_timeout(now);
        }

        /// The bytes to write next, as many as lie side by side; empty if there are none.
        pub fn peek_transmit(&self) -> &[u8] {
            self.queue.peek()
        }

        /// The same bytes to write without copying, if they belong to a long body that is shared.
        pub fn peek_shared(&self) -> Option<Bytes> {
            self.queue.peek_shared()
        }

        /// The stream has taken so many bytes of [`peek_transmit`](Self::peek_transmit).
        pub fn transmitted(&mut self, len: usize) {
            self.queue.transmitted(len);
        }

        /// Whether [`peek_transmit`](Self::peek_transmit) has something.
        pub fn wants_transmit(&self) -> bool {
            !self.queue.is_empty()
        }

        /// Bytes of memory that messages occupy.
        pub fn memory_used(&self) -> usize {
            let incoming = match &self.incoming.state {
                State::Ready(Ok(message)) => message.len(),
                _ => self.incoming.reader.memory_used(),
            };
            self.queue.memory_used().saturating_add(incoming)
        }
    };
}

/// The asking end.
#[derive(Debug)]
pub struct Requester {
    incoming: Incoming,
    queue: EncodedQueue,
}

impl Requester {
    /// Asks, and waits `timeout` for the answer. Of `config` only the length of messages counts.
    ///
    /// # Errors
    /// The request is too long.
    pub fn new<'m>(
        config: &Config,
        now: Instant,
        request: impl Into<Payload<'m>>,
        timeout: Duration,
    ) -> Result<Self, TooLong> {
        let request = request.into();
        let (len, max) = (request.as_bytes().len(), config.max_message_len);
        if len > max {
            return Err(TooLong { len, max });
        }
        let mut queue = EncodedQueue::new();
        queue.push(&[], request);
        Ok(Self { incoming: Incoming::new(config, now, timeout), queue })
    }

    /// The answer, or why there is none; once.
    #[must_use]
    pub fn poll_answer(&mut self) -> Option<Result<Bytes, Error>> {
        self.incoming.take()
    }

    /// Whether the request was handed out, so that this end's half of the stream can be finished.
    pub fn is_finished(&self) -> bool {
        self.queue.is_empty()
    }

    stream_methods!();
}

/// The answering end.
#[derive(Debug)]
pub struct Responder {
    incoming: Incoming,
    queue: EncodedQueue,
    max_message_len: usize,
    turn: Turn,
}

/// Whether an answer is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Theirs,
    Ours,
    Done,
}

impl Responder {
    /// Waits `timeout` for the request: stops a peer that holds a stream and asks nothing. Of `config` only the
    /// length of messages counts.
    pub fn new(config: &Config, now: Instant, timeout: Duration) -> Self {
        Self {
            incoming: Incoming::new(config, now, timeout),
            queue: EncodedQueue::new(),
            max_message_len: config.max_message_len,
            turn: Turn::Theirs,
        }
    }

    /// The request, or why there is none; once.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<Result<Bytes, Error>> {
        let request = self.incoming.take()?;
        self.turn = if request.is_ok() { Turn::Ours } else { Turn::Done };
        Some(request)
    }

    /// The length of the request, from when it is known until the request is taken; else 0. As much memory may be needed.
    pub fn announced(&self) -> usize {
        match &self.incoming.state {
            State::Expected => self.incoming.reader.announced(),
            State::Ready(Ok(request)) => request.len(),
            State::Ready(Err(_)) | State::Over => 0,
        }
    }

    /// Answers the request that [`poll_request`](Self::poll_request) has returned.
    ///
    /// # Errors
    /// The answer is too long, or none is due.
    pub fn respond<'m>(&mut self, body: impl Into<Payload<'m>>) -> Result<(), AnswerError> {
        if self.turn != Turn::Ours {
            return Err(AnswerError::NotDue);
        }
        let body = body.into();
        let (len, max) = (body.as_bytes().len(), self.max_message_len);
        if len > max {
            return Err(AnswerError::TooLong(TooLong { len, max }));
        }
        self.turn = Turn::Done;
        self.queue.push(&[], body);
        Ok(())
    }

    /// Whether the answer was handed out, or none will be given, so that this end's half of the stream can be
    /// finished.
    pub fn is_finished(&self) -> bool {
        self.turn == Turn::Done && self.queue.is_empty()
    }

    stream_methods!();
}
