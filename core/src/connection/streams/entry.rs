//! One stream as the application sees it, and the negotiation on it.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    Instant, ProtocolId,
    connection::{
        Event, RefuseReason, codes,
        event::{Events, Wake},
        negotiation::Negotiation,
        stats::Traffic,
    },
    multistream::Progress,
    yamux::{self, Session, StreamId},
};

/// One stream as the application sees it.
pub(in crate::connection) struct Entry {
    pub(in crate::connection) state: EntryState,
    /// When the negotiation must be over; once it is, when our answer leaves at the latest.
    pub(super) deadline: Instant,
    pub(in crate::connection) readable: Wake,
    pub(in crate::connection) writable: Wake,
    /// `finish` was called before the protocol was agreed, so it has to wait.
    pub(super) finish_when_agreed: bool,
    /// Written data and the end of the stream are queued.
    pub(super) finished: bool,
    /// `stop` was called before the protocol was agreed, so that the answer can still be read.
    pub(super) stop_when_agreed: Option<u32>,
    /// The application gave the stream up while its negotiation was under way.
    pub(super) released: bool,
    /// The peer opened it and the application has not accepted it yet.
    pub(super) unaccepted: bool,
    /// The connection itself uses it, for the application handshake.
    pub(super) internal: bool,
    pub(in crate::connection) traffic: Traffic,
}

pub(in crate::connection) enum EntryState {
    Negotiating(Box<Negotiation>),
    Agreed(ProtocolId),
    Refused(RefuseReason),
}

impl Entry {
    pub(super) fn new(negotiation: Negotiation, deadline: Instant, unaccepted: bool) -> Self {
        Self {
            state: EntryState::Negotiating(Box::new(negotiation)),
            deadline,
            readable: Wake::Armed,
            writable: Wake::Idle,
            finish_when_agreed: false,
            finished: false,
            stop_when_agreed: None,
            released: false,
            unaccepted,
            internal: false,
            traffic: Traffic::default(),
        }
    }

    /// Data may be written: the protocol is agreed or was proposed optimistically.
    pub(in crate::connection) fn is_writable_state(&self) -> bool {
        match &self.state {
            EntryState::Negotiating(negotiation) => negotiation.is_optimistic(),
            EntryState::Agreed(_) => true,
            EntryState::Refused(_) => false,
        }
    }

    /// The application was given it and has not given it up.
    pub(super) fn is_held(&self) -> bool {
        !self.unaccepted && !self.released && !self.internal
    }

    /// `finish` was called and waits for the agreement.
    pub(in crate::connection) fn is_finishing(&self) -> bool {
        self.finish_when_agreed
    }

    /// `stop` was called and waits for the agreement.
    pub(in crate::connection) fn is_stopped(&self) -> bool {
        self.stop_when_agreed.is_some()
    }

    pub(super) fn wake_readable(&mut self, id: StreamId, events: &mut Events) {
        if self.is_held() && self.readable.wake() {
            events.push(Event::Readable { id });
        }
    }

    pub(super) fn wake_writable(&mut self, id: StreamId, events: &mut Events) {
        if self.is_held() && self.writable.wake() {
            events.push(Event::Writable { id });
        }
    }

    pub(in crate::connection) fn is_agreed(&self) -> bool {
        matches!(self.state, EntryState::Agreed(_))
    }

    /// It is being negotiated and does not wait for the handshake of the applications, so it has a deadline.
    pub(super) fn is_being_negotiated(&self) -> bool {
        matches!(self.state, EntryState::Negotiating(_)) && !self.is_waiting_for_ready()
    }

    /// The peer proposed something that may be served only later.
    pub(super) fn is_waiting_for_ready(&self) -> bool {
        matches!(&self.state, EntryState::Negotiating(negotiation) if negotiation.is_held())
    }

    /// Feeds the negotiation with what the stream has received.
    pub(super) fn advance_negotiation(
        &mut self,
        id: StreamId,
        session: &mut Session,
    ) -> Option<Result<ProtocolId, RefuseReason>> {
        loop {
            let EntryState::Negotiating(negotiation) = &mut self.state else { return None };
            let (consumed, step) = match session.peek(id) {
                Err(yamux::ReadError::Blocked) => return None,
                Err(yamux::ReadError::Reset(codes::stream::NEGOTIATION_FAILED)) => {
                    return Some(Err(RefuseReason::Unsupported));
                }
                Err(yamux::ReadError::Reset(code)) => return Some(Err(RefuseReason::Reset(code))),
                Err(yamux::ReadError::ResourceLimit) => return Some(Err(RefuseReason::ResourceLimit)),
                Err(yamux::ReadError::Unknown) => return Some(Err(RefuseReason::Reset(codes::stream::NO_ERROR))),
                Ok(_) if negotiation.is_held() => return None,
                Ok([]) => (0, negotiation.handle_eof()),
                Ok(data) => match negotiation.handle_recv(data) {
                    Ok((consumed, progress)) => (consumed, Ok(progress)),
                    Err(error) => (0, Err(error)),
                },
            };
            session.consume(id, consumed);
            let fits = self.transmit_negotiation(id, session);
            match step {
                Ok(Progress::Agreed(protocol)) => return Some(Ok(protocol)),
                Ok(Progress::Unsupported) => return Some(Err(RefuseReason::Unsupported)),
                Err(error) => return Some(Err(RefuseReason::Protocol(error))),
                // A peer that proposes on and on without reading our answers.
                Ok(Progress::Pending) if !fits => return Some(Err(RefuseReason::TimedOut)),
                Ok(Progress::Pending) => {}
            }
        }
    }

    /// Moves what the negotiation has to say into the stream; false if the stream's quota is full.
    pub(super) fn transmit_negotiation(&mut self, id: StreamId, session: &mut Session) -> bool {
        let EntryState::Negotiating(negotiation) = &mut self.state else { return true };
        let mut message = Vec::new();
        negotiation.drain_into(&mut message);
        message.is_empty() || session.write(id, &message) == Ok(message.len())
    }
}
