//! Efforts: addresses are tried, the first connection that opens ends the effort.

use alloc::{boxed::Box, vec::Vec};

use super::{
    Action, AttemptId, DialFailure, DialId, Endpoints, Event, LimitName, Node,
    connections::Entry,
    dial::{Attempt, Candidate, Dial, Step},
    stats,
    transition::Input,
};
use crate::{
    ConnectionId, ExpectedPeer, Instant, Link, Multiaddr, PeerId,
    connection::{DenyReason, codes},
    multiaddr::Protocol,
};

impl Node {
    /// A name was resolved: these are its addresses, ports included.
    pub fn handle_resolved(&mut self, now: Instant, id: AttemptId, addrs: &[Multiaddr]) {
        self.advance(now);
        let Some(peer) = self.attempts.get(&id).copied() else { return };
        let resolved = self.dial_of(&peer).filter(|dial| is_at(dial, id, Step::Resolving)).is_some();
        if !resolved {
            return;
        }
        self.attempts.remove(&id);
        let now = self.now;
        if let Some(attempt) = self.dial_of(&peer).and_then(|dial| dial.resolved(id, now, addrs))
            && addrs.is_empty()
        {
            self.note_failure(peer, attempt.candidate, DialFailure::ResolveFailed);
        }
        self.go_on(peer);
        self.feed();
    }

    /// A transport to the address of an attempt is established. Make a connection of it with the link; `None` means
    /// that nobody wants it any more: drop it.
    pub fn handle_dialed(&mut self, now: Instant, id: AttemptId, endpoints: Endpoints) -> Option<Link> {
        self.advance(now);
        let peer = self.attempts.get(&id).copied()?;
        self.dial_of(&peer).filter(|dial| is_at(dial, id, Step::Connecting))?;
        // The network may have been banned meanwhile.
        let denied = match () {
            () if self.is_banned_addr(&endpoints.remote) => Some(DenyReason::Banned),
            () if self.connections.len() >= self.config.max_connections => Some(DenyReason::Limit),
            () => None,
        };
        if let Some(reason) = denied {
            self.counters.refused.count(reason);
            if reason == DenyReason::Limit {
                self.limit_reached(LimitName::Connections);
            }
            self.attempt_failed(peer, id, DialFailure::Denied(reason));
            return None;
        }
        let connection = ConnectionId(self.new_id());
        let attempt = self.dial_of(&peer)?.attempt_mut(id)?;
        // From here on the connection has a deadline of its own, and tells when it is over.
        (attempt.step, attempt.deadline) = (Step::Upgrading(connection), Instant::NEVER);
        let seed = self.seeds.child("dialed");
        self.connections.insert(connection, Box::new(Entry::dialed(peer, id, endpoints)));
        self.peer_entry(peer).connections.push(connection);
        self.settle_peer(peer);
        Some(Link::dialer(ExpectedPeer::Exactly(peer), seed).of_node(connection))
    }

    /// An attempt has failed: its name leads nowhere, or nobody answers there.
    pub fn handle_dial_failed(&mut self, now: Instant, id: AttemptId, why: DialFailure) {
        self.advance(now);
        let Some(peer) = self.attempts.get(&id).copied() else { return };
        let attempt = self.dial_of(&peer).and_then(|dial| dial.attempt_mut(id));
        // Once there is a transport, it is the connection that tells.
        if attempt.is_some_and(|attempt| !matches!(attempt.step, Step::Upgrading(_))) {
            self.attempt_failed(peer, id, why);
        }
    }

    /// Begins an effort with the addresses that the book has.
    pub(super) fn begin_dial(&mut self, id: PeerId) {
        stats::increase(&mut self.counters.dials_begun);
        let dial = DialId(self.new_id());
        let dial = Dial::new(dial, self.now, self.book.dial_addrs(&id).cloned());
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.dial = Some(Box::new(dial));
        }
        self.go_on(id);
    }

    /// Gives up every attempt of an effort.
    pub(super) fn abort_dial(&mut self, id: PeerId) {
        for connection in self.end_dial(id) {
            self.close_connection(connection, codes::connection::NO_ERROR);
        }
    }

    /// Gives up every attempt of an effort that has no transport yet, and returns the connections of the others, which
    /// go on.
    pub(super) fn end_dial(&mut self, id: PeerId) -> Vec<ConnectionId> {
        let Some(dial) = self.peers.get_mut(&id).and_then(|peer| peer.dial.take()) else { return Vec::new() };
        self.leave_queue(id);
        let mut upgrading = Vec::new();
        for attempt in dial.attempts() {
            self.attempts.remove(&attempt.id);
            match attempt.step {
                Step::Upgrading(connection) => {
                    upgrading.push(connection);
                    if let Some(entry) = self.connections.get_mut(&connection) {
                        entry.attempt = None;
                    }
                }
                Step::Resolving | Step::Connecting => self.actions.push_back(Action::AbortDial { id: attempt.id }),
            }
        }
        self.feed();
        upgrading
    }

    /// Begins the addresses whose time has come, as far as there are places; or ends the effort.
    pub(super) fn go_on(&mut self, id: PeerId) {
        while self.begin_next(id, false) {}
        let failed = self.dial_of(&id).is_some_and(|dial| dial.has_failed());
        if failed {
            self.dial_failed(id);
        }
        self.settle_peer(id);
    }

    pub(super) fn expire_dial(&mut self, id: PeerId) {
        let now = self.now;
        while let Some(attempt) = self.dial_of(&id).and_then(|dial| dial.overdue(now)) {
            self.actions.push_back(Action::AbortDial { id: attempt });
            self.attempt_failed(id, attempt, DialFailure::TimedOut);
        }
        self.go_on(id);
    }

    /// An attempt is over, and nothing came of it.
    pub(super) fn attempt_failed(&mut self, id: PeerId, attempt: AttemptId, why: DialFailure) {
        let now = self.now;
        self.attempts.remove(&attempt);
        #[cfg(septa_mutant = "dial-place-lost")]
        if why == DialFailure::TimedOut {
            self.attempts.insert(attempt, id);
        }
        if let Some(ended) = self.dial_of(&id).and_then(|dial| dial.end(attempt, now)) {
            self.note_failure(id, ended.candidate, why);
        }
        self.go_on(id);
        self.feed();
    }

    fn note_failure(&mut self, id: PeerId, candidate: Candidate, why: DialFailure) {
        self.book.dial_failed(&id, &candidate.origin);
        if let Some(dial) = self.dial_of(&id) {
            dial.note_failure(candidate.addr, why);
        }
    }

    /// The attempt of a connection that has opened is over. The step that follows ends the effort.
    pub(super) fn attempt_succeeded(&mut self, id: PeerId, attempt: AttemptId) {
        let now = self.now;
        self.attempts.remove(&attempt);
        if let Some(ended) = self.dial_of(&id).and_then(|dial| dial.end(attempt, now)) {
            stats::increase(&mut self.counters.dials_succeeded);
            self.book.dial_succeeded(&id, &ended.candidate.origin, now);
        }
    }

    fn dial_failed(&mut self, id: PeerId) {
        self.leave_queue(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(dial) = peer.dial.take() else { return };
        // Asking again soon would be denied again.
        peer.was_denied = dial.was_denied();
        peer.failures = peer.failures.saturating_add(1);
        let _ = self.step(id, Input::DialFailed);
        self.end_wish_if_exhausted(id);
        let Some(peer) = self.peers.get(&id) else { return };
        let (failures, retry_at) = (peer.failures, peer.until);
        self.tell(Event::DialFailed { peer: id, dial: dial.id, failures, retry_at, attempts: dial.into_failed() });
    }

    /// Begins the next address of a peer, if its time has come. `is_first`: it is the first that waits.
    fn begin_next(&mut self, id: PeerId, is_first: bool) -> bool {
        let (now, config) = (self.now, self.config.clone());
        let may_begin = self.has_room_to_dial() && (is_first || self.hungry.is_empty());
        let Some(dial) = self.dial_of(&id) else { return false };
        if dial.attempts().len() >= config.max_dials_per_peer {
            return false;
        }
        let Some(candidate) = dial.take_next(now) else { return false };
        if self.is_banned_addr(&candidate.addr) {
            // That says nothing against the address.
            if let Some(dial) = self.dial_of(&id) {
                dial.note_failure(candidate.addr, DialFailure::Denied(DenyReason::Banned));
            }
            return true;
        }
        let Some(dial) = self.dial_of(&id) else { return false };
        if !may_begin {
            dial.put_back(candidate);
            self.queue(id);
            if self.attempts.len() >= config.max_dials {
                self.limit_reached(LimitName::Dials);
            }
            return false;
        }
        // It may have waited for the place that it takes now.
        self.leave_queue(id);
        let attempt = AttemptId(self.new_id());
        let addr = candidate.addr.clone();
        let (step, action) = if is_name(&addr) {
            (Step::Resolving, Action::Resolve { id: attempt, addr })
        } else {
            (Step::Connecting, Action::StartDial { id: attempt, addr })
        };
        let deadline = now.saturating_add(config.dial_timeout);
        let next = now.saturating_add(config.dial_stagger);
        if let Some(dial) = self.dial_of(&id) {
            dial.begin(Attempt { id: attempt, candidate, step, deadline }, next);
        }
        self.attempts.insert(attempt, id);
        self.last_begin = Some(now);
        self.actions.push_back(action);
        true
    }

    fn queue(&mut self, id: PeerId) {
        let place = self.new_id();
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.queued.is_none()
        {
            peer.queued = Some(place);
            self.hungry.insert(place, id);
        }
    }

    fn leave_queue(&mut self, id: PeerId) {
        if let Some(place) = self.peers.get_mut(&id).and_then(|peer| peer.queued.take()) {
            self.hungry.remove(&place);
        }
    }

    /// Places may have become free: whoever waits longest goes on.
    pub(super) fn feed(&mut self) {
        while !self.shutting_down
            && self.has_room_to_dial()
            && let Some((_, id)) = self.hungry.pop_first()
        {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.queued = None;
            }
            self.begin_next(id, true);
            self.go_on(id);
        }
    }

    fn dial_of(&mut self, id: &PeerId) -> Option<&mut Dial> {
        self.peers.get_mut(id)?.dial.as_deref_mut()
    }
}

fn is_at(dial: &&mut Dial, id: AttemptId, step: Step) -> bool {
    dial.attempts().iter().any(|attempt| attempt.id == id && attempt.step == step)
}

fn is_name(addr: &Multiaddr) -> bool {
    matches!(addr.protocols().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
}
