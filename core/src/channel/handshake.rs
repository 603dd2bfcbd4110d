//! The application handshake: both ends say who they are in words of their own, then accept or reject
//! each other, before anything else is served.

use alloc::{boxed::Box, collections::VecDeque};

use bytes::Bytes;

use super::message::{self, MessageReader};
use crate::ProtocolId;

/// The name of the protocol.
pub const PROTOCOL: ProtocolId = ProtocolId::from_static("/septa/handshake/1.0.0");

/// Longest message of the application, in bytes. Stops a peer that is not accepted yet from making us
/// buffer.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;

/// Most messages of the application in each direction. Stops a peer that talks on and never decides.
pub const MAX_MESSAGES: usize = 64;

/// Longest reason of a rejection, in bytes. Stops a peer from filling logs.
pub const MAX_REASON_LEN: usize = 256;

/// Received messages that may wait for the application; while so many do, no input is taken and the
/// rest waits in the stream's window. Stops a peer from filling memory beside what windows account for.
pub const MAX_WAITING: usize = 4;

/// Longest message with its kind.
const MAX_ENCODED_LEN: usize = 1 + MAX_MESSAGE_LEN;

const APP: u8 = 0;
const FINALIZE: u8 = 1;
const REJECT: u8 = 2;

/// The peer broke a rule of the handshake. The machine stays failed and the stream is to be reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What came cannot be cut into messages, or the stream ended inside of one.
    #[error(transparent)]
    Message(#[from] message::Error),
    /// A message has not even a kind.
    #[error("a handshake message is empty")]
    Empty,
    /// A message has a kind that does not exist.
    #[error("a handshake message is of the unknown kind {0}")]
    UnknownKind(u8),
    /// The peer sent more than [`MAX_MESSAGES`] messages of its application.
    #[error("the peer sent more than 64 handshake messages")]
    TooManyMessages,
    /// A message of the application came after the peer had finalized.
    #[error("the peer sent a handshake message after it had finalized")]
    MessageAfterFinalize,
    /// The peer finalized a second time.
    #[error("the peer finalized twice")]
    FinalizedTwice,
    /// A finalization carries something.
    #[error("the peer's finalization has a body")]
    FinalizeWithBody,
    /// A rejection has no code.
    #[error("the peer's rejection has no code")]
    RejectionWithoutCode,
    /// The reason of a rejection is longer than [`MAX_REASON_LEN`].
    #[error("the reason of the peer's rejection is longer than 256 bytes")]
    ReasonTooLong,
    /// The reason of a rejection is not UTF-8.
    #[error("the reason of the peer's rejection is not UTF-8 text")]
    ReasonNotUtf8,
    /// The stream ended before both ends had finalized.
    #[error("the peer ended the handshake before both ends had finalized")]
    UnexpectedEof,
}

/// The application asked for something that the handshake does not allow now. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The message is longer than [`MAX_MESSAGE_LEN`].
    #[error("a handshake message has at most 65536 bytes")]
    TooLong,
    /// [`MAX_MESSAGES`] messages were sent already.
    #[error("a handshake has at most 64 messages in each direction")]
    TooManyMessages,
    /// The reason is longer than [`MAX_REASON_LEN`].
    #[error("the reason of a rejection has at most 256 bytes")]
    ReasonTooLong,
    /// This end has finalized.
    #[error("the handshake was finalized")]
    Finalized,
    /// The handshake is over: it is ready, was rejected or has failed.
    #[error("the handshake is over")]
    Over,
}

/// One of the two ends of a handshake, seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    /// This end.
    Local,
    /// The peer.
    Remote,
}

impl core::fmt::Display for Party {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Local => "this node",
            Self::Remote => "the peer",
        })
    }
}

/// Why one end does not want the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// Who said it.
    pub by: Party,
    /// A number whose meaning the applications agree on.
    pub code: u8,
    /// For people. What a peer says is untrusted text of at most [`MAX_REASON_LEN`] bytes: quote it.
    pub reason: Box<str>,
}

/// One end's half of the handshake on its stream. Both ends are alike.
///
/// | state | `send` | `finalize` | `reject` | all sent | App | Finalize | Reject | end | nonsense |
/// |---|---|---|---|---|---|---|---|---|---|
/// | talking | talking | we finalized | rejected | - | talking | they finalized | rejected | failed | failed |
/// | we finalized | refused | refused | rejected | - | we finalized | finalizing, or ready if all is sent | rejected | failed | failed |
/// | they finalized | they finalized | finalizing | rejected | - | failed | failed | rejected | failed | failed |
/// | finalizing | refused | refused | rejected | ready | failed | failed | rejected | failed | failed |
/// | ready | refused | refused | refused | - | failed | failed | rejected | ready | failed |
/// | rejected | refused | refused | refused | - | - | - | - | - | - |
/// | failed | refused | refused | refused | - | failed | failed | failed | failed | failed |
///
/// "refused" is a [`CommandError`] and "-" means that nothing happens. An end is ready when it has sent
/// its Finalize, which is when [`poll_transmit`](Self::poll_transmit) has handed it out, and received the
/// peer's. A Reject may follow a Finalize: it crosses with what the peer said last.
///
/// Input is taken up to the message that makes the machine ready, rejected or full, so that its driver
/// can tell what came before the end from what came behind it.
#[derive(Debug)]
pub struct Handshake {
    state: State,
    reader: MessageReader,
    /// Messages for the application.
    inbox: VecDeque<Bytes>,
    /// Encoded messages that wait to be sent, and how much of the first has been.
    outbox: VecDeque<Bytes>,
    front_sent: usize,
    /// Messages of the application so far.
    sent: usize,
    received: usize,
    max_waiting: usize,
}

#[derive(Clone, Debug)]
enum State {
    Talking,
    WeFinalized,
    TheyFinalized,
    /// Both have finalized, but our Finalize has not left.
    Finalizing,
    Ready,
    Rejected(Rejection),
    Failed(Error),
}

/// A message, checked on its own.
enum Message {
    App(Bytes),
    Finalize,
    Reject { code: u8, reason: Box<str> },
}

impl Default for Handshake {
    fn default() -> Self {
        Self::new()
    }
}

impl Handshake {
    /// A handshake in which nobody has said anything.
    pub fn new() -> Self {
        Self {
            state: State::Talking,
            reader: MessageReader::new(MAX_ENCODED_LEN),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            front_sent: 0,
            sent: 0,
            received: 0,
            max_waiting: MAX_WAITING,
        }
    }

    /// Queues a message of the application.
    ///
    /// # Errors
    /// It is too long, there were too many, or this end has finalized. Nothing has changed.
    pub fn send(&mut self, message: &[u8]) -> Result<(), CommandError> {
        match self.state {
            State::Talking | State::TheyFinalized => {}
            State::WeFinalized | State::Finalizing => return Err(CommandError::Finalized),
            State::Ready | State::Rejected(_) | State::Failed(_) => return Err(CommandError::Over),
        }
        if self.sent >= MAX_MESSAGES {
            return Err(CommandError::TooManyMessages);
        }
        let encoded = message::encode(&[&[APP], message], MAX_ENCODED_LEN).map_err(|_| CommandError::TooLong)?;
        self.outbox.push_back(encoded.into());
        self.sent = self.sent.saturating_add(1);
        Ok(())
    }

    /// The application accepts the peer and is ready to be spoken to. Queues the Finalize.
    ///
    /// # Errors
    /// This end has finalized, or the handshake is over. Nothing has changed.
    pub fn finalize(&mut self) -> Result<(), CommandError> {
        self.state = match self.state {
            State::Talking => State::WeFinalized,
            State::TheyFinalized => State::Finalizing,
            State::WeFinalized | State::Finalizing => return Err(CommandError::Finalized),
            State::Ready | State::Rejected(_) | State::Failed(_) => return Err(CommandError::Over),
        };
        self.outbox.push_back(Bytes::from_static(&[1, FINALIZE]));
        Ok(())
    }

    /// The application does not want the peer. Queues the Reject, behind which nothing is sent or read.
    ///
    /// # Errors
    /// The reason is too long, or the handshake is over. Nothing has changed.
    pub fn reject(&mut self, code: u8, reason: &str) -> Result<(), CommandError> {
        if let State::Ready | State::Rejected(_) | State::Failed(_) = self.state {
            return Err(CommandError::Over);
        }
        let encoded = message::encode(&[&[REJECT, code], reason.as_bytes()], MAX_REASON_LEN.saturating_add(2))
            .map_err(|_| CommandError::ReasonTooLong)?;
        self.outbox.push_back(encoded.into());
        self.state = State::Rejected(Rejection { by: Party::Local, code, reason: reason.into() });
        Ok(())
    }

    /// The next message of the peer's application. Once more than [`MAX_WAITING`] have come, more input is
    /// taken only after this.
    pub fn recv(&mut self) -> Option<Bytes> {
        let message = self.inbox.pop_front();
        if self.inbox.is_empty() {
            self.inbox = VecDeque::new();
        }
        message
    }

    /// Messages of the peer's application that wait.
    pub fn waiting(&self) -> usize {
        self.inbox.len()
    }

    /// What comes now has arrived before the end of the connection: all of it is taken, however much waits
    /// for the application.
    pub fn take_all(&mut self) {
        self.max_waiting = usize::MAX;
    }

    /// The stream is gone: drops what waits to be sent, and what has come of a message that is not whole. Those that
    /// are whole can still be taken.
    pub fn abandon(&mut self) {
        self.outbox = VecDeque::new();
        self.front_sent = 0;
        self.reader = MessageReader::new(MAX_ENCODED_LEN);
    }

    /// Takes bytes off the front of `data` and returns how many; see [`Handshake`] for when it takes fewer
    /// than all. Once the handshake was rejected everything is taken and dropped.
    ///
    /// # Errors
    /// The peer broke a rule.
    pub fn handle_recv(&mut self, data: &[u8]) -> Result<usize, Error> {
        match &self.state {
            State::Failed(error) => return Err(*error),
            State::Rejected(_) => return Ok(data.len()),
            _ => {}
        }
        let mut taken = 0_usize;
        while self.inbox.len() < self.max_waiting {
            let rest = data.get(taken..).unwrap_or_default();
            let count = self.reader.handle_recv(rest).map_err(|error| self.fail(error.into()))?;
            taken = taken.saturating_add(count);
            let Some(message) = self.reader.next() else { break };
            self.handle_message(&message).map_err(|error| self.fail(error))?;
            if matches!(self.state, State::Finalizing | State::Ready | State::Rejected(_)) {
                break;
            }
        }
        Ok(taken)
    }

    /// The peer sends no more. Pass on what was received before first.
    ///
    /// # Errors
    /// Both ends have not finalized, or the stream ended inside a message.
    pub fn handle_eof(&mut self) -> Result<(), Error> {
        match &self.state {
            State::Rejected(_) => Ok(()),
            State::Ready => self.reader.handle_eof().map_err(|error| self.fail(error.into())),
            State::Failed(error) => Err(*error),
            _ => Err(self.fail(Error::UnexpectedEof)),
        }
    }

    /// Writes what is to be sent into `out`, as much as fits, and returns its length.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> usize {
        let len = self.peek_transmit().len().min(out.len());
        if let (Some(out), Some(bytes)) = (out.get_mut(..len), self.peek_transmit().get(..len)) {
            out.copy_from_slice(bytes);
        }
        self.transmitted(len);
        len
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to write.
    pub fn wants_transmit(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Both ends have finalized.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// Who rejected whom, if one did.
    pub fn rejection(&self) -> Option<&Rejection> {
        if let State::Rejected(rejection) = &self.state { Some(rejection) } else { None }
    }

    /// Bytes of all messages that are held.
    pub fn memory_used(&self) -> usize {
        let messages = self.inbox.iter().chain(&self.outbox).map(Bytes::len);
        let queues = self.inbox.capacity().saturating_add(self.outbox.capacity());
        messages
            .chain([self.reader.memory_used(), queues.saturating_mul(size_of::<Bytes>())])
            .fold(0, usize::saturating_add)
    }

    /// What [`poll_transmit`](Self::poll_transmit) would write next, up to the end of a message.
    pub(crate) fn peek_transmit(&self) -> &[u8] {
        self.outbox.front().and_then(|message| message.get(self.front_sent..)).unwrap_or_default()
    }

    /// So many bytes of [`peek_transmit`](Self::peek_transmit) were sent.
    pub(crate) fn transmitted(&mut self, len: usize) {
        self.front_sent = self.front_sent.saturating_add(len);
        if self.outbox.front().is_some_and(|message| message.len() <= self.front_sent) {
            self.outbox.pop_front();
            self.front_sent = 0;
        }
        if self.outbox.is_empty() {
            self.outbox = VecDeque::new();
            if let State::Finalizing = self.state {
                self.state = State::Ready;
            }
        }
    }

    fn handle_message(&mut self, message: &Bytes) -> Result<(), Error> {
        let they_finalized = matches!(self.state, State::TheyFinalized | State::Finalizing | State::Ready);
        match Message::decode(message)? {
            Message::App(_) if they_finalized => return Err(Error::MessageAfterFinalize),
            Message::App(_) if self.received >= MAX_MESSAGES => return Err(Error::TooManyMessages),
            Message::App(body) => {
                self.received = self.received.saturating_add(1);
                self.inbox.push_back(body);
            }
            Message::Finalize if they_finalized => return Err(Error::FinalizedTwice),
            Message::Finalize => {
                self.state = match self.state {
                    State::WeFinalized if self.outbox.is_empty() => State::Ready,
                    State::WeFinalized => State::Finalizing,
                    _ => State::TheyFinalized,
                };
            }
            Message::Reject { code, reason } => {
                self.outbox = VecDeque::new();
                self.state = State::Rejected(Rejection { by: Party::Remote, code, reason });
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: Error) -> Error {
        self.outbox = VecDeque::new();
        self.state = State::Failed(error);
        error
    }
}

impl Message {
    fn decode(message: &Bytes) -> Result<Self, Error> {
        let (kind, body) = message.split_first().ok_or(Error::Empty)?;
        match (*kind, body) {
            (APP, _) => Ok(Self::App(message.slice(1..))),
            (FINALIZE, []) => Ok(Self::Finalize),
            (FINALIZE, _) => Err(Error::FinalizeWithBody),
            (REJECT, []) => Err(Error::RejectionWithoutCode),
            (REJECT, [_, reason @ ..]) if reason.len() > MAX_REASON_LEN => Err(Error::ReasonTooLong),
            (REJECT, [code, reason @ ..]) => {
                let reason = core::str::from_utf8(reason).map_err(|_| Error::ReasonNotUtf8)?;
                Ok(Self::Reject { code: *code, reason: reason.into() })
            }
            (kind, _) => Err(Error::UnknownKind(kind)),
        }
    }
}
