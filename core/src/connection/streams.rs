//! The streams of an open connection: the Yamux session and the negotiation on each stream.

mod deadlines;
mod entry;
mod internal;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::time::Duration;

use deadlines::Deadlines;
pub(super) use entry::{Entry, EntryState};

use super::{
    Event, MAX_ANSWER_DELAY, RefuseReason, codes,
    event::{Events, Wake},
    handshake::ApplicationHandshake,
    negotiation::Negotiation,
    stats::{Counters, ProtocolCounters, ProtocolStats},
};
use crate::{
    Instant, ProtocolId, ProtocolSet, Role,
    channel::handshake,
    time::earlier,
    yamux::{self, Session, StreamId, Violation},
};

/// The session, its streams, and what the application may do with each.
pub(super) struct Streams {
    pub(super) session: Session,
    /// Boxed, as most connections have few streams and a leaf of the tree has room for eleven.
    entries: BTreeMap<StreamId, Box<Entry>>,
    /// Inbound streams whose protocol is agreed and that the application has not accepted yet.
    /// Bounded by the session's stream limit.
    incoming: VecDeque<StreamId>,
    /// Armed while `accept` has nothing to return.
    accepting: Wake,
    /// Armed while `open` is blocked.
    pub(super) opening: Wake,
    /// When each negotiation that is under way must be over, and each answer held back must leave.
    deadlines: Deadlines,
    /// When streams became possible.
    pub(super) since: Instant,
    /// Once `retire` was called.
    pub(super) retiring: Option<Retiring>,
    /// The code of our coming GoAway, once `close` was called.
    pub(super) draining: Option<u32>,
    /// The connection is lost: nothing comes or goes any more.
    lost: bool,
    /// What the streams that are over have moved.
    ended: ProtocolCounters,
}

/// A connection that ends when no stream is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retiring {
    /// That of our coming GoAway.
    pub(super) code: u32,
    /// What the peer sent before it could know has come.
    pub(super) is_due: bool,
}

/// How the peer ended the session.
pub(super) enum Ending {
    GoAway(u32),
    Broke(Violation),
}

/// What the streams borrow from their connection.
pub(super) struct Surroundings<'c> {
    pub(super) events: &'c mut Events,
    pub(super) counters: &'c mut Counters,
    pub(super) served: &'c ProtocolSet,
    pub(super) handshake: Option<&'c mut ApplicationHandshake>,
    pub(super) role: Role,
    pub(super) now: Instant,
    pub(super) negotiation_timeout: Duration,
}

impl Surroundings<'_> {
    /// When a negotiation that begins now must be over.
    fn negotiation_deadline(&self) -> Instant {
        self.now.saturating_add(self.negotiation_timeout)
    }

    /// When an answer that is held back now must leave.
    fn answer_deadline(&self) -> Instant {
        self.now.saturating_add(MAX_ANSWER_DELAY)
    }
}

impl Streams {
    pub(super) fn new(session: Session, since: Instant) -> Self {
        Self {
            session,
            entries: BTreeMap::new(),
            incoming: VecDeque::new(),
            accepting: Wake::Armed,
            opening: Wake::Idle,
            deadlines: Deadlines::default(),
            since,
            retiring: None,
            draining: None,
            lost: false,
            ended: ProtocolCounters::default(),
        }
    }

    /// The stream as the application may use it, and its session.
    pub(super) fn held(&mut self, id: StreamId) -> Option<(&mut Session, &mut Entry)> {
        let entry = self.entries.get_mut(&id).filter(|entry| entry.is_held())?;
        Some((&mut self.session, entry))
    }

    /// The agreed protocol of a stream that the application holds.
    pub(super) fn protocol(&self, id: StreamId) -> Option<&ProtocolId> {
        match self.entries.get(&id).filter(|entry| entry.is_held()).map(|entry| &entry.state) {
            Some(EntryState::Agreed(protocol)) => Some(protocol),
            _ => None,
        }
    }

    /// Nothing holds a connection back that is to retire.
    pub(super) fn is_retired(&self) -> bool {
        self.retiring.is_some_and(|retiring| retiring.is_due) && self.draining.is_none() && self.entries.is_empty()
    }

    /// All that was written and finished has left, what waits for an answer of the peer included. Looks
    /// at every stream.
    pub(super) fn is_flushed(&self) -> bool {
        #[cfg(septa_mutant = "go-away-before-flush")]
        if self.draining.is_some() {
            return true;
        }
        self.session.is_flushed() && !self.entries.values().any(|entry| entry.finish_when_agreed)
    }

    /// Opens a stream and queues its negotiation, so that it leaves with the first data.
    pub(super) fn open(
        &mut self,
        negotiation: Negotiation,
        around: &mut Surroundings<'_>,
    ) -> Result<StreamId, yamux::OpenError> {
        let id = self.session.open()?;
        let mut entry = Entry::new(negotiation, around.negotiation_deadline(), false);
        entry.transmit_negotiation(id, &mut self.session);
        self.deadlines.insert(entry.deadline, id);
        self.entries.insert(id, Box::new(entry));
        around.counters.streams_opened = around.counters.streams_opened.saturating_add(1);
        Ok(id)
    }

    /// The next inbound stream on which a protocol was agreed.
    pub(super) fn accept(&mut self, events: &mut Events) -> Option<StreamId> {
        while let Some(id) = self.incoming.pop_front() {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.unaccepted = false;
                // Data may have come with the negotiation; the first `Readable` is due then.
                if self.lost || has_something_to_read(&mut self.session, id) {
                    entry.wake_readable(id, events);
                }
                return Some(id);
            }
        }
        self.accepting.arm();
        None
    }

    /// Reacts to what the session reports after any input. The end comes last: what arrived together
    /// with it counts.
    pub(super) fn handle_session_events(&mut self, around: &mut Surroundings<'_>) -> Option<Ending> {
        let mut go_away = None;
        while let Some(event) = self.session.poll_event() {
            match event {
                yamux::Event::Incoming => self.accept_all(around),
                yamux::Event::Readable(id) => self.handle_readable(id, around),
                yamux::Event::Writable(id) => {
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.wake_writable(id, around.events);
                    }
                }
                yamux::Event::OpenUnblocked => self.wake_open(around.events),
                yamux::Event::GoAway { code } => go_away = Some(Ending::GoAway(code)),
            }
        }
        go_away.or_else(|| self.session.violation().map(Ending::Broke))
    }

    /// A blocked `open` would do something else now.
    pub(super) fn wake_open(&mut self, events: &mut Events) {
        if self.opening.wake() {
            events.push(Event::OpenUnblocked);
        }
    }

    #[inline(never)]
    fn accept_all(&mut self, around: &mut Surroundings<'_>) {
        while let Some(id) = self.session.accept() {
            if self.entries.contains_key(&id) {
                // The session is done with the old stream of this id, but the application still holds it.
                // Ids must not be used twice (yamux spec, stream ids), so the new stream is the wrong one.
                self.session.reset(id, codes::stream::PROTOCOL_VIOLATION);
                continue;
            }
            let negotiation = match &around.handshake {
                Some(handshake) if !handshake.is_ready() => Negotiation::of_early_stream(around.served.clone()),
                _ => Negotiation::of_inbound_stream(around.served.clone()),
            };
            let entry = Entry::new(negotiation, around.negotiation_deadline(), true);
            self.entries.insert(id, Box::new(entry));
            self.drive_negotiation(id, around);
            // Most are agreed by now, as the proposal came with the stream. Those that are held have a deadline later.
            if let Some(entry) = self.entries.get(&id).filter(|entry| entry.is_being_negotiated()) {
                self.deadlines.insert(entry.deadline, id);
            }
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
    #[inline(never)]
    fn drive_negotiation(&mut self, id: StreamId, around: &mut Surroundings<'_>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match entry.advance_negotiation(id, &mut self.session) {
            // It may wait for longer than a negotiation may take.
            None if entry.is_waiting_for_ready() => {
                self.deadlines.remove(entry.deadline, id);
            }
            None => {}
            Some(Ok(protocol)) => self.agree(id, protocol, around),
            Some(Err(reason)) => self.refuse(id, reason, around),
        }
    }

    fn agree(&mut self, id: StreamId, protocol: ProtocolId, around: &mut Surroundings<'_>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let writing_waited = !entry.is_writable_state();
        let is_handshake = protocol == handshake::PROTOCOL;
        entry.state = EntryState::Agreed(protocol);
        self.deadlines.remove(entry.deadline, id);
        if entry.internal {
            return;
        }
        if let (true, true, Some(handshake)) = (is_handshake, entry.unaccepted, &mut around.handshake) {
            if handshake.take_stream(around.role, id) {
                (entry.unaccepted, entry.internal) = (false, true);
                around.counters.streams_accepted = around.counters.streams_accepted.saturating_add(1);
            } else {
                around.counters.streams_refused = around.counters.streams_refused.saturating_add(1);
                self.reset_internal(id, codes::stream::PROTOCOL_VIOLATION);
            }
            return;
        }
        if entry.unaccepted {
            if has_something_to_read(&mut self.session, id) {
                entry.deadline = around.answer_deadline();
                self.deadlines.insert(entry.deadline, id);
                self.session.cork(id);
            }
            self.incoming.push_back(id);
            around.counters.streams_accepted = around.counters.streams_accepted.saturating_add(1);
            if self.accepting.wake() {
                around.events.push(Event::Incoming);
            }
            return;
        }
        if core::mem::take(&mut entry.finish_when_agreed) {
            // Nothing was written before: the quota is untouched and the stream is live.
            let _ = self.session.finish(id);
            entry.finished = true;
        }
        if let Some(code) = entry.stop_when_agreed.take() {
            self.session.stop(id, code);
        }
        if entry.released {
            return self.forget(id, around.events);
        }
        around.events.push(Event::Negotiated { id });
        if has_something_to_read(&mut self.session, id) {
            entry.wake_readable(id, around.events);
        }
        if writing_waited {
            entry.wake_writable(id, around.events);
        }
    }

    fn refuse(&mut self, id: StreamId, reason: RefuseReason, around: &mut Surroundings<'_>) {
        around.counters.streams_refused = around.counters.streams_refused.saturating_add(1);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.unaccepted && reason == RefuseReason::Unsupported {
            // Our `na` is the better answer; a reset would overtake it.
            let _ = self.session.finish(id);
        } else {
            self.session.reset(id, codes::stream::NEGOTIATION_FAILED);
        }
        self.deadlines.remove(entry.deadline, id);
        if entry.unaccepted && matches!(reason, RefuseReason::Reset(_)) {
            self.session.count_unwanted_reset();
        }
        if let (true, Some(handshake)) = (entry.internal, &mut around.handshake) {
            handshake.stream_refused(reason.clone());
        }
        if entry.is_held() {
            entry.finish_when_agreed = false;
            entry.state = EntryState::Refused(reason.clone());
            around.events.push(Event::Refused { id, reason });
            entry.wake_readable(id, around.events);
            entry.wake_writable(id, around.events);
        } else {
            self.forget(id, around.events);
        }
    }

    /// The application has said something: if our answer was held back, it leaves with that.
    pub(super) fn answered(&mut self, id: StreamId) {
        if !self.deadlines.is_empty()
            && let Some(entry) = self.entries.get(&id).filter(|entry| entry.is_agreed())
        {
            self.deadlines.remove(entry.deadline, id);
        }
    }

    /// Lets all answers leave that were held back.
    pub(super) fn answer_all(&mut self) {
        for (id, _) in self.entries.iter().filter(|(_, entry)| entry.is_agreed()) {
            self.session.uncork(*id);
        }
    }

    /// The application's end of the stream: now, or as soon as the protocol is agreed.
    pub(super) fn finish(&mut self, id: StreamId) -> Result<(), yamux::WriteError> {
        let Some((session, entry)) = self.held(id) else { return Err(yamux::WriteError::Unknown) };
        if entry.finished || entry.finish_when_agreed {
            return Err(yamux::WriteError::Finished);
        }
        if entry.is_writable_state() {
            session.finish(id)?;
            entry.finished = true;
            self.answered(id);
        } else {
            entry.finish_when_agreed = true;
        }
        Ok(())
    }

    /// The application reads no more.
    pub(super) fn stop(&mut self, id: StreamId, code: u32) {
        let Some((session, entry)) = self.held(id) else { return };
        if matches!(entry.state, EntryState::Negotiating(_)) {
            entry.stop_when_agreed.get_or_insert(code);
        } else {
            session.stop(id, code);
        }
    }

    /// The application cuts the stream off; nothing of it is left here.
    pub(super) fn reset(&mut self, id: StreamId, code: u32, events: &mut Events) {
        let Some((session, _)) = self.held(id) else { return };
        session.reset(id, code);
        self.forget(id, events);
    }

    /// The application gives the stream up.
    ///
    /// If it has finished its side while the answer to a proposal is still out, the stream waits for
    /// it: a reset would race with the data and could undo it.
    pub(super) fn release(&mut self, id: StreamId, events: &mut Events) {
        let lost = self.lost;
        let Some((_, entry)) = self.held(id) else { return };
        let finished = entry.finished || entry.finish_when_agreed;
        if finished && !lost && matches!(entry.state, EntryState::Negotiating(_)) {
            entry.released = true;
            events.remove_stream(id);
        } else {
            self.forget(id, events);
        }
        if self.lost && self.entries.is_empty() {
            // What reading has drained goes back, too.
            self.session.end();
        }
    }

    fn forget(&mut self, id: StreamId, events: &mut Events) {
        self.session.release(id);
        if let Some(entry) = self.entries.remove(&id) {
            self.deadlines.remove(entry.deadline, id);
            if let EntryState::Agreed(protocol) = &entry.state {
                self.ended.add(protocol, entry.traffic);
            }
        }
        events.remove_stream(id);
    }

    /// What has been moved by protocol, by streams that live and streams that are over.
    pub(super) fn protocol_stats(&self) -> Vec<ProtocolStats> {
        let mut all = self.ended.clone();
        for entry in self.entries.values().filter(|entry| !entry.internal) {
            if let EntryState::Agreed(protocol) = &entry.state {
                all.add(protocol, entry.traffic);
            }
        }
        all.into_stats()
    }

    /// An event's turn has come: its condition may be armed again. False if it is outdated.
    pub(super) fn take_event(&mut self, event: &Event) -> bool {
        let wake = match event {
            Event::Incoming => Some(&mut self.accepting),
            Event::OpenUnblocked => Some(&mut self.opening),
            Event::Readable { id } => self.entries.get_mut(id).map(|entry| &mut entry.readable),
            Event::Writable { id } => self.entries.get_mut(id).map(|entry| &mut entry.writable),
            _ => None,
        };
        wake.is_none_or(Wake::take)
    }

    /// The connection is lost: what nobody can use any more goes, and every blocked call can return.
    pub(super) fn end(&mut self, events: &mut Events) {
        self.lost = true;
        self.deadlines = Deadlines::default();
        let unusable = |entry: &Entry| entry.released || entry.internal || (entry.unaccepted && !entry.is_agreed());
        let ids: Vec<StreamId> = self.entries.iter().filter(|(_, entry)| unusable(entry)).map(|(id, _)| *id).collect();
        for id in ids {
            self.forget(id, events);
        }
        // Behind it, so that the blocks they held go, too.
        self.session.end();
        for (id, entry) in &mut self.entries {
            entry.wake_readable(*id, events);
            entry.wake_writable(*id, events);
        }
        self.wake_open(events);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        earlier(self.deadlines.next(), self.session.poll_timeout())
    }

    /// Refuses the streams whose negotiation took too long, and sends the answers that waited in vain.
    pub(super) fn expire_negotiations(&mut self, now: Instant, around: &mut Surroundings<'_>) {
        while let Some(id) = self.deadlines.pop_due(now) {
            if self.internal(id).is_some() {
                self.reset_internal(id, codes::stream::NO_ERROR);
            } else if self.entries.get(&id).is_some_and(|entry| entry.is_agreed()) {
                self.session.uncork(id);
            } else {
                self.refuse(id, RefuseReason::TimedOut, around);
            }
        }
    }

    pub(super) fn memory_used(&self) -> usize {
        let entry = size_of::<(StreamId, Box<Entry>)>().saturating_add(size_of::<Entry>());
        let entries = self.entries.len().saturating_mul(entry);
        let incoming = self.incoming.capacity().saturating_mul(size_of::<StreamId>());
        [size_of::<Self>(), entries, self.deadlines.memory_used(), incoming, self.ended.memory_used()]
            .into_iter()
            .fold(self.session.memory_used(), usize::saturating_add)
    }
}

/// A read would return something; if not, the session reports when it would.
fn has_something_to_read(session: &mut Session, id: StreamId) -> bool {
    !matches!(session.peek(id), Err(yamux::ReadError::Blocked | yamux::ReadError::Unknown))
}
