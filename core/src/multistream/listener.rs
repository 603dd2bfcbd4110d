use super::message::{HEADER, Outgoing, Reader};
use super::{Error, MAX_PROPOSALS, Progress};
use crate::{ProtocolId, ProtocolSet};

/// The answering end of a negotiation.
///
/// ```text
/// AwaitHeader    header -> AwaitProposal, sends its header   anything else -> Failed
/// AwaitProposal  served name -> Agreed, sends the name       other text (also `ls`) -> AwaitProposal, sends `na`
///                header -> Failed                            not a message -> Failed
/// any            end of stream -> Failed
/// after a `na`   header, not a message, end of stream -> Unsupported
/// while holding  served name -> Agreed             name that is not -> Held, sends nothing
/// Held           release -> as that proposal, by the protocols served now    takes no input
/// ```
///
/// The line after a `na` is a dialer in optimistic mode: what we read are not proposals but data of the
/// application, sent in the hope of an agreement. That is no violation.
///
/// The header waits for the dialer's and then leaves with the first answer, or alone if the dialer
/// waits for it before proposing. A listener that [holds](Self::holding) does not know yet what it will
/// serve besides: it keeps such a proposal until it does. The dialer may have ended its side when the answer is due; if the
/// answer cannot be written, the data behind an agreement is still good.
#[derive(Debug)]
pub struct Listener {
    state: State,
    supported: ProtocolSet,
    /// Proposals that are not supported are held instead of refused.
    holding: bool,
    /// Proposals refused so far.
    refused: usize,
    reader: Reader,
    outgoing: Outgoing,
}

#[derive(Clone, Debug)]
enum State {
    AwaitHeader,
    AwaitProposal,
    /// A proposal about which [`Listener::release`] decides.
    Held(ProtocolId),
    Agreed(ProtocolId),
    Unsupported,
    Failed(Error),
}

/// What a message from the dialer means to us.
enum Message {
    Header,
    Served(ProtocolId),
    /// The name, if it is one and needed.
    NotServed(Option<ProtocolId>),
}

impl Listener {
    /// Agrees to the first proposal that is in `supported`, byte for byte.
    pub fn new(supported: ProtocolSet) -> Self {
        Self {
            state: State::AwaitHeader,
            supported,
            holding: false,
            refused: 0,
            reader: Reader::default(),
            outgoing: Outgoing::default(),
        }
    }

    /// Agrees to the first proposal that is in `supported`, and keeps one that is not until
    /// [`release`](Self::release): then [`is_held`](Self::is_held) is true and no input is taken.
    pub fn holding(supported: ProtocolSet) -> Self {
        Self { holding: true, ..Self::new(supported) }
    }

    /// A proposal waits for [`release`](Self::release).
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held(_))
    }

    /// From now on agrees to what is in `supported` and refuses the rest, beginning with the proposal that is
    /// held.
    ///
    /// # Errors
    /// One that was reported before.
    pub fn release(&mut self, supported: ProtocolSet) -> Result<Progress, Error> {
        self.supported = supported;
        self.holding = false;
        if let State::Held(name) = &self.state {
            let message = Message::classify(name.as_str(), &self.supported, false);
            self.state = State::AwaitProposal;
            self.handle_message(message);
        }
        self.progress()
    }

    /// Reads `data` and returns how many bytes it took. It takes all, unless the negotiation ends
    /// within `data`: after [`Progress::Agreed`] the rest belongs to the protocol, after
    /// [`Progress::Unsupported`] it is worthless.
    ///
    /// # Errors
    /// The remote broke a rule; see [`Error`] for what is left of the negotiation.
    pub fn handle_recv(&mut self, data: &[u8]) -> Result<(usize, Progress), Error> {
        let mut taken = 0_usize;
        while let State::AwaitHeader | State::AwaitProposal = self.state {
            let rest = data.get(taken..).unwrap_or_default();
            match self.reader.read(rest) {
                Ok((count, Some(text))) => {
                    let message = Message::classify(text, &self.supported, self.holding);
                    taken = taken.saturating_add(count);
                    self.handle_message(message);
                }
                Ok((_, None)) => return Ok((data.len(), Progress::Pending)),
                Err(Error::TooManyBytes) => self.end(State::Failed(Error::TooManyBytes)),
                Err(error) => self.fail_unless_refused(error),
            }
        }
        self.progress().map(|progress| (taken, progress))
    }

    /// The remote sends no more. Pass on what was received before first.
    ///
    /// # Errors
    /// The remote ended before it proposed anything, or an error that was reported before.
    pub fn handle_eof(&mut self) -> Result<Progress, Error> {
        if let State::AwaitHeader | State::AwaitProposal = self.state {
            self.fail_unless_refused(Error::UnexpectedEof);
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

    fn handle_message(&mut self, message: Message) {
        match (&self.state, message) {
            (State::AwaitHeader, Message::Header) => {
                self.outgoing.push_header();
                self.state = State::AwaitProposal;
            }
            (State::AwaitHeader, _) => self.end(State::Failed(Error::HeaderExpected)),
            (_, Message::Header) => self.fail_unless_refused(Error::HeaderRepeated),
            (_, _) if self.refused == MAX_PROPOSALS => self.end(State::Failed(Error::TooManyProposals)),
            (_, Message::Served(name)) => {
                self.outgoing.push_name(name.clone());
                self.end(State::Agreed(name));
            }
            (_, Message::NotServed(Some(name))) => self.state = State::Held(name),
            (_, Message::NotServed(None)) => {
                self.outgoing.push_refusal();
                self.refused = self.refused.saturating_add(1);
            }
        }
    }

    fn fail_unless_refused(&mut self, error: Error) {
        self.end(if self.refused > 0 { State::Unsupported } else { State::Failed(error) });
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.reader = Reader::default();
    }

    fn progress(&self) -> Result<Progress, Error> {
        match &self.state {
            State::AwaitHeader | State::AwaitProposal | State::Held(_) => Ok(Progress::Pending),
            State::Agreed(name) => Ok(Progress::Agreed(name.clone())),
            State::Unsupported => Ok(Progress::Unsupported),
            State::Failed(error) => Err(*error),
        }
    }

    #[cfg(test)]
    pub(super) fn buffer_capacity(&self) -> usize {
        self.reader.buffer_capacity()
    }
}

impl Message {
    fn classify(text: &str, supported: &ProtocolSet, holding: bool) -> Self {
        match (text, supported.get(text)) {
            (HEADER, _) => Self::Header,
            (_, Some(name)) => Self::Served(name.clone()),
            (_, None) => Self::NotServed(holding.then(|| ProtocolId::new(text).ok()).flatten()),
        }
    }
}
