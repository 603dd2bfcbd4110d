//! The connections of a node: who is let in, and what becomes of them.

use alloc::boxed::Box;
use core::time::Duration;

use super::{
    Action, AttemptId, DialFailure, Endpoints, Event, LimitName, Misbehaviour, Node, Prefix, leading_ip,
    transition::{Effort, Input, Presence},
};
use crate::{
    ConnectionId, Instant, Link, Multiaddr, PeerId, Role,
    connection::{CloseReason, DenyReason, codes},
    link::{ConnectionMessage, Mailbox, NodeMessage, Report, ToConnection, ToNode},
};

/// What the node knows of a connection. It is gone when the connection is over.
#[derive(Debug)]
pub(super) struct Entry {
    /// The peer that a dialer expects; that of a listener is known once it is secured.
    pub(super) peer: Option<PeerId>,
    pub(super) role: Role,
    pub(super) endpoints: Endpoints,
    /// The attempt that the connection is to end, until it is open.
    pub(super) attempt: Option<AttemptId>,
    /// What an inbound one is counted under.
    prefix: Option<Prefix>,
    /// It counts for [`Config::max_per_peer`](super::Config::max_per_peer), until it is over.
    pub(super) is_admitted: bool,
    pub(super) phase: Phase,
    pub(super) outbox: Mailbox<ToConnection>,
    /// What it last said about itself. Boxed, as many are never asked.
    pub(super) report: Option<Box<Report>>,
}

/// How far a connection has come. It only moves forwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// The handshake is being made.
    Upgrading,
    /// The peer was let in.
    Admitted,
    Open {
        since: Instant,
        is_ready: bool,
    },
    /// Another one replaces it: its streams may end.
    Retiring {
        since: Instant,
    },
    /// This node closes it. `since` is when it opened, if it did.
    Leaving {
        since: Option<Instant>,
    },
}

impl Entry {
    fn new(role: Role, peer: Option<PeerId>, attempt: Option<AttemptId>, endpoints: Endpoints) -> Self {
        let (phase, outbox, report) = (Phase::Upgrading, Mailbox::default(), None);
        Self { peer, role, endpoints, attempt, prefix: None, is_admitted: false, phase, outbox, report }
    }

    pub(super) fn dialed(peer: PeerId, attempt: AttemptId, endpoints: Endpoints) -> Self {
        Self::new(Role::Dialer, Some(peer), Some(attempt), endpoints)
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Open { is_ready: true, .. })
    }

    pub(super) fn is_present(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    pub(super) fn is_arriving(&self) -> bool {
        matches!(self.phase, Phase::Upgrading | Phase::Admitted)
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Retiring { .. } | Phase::Leaving { .. })
    }

    /// The last probe behind which the peer was heard; 0 if there was none.
    pub(super) fn last_probe(&self) -> u32 {
        self.report.as_ref().map_or(0, |report| report.probe)
    }

    pub(super) fn since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { since, .. } | Phase::Retiring { since } => Some(since),
            Phase::Leaving { since } => since,
            Phase::Upgrading | Phase::Admitted => None,
        }
    }
}

impl Node {
    /// A transport was accepted. Make a connection of it with the link.
    ///
    /// # Errors
    /// It is not wanted: drop it. Nothing is remembered of it.
    pub fn handle_incoming(&mut self, now: Instant, endpoints: Endpoints) -> Result<Link, DenyReason> {
        self.advance(now);
        let prefix = match self.admit_transport(&endpoints.remote) {
            Ok(prefix) => prefix,
            Err(reason) => {
                self.tell(Event::Denied { peer: None, remote: endpoints.remote, reason });
                return Err(reason);
            }
        };
        let id = ConnectionId(self.new_id());
        let seed = self.seeds.child("accepted");
        self.inbound = self.inbound.saturating_add(1);
        self.pending_inbound = self.pending_inbound.saturating_add(1);
        let entry = Entry { prefix, ..Entry::new(Role::Listener, None, None, endpoints) };
        self.connections.insert(id, Box::new(entry));
        Ok(Link::listener(seed).of_node(id))
    }

    /// Takes a message of a connection.
    pub fn handle_connection(&mut self, now: Instant, from: ConnectionId, message: ToNode) {
        self.advance(now);
        if !self.connections.contains_key(&from) {
            return;
        }
        match message.0 {
            NodeMessage::Secured { peer } => self.secured(from, peer),
            NodeMessage::Opened { is_ready } => self.opened(from, is_ready),
            NodeMessage::Report(report) => self.reported(from, report),
            NodeMessage::Closed { reason, last } => {
                if let Some(entry) = self.connections.get_mut(&from) {
                    entry.report = Some(last);
                }
                self.actions.push_back(Action::Send { to: from, message: ToConnection(ConnectionMessage::Retired) });
                self.closed(from, reason);
            }
        }
    }

    /// The task of a connection has died without a last message.
    pub fn handle_connection_lost(&mut self, now: Instant, id: ConnectionId) {
        self.advance(now);
        self.closed(id, CloseReason::Io);
    }

    /// Whether there is room for an inbound transport from `remote`, and what it is counted under.
    fn admit_transport(&mut self, remote: &Multiaddr) -> Result<Option<Prefix>, DenyReason> {
        if self.shutting_down {
            return Err(DenyReason::ShuttingDown);
        }
        if self.is_banned_addr(remote) {
            return Err(DenyReason::Banned);
        }
        let full = match () {
            () if self.connections.len() >= self.config.max_connections => Some(LimitName::Connections),
            () if self.inbound >= self.config.max_inbound => Some(LimitName::Inbound),
            () if self.pending_inbound >= self.config.max_pending_inbound => Some(LimitName::PendingInbound),
            () => None,
        };
        if let Some(name) = full {
            self.limit_reached(name);
            return Err(DenyReason::Limit);
        }
        let Some(ip) = leading_ip(remote) else { return Ok(None) };
        self.connects.check(self.now, ip).map_err(|_| DenyReason::RateLimited)?;
        let (limit, max) = (self.config.max_per_prefix, self.config.max_prefixes);
        self.prefixes.try_add(ip, limit, max).map_err(|_| DenyReason::Limit)
    }

    /// Who is at the other end is known now: is it wanted?
    fn secured(&mut self, id: ConnectionId, peer: PeerId) {
        let Some(entry) = self.connections.get(&id).filter(|entry| entry.phase == Phase::Upgrading) else { return };
        if let Some(expected) = entry.peer.filter(|expected| *expected != peer) {
            // A connection lets nobody else through. If one does, it is not to be trusted.
            self.close_connection(id, codes::connection::PROTOCOL_ERROR);
            return self.settle_peer(expected);
        }
        let verdict = self.admit_peer(id, peer);
        let Some(entry) = self.connections.get_mut(&id) else { return };
        entry.is_admitted = verdict.is_ok();
        entry.phase = if entry.is_admitted { Phase::Admitted } else { Phase::Leaving { since: None } };
        entry.outbox.put(ToConnection(ConnectionMessage::Admission(verdict)));
        entry.peer = Some(peer);
        let (role, remote) = (entry.role, entry.endpoints.remote.clone());
        self.letters.insert(id);
        self.send_policy(id);
        match verdict {
            Ok(()) if role == Role::Dialer => {}
            Ok(()) => self.peer_entry(peer).connections.push(id),
            Err(reason) => self.tell(Event::Denied { peer: Some(peer), remote, reason }),
        }
        self.settle_peer(peer);
    }

    fn admit_peer(&mut self, id: ConnectionId, peer: PeerId) -> Result<(), DenyReason> {
        let entry = self.connections.get(&id);
        if entry.is_some_and(|entry| self.is_banned_addr(&entry.endpoints.remote)) {
            return Err(DenyReason::Banned);
        }
        let inbound = entry.filter(|entry| entry.role == Role::Listener);
        if let Some(ip) = inbound.and_then(|entry| leading_ip(&entry.endpoints.remote)) {
            self.handshakes.check(self.now, ip).map_err(|_| DenyReason::RateLimited)?;
        }
        let known = self.peers.get(&peer);
        let others = known.map_or(0, |peer| {
            let is_admitted =
                |other: &&ConnectionId| self.connections.get(other).is_some_and(|entry| entry.is_admitted);
            peer.connections.iter().filter(is_admitted).count()
        });
        if self.shutting_down {
            Err(DenyReason::ShuttingDown)
        } else if peer == self.local {
            Err(DenyReason::SelfDial)
        } else if self.is_banned(&peer) {
            Err(DenyReason::Banned)
        } else if known.is_some_and(|peer| peer.effort == Effort::Cooldown) {
            Err(DenyReason::Cooldown)
        } else if others >= self.config.max_per_peer {
            Err(DenyReason::Limit)
        } else {
            Ok(())
        }
    }

    fn opened(&mut self, id: ConnectionId, is_ready: bool) {
        let now = self.now;
        let Some(entry) = self.connections.get_mut(&id) else { return };
        let Some(peer) = entry.peer else { return };
        match entry.phase {
            Phase::Admitted => {
                entry.phase = Phase::Open { since: now, is_ready };
                self.open = self.open.saturating_add(1);
            }
            Phase::Open { since, is_ready: before } => {
                entry.phase = Phase::Open { since, is_ready: is_ready || before };
                return self.settle_peer(peer);
            }
            Phase::Upgrading | Phase::Retiring { .. } | Phase::Leaving { .. } => return,
        }
        let (role, attempt, endpoints) = (entry.role, entry.attempt.take(), entry.endpoints.clone());
        if role == Role::Listener {
            self.pending_inbound = self.pending_inbound.saturating_sub(1);
        }
        self.book.seen(&peer, now);
        self.tell(Event::Opened { peer, connection: id, role, endpoints });
        if let Some(attempt) = attempt {
            self.attempt_succeeded(peer, attempt);
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.is_lost = false;
        }
        let _ = self.step(peer, Input::Opened);
        self.feed();
        self.settle_duplicates(peer);
        self.settle_peer(peer);
        self.trim_opened(id);
    }

    fn reported(&mut self, id: ConnectionId, report: Box<Report>) {
        let Some(entry) = self.connections.get_mut(&id) else { return };
        entry.report = Some(report);
        if let Some(peer) = entry.peer {
            self.settle_duplicates(peer);
            self.settle_peer(peer);
        }
    }

    /// A connection is over: exactly once, since its entry goes.
    fn closed(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(entry) = self.connections.remove(&id) else { return };
        self.letters.remove(&id);
        if let Some(last) = &entry.report {
            self.counters.count_traffic(last);
        }
        if entry.is_present() {
            self.open = self.open.saturating_sub(1);
        }
        self.forget_rates();
        if let Some(prefix) = entry.prefix {
            self.prefixes.remove(prefix);
        }
        if entry.role == Role::Listener {
            self.inbound = self.inbound.saturating_sub(1);
            if entry.since().is_none() {
                self.pending_inbound = self.pending_inbound.saturating_sub(1);
            }
        }
        #[cfg(septa_mutant = "inbound-place-lost")]
        if entry.role == Role::Listener && entry.peer.is_none() {
            self.pending_inbound = self.pending_inbound.saturating_add(1);
        }
        let was_open = entry.since().is_some();
        #[cfg(septa_mutant = "closed-told-twice")]
        if let Phase::Retiring { .. } = entry.phase {
            self.tell(Event::Closed { peer: entry.peer, connection: id, was_open, reason: reason.clone() });
        }
        self.tell(Event::Closed { peer: entry.peer, connection: id, was_open, reason: reason.clone() });
        let Some(peer) = entry.peer else { return };
        if let Some(known) = self.peers.get_mut(&peer) {
            known.connections.retain(|other| *other != id);
        }
        if let Some(attempt) = entry.attempt {
            self.attempt_failed(peer, attempt, DialFailure::Closed(reason.clone()));
        }
        // Decided before other connections are closed, which are told of it. Before the peer has proved who it is, anybody
        // could have done it.
        let misbehaviour = Misbehaviour::of(&reason).filter(|_| entry.phase != Phase::Upgrading);
        let banned = misbehaviour.and_then(|misbehaviour| self.misbehaved(peer, misbehaviour));
        if has_failed_handshake(&reason) && !self.shutting_down {
            if let Some(known) = self.peers.get_mut(&peer) {
                known.failures = known.failures.saturating_add(1);
            }
            let _ = self.step(peer, Input::HandshakeFailed);
        }
        // Enforced when the cooldown has begun, without which a ban forgets the peer.
        if let Some(banned) = banned {
            // Where bans for ever take all places, nobody else is banned.
            let _ = self.enforce(banned);
        }
        if entry.since().is_some() {
            // A listener's denial usually comes when this end is open already.
            self.lost(peer, &entry, reason == CloseReason::DeniedByRemote);
        }
        self.settle_duplicates(peer);
        self.settle_peer(peer);
    }

    /// An open connection is gone. One that lasted shows that the peer is well.
    fn lost(&mut self, id: PeerId, entry: &Entry, was_denied: bool) {
        let uptime = entry.since().map_or(Duration::ZERO, |since| self.now.saturating_duration_since(since));
        let presence = self.presence(&id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_last = match presence {
            Presence::Absent => entry.is_present() || !peer.is_lost,
            // Those that are being closed are no use, however long that takes.
            Presence::Leaving => entry.is_present(),
            Presence::Present => false,
        };
        let backoff = self.book.backoff(&id).unwrap_or(&self.config.backoff);
        if uptime >= backoff.reset_after {
            peer.failures = 0;
        }
        if is_last {
            peer.is_lost = true;
            if peer.effort == Effort::Idle {
                peer.failures = peer.failures.saturating_add(1);
                peer.was_denied = was_denied;
            }
            let _ = self.step(id, Input::Lost);
            self.end_wish_if_exhausted(id);
        }
    }

    /// Closes a connection in good order. One that was told so before is not told again.
    pub(super) fn close_connection(&mut self, id: ConnectionId, code: u32) {
        let Some(entry) = self.connections.get_mut(&id) else { return };
        if let Phase::Leaving { .. } = entry.phase {
            return;
        }
        if entry.is_present() {
            self.open = self.open.saturating_sub(1);
        }
        entry.phase = Phase::Leaving { since: entry.since() };
        entry.outbox.put(ToConnection(ConnectionMessage::Close { code }));
        self.letters.insert(id);
    }

    /// Closes an open connection in good order when its streams have ended, because another one replaces it.
    pub(super) fn retire_connection(&mut self, id: ConnectionId, code: u32) {
        let Some(entry) = self.connections.get_mut(&id) else { return };
        let Phase::Open { since, .. } = entry.phase else { return };
        self.open = self.open.saturating_sub(1);
        entry.phase = Phase::Retiring { since };
        entry.outbox.put(ToConnection(ConnectionMessage::Retire { code }));
        self.letters.insert(id);
    }

    /// Closes every connection to a peer.
    pub(super) fn drain_peer(&mut self, id: PeerId) {
        let connections = self.peers.get(&id).map(|peer| peer.connections.clone()).unwrap_or_default();
        let code = match () {
            () if self.shutting_down => codes::connection::SHUTDOWN,
            () if self.is_banned(&id) => codes::connection::GATED,
            () => codes::connection::NO_ERROR,
        };
        connections.into_iter().for_each(|connection| self.close_connection(connection, code));
    }
}

/// The application's handshake was to blame: another connection would end in the same way.
fn has_failed_handshake(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::HandshakeTimeout | CloseReason::HandshakeRejected { .. } | CloseReason::HandshakeRefused(_)
    )
}
