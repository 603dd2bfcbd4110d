//! The asking end of a stream of requests.

use alloc::boxed::Box;
use core::time::Duration;

use bytes::Bytes;

use super::{
    super::{
        Payload, Ticket,
        encoded_queue::EncodedQueue,
        gate::{Gate, Line},
        message::TooLong,
    },
    Config, Error, RequestId,
    frame::{Frame, FrameReader, Head, Kind},
    pending::{Match, Pending},
};
use crate::Instant;

/// A request was not taken. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is longer than [`Config::max_message_len`].
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// There is no room for it now, or others wait.
    #[error("as many requests as may are under way, or others wait to ask")]
    Full,
    /// There is no room, and [`Config::max_waiting`] callers wait already.
    #[error("too many callers wait to ask")]
    TooManyWaiting,
    /// Nothing more can be asked on this stream.
    #[error("no more requests can be sent on this stream")]
    Closed,
}

/// How a request has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The request.
    pub id: RequestId,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The peer has answered.
    Response(Bytes),
    /// The peer has answered that it does not. Untrusted text of at most
    /// [`MAX_REASON_LEN`](super::MAX_REASON_LEN) bytes: quote it.
    Refused(Box<str>),
    /// The deadline came first. The peer is told that the answer is not wanted.
    TimedOut,
    /// The stream ended, was lost or failed first. Whether the peer has acted on the request is not known.
    Lost,
}

/// What is under way, and answers that nobody waited for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ClientStats {
    /// Requests without an answer.
    pub pending: usize,
    /// Callers that wait to ask.
    pub waiting: usize,
    /// Requests and cancellations that were not handed out whole.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Answers taken, refusals included.
    pub answers: u64,
    /// Requests whose deadline came first.
    pub timed_out: u64,
    /// Requests cancelled by the caller.
    pub cancelled: u64,
    /// Answers dropped because their request had timed out or was cancelled.
    pub late: u64,
    /// Answers dropped because their request had been answered.
    pub duplicate: u64,
    /// Answers dropped because nothing had been asked under that number.
    pub unknown: u64,
}

/// The asking end of one stream of requests.
///
/// | state | asking | answers | deadlines |
/// |---|---|---|---|
/// | open | by the limits | matched | time out |
/// | finishing: [`finish`](Self::finish) | `Closed` | matched | time out |
/// | over: end of the stream, [`handle_lost`](Self::handle_lost), failure | `Closed` | those received before, then the rest is lost | - |
///
/// [`poll_answer`](Self::poll_answer) names each request that was taken exactly once, unless it was
/// [cancelled](Self::cancel). Input is looked at there only: of a peer that answers faster than it is asked for, one
/// chunk and one message that is not whole are held. Those who ask wait in a line as at an
/// [`Outbox`](super::super::Outbox).
///
/// What waits to be sent never exceeds the high marks by more than one request and the cancellations of the
/// requests that were pending.
#[derive(Debug)]
pub struct Client {
    state: State,
    max_message_len: usize,
    queue: EncodedQueue,
    gate: Gate,
    line: Line,
    pending: Pending,
    reader: FrameReader,
    now: Instant,
    stats: ClientStats,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Finishing,
    /// No more answers will come.
    Over,
    Failed(Error),
}

impl Client {
    /// For a stream on which nothing was said. `config` should be [valid](Config::validate).
    pub fn new(config: &Config) -> Self {
        Self {
            state: State::Open,
            max_message_len: config.max_message_len,
            queue: EncodedQueue::new(),
            gate: Gate::new(config.watermarks),
            line: Line::new(config.max_waiting),
            pending: Pending::new(config.max_pending),
            reader: FrameReader::new(config.max_message_len),
            now: Instant::EPOCH,
            stats: ClientStats::default(),
        }
    }

    /// Asks, if there is room and nobody waits. The answer, or that there is none, comes from
    /// [`poll_answer`](Self::poll_answer) after `timeout` at the latest.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn request<'m>(
        &mut self,
        now: Instant,
        body: impl Into<Payload<'m>>,
        timeout: Duration,
    ) -> Result<RequestId, RequestError> {
        self.try_request(None, now, body.into(), timeout)
    }

    /// Whether [`request`](Self::request) would take a request now that is not too long.
    pub fn is_ready(&self) -> bool {
        self.state == State::Open && self.has_room() && self.line.is_first(None)
    }

    /// Asks, if there is room and the caller is first in the line; otherwise has it wait, as
    /// [`Outbox::enter`](super::super::Outbox::enter) does. `timeout` begins when the request is taken.
    ///
    /// # Errors
    /// See [`RequestError`]. `Full` means that the caller waits.
    pub fn enter<'m>(
        &mut self,
        ticket: &mut Option<Ticket>,
        now: Instant,
        body: impl Into<Payload<'m>>,
        timeout: Duration,
    ) -> Result<RequestId, RequestError> {
        let outcome = self.try_request(*ticket, now, body.into(), timeout);
        if outcome == Err(RequestError::Full) {
            return self.line.wait(ticket).map_or(Err(RequestError::TooManyWaiting), |()| outcome);
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

    /// A caller that waits and should call [`enter`](Self::enter) again; see
    /// [`Outbox::next_to_wake`](super::super::Outbox::next_to_wake).
    pub fn next_to_wake(&mut self) -> Option<Ticket> {
        match self.state {
            State::Open if self.has_room() => self.line.wake_first(),
            State::Open => None,
            State::Finishing | State::Over | State::Failed(_) => self.line.dismiss_first(),
        }
    }

    /// Nobody waits for the answer any more; the peer is told. Does nothing if the request has ended.
    pub fn cancel(&mut self, id: RequestId) {
        if self.pending.give_up(id) {
            self.stats.cancelled = self.stats.cancelled.saturating_add(1);
            self.send_cancel(id);
        }
    }

    /// Whether [`handle_chunk`](Self::handle_chunk) would take a chunk.
    pub fn wants_input(&self) -> bool {
        matches!(self.state, State::Open | State::Finishing) && self.reader.wants_input()
    }

    /// Takes a received chunk, or leaves it if no input is [wanted](Self::wants_input).
    pub fn handle_chunk(&mut self, chunk: &mut Bytes) {
        if self.wants_input() {
            self.reader.handle_chunk(chunk);
        }
    }

    /// The peer sends no more.
    pub fn handle_eof(&mut self) {
        self.reader.handle_eof();
    }

    /// The stream is gone. What waits to be sent is dropped; answers that came before can still be taken.
    pub fn handle_lost(&mut self) {
        self.reader.handle_eof();
        self.end(State::Over);
    }

    /// A request that has ended, and how. `None` if nothing has: more input or time is needed.
    #[must_use]
    pub fn poll_answer(&mut self) -> Option<Answer> {
        let answer = self.next_answer();
        if answer.is_some() {
            return answer;
        }
        if matches!(self.state, State::Over | State::Failed(_)) {
            let id = self.pending.lose_first()?;
            return Some(Answer { id, outcome: Outcome::Lost });
        }
        let id = self.pending.expire(self.now)?;
        self.stats.timed_out = self.stats.timed_out.saturating_add(1);
        self.send_cancel(id);
        Some(Answer { id, outcome: Outcome::TimedOut })
    }

    /// What the peer did wrong, if it did: the stream is to be reset.
    pub fn failure(&self) -> Option<Error> {
        if let State::Failed(error) = self.state { Some(error) } else { None }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pending.next_deadline()
    }

    /// Time has passed. Ask [`poll_answer`](Self::poll_answer) for the requests that have timed out.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
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
        self.update_gate();
    }

    /// Whether [`peek_transmit`](Self::peek_transmit) has something.
    pub fn wants_transmit(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Asks nothing more. What was asked is still sent and answered; no request can be cancelled at the peer
    /// from now on.
    pub fn finish(&mut self) {
        if self.state == State::Open {
            self.state = State::Finishing;
        }
    }

    /// Whether nothing more will be sent, so that this end's half of the stream can be finished.
    pub fn is_finished(&self) -> bool {
        self.state != State::Open && self.queue.is_empty()
    }

    /// What is under way, and answers that nobody waited for.
    pub fn stats(&self) -> ClientStats {
        let level = self.queue.level();
        ClientStats {
            pending: self.pending.len(),
            waiting: self.line.len(),
            queued_messages: level.messages,
            queued_bytes: level.bytes,
            ..self.stats
        }
    }

    /// Bytes of memory that messages occupy.
    pub fn memory_used(&self) -> usize {
        self.queue.memory_used().saturating_add(self.reader.memory_used())
    }

    fn try_request(
        &mut self,
        ticket: Option<Ticket>,
        now: Instant,
        body: Payload<'_>,
        timeout: Duration,
    ) -> Result<RequestId, RequestError> {
        if self.state != State::Open {
            return Err(RequestError::Closed);
        }
        let (len, max) = (body.as_bytes().len(), self.max_message_len);
        if len > max {
            return Err(RequestError::TooLong(TooLong { len, max }));
        }
        if !self.has_room() || !self.line.is_first(ticket) {
            return Err(RequestError::Full);
        }
        self.now = self.now.max(now);
        let id = self.pending.add(self.now.saturating_add(timeout));
        self.queue.push(Head::new(Kind::Request, id).as_bytes(), body);
        self.update_gate();
        Ok(id)
    }

    fn has_room(&self) -> bool {
        self.gate.is_open() && self.pending.has_room()
    }

    /// The next answer that somebody waits for, in what has come.
    fn next_answer(&mut self) -> Option<Answer> {
        while !matches!(self.state, State::Failed(_)) {
            let frame = match self.reader.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    if self.reader.is_ended() {
                        self.end(State::Over);
                    }
                    return None;
                }
                Err(error) => {
                    self.fail(error);
                    return None;
                }
            };
            let (id, outcome) = match frame {
                Frame::Response(id, body) => (id, Outcome::Response(body)),
                Frame::Error(id, reason) => (id, Outcome::Refused(reason)),
                Frame::Request(..) | Frame::Cancel(_) => {
                    self.fail(Error::UnexpectedKind(frame.kind()));
                    return None;
                }
            };
            let count = match self.pending.answer(id) {
                Match::Pending => {
                    self.stats.answers = self.stats.answers.saturating_add(1);
                    return Some(Answer { id, outcome });
                }
                Match::Late => &mut self.stats.late,
                Match::Duplicate => &mut self.stats.duplicate,
                Match::Unknown => &mut self.stats.unknown,
            };
            *count = count.saturating_add(1);
        }
        None
    }

    fn send_cancel(&mut self, id: RequestId) {
        if self.state == State::Open {
            self.queue.push(Head::new(Kind::Cancel, id).as_bytes(), Payload::Copied(&[]));
            self.update_gate();
        }
    }

    /// A stream that was lost inside an answer has not broken a rule.
    fn fail(&mut self, error: Error) {
        let state = if self.state == State::Over { State::Over } else { State::Failed(error) };
        self.end(state);
        self.reader.discard();
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.queue.clear();
        self.update_gate();
    }

    fn update_gate(&mut self) {
        let level = self.queue.level();
        self.gate.update(level.messages, level.bytes);
    }
}
