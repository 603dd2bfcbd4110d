use alloc::vec;
use alloc::vec::Vec;

use super::message::{HEADER, NA, Outgoing, Reader};
use super::{Error, MAX_PROPOSALS, Progress};
use crate::ProtocolId;

/// The proposing end of a negotiation.
///
/// ```text
/// AwaitHeader  header -> AwaitReply            anything else -> Failed
/// AwaitReply   echo of the proposal -> Agreed  `na` -> AwaitReply with the next proposal, or Unsupported
///              anything else -> Failed
/// any          end of stream -> Unsupported (rust-libp2p listeners refuse that way)
/// ```
///
/// Header and first proposal leave together. The listener's header may come at any time before its
/// first answer.
#[derive(Debug)]
pub struct Dialer {
    state: State,
    proposed: ProtocolId,
    candidates: vec::IntoIter<ProtocolId>,
    optimistic: bool,
    reader: Reader,
    outgoing: Outgoing,
}

/// The caller's list of proposals cannot be negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProposals {
    /// There is nothing to propose.
    #[error("there is no protocol to propose")]
    Empty,
    /// There are more than [`MAX_PROPOSALS`].
    #[error("there are more than 64 protocols to propose")]
    TooMany,
}

#[derive(Clone, Copy, Debug)]
enum State {
    AwaitHeader,
    AwaitReply,
    Agreed,
    Unsupported,
    Failed(Error),
}

/// What a message from the listener means to us.
enum Message {
    Header,
    Echo,
    Refusal,
    Other,
}

impl Dialer {
    /// Proposes `protocols`, the preferred one first. Nothing is created if there is none or if there
    /// are more than [`MAX_PROPOSALS`].
    pub fn new(protocols: impl IntoIterator<Item = ProtocolId>) -> Result<Self, InvalidProposals> {
        let protocols: Vec<_> = protocols.into_iter().take(MAX_PROPOSALS.saturating_add(1)).collect();
        if protocols.len() > MAX_PROPOSALS {
            return Err(InvalidProposals::TooMany);
        }
        let mut candidates = protocols.into_iter();
        let first = candidates.next().ok_or(InvalidProposals::Empty)?;
        Ok(Self::start(first, candidates, false))
    }

    /// Proposes `protocol` and nothing else, and waits for the answer. Does not allocate.
    pub fn single(protocol: ProtocolId) -> Self {
        Self::start(protocol, Vec::new().into_iter(), false)
    }

    /// Proposes `protocol` and nothing else, and lets the caller send data of the application right
    /// behind the proposal.
    ///
    /// Saves a round trip where the listener is known to serve the protocol. If it refuses, the data
    /// is lost and the stream of no use. Not where the data could be taken for another proposal, as that of
    /// a stream muxer could.
    ///
    /// The caller takes the output before it sends its own data (and before it ends a stream without
    /// data), and reads the answer before it lets go of the stream, so that a go listener can send it.
    pub fn optimistic(protocol: ProtocolId) -> Self {
        Self::start(protocol, Vec::new().into_iter(), true)
    }

    fn start(first: ProtocolId, candidates: vec::IntoIter<ProtocolId>, optimistic: bool) -> Self {
        let mut outgoing = Outgoing::default();
        outgoing.push_header();
        outgoing.push_name(first.clone());
        let reader = Reader::default();
        Self { state: State::AwaitHeader, proposed: first, candidates, optimistic, reader, outgoing }
    }

    /// Reads `data` and returns how many bytes it took. It takes all, unless the negotiation ends
    /// within `data`; the rest is the caller's.
    ///
    /// # Errors
    /// The remote broke a rule; see [`Error`] for what is left of the negotiation.
    pub fn handle_recv(&mut self, data: &[u8]) -> Result<(usize, Progress), Error> {
        let mut taken = 0_usize;
        while let State::AwaitHeader | State::AwaitReply = self.state {
            let rest = data.get(taken..).unwrap_or_default();
            match self.reader.read(rest) {
                Ok((count, Some(text))) => {
                    let message = Message::classify(text, &self.proposed);
                    taken = taken.saturating_add(count);
                    self.handle_message(message);
                }
                Ok((_, None)) => return Ok((data.len(), Progress::Pending)),
                Err(error) => self.end(State::Failed(error)),
            }
        }
        self.progress().map(|progress| (taken, progress))
    }

    /// The remote sends no more. Pass on what was received before first.
    ///
    /// # Errors
    /// Only one that was reported before: an end instead of an answer counts as a refusal.
    pub fn handle_eof(&mut self) -> Result<Progress, Error> {
        if let State::AwaitHeader | State::AwaitReply = self.state {
            self.end(State::Unsupported);
        }
        self.progress()
    }

    /// Writes what is to be sent into `out`, as much as fits, and returns its length. 0 if there is
    /// nothing to send.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> usize {
        self.outgoing.poll_transmit(out)
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to write.
    pub fn wants_transmit(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the caller may send data of the application before the answer has come.
    pub fn is_optimistic(&self) -> bool {
        self.optimistic
    }

    /// The current proposal: the agreed one after [`Progress::Agreed`], else the last one.
    pub fn proposed(&self) -> &ProtocolId {
        &self.proposed
    }

    fn handle_message(&mut self, message: Message) {
        match (self.state, message) {
            (State::AwaitHeader, Message::Header) => self.state = State::AwaitReply,
            (State::AwaitHeader, _) => self.end(State::Failed(Error::HeaderExpected)),
            (_, Message::Header) => self.end(State::Failed(Error::HeaderRepeated)),
            (_, Message::Other) => self.end(State::Failed(Error::UnexpectedMessage)),
            (_, Message::Echo | Message::Refusal) if !self.outgoing.is_empty() => {
                self.end(State::Failed(Error::ReplyTooEarly));
            }
            (_, Message::Echo) => self.end(State::Agreed),
            (_, Message::Refusal) => self.propose_next(),
        }
    }

    fn propose_next(&mut self) {
        match self.candidates.next() {
            Some(next) => {
                self.outgoing.push_name(next.clone());
                self.proposed = next;
            }
            None => self.end(State::Unsupported),
        }
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.reader = Reader::default();
        self.candidates = Vec::new().into_iter();
    }

    fn progress(&self) -> Result<Progress, Error> {
        match self.state {
            State::AwaitHeader | State::AwaitReply => Ok(Progress::Pending),
            State::Agreed => Ok(Progress::Agreed(self.proposed.clone())),
            State::Unsupported => Ok(Progress::Unsupported),
            State::Failed(error) => Err(error),
        }
    }

    #[cfg(test)]
    pub(super) fn buffer_capacity(&self) -> usize {
        self.reader.buffer_capacity()
    }
}

impl Message {
    fn classify(text: &str, proposed: &ProtocolId) -> Self {
        match text {
            HEADER => Self::Header,
            NA => Self::Refusal,
            _ if text == proposed.as_str() => Self::Echo,
            _ => Self::Other,
        }
    }
}
