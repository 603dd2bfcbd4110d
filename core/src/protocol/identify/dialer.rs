use alloc::vec::Vec;
use core::mem;

use super::message::Dropped;
use super::{Error, Info, MAX_MESSAGE_LEN, MAX_MESSAGES, TIMEOUT};
use crate::{Instant, Multiaddr, PeerId, PublicKey, SignedPeerRecord, peer_record, varint};

/// The end that opened the stream and learns who the other one is.
///
/// It sends nothing: end the sending side of the stream as soon as the protocol is agreed. The result
/// comes once, from whichever call completes it: the end of the stream, the tenth message, or the
/// deadline if at least one message is complete by then (some peers leave the stream open).
#[derive(Debug)]
pub struct Dialer {
    state: State,
    authenticated: PublicKey,
    deadline: Instant,
    /// Length and body of one message, as far as they have come.
    partial: Vec<u8>,
    messages: usize,
    info: Info,
    dropped: Dropped,
}

/// What a peer said, and how far that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// What the peer said of itself. Its `public_key` is the authenticated one or `None`, and its
    /// `signed_peer_record` is `None`. Addresses that name another peer are left out.
    pub info: Info,
    /// How the key it claims relates to the one that the connection authenticated.
    pub claimed_key: ClaimedKey,
    /// The addresses that the peer has signed, if it has.
    pub peer_record: ClaimedRecord,
    /// How many entries were left out, because they cannot be decoded or are past a limit.
    pub dropped: usize,
}

/// The public key in the message against the authenticated one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimedKey {
    /// The message has none.
    Absent,
    /// It is the authenticated one.
    Same,
    /// It is another. It was ignored; the peer lies or is broken, and its other claims deserve doubt.
    Different,
    /// It cannot be read or its type is not supported. It was ignored.
    Unusable,
}

/// The signed peer record in the message, against the authenticated key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimedRecord {
    /// The message has none.
    Absent,
    /// It is signed by the authenticated peer and about it.
    Valid(SignedPeerRecord),
    /// It is a valid record of somebody else. It was ignored; whose word it is to pass that on is not
    /// known here.
    OtherPeer(PeerId),
    /// It cannot be read or its signature is wrong. It was ignored; the peer lies or is broken.
    Unusable(peer_record::Error),
}

impl Received {
    /// The peer's addresses: those of the valid record, without one those that it merely claims.
    pub fn addrs(&self) -> &[Multiaddr] {
        self.peer_record.valid().map_or(&self.info.listen_addrs, SignedPeerRecord::addrs)
    }
}

impl ClaimedRecord {
    /// The record, if it is valid and the peer's.
    pub fn valid(&self) -> Option<&SignedPeerRecord> {
        match self {
            Self::Valid(record) => Some(record),
            _ => None,
        }
    }

    fn check(envelope: Option<&[u8]>, authenticated: &PublicKey) -> Self {
        match envelope.map(SignedPeerRecord::open) {
            None => Self::Absent,
            Some(Ok(record)) if record.public_key() == authenticated => Self::Valid(record),
            Some(Ok(record)) => Self::OtherPeer(record.peer_id()),
            Some(Err(error)) => Self::Unusable(error),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Reading,
    Done,
    Failed(Error),
}

impl Dialer {
    /// A dialer on a new stream to the peer with the key `authenticated`. The deadline counts from
    /// `now`.
    pub fn new(authenticated: PublicKey, now: Instant) -> Self {
        Self {
            state: State::Reading,
            authenticated,
            deadline: now.saturating_add(TIMEOUT),
            partial: Vec::new(),
            messages: 0,
            info: Info::default(),
            dropped: Dropped::default(),
        }
    }

    /// Reads all of `data`. What comes after the result is ignored.
    ///
    /// # Errors
    /// A message breaks a rule; see [`Error`].
    pub fn handle_recv(&mut self, data: &[u8]) -> Result<Option<Received>, Error> {
        match self.state {
            State::Reading => self.read(data).or_else(|error| self.fail(error)),
            State::Done => Ok(None),
            State::Failed(error) => Err(error),
        }
    }

    /// The remote sends no more. Pass on what was received before first.
    ///
    /// # Errors
    /// No message has come, or a message is incomplete.
    pub fn handle_eof(&mut self) -> Result<Option<Received>, Error> {
        match self.state {
            State::Reading if self.messages == 0 || !self.partial.is_empty() => self.fail(Error::UnexpectedEof),
            State::Reading => Ok(Some(self.complete())),
            State::Done => Ok(None),
            State::Failed(error) => Err(error),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (matches!(self.state, State::Reading) && self.deadline != Instant::NEVER).then_some(self.deadline)
    }

    /// Time has passed. May be called early, late and repeatedly. An incomplete message is given up
    /// at the deadline, those before it count.
    ///
    /// # Errors
    /// No message was complete at the deadline.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<Received>, Error> {
        let due = self.poll_timeout().is_some_and(|deadline| deadline <= now);
        match self.state {
            State::Reading if due && self.messages == 0 => self.fail(Error::Timeout),
            State::Reading if due => Ok(Some(self.complete())),
            State::Reading | State::Done => Ok(None),
            State::Failed(error) => Err(error),
        }
    }

    /// Whether the result was returned: nothing more that the stream receives matters.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn read(&mut self, mut data: &[u8]) -> Result<Option<Received>, Error> {
        loop {
            let length = message_length(&self.partial)?;
            if let Some(message) = length.and_then(|(start, end)| self.partial.get(start..end)) {
                self.info.merge(message, &mut self.dropped)?;
                self.partial.clear();
                self.messages = self.messages.saturating_add(1);
                if self.messages == MAX_MESSAGES {
                    return Ok(Some(self.complete()));
                }
                continue;
            }
            if data.is_empty() {
                return Ok(None);
            }
            // The length byte by byte, then at most what is missing of the body: `partial` never
            // holds more than one message.
            let missing = length.map_or(1, |(_, end)| end.saturating_sub(self.partial.len()));
            let (piece, rest) = data.split_at_checked(missing).unwrap_or((data, &[]));
            self.partial.extend_from_slice(piece);
            data = rest;
        }
    }

    fn complete(&mut self) -> Received {
        self.state = State::Done;
        self.partial = Vec::new();
        let mut info = mem::take(&mut self.info);
        let claimed_key = match &info.public_key {
            Some(key) if *key == self.authenticated => ClaimedKey::Same,
            Some(_) => ClaimedKey::Different,
            None if self.dropped.public_key => ClaimedKey::Unusable,
            None => ClaimedKey::Absent,
        };
        if claimed_key != ClaimedKey::Same {
            info.public_key = None;
        }
        let peer_record = ClaimedRecord::check(info.signed_peer_record.take().as_deref(), &self.authenticated);
        let (own, claimed) = (self.authenticated.peer_id(), info.listen_addrs.len());
        info.listen_addrs.retain(|addr| addr.peer_id().is_none_or(|named| named == own));
        let foreign = claimed.saturating_sub(info.listen_addrs.len());
        Received { info, claimed_key, peer_record, dropped: self.dropped.entries.saturating_add(foreign) }
    }

    fn fail<T>(&mut self, error: Error) -> Result<T, Error> {
        self.state = State::Failed(error);
        self.partial = Vec::new();
        self.info = Info::default();
        Err(error)
    }
}

/// Where the body of the message at the front of `bytes` starts and ends, if its length has come.
fn message_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let max = u64::try_from(MAX_MESSAGE_LEN).unwrap_or(u64::MAX);
    match varint::decode(bytes, max) {
        Ok(Some((length, start))) => {
            let length = usize::try_from(length).map_err(|_| Error::MessageTooLong)?;
            Ok(Some((start, start.saturating_add(length))))
        }
        Ok(None) => Ok(None),
        Err(varint::Error::NotMinimal) => Err(Error::LengthNotMinimal),
        Err(varint::Error::TooLong | varint::Error::TooLarge { .. }) => Err(Error::MessageTooLong),
    }
}
