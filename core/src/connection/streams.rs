//! The streams of an open connection: the Yamux session and the negotiation on each stream.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::{Event, RefuseReason, codes, event::Events, negotiation::Negotiation, stats::Stats};
use crate::{
    Instant, ProtocolId, ProtocolSet,
    multistream::Progress,
    yamux::{self, Session, StreamId},
};

/// The session, its streams, and what the application may do with each.
pub(super) struct Streams {
    pub(super) session: Session,
    pub(super) entries: BTreeMap<StreamId, Entry>,
    /// Inbound streams whose protocol is agreed and that the application has not accepted yet.
    /// Bounded by the session's stream limit.
    incoming: VecDeque<StreamId>,
    /// `accept` returned `None` since the last `Incoming`.
    incoming_armed: bool,
    /// When each negotiation that is under way must be over.
    deadlines: BTreeSet<(Instant, StreamId)>,
    /// The code of our coming GoAway, once `close` was called.
    pub(super) draining: Option<u32>,
}

/// One stream as the application sees it.
pub(super) struct Entry {
    pub(super) state: EntryState,
    /// When the negotiation must be over.
    deadline: Instant,
    pub(super) readable: Wake,
    pub(super) writable: Wake,
    /// `finish` was called before the protocol was agreed, so it has to wait.
    finish_when_agreed: bool,
    /// Written data and the end of the stream are queued.
    pub(super) finished: bool,
    /// The application gave the stream up while its negotiation was under way.
    released: bool,
    /// The peer opened it and the application has not accepted it yet.
    unaccepted: bool,
}

pub(super) enum EntryState {
    Negotiating(Box<Negotiation>),
    Agreed(ProtocolId),
    Refused(RefuseReason),
}

/// The arming rule for one direction of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// No call is blocked.
    Idle,
    /// A call returned `Blocked`; the next change of the condition makes an event.
    Armed,
    /// The event is in the queue.
    Queued,
}

impl Entry {
    fn new(negotiation: Negotiation, deadline: Instant, unaccepted: bool) -> Self {
        Self {
            state: EntryState::Negotiating(Box::new(negotiation)),
            deadline,
            readable: Wake::Armed,
            writable: Wake::Idle,
            finish_when_agreed: false,
            finished: false,
            released: false,
            unaccepted,
        }
    }

    /// Data may be written: the protocol is agreed or was proposed optimistically.
    pub(super) fn is_writable_state(&self) -> bool {
        match &self.state {
            EntryState::Negotiating(negotiation) => negotiation.is_optimistic(),
            EntryState::Agreed(_) => true,
            EntryState::Refused(_) => false,
        }
    }

    pub(super) fn arm_readable(&mut self) {
        if self.readable == Wake::Idle {
            self.readable = Wake::Armed;
        }
    }

    pub(super) fn arm_writable(&mut self) {
        if self.writable == Wake::Idle {
            self.writable = Wake::Armed;
        }
    }

    fn wake_readable(&mut self, id: StreamId, events: &mut Events) {
        if self.readable == Wake::Armed && !self.unaccepted && !self.released {
            self.readable = Wake::Queued;
            events.push(Event::Readable { id });
        }
    }

    fn wake_writable(&mut self, id: StreamId, events: &mut Events) {
        if self.writable == Wake::Armed && !self.unaccepted && !self.released {
            self.writable = Wake::Queued;
            events.push(Event::Writable { id });
        }
    }

    /// Feeds the negotiation with what the stream has received.
    fn advance_negotiation(&mut self, id: StreamId, session: &mut Session) -> Option<Result<ProtocolId, RefuseReason>> {
        loop {
            let EntryState::Negotiating(negotiation) = &mut self.state else { return None };
            let (consumed, step) = match session.peek(id) {
                Err(yamux::ReadError::Blocked) => return None,
                Err(yamux::ReadError::Reset(code)) => return Some(Err(RefuseReason::Reset(code))),
                Err(_) => return Some(Err(RefuseReason::Reset(codes::stream::NO_ERROR))),
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
    fn transmit_negotiation(&mut self, id: StreamId, session: &mut Session) -> bool {
        let EntryState::Negotiating(negotiation) = &mut self.state else { return true };
        let mut message = Vec::new();
        negotiation.drain_into(&mut message);
        message.is_empty() || session.write(id, &message) == Ok(message.len())
    }
}

/// What a round of session events asks of the connection.
pub(super) struct GoAway {
    pub(super) code: u32,
}

/// What the streams borrow from their connection.
pub(super) struct Surroundings<'c> {
    pub(super) events: &'c mut Events,
    pub(super) stats: &'c mut Stats,
    pub(super) served: &'c ProtocolSet,
    pub(super) negotiation_deadline: Instant,
}

impl Streams {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            entries: BTreeMap::new(),
            incoming: VecDeque::new(),
            incoming_armed: true,
            deadlines: BTreeSet::new(),
            draining: None,
        }
    }

    /// Opens a stream and queues its negotiation, so that it leaves with the first data.
    pub(super) fn open(
        &mut self,
        negotiation: Negotiation,
        around: &mut Surroundings<'_>,
    ) -> Result<StreamId, yamux::OpenError> {
        let id = self.session.open()?;
        let mut entry = Entry::new(negotiation, around.negotiation_deadline, false);
        entry.transmit_negotiation(id, &mut self.session);
        self.deadlines.insert((entry.deadline, id));
        self.entries.insert(id, entry);
        around.stats.streams_opened = around.stats.streams_opened.saturating_add(1);
        Ok(id)
    }

    /// The next inbound stream on which a protocol was agreed.
    pub(super) fn accept(&mut self, events: &mut Events) -> Option<StreamId> {
        while let Some(id) = self.incoming.pop_front() {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.unaccepted = false;
                // Data may have come with the negotiation; the first `Readable` is due then.
                if !matches!(self.session.peek(id), Err(yamux::ReadError::Blocked)) {
                    entry.wake_readable(id, events);
                }
                return Some(id);
            }
        }
        self.incoming_armed = true;
        None
    }

    /// Reacts to what the session reports after any input.
    pub(super) fn handle_session_events(&mut self, around: &mut Surroundings<'_>) -> Option<GoAway> {
        while let Some(event) = self.session.poll_event() {
            match event {
                yamux::Event::Incoming => self.accept_all(around),
                yamux::Event::Readable(id) => self.handle_readable(id, around),
                yamux::Event::Writable(id) => {
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.wake_writable(id, around.events);
                    }
                }
                yamux::Event::OpenUnblocked => around.events.push(Event::OpenUnblocked),
                yamux::Event::GoAway { code } => return Some(GoAway { code }),
            }
        }
        None
    }

    fn accept_all(&mut self, around: &mut Surroundings<'_>) {
        while let Some(id) = self.session.accept() {
            let negotiation = Negotiation::of_inbound_stream(around.served.clone());
            self.entries.insert(id, Entry::new(negotiation, around.negotiation_deadline, true));
            self.deadlines.insert((around.negotiation_deadline, id));
            self.drive_negotiation(id, around);
        }
    }

    fn handle_readable(&mut self, id: StreamId, around: &mut Surroundings<'_>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match entry.state {
            EntryState::Negotiating(_) => self.drive_negotiation(id, around),
            EntryState::Agreed(_) | EntryState::Refused(_) => entry.wake_readable(id, around.events),
        }
    }

    /// Feeds the negotiation of `id` with what the stream has received, until it is done or needs more.
    fn drive_negotiation(&mut self, id: StreamId, around: &mut Surroundings<'_>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match entry.advance_negotiation(id, &mut self.session) {
            None => {}
            Some(Ok(protocol)) => self.agree(id, protocol, around),
            Some(Err(reason)) => self.refuse(id, reason, around),
        }
    }

    fn agree(&mut self, id: StreamId, protocol: ProtocolId, around: &mut Surroundings<'_>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.state = EntryState::Agreed(protocol);
        self.deadlines.remove(&(entry.deadline, id));
        if entry.released {
            return self.forget(id, around.events);
        }
        if entry.unaccepted {
            self.incoming.push_back(id);
            around.stats.streams_accepted = around.stats.streams_accepted.saturating_add(1);
            if core::mem::take(&mut self.incoming_armed) {
                around.events.push(Event::Incoming);
            }
            return;
        }
        around.events.push(Event::Negotiated { id });
        if core::mem::take(&mut entry.finish_when_agreed) {
            // Nothing was written before: the quota is untouched and the stream is live.
            let _ = self.session.finish(id);
            entry.finished = true;
        }
        if !matches!(self.session.peek(id), Err(yamux::ReadError::Blocked)) {
            entry.wake_readable(id, around.events);
        }
        entry.wake_writable(id, around.events);
    }

    fn refuse(&mut self, id: StreamId, reason: RefuseReason, around: &mut Surroundings<'_>) {
        around.stats.streams_refused = around.stats.streams_refused.saturating_add(1);
        self.session.reset(id, codes::stream::NEGOTIATION_FAILED);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.deadlines.remove(&(entry.deadline, id));
        if entry.unaccepted || entry.released {
            self.forget(id, around.events);
        } else {
            entry.state = EntryState::Refused(reason.clone());
            around.events.push(Event::Refused { id, reason });
            entry.wake_readable(id, around.events);
            entry.wake_writable(id, around.events);
        }
    }

    /// The application's end of the stream: now, or as soon as the protocol is agreed.
    pub(super) fn finish(&mut self, id: StreamId) -> Result<(), yamux::WriteError> {
        let Some(entry) = self.entries.get_mut(&id) else { return Err(yamux::WriteError::Unknown) };
        if entry.finished || entry.finish_when_agreed {
            return Err(yamux::WriteError::Finished);
        }
        if entry.is_writable_state() {
            self.session.finish(id)?;
            entry.finished = true;
        } else {
            entry.finish_when_agreed = true;
        }
        Ok(())
    }

    /// The application gives the stream up.
    ///
    /// If it has finished its side while the answer to an optimistic proposal is still out, the stream
    /// waits for it: a reset would race with the data and could undo it.
    pub(super) fn release(&mut self, id: StreamId, events: &mut Events) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.finished && matches!(entry.state, EntryState::Negotiating(_)) {
            entry.released = true;
            events.remove_stream(id);
        } else {
            self.forget(id, events);
        }
    }

    fn forget(&mut self, id: StreamId, events: &mut Events) {
        self.session.release(id);
        if let Some(entry) = self.entries.remove(&id) {
            self.deadlines.remove(&(entry.deadline, id));
        }
        events.remove_stream(id);
    }

    /// An event left the queue: its direction may be armed again.
    pub(super) fn event_taken(&mut self, event: &Event) {
        let (Event::Readable { id } | Event::Writable { id }) = event else { return };
        let Some(entry) = self.entries.get_mut(id) else { return };
        match event {
            Event::Readable { .. } => entry.readable = Wake::Idle,
            _ => entry.writable = Wake::Idle,
        }
    }

    /// The connection is lost: every blocked call can return now.
    pub(super) fn wake_all(&mut self, events: &mut Events) {
        for (id, entry) in &mut self.entries {
            entry.wake_readable(*id, events);
            entry.wake_writable(*id, events);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let negotiation = self.deadlines.first().map(|(deadline, _)| *deadline);
        negotiation.into_iter().chain(self.session.poll_timeout()).min()
    }

    /// Refuses the streams whose negotiation took too long.
    pub(super) fn expire_negotiations(&mut self, now: Instant, around: &mut Surroundings<'_>) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.refuse(id, RefuseReason::TimedOut, around);
        }
    }

    pub(super) fn memory_used(&self) -> usize {
        let entries = self.entries.len().saturating_mul(size_of::<(StreamId, Entry)>());
        let deadlines = self.deadlines.len().saturating_mul(size_of::<(Instant, StreamId)>());
        let incoming = self.incoming.capacity().saturating_mul(size_of::<StreamId>());
        [size_of::<Self>(), entries, deadlines, incoming]
            .into_iter()
            .fold(self.session.memory_used(), usize::saturating_add)
    }
}
