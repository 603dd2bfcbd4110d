//! The application handshake on its stream, and what is served before it is done.

use core::mem;

use bytes::Bytes;

use super::{
    CloseReason, Connection, Event, HandshakeError, HandshakeMode, HandshakeRefusal, RefuseReason, Timer, codes,
    event::Wake, negotiation::Negotiation, phase::Phase, streams::Streams,
};
use crate::{
    Instant, ProtocolId, ProtocolSet, Role,
    channel::handshake::{self, CommandError, Handshake, Party, Rejection},
    protocol::{identify, ping},
    yamux::{self, StreamId},
};

/// What both ends may use before the handshake is done: without it neither could tell a dead connection
/// from a slow one, nor know with whom it shakes hands.
const BASIC: [ProtocolId; 3] = [ping::PROTOCOL, identify::PROTOCOL, identify::PUSH_PROTOCOL];

/// The handshake of one connection in application mode.
///
/// | stage | left for | when |
/// |---|---|---|
/// | `Pending` | `Ready` | Finalize was sent and received |
/// | | `Over` | the stream was refused, broke a rule or ended; a Reject was received, or ours has left |
/// | `Ready` | `Over` | the peer's Reject comes late: it has crossed with our Finalize |
///
/// The deadline and `close` end it from outside, by draining the connection.
#[derive(Debug)]
pub(super) struct ApplicationHandshake {
    stage: Stage,
    machine: Handshake,
    /// Where the messages go: from when it was opened or accepted until it has ended.
    stream: Option<StreamId>,
    /// The one stream that there may be was opened or accepted.
    begun: bool,
    /// The stream was lost before its protocol was agreed.
    refused: Option<RefuseReason>,
    /// Armed while `handshake_recv` has nothing to return.
    readable: Wake,
    /// What the application serves, or will.
    wanted: ProtocolSet,
    /// What it prepared to serve besides [`BASIC`].
    prepared: Option<ProtocolSet>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Pending,
    Ready,
    Over,
}

/// What has changed for the connection.
enum Step {
    Ready(StreamId),
    Over(CloseReason),
}

impl ApplicationHandshake {
    pub(super) fn new(wanted: ProtocolSet) -> Self {
        Self {
            stage: Stage::Pending,
            machine: Handshake::new(),
            stream: None,
            begun: false,
            refused: None,
            readable: Wake::Armed,
            wanted,
            prepared: None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// What inbound streams may negotiate now.
    pub(super) fn served(&self) -> ProtocolSet {
        let now = self.wanted.iter().filter(|protocol| self.is_ready() || BASIC.contains(protocol));
        now.cloned().chain([handshake::PROTOCOL]).collect()
    }

    /// Replaces what the application serves and returns what is served now.
    pub(super) fn serve(&mut self, wanted: ProtocolSet) -> ProtocolSet {
        self.wanted = wanted;
        self.served()
    }

    /// Takes over a stream of the peer on which the handshake was agreed. False if it must not exist: only
    /// the dialer of the connection opens it, and only once.
    pub(super) fn take_stream(&mut self, role: Role, id: StreamId) -> bool {
        let expected = role == Role::Listener && !self.begun && self.stage == Stage::Pending;
        if expected {
            self.stream = Some(id);
            self.begun = true;
        }
        expected
    }

    /// No protocol was agreed on the stream that this end opened.
    pub(super) fn stream_refused(&mut self, reason: RefuseReason) {
        self.stream = None;
        self.refused = Some(reason);
    }

    /// The turn of [`Event::HandshakeReadable`] has come. False if it is outdated.
    pub(super) fn take_event(&mut self) -> bool {
        self.readable.take()
    }

    pub(super) fn memory_used(&self) -> usize {
        size_of::<Self>().saturating_add(self.machine.memory_used())
    }

    /// Moves messages both ways until nothing moves or something has changed for the connection.
    fn advance(&mut self, streams: &mut Streams) -> Option<Step> {
        if let Some(reason) = self.refused.take() {
            return self.over(CloseReason::HandshakeRefused(HandshakeRefusal::Stream(reason)));
        }
        let id = self.stream?;
        loop {
            self.transmit(streams, id);
            if self.machine.is_ready() && self.stage == Stage::Pending {
                self.stage = Stage::Ready;
                return Some(Step::Ready(id));
            }
            if let Some(Rejection { by, code, .. }) = self.machine.rejection()
                && !self.machine.wants_transmit()
            {
                return self.over(CloseReason::HandshakeRejected { by: *by, code: *code });
            }
            match self.receive(streams, id) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(refusal) => {
                    self.stream = None;
                    return match self.stage {
                        // What comes behind the handshake costs its stream, not the connection.
                        Stage::Ready | Stage::Over => None,
                        Stage::Pending => self.over(CloseReason::HandshakeRefused(refusal)),
                    };
                }
            }
        }
    }

    fn over(&mut self, reason: CloseReason) -> Option<Step> {
        let was = mem::replace(&mut self.stage, Stage::Over);
        (was != Stage::Over).then_some(Step::Over(reason))
    }

    fn transmit(&mut self, streams: &mut Streams, id: StreamId) {
        let Some((session, entry)) = streams.internal(id) else { return };
        while self.machine.wants_transmit() && entry.is_writable_state() {
            match session.write(id, self.machine.peek_transmit()) {
                Ok(count) => self.machine.transmitted(count),
                // What has gone wrong is what reading returns.
                Err(_) => return,
            }
        }
    }

    /// Takes what the stream has received; true if there may be more. After an error the stream is gone.
    fn receive(&mut self, streams: &mut Streams, id: StreamId) -> Result<bool, HandshakeRefusal> {
        let Some((session, entry)) = streams.internal(id) else {
            return Err(HandshakeRefusal::Stream(RefuseReason::Reset(codes::stream::NO_ERROR)));
        };
        if !entry.is_agreed() {
            return Ok(false);
        }
        let lost = match session.peek(id) {
            Err(yamux::ReadError::Blocked) => return Ok(false),
            Err(yamux::ReadError::Reset(code)) => RefuseReason::Reset(code),
            Err(yamux::ReadError::ResourceLimit) => RefuseReason::ResourceLimit,
            Err(yamux::ReadError::Unknown) => RefuseReason::Reset(codes::stream::NO_ERROR),
            Ok(data) => {
                let is_end = data.is_empty();
                let taken = if is_end { self.machine.handle_eof().map(|()| 0) } else { self.machine.handle_recv(data) };
                match taken {
                    Ok(0) if is_end && self.is_ready() => {
                        streams.release_internal(id);
                        self.stream = None;
                        return Ok(false);
                    }
                    Ok(count) => {
                        session.consume(id, count);
                        return Ok(count > 0);
                    }
                    Err(error) => {
                        streams.reset_internal(id, codes::stream::PROTOCOL_VIOLATION);
                        return Err(HandshakeRefusal::Protocol(error));
                    }
                }
            }
        };
        streams.release_internal(id);
        Err(HandshakeRefusal::Stream(lost))
    }

    /// Messages have come for which the application waits.
    fn wakes(&mut self) -> bool {
        self.machine.waiting() > 0 && self.readable.wake()
    }
}

impl Connection {
    /// Sends a message of the application's own handshake, at most
    /// [`MAX_MESSAGE_LEN`](handshake::MAX_MESSAGE_LEN) bytes. From [`Event::Open`] to
    /// [`finalize`](Self::finalize), [`MAX_MESSAGES`](handshake::MAX_MESSAGES) times.
    ///
    /// # Errors
    /// See [`HandshakeError`]. Nothing has changed.
    pub fn handshake_send(&mut self, now: Instant, message: &[u8]) -> Result<(), HandshakeError> {
        self.command_handshake(now, |machine| machine.send(message))
    }

    /// The next message of the peer's own handshake. After `None`,
    /// [`Event::HandshakeReadable`] announces the next one.
    ///
    /// Few messages wait here, the rest in the window of the stream, so the peer's decision is noticed only
    /// once those before it were taken. What has come can also be taken after the end of the connection.
    pub fn handshake_recv(&mut self) -> Option<Bytes> {
        let handshake = self.handshake.as_deref_mut()?;
        let message = handshake.machine.recv();
        if message.is_none() {
            handshake.readable.arm();
        }
        self.drive_handshake();
        message
    }

    /// Names the protocols that are served once the handshake is done, besides ping and identify where those
    /// are served already. Without it, that is the set of the configuration or of [`serve`](Self::serve).
    /// The last call before [`Event::Ready`] counts; it may come before [`Event::Open`].
    ///
    /// # Errors
    /// The handshake is automatic, done or rejected, or the connection is over. Nothing has changed.
    pub fn prepare(&mut self, now: Instant, protocols: ProtocolSet) -> Result<(), HandshakeError> {
        self.advance(now);
        let lost = self.lost();
        let handshake = self.handshake.as_deref_mut().ok_or(HandshakeError::Automatic)?;
        match lost {
            Some(reason) => Err(HandshakeError::ConnectionLost(reason)),
            None if handshake.stage != Stage::Pending => Err(CommandError::Over.into()),
            None => {
                handshake.prepared = Some(protocols);
                Ok(())
            }
        }
    }

    /// The application accepts the peer and is ready for it. [`Event::Ready`] follows once the peer has done
    /// the same.
    ///
    /// # Errors
    /// See [`HandshakeError`]. Nothing has changed.
    pub fn finalize(&mut self, now: Instant) -> Result<(), HandshakeError> {
        self.command_handshake(now, Handshake::finalize)
    }

    /// The application does not want the peer, and tells it why: a `code` whose meaning the applications
    /// agree on, and a `reason` for people of at most [`MAX_REASON_LEN`](handshake::MAX_REASON_LEN) bytes.
    ///
    /// The connection closes in good order, with [`GATED`](codes::connection::GATED), once the peer was told
    /// or the drain timeout has passed.
    ///
    /// # Errors
    /// See [`HandshakeError`]; it is too late once the handshake is done. Nothing has changed.
    pub fn reject(&mut self, now: Instant, code: u8, reason: &str) -> Result<(), HandshakeError> {
        self.advance(now);
        self.pending_handshake()?.reject(code, reason)?;
        self.give_reason(CloseReason::HandshakeRejected { by: Party::Local, code });
        self.timers.stop(Timer::Handshake);
        self.timers.set(Timer::Drain, self.now.saturating_add(self.config.drain_timeout));
        self.drive_handshake();
        Ok(())
    }

    /// Who rejected whom in the application handshake and why, if one did.
    pub fn rejection(&self) -> Option<&Rejection> {
        self.handshake.as_ref()?.machine.rejection()
    }

    /// True from [`Event::Ready`] until the connection is closing.
    pub fn is_ready(&self) -> bool {
        self.is_open() && self.handshake.as_ref().is_none_or(|handshake| handshake.is_ready())
    }

    /// Streams of these protocols may be opened now, as far as the handshake is concerned.
    pub(super) fn may_open(&self, protocols: &[ProtocolId]) -> bool {
        self.handshake.as_ref().is_none_or(|handshake| handshake.is_ready())
            || protocols.iter().all(|protocol| BASIC.contains(protocol))
    }

    /// The connection has become open.
    pub(super) fn begin_handshake(&mut self) {
        let HandshakeMode::Application { timeout } = self.config.handshake else {
            return self.events.push(Event::Ready);
        };
        self.timers.set(Timer::Handshake, self.now.saturating_add(timeout));
        if self.role == Role::Listener {
            return;
        }
        let opened = match (self.open_parts(), Negotiation::of_outbound_stream(&[handshake::PROTOCOL])) {
            (Some((streams, mut around)), Ok(negotiation)) => streams.open_internal(negotiation, &mut around).ok(),
            _ => None,
        };
        if let Some(handshake) = &mut self.handshake {
            handshake.stream = opened;
            handshake.begun = true;
        }
    }

    /// The end of the connection has come: whatever has arrived before it is taken.
    pub(super) fn finish_handshake_input(&mut self) {
        if let Some(handshake) = &mut self.handshake {
            handshake.machine.take_all();
        }
    }

    /// The streams have ended: what the handshake still had to send would only fill memory.
    pub(super) fn end_handshake(&mut self) {
        if let Some(handshake) = &mut self.handshake {
            handshake.machine.abandon();
        }
    }

    /// Goes on with the handshake after anything that may have changed something for it.
    ///
    /// This is the only place where it is done or fails, and the deadline is stopped here, so one of the two
    /// wins: completion if it is processed before the timer is, even if it is late.
    pub(super) fn drive_handshake(&mut self) {
        loop {
            let (Phase::Open(streams), Some(handshake)) = (&mut self.phase, &mut self.handshake) else { return };
            if streams.draining.is_some() {
                return;
            }
            let step = handshake.advance(streams);
            if handshake.wakes() {
                self.events.push(Event::HandshakeReadable);
            }
            match step {
                None => return,
                Some(Step::Ready(id)) => self.become_ready(id),
                Some(Step::Over(reason)) => return self.turn_away(reason),
            }
        }
    }

    fn become_ready(&mut self, id: StreamId) {
        #[cfg(not(septa_mutant = "handshake-timer-left"))]
        self.timers.stop(Timer::Handshake);
        if let Some(handshake) = &mut self.handshake {
            if let Some(prepared) = handshake.prepared.take() {
                let basic = handshake.wanted.iter().filter(|protocol| BASIC.contains(protocol));
                handshake.wanted = basic.chain(prepared.iter()).cloned().collect();
            }
            self.served = handshake.served();
        }
        self.events.push(Event::Ready);
        if let Some((streams, mut around)) = self.open_parts() {
            streams.finish_internal(id, &around);
            streams.release_held(&mut around);
            streams.wake_open(around.events);
        }
    }

    /// Ends the connection because the handshake failed. What is on its way, such as the Reject or the reset
    /// of the stream, leaves first.
    pub(super) fn turn_away(&mut self, reason: CloseReason) {
        self.give_reason(reason);
        self.drain(codes::connection::GATED);
    }

    fn command_handshake(
        &mut self,
        now: Instant,
        command: impl FnOnce(&mut Handshake) -> Result<(), CommandError>,
    ) -> Result<(), HandshakeError> {
        self.advance(now);
        command(self.pending_handshake()?)?;
        self.drive_handshake();
        Ok(())
    }

    /// The handshake, if the application may still say something in it.
    fn pending_handshake(&mut self) -> Result<&mut Handshake, HandshakeError> {
        let lost = self.lost();
        let is_closing = !self.is_open();
        let handshake = self.handshake.as_deref_mut().ok_or(HandshakeError::Automatic)?;
        match (&self.phase, lost) {
            (_, Some(reason)) => Err(HandshakeError::ConnectionLost(reason)),
            (Phase::Open(_), None) if is_closing => Err(HandshakeError::Closing),
            (Phase::Open(_), None) => Ok(&mut handshake.machine),
            _ => Err(HandshakeError::NotOpen),
        }
    }
}
