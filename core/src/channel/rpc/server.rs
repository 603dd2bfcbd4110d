//! The answering end of a stream of requests.

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    super::{Payload, encoded_queue::EncodedQueue, gate::Gate, message::TooLong},
    Config, Error, MAX_REASON_LEN, RequestId,
    frame::{Frame, FrameReader, Head, Kind},
};

/// What the peer asks.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Asked {
    /// Answer with [`respond`](Server::respond) or [`refuse`](Server::refuse).
    Request {
        /// Its number.
        id: RequestId,
        /// What is asked.
        body: Bytes,
    },
    /// The peer does not want the answer any more; none can be given.
    Cancelled {
        /// The request.
        id: RequestId,
    },
}

/// An answer was not taken. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It is longer than [`Config::max_message_len`], or [`MAX_REASON_LEN`] if it is a reason. Another answer can
    /// still be given.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// No answer is due: it was given, the request was cancelled, or the stream is gone.
    #[error("no answer is due to this request")]
    NotDue,
}

/// What is under way.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ServerStats {
    /// Requests that are being answered.
    pub answering: usize,
    /// Answers that were not handed out whole.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Requests that wait until others are answered.
    pub waiting: usize,
    /// Requests taken.
    pub requests: u64,
    /// Requests that the peer cancelled before they were answered, or taken.
    pub cancelled: u64,
    /// Cancellations of requests that had been answered, or never asked.
    pub unknown_cancels: u64,
}

/// The answering end of one stream of requests.
///
/// Input is looked at in [`poll_asked`](Self::poll_asked) and [`poll_cancelled`](Self::poll_cancelled) only. Requests for which there is no room, because
/// [`Config::max_answering`] are being answered, or because answers wait up to the high watermark, wait here up to
/// [`Config::max_held`] and [`Config::max_held_bytes`], so that the peer can cancel any of them, and those before them. No
/// further input is looked at then; the stream's window stops the peer. So one that asks and does not read costs at
/// most the answers to those, beyond the high mark, and what waits here, one request and one chunk beyond the bound.
#[derive(Debug)]
pub struct Server {
    state: State,
    max_message_len: usize,
    max_answering: usize,
    queue: EncodedQueue,
    gate: Gate,
    answering: BTreeSet<RequestId>,
    /// The number of the next request.
    next: RequestId,
    /// Requests for which there was no room.
    held: BTreeMap<RequestId, Bytes>,
    held_bytes: usize,
    max_held: usize,
    max_held_bytes: usize,
    reader: FrameReader,
    stats: ServerStats,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// No more requests will come.
    Ended,
    Failed(Error),
}

/// What was read.
enum Read {
    /// A request, which waits.
    Held,
    /// A request that is being answered is not wanted any more.
    Cancelled(RequestId),
}

impl Server {
    /// For a stream on which nothing was said. `config` should be [valid](Config::validate).
    pub fn new(config: &Config) -> Self {
        Self {
            state: State::Open,
            max_message_len: config.max_message_len,
            max_answering: config.max_answering,
            queue: EncodedQueue::new(),
            gate: Gate::new(config.watermarks),
            answering: BTreeSet::new(),
            next: RequestId(0),
            held: BTreeMap::new(),
            held_bytes: 0,
            max_held: config.max_held,
            max_held_bytes: config.max_held_bytes,
            reader: FrameReader::new(config.max_message_len),
            stats: ServerStats::default(),
        }
    }

    /// Whether [`handle_chunk`](Self::handle_chunk) would take a chunk.
    pub fn wants_input(&self) -> bool {
        self.state == State::Open && self.can_hold() && self.reader.wants_input()
    }

    /// Takes a received chunk, or leaves it if no input is [wanted](Self::wants_input).
    pub fn handle_chunk(&mut self, chunk: &mut Bytes) {
        if self.wants_input() {
            self.reader.handle_chunk(chunk);
        }
    }

    /// The peer asks nothing more.
    pub fn handle_eof(&mut self) {
        self.reader.handle_eof();
    }

    /// What the peer asks next. `None` if more input or an answer is needed first.
    #[must_use]
    pub fn poll_asked(&mut self) -> Option<Asked> {
        loop {
            if self.has_room()
                && let Some((id, body)) = self.held.pop_first()
            {
                self.held_bytes = self.held_bytes.saturating_sub(body.len());
                self.answering.insert(id);
                self.stats.requests = self.stats.requests.saturating_add(1);
                return Some(Asked::Request { id, body });
            }
            if let Read::Cancelled(id) = self.read()? {
                return Some(Asked::Cancelled { id });
            }
        }
    }

    /// Which of the requests that are being answered the peer does not want any more: as
    /// [`poll_asked`](Self::poll_asked), for a caller that has no room for requests. They wait here meanwhile. `None` if
    /// more input is needed first.
    #[must_use]
    pub fn poll_cancelled(&mut self) -> Option<RequestId> {
        loop {
            if let Read::Cancelled(id) = self.read()? {
                return Some(id);
            }
        }
    }

    /// What the peer did wrong, if it did: the stream is to be reset.
    pub fn failure(&self) -> Option<Error> {
        if let State::Failed(error) = self.state { Some(error) } else { None }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// It is too long, or no answer is due.
    pub fn respond<'m>(&mut self, id: RequestId, body: impl Into<Payload<'m>>) -> Result<(), AnswerError> {
        self.answer(Kind::Response, id, body.into(), self.max_message_len)
    }

    /// Answers that there is no answer, and why, in at most [`MAX_REASON_LEN`] bytes.
    ///
    /// # Errors
    /// The reason is too long, or no answer is due.
    pub fn refuse(&mut self, id: RequestId, reason: &str) -> Result<(), AnswerError> {
        self.answer(Kind::Error, id, Payload::Copied(reason.as_bytes()), MAX_REASON_LEN)
    }

    /// The bytes to write next, as many as lie side by side; empty if there are none.
    pub fn peek_transmit(&self) -> &[u8] {
        self.queue.peek()
    }

    /// The same bytes to write without copying, if they belong to a long body that is shared.
    pub fn peek_shared(&self) -> Option<Bytes> {
        self.queue.peek_shared()
    }

    /// The stream has taken so many bytes of [`peek_transmit`](Self::peek_transmit). It may make room for a
    /// request: see [`poll_asked`](Self::poll_asked).
    pub fn transmitted(&mut self, len: usize) {
        self.queue.transmitted(len);
        self.update_gate();
    }

    /// Whether [`peek_transmit`](Self::peek_transmit) has something.
    pub fn wants_transmit(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether all was asked, answered and handed out, so that this end's half of the stream can be finished.
    pub fn is_finished(&self) -> bool {
        self.state == State::Ended && self.held.is_empty() && self.answering.is_empty() && self.queue.is_empty()
    }

    /// What is under way.
    pub fn stats(&self) -> ServerStats {
        let level = self.queue.level();
        ServerStats {
            answering: self.answering.len(),
            waiting: self.held.len(),
            queued_messages: level.messages,
            queued_bytes: level.bytes,
            ..self.stats
        }
    }

    /// Bytes of memory that messages occupy.
    pub fn memory_used(&self) -> usize {
        self.queue.memory_used().saturating_add(self.reader.memory_used()).saturating_add(self.held_bytes)
    }

    fn answer(&mut self, kind: Kind, id: RequestId, body: Payload<'_>, max: usize) -> Result<(), AnswerError> {
        if !self.answering.contains(&id) {
            return Err(AnswerError::NotDue);
        }
        let len = body.as_bytes().len();
        if len > max {
            return Err(AnswerError::TooLong(TooLong { len, max }));
        }
        self.answering.remove(&id);
        self.queue.push(Head::new(kind, id).as_bytes(), body);
        self.update_gate();
        Ok(())
    }

    /// The peer does not want an answer any more. True if the request is being answered.
    fn cancel(&mut self, id: RequestId) -> bool {
        let held = self.held.remove(&id);
        self.held_bytes = self.held_bytes.saturating_sub(held.as_ref().map_or(0, Bytes::len));
        let is_answered = self.answering.remove(&id);
        let count = match held.is_some() || is_answered {
            true => &mut self.stats.cancelled,
            false => &mut self.stats.unknown_cancels,
        };
        *count = count.saturating_add(1);
        is_answered
    }

    /// Looks at the input up to what concerns the caller. `None` if there is no more, or none is taken.
    fn read(&mut self) -> Option<Read> {
        while self.state == State::Open && self.can_hold() {
            match self.reader.next() {
                Ok(Some(Frame::Cancel(id))) => {
                    if self.cancel(id) {
                        return Some(Read::Cancelled(id));
                    }
                }
                Ok(Some(Frame::Request(id, body))) if id == self.next => {
                    self.next = RequestId(id.0.saturating_add(1));
                    self.held_bytes = self.held_bytes.saturating_add(body.len());
                    self.held.insert(id, body);
                    return Some(Read::Held);
                }
                Ok(Some(Frame::Request(got, _))) => self.fail(Error::UnexpectedNumber { expected: self.next, got }),
                Ok(Some(frame)) => self.fail(Error::UnexpectedKind(frame.kind())),
                Ok(None) if self.reader.is_ended() => self.state = State::Ended,
                Ok(None) => return None,
                Err(error) => self.fail(error),
            }
        }
        None
    }

    fn can_hold(&self) -> bool {
        self.held.len() < self.max_held && self.held_bytes < self.max_held_bytes
    }

    fn has_room(&self) -> bool {
        self.answering.len() < self.max_answering && self.gate.is_open()
    }

    fn fail(&mut self, error: Error) {
        self.state = State::Failed(error);
        self.reader.discard();
        self.queue.clear();
        self.answering.clear();
        self.held.clear();
        self.held_bytes = 0;
        self.update_gate();
    }

    fn update_gate(&mut self) {
        let level = self.queue.level();
        self.gate.update(level.messages, level.bytes);
    }
}
