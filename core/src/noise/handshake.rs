//! The handshake as libp2p does it: framing, identities, early muxer negotiation.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::mem;

use zeroize::ZeroizeOnDrop;

use super::{
    Credentials, Error, Opener, RECORD_HEADER_LEN, Sealer, TransportKeys,
    cipher_state::CipherState,
    credentials::signing_input,
    keys::KeyPair,
    payload::{MAX_MUXERS_SENT, MAX_PAYLOAD_LEN, MuxerList, Payload},
    record::body_len_bytes,
    xx::{self, InitiatorStart, InitiatorVerifying, InitiatorWaiting, Remote, ResponderStart, ResponderWaiting},
};
use crate::{ExpectedPeer, PeerId, ProtocolId, PublicKey, Seed};

/// One end of a handshake in progress.
///
/// Pass what arrives to [`handle_recv`](Self::handle_recv), send what
/// [`poll_transmit`](Self::poll_transmit) gives, and call [`finish`](Self::finish) once
/// [`is_finished`](Self::is_finished). There is no timer inside: the caller drops a handshake that
/// takes too long, which wipes it.
///
/// | role | state | input | then |
/// |---|---|---|---|
/// | initiator | message 1 waits to be sent | message 2, genuine, from the expected peer | message 3 waits, finished |
/// | responder | nothing to send | message 1 | message 2 waits |
/// | responder | message 2 sent | message 3, genuine, from the expected peer | finished |
/// | either | any | anything else | failed for good |
#[derive(Debug)]
pub struct Handshake {
    credentials: Arc<Credentials>,
    expected: ExpectedPeer,
    muxers: Vec<ProtocolId>,
    state: State,
    /// The bytes so far of the message being received, its length included.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// How much of `outgoing` was handed out.
    transmitted: usize,
}

/// What a handshake leads to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// Who the peer has proved to be.
    pub peer: PeerId,
    /// The key that proves it.
    pub public_key: PublicKey,
    /// The same on both ends and different for every handshake: a channel binding.
    pub handshake_hash: [u8; 32],
    /// The muxer agreed on early, which both ends use at once; `None` to negotiate one with
    /// multistream-select.
    pub muxer: Option<ProtocolId>,
    /// Encrypts what this end sends.
    pub sealer: Sealer,
    /// Decrypts what this end receives.
    pub opener: Opener,
}

#[derive(Debug)]
enum State {
    /// The initiator, which has written message 1.
    AwaitMessage2(InitiatorWaiting),
    AwaitMessage1(ResponderStart),
    /// The responder, which has written message 2.
    AwaitMessage3(ResponderWaiting),
    Finished(Box<Finished>),
    Failed(Error),
}

/// A peer whose signature, identity and muxers were checked.
struct Verified {
    peer: PeerId,
    public_key: PublicKey,
    muxer: Option<ProtocolId>,
}

impl Handshake {
    /// The dialing end. Message 1 is ready to be sent.
    ///
    /// `muxers` are offered for early negotiation in this order, the first [`MAX_MUXERS_SENT`] of
    /// them; with none, or if the peer offers none, multistream-select must run afterwards. Offer
    /// one only: js-libp2p walks the responder's list where everybody else walks the initiator's.
    pub fn initiator(credentials: Arc<Credentials>, expected: ExpectedPeer, muxers: &[ProtocolId], seed: Seed) -> Self {
        let ephemeral = KeyPair::generate(&**credentials.provider(), seed);
        Self::initiator_with(credentials, expected, muxers, ephemeral)
    }

    /// The accepting end. `muxers` as for [`initiator`](Self::initiator).
    pub fn responder(credentials: Arc<Credentials>, expected: ExpectedPeer, muxers: &[ProtocolId], seed: Seed) -> Self {
        let ephemeral = KeyPair::generate(&**credentials.provider(), seed);
        Self::responder_with(credentials, expected, muxers, ephemeral)
    }

    /// Takes handshake messages off the front of `data`, cut anywhere, and returns how many bytes.
    ///
    /// Never takes a byte past the last handshake message: those belong to the [`Opener`]. Keeps at
    /// most one message of [`MAX_PAYLOAD_LEN`] and a hundred bytes, and stores no more than arrives.
    ///
    /// # Errors
    /// The peer broke a rule or is not the one expected. The handshake is over: waiting output is
    /// dropped, secrets are wiped, and every later call returns the same error.
    pub fn handle_recv(&mut self, data: &[u8]) -> Result<usize, Error> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        self.receive(data).inspect_err(|error| self.fail(error.clone()))
    }

    /// Writes waiting output to the front of `out`, as much as fits, and returns how many bytes.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> usize {
        let waiting = self.outgoing.get(self.transmitted..).unwrap_or_default();
        let len = waiting.len().min(out.len());
        for (to, from) in out.iter_mut().zip(waiting) {
            *to = *from;
        }
        self.transmitted = self.transmitted.saturating_add(len);
        if !self.wants_transmit() {
            self.outgoing = Vec::new();
            self.transmitted = 0;
        }
        len
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would write something.
    pub fn wants_transmit(&self) -> bool {
        self.transmitted < self.outgoing.len()
    }

    /// Whether [`finish`](Self::finish) would succeed: the last message was received, and everything
    /// to be sent was handed out by [`poll_transmit`](Self::poll_transmit).
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished(_)) && !self.wants_transmit()
    }

    /// The result, or this handshake back if it is not [finished](Self::is_finished).
    #[expect(clippy::result_large_err, reason = "the error is the caller's own value, handed back")]
    pub fn finish(self) -> Result<Finished, Self> {
        if self.wants_transmit() {
            return Err(self);
        }
        match self.state {
            State::Finished(finished) => Ok(*finished),
            state => Err(Self { state, ..self }),
        }
    }

    #[cfg(test)]
    pub(super) fn buffer_capacity(&self) -> usize {
        self.incoming.capacity()
    }

    pub(super) fn initiator_with(
        credentials: Arc<Credentials>,
        expected: ExpectedPeer,
        muxers: &[ProtocolId],
        ephemeral: KeyPair,
    ) -> Self {
        let start = InitiatorStart::new(credentials.provider().clone(), &[], ephemeral);
        let mut outgoing = Vec::new();
        let state = match write_framed(&mut outgoing, |out| start.write_message_1(&[], out)) {
            Ok(waiting) => State::AwaitMessage2(waiting),
            Err(error) => State::Failed(error),
        };
        Self::with_state(credentials, expected, muxers, state, outgoing)
    }

    pub(super) fn responder_with(
        credentials: Arc<Credentials>,
        expected: ExpectedPeer,
        muxers: &[ProtocolId],
        ephemeral: KeyPair,
    ) -> Self {
        let state = State::AwaitMessage1(ResponderStart::new(credentials.provider().clone(), &[], ephemeral));
        Self::with_state(credentials, expected, muxers, state, Vec::new())
    }

    fn with_state(
        credentials: Arc<Credentials>,
        expected: ExpectedPeer,
        muxers: &[ProtocolId],
        state: State,
        outgoing: Vec<u8>,
    ) -> Self {
        let muxers = muxers.iter().take(MAX_MUXERS_SENT).cloned().collect();
        Self { credentials, expected, muxers, state, incoming: Vec::new(), outgoing, transmitted: 0 }
    }

    fn receive(&mut self, data: &[u8]) -> Result<usize, Error> {
        let mut rest = data;
        while !matches!(self.state, State::Finished(_)) && !rest.is_empty() {
            rest = self.buffer(rest, RECORD_HEADER_LEN);
            let Some(header) = self.incoming.first_chunk() else { break };
            let body_len = u16::from_be_bytes(*header).into();
            self.check_len(body_len)?;
            rest = self.buffer(rest, RECORD_HEADER_LEN.saturating_add(body_len));
            if self.incoming.len() < RECORD_HEADER_LEN.saturating_add(body_len) {
                break;
            }
            let mut incoming = mem::take(&mut self.incoming);
            let message = incoming.get_mut(RECORD_HEADER_LEN..).unwrap_or_default();
            self.advance(message)?;
        }
        Ok(data.len().saturating_sub(rest.len()))
    }

    /// Moves bytes from `data` to `incoming` until it holds `target`, and returns the rest.
    fn buffer<'d>(&mut self, data: &'d [u8], target: usize) -> &'d [u8] {
        let missing = target.saturating_sub(self.incoming.len());
        let (taken, rest) = data.split_at_checked(missing).unwrap_or((data, &[]));
        self.incoming.extend_from_slice(taken);
        rest
    }

    /// Refuses a message by its length, before any of it is stored.
    fn check_len(&self, body_len: usize) -> Result<(), Error> {
        let (overhead, max_payload, too_long) = match &self.state {
            State::AwaitMessage1(_) => (xx::MESSAGE_1_OVERHEAD, 0, Error::UnexpectedPayload),
            State::AwaitMessage2(_) => (xx::MESSAGE_2_OVERHEAD, MAX_PAYLOAD_LEN, Error::PayloadTooLarge),
            State::AwaitMessage3(_) => (xx::MESSAGE_3_OVERHEAD, MAX_PAYLOAD_LEN, Error::PayloadTooLarge),
            State::Finished(_) => return Ok(()),
            State::Failed(error) => return Err(error.clone()),
        };
        match body_len.checked_sub(overhead) {
            None => Err(Error::MessageTooShort),
            Some(payload) if payload > max_payload => Err(too_long),
            Some(_) => Ok(()),
        }
    }

    /// The one place where the state changes, but for [`fail`](Self::fail).
    fn advance(&mut self, message: &mut [u8]) -> Result<(), Error> {
        // Stands only while a step that may fail runs: the caller replaces it by the true reason.
        let state = mem::replace(&mut self.state, State::Failed(Error::Decrypt));
        self.state = match state {
            State::AwaitMessage1(start) => self.answer(start, message)?,
            State::AwaitMessage2(waiting) => {
                let (verifying, remote) = waiting.read_message_2(message)?;
                let peer = self.verify(&remote, |list, ours| list.choose_as_initiator(ours))?;
                self.introduce_ourselves(verifying, peer)?
            }
            State::AwaitMessage3(waiting) => {
                let (keys, remote) = waiting.read_message_3(message)?;
                let peer = self.verify(&remote, |list, ours| list.choose_as_responder(ours))?;
                let [from_initiator, from_responder] = self.ciphers(&keys);
                peer.finished(keys.handshake_hash, Sealer::new(from_responder), Opener::new(from_initiator))
            }
            state @ (State::Finished(_) | State::Failed(_)) => state,
        };
        Ok(())
    }

    /// Message 1 arrived: write message 2.
    fn answer(&mut self, start: ResponderStart, message: &mut [u8]) -> Result<State, Error> {
        let (answering, payload) = start.read_message_1(message)?;
        if !payload.is_empty() {
            return Err(Error::UnexpectedPayload);
        }
        let ours = self.credentials.payload(&self.muxers);
        let static_key = self.credentials.key_pair();
        write_framed(&mut self.outgoing, |out| answering.write_message_2(static_key, &ours, out))
            .map(State::AwaitMessage3)
    }

    /// The responder is the one we want: write message 3.
    ///
    /// Not before: it shows who we are, and an impostor has no right to know.
    fn introduce_ourselves(&mut self, verifying: InitiatorVerifying, peer: Verified) -> Result<State, Error> {
        // Once a muxer is agreed on it alone is listed, so that no reading of our list can differ.
        let ours = match &peer.muxer {
            Some(agreed) => self.credentials.payload([agreed]),
            None => self.credentials.payload(&self.muxers),
        };
        let static_key = self.credentials.key_pair();
        let keys = write_framed(&mut self.outgoing, |out| verifying.write_message_3(static_key, &ours, out))?;
        let [from_initiator, from_responder] = self.ciphers(&keys);
        Ok(peer.finished(keys.handshake_hash, Sealer::new(from_initiator), Opener::new(from_responder)))
    }

    /// The ciphers of the initiator and of the responder. If there is a key log, this is where it learns the keys.
    fn ciphers(&self, keys: &TransportKeys) -> [CipherState; 2] {
        if let Some(log) = self.credentials.key_log() {
            log.log(keys);
        }
        [&keys.initiator_to_responder, &keys.responder_to_initiator]
            .map(|key| CipherState::new(self.credentials.provider().clone(), key))
    }

    /// Checks who sent `remote`. Its extensions count only once its signature is known to be good.
    fn verify(
        &self,
        remote: &Remote<'_>,
        choose: impl FnOnce(&MuxerList<'_>, &[ProtocolId]) -> Result<Option<ProtocolId>, Error>,
    ) -> Result<Verified, Error> {
        let payload = Payload::decode(remote.payload)?;
        let public_key = PublicKey::from_protobuf(payload.identity_key).map_err(Error::IdentityKey)?;
        public_key.verify(&signing_input(&remote.static_key), payload.signature).map_err(|_| Error::BadSignature)?;
        let peer = public_key.peer_id();
        match self.expected {
            ExpectedPeer::Exactly(expected) if expected != peer => {
                return Err(Error::WrongPeer { expected, found: peer });
            }
            ExpectedPeer::Exactly(_) | ExpectedPeer::Any => {}
        }
        let muxer = choose(&payload.muxers, &self.muxers)?;
        Ok(Verified { peer, public_key, muxer })
    }

    fn fail(&mut self, error: Error) {
        self.state = State::Failed(error);
        self.incoming = Vec::new();
        self.outgoing = Vec::new();
        self.transmitted = 0;
    }
}

impl Verified {
    fn finished(self, handshake_hash: [u8; 32], sealer: Sealer, opener: Opener) -> State {
        let Self { peer, public_key, muxer } = self;
        State::Finished(Box::new(Finished { peer, public_key, handshake_hash, muxer, sealer, opener }))
    }
}

// All that is secret in a handshake is in one of its states or in the shared credentials.
impl ZeroizeOnDrop for Handshake
where
    Credentials: ZeroizeOnDrop,
    InitiatorWaiting: ZeroizeOnDrop,
    ResponderStart: ZeroizeOnDrop,
    ResponderWaiting: ZeroizeOnDrop,
    Finished: ZeroizeOnDrop,
{
}
impl ZeroizeOnDrop for Finished
where
    Sealer: ZeroizeOnDrop,
    Opener: ZeroizeOnDrop,
{
}

/// Appends one message to `out` with its length in front.
pub(super) fn write_framed<T>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<T, Error>,
) -> Result<T, Error> {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER_LEN]);
    let written = write(out)?;
    if let Some((header, body)) = out.get_mut(start..).and_then(|message| message.split_first_chunk_mut()) {
        *header = body_len_bytes(body.len());
    }
    Ok(written)
}
