//! Connections: who is let in, which one stays, what their end means.

use core::{cmp::Reverse, time::Duration};
use std::{format, vec, vec::Vec};

use super::{Addr, Answer, Effort, MYSELF, Reference, Settling, Told, id_of};
use crate::{Instant, Role, connection::DenyReason, node::Intent};

#[derive(Clone, Debug)]
pub(in super::super) struct Connection {
    pub(in super::super) role: Role,
    /// Whom a dialed one must lead to, and whom an inbound one was found to come from.
    pub(in super::super) peer: Option<usize>,
    /// It counts among the connections of its peer: not, if it was turned away.
    is_counted: bool,
    /// Who is at the other end has been said.
    pub(in super::super) is_secured: bool,
    /// It was let in, and so may open.
    pub(in super::super) is_admitted: bool,
    pub(super) attempt: Option<usize>,
    pub(super) remote: Addr,
    /// The last part of the address it comes from.
    host: u8,
    pub(in super::super) phase: Phase,
    /// How often it was asked whether the peer is alive, and up to which question the peer was.
    asked: u32,
    alive: u32,
    rtt: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Phase {
    Upgrading,
    Admitted,
    Open { since: Instant, is_ready: bool },
    Leaving { since: Option<Instant> },
}

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Reason {
    Eof,
    Local,
    Denied,
    HandshakeTimeout,
    KeepAlive,
    Flood,
    /// Its task died.
    Lost,
}

impl Connection {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    pub(in super::super) fn since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { since, .. } => Some(since),
            Phase::Leaving { since } => since,
            Phase::Upgrading | Phase::Admitted => None,
        }
    }
}

/// The first seven hosts are in the network that is banned now and then.
fn network_of(host: u8) -> Addr {
    if host < 8 { Addr::Inside } else { Addr::Outside }
}

impl Reference {
    pub(super) fn of_peer(&self, peer: usize) -> impl Iterator<Item = &Connection> {
        self.connections.values().filter(move |connection| connection.is_counted && connection.peer == Some(peer))
    }

    pub(super) fn is_present(&self, peer: usize) -> bool {
        self.of_peer(peer).any(Connection::is_open)
    }

    /// No connection is open, not even one that is being drained.
    pub(super) fn is_absent(&self, peer: usize) -> bool {
        self.of_peer(peer).all(|connection| connection.since().is_none())
    }

    fn make(&mut self, connection: Connection) {
        self.connections.insert(self.connections_made, connection);
        self.connections_made += 1;
    }

    pub(super) fn made_by_dial(&mut self, peer: usize, attempt: usize, remote: Addr) {
        let peer = Some(peer);
        self.make(Connection { peer, is_counted: true, attempt: Some(attempt), remote, ..new(Role::Dialer, 0) });
    }

    pub(in super::super) fn incoming(&mut self, host: u8) {
        let outcome = self.admit_transport(host);
        match outcome {
            Ok(()) => self.make(new(Role::Listener, host)),
            Err(reason) => self.told.push(Told::Denied { peer: None, reason: format!("{reason:?}") }),
        }
        self.answer = Answer::Incoming(outcome);
    }

    fn admit_transport(&self, host: u8) -> Result<(), DenyReason> {
        let inbound = || self.connections.values().filter(|connection| connection.role == Role::Listener);
        let pending = inbound().filter(|connection| connection.since().is_none()).count();
        let from_host = inbound().filter(|connection| connection.host == host).count();
        if self.is_banned_addr(network_of(host)) {
            return Err(DenyReason::Banned);
        }
        let is_full = self.connections.len() >= self.config.max_connections
            || inbound().count() >= self.config.max_inbound
            || pending >= self.config.max_pending_inbound
            || from_host >= self.config.max_per_prefix as usize;
        if is_full { Err(DenyReason::Limit) } else { Ok(()) }
    }

    /// The peer at the other end has proved who it is.
    pub(in super::super) fn secured(&mut self, number: usize, peer: usize) {
        let connection = self.connections.get_mut(&number).unwrap();
        connection.is_secured = true;
        if connection.phase != Phase::Upgrading {
            return;
        }
        if connection.role == Role::Dialer && connection.peer != Some(peer) {
            return self.close(number);
        }
        let verdict = self.admit_peer(number, peer);
        if verdict.is_ok() {
            self.remember(peer);
        }
        let connection = self.connections.get_mut(&number).unwrap();
        connection.peer = Some(peer);
        connection.phase = if verdict.is_ok() { Phase::Admitted } else { Phase::Leaving { since: None } };
        connection.is_admitted = verdict.is_ok();
        connection.is_counted |= verdict.is_ok();
        if let Err(reason) = verdict {
            self.told.push(Told::Denied { peer: Some(peer), reason: format!("{reason:?}") });
        }
    }

    fn admit_peer(&self, number: usize, peer: usize) -> Result<(), DenyReason> {
        if self.is_banned_addr(self.connections[&number].remote) {
            return Err(DenyReason::Banned);
        }
        if peer == MYSELF {
            return Err(DenyReason::SelfDial);
        }
        let admitted = |connection: &&Connection| connection.is_admitted;
        if self.is_banned(peer) {
            Err(DenyReason::Banned)
        } else if matches!(self.peers[peer].effort, Effort::Cooldown(_)) {
            Err(DenyReason::Cooldown)
        } else if self.of_peer(peer).filter(admitted).count() >= self.config.max_per_peer {
            Err(DenyReason::Limit)
        } else {
            Ok(())
        }
    }

    pub(in super::super) fn opened(&mut self, number: usize, is_ready: bool) {
        let now = self.now;
        let connection = self.connections.get_mut(&number).unwrap();
        match &mut connection.phase {
            Phase::Admitted => connection.phase = Phase::Open { since: now, is_ready },
            Phase::Open { is_ready: before, .. } => return *before |= is_ready,
            Phase::Upgrading | Phase::Leaving { .. } => return,
        }
        connection.attempt = None;
        let peer = connection.peer.unwrap();
        self.told.push(Told::Opened { connection: number, peer });
        self.peers[peer].is_lost = false;
        match self.peers[peer].effort {
            Effort::Idle => {}
            Effort::Waiting(_) | Effort::Dialing(_) => {
                self.end_effort(peer);
                // What its other attempts have made goes on by itself.
                let others = self.connections.values_mut().filter(|other| other.peer == Some(peer));
                others.for_each(|other| other.attempt = None);
            }
            Effort::Cooldown(_) => self.drain(peer),
        }
        self.feed();
        self.settle(peer);
        self.trim();
    }

    /// A sign of life.
    pub(in super::super) fn reported(&mut self, number: usize, rtt: Duration) {
        let connection = self.connections.get_mut(&number).unwrap();
        (connection.alive, connection.rtt) = (connection.asked, rtt);
        if let Some(peer) = connection.peer.filter(|peer| *peer != MYSELF) {
            self.settle(peer);
        }
    }

    pub(in super::super) fn closed(&mut self, number: usize, reason: Reason) {
        let connection = self.connections.remove(&number).unwrap();
        self.told.push(Told::Closed { connection: number, peer: connection.peer });
        let Some(peer) = connection.peer.filter(|peer| *peer != MYSELF) else { return };
        if let Some(attempt) = connection.attempt {
            self.attempt_failed(peer, attempt, reason == Reason::Denied);
        }
        let penalty = match reason {
            Reason::Flood => 50,
            Reason::HandshakeTimeout => 5,
            _ => 0,
        };
        if reason == Reason::HandshakeTimeout {
            self.handshake_failed(peer);
        }
        if penalty > 0 && connection.phase != Phase::Upgrading {
            self.misbehaved(peer, penalty);
        }
        if let Some(since) = connection.since() {
            self.lost(peer, since, connection.is_open(), reason == Reason::Denied);
        }
        self.settle(peer);
    }

    fn handshake_failed(&mut self, peer: usize) {
        if !self.is_remembered(peer) {
            return;
        }
        self.peers[peer].failures += 1;
        if !matches!(self.peers[peer].effort, Effort::Cooldown(_)) {
            self.abort(peer);
            self.peers[peer].effort = Effort::Cooldown(self.now.saturating_add(self.config.cooldown));
            self.peers[peer].is_called_off = false;
        }
        self.drain(peer);
    }

    fn lost(&mut self, peer: usize, since: Instant, was_open: bool, was_denied: bool) {
        if !self.is_remembered(peer) {
            return;
        }
        if self.now.saturating_duration_since(since) >= self.config.backoff.reset_after {
            self.peers[peer].failures = 0;
        }
        let is_first = was_open || (self.is_absent(peer) && !self.peers[peer].is_lost);
        if self.is_present(peer) || !is_first {
            return;
        }
        self.peers[peer].is_lost = true;
        if matches!(self.peers[peer].effort, Effort::Idle) {
            self.peers[peer].failures += 1;
            self.peers[peer].was_denied = was_denied;
            if self.retries(peer) {
                self.wait(peer);
            }
        }
        self.end_wish_if_exhausted(peer);
    }

    /// This node closes a connection.
    pub(super) fn close(&mut self, number: usize) {
        let connection = self.connections.get_mut(&number).unwrap();
        if !matches!(connection.phase, Phase::Leaving { .. }) {
            connection.phase = Phase::Leaving { since: connection.since() };
        }
    }

    pub(super) fn drain(&mut self, peer: usize) {
        let is_of_peer = |connection: &Connection| connection.is_counted && connection.peer == Some(peer);
        let of_peer = self.connections.iter().filter(|(_, connection)| is_of_peer(connection));
        let of_peer: Vec<usize> = of_peer.map(|(number, _)| *number).collect();
        of_peer.into_iter().for_each(|number| self.close(number));
    }

    /// The open connections to a peer, the oldest first.
    fn open(&self, peer: usize) -> Vec<usize> {
        let mut open = vec![];
        for (number, connection) in &self.connections {
            if connection.peer == Some(peer)
                && let Phase::Open { since, .. } = connection.phase
            {
                open.push((since, *number));
            }
        }
        open.sort_unstable();
        open.into_iter().map(|(_, number)| number).collect()
    }

    fn decides(&self, peer: usize) -> bool {
        id_of(MYSELF) > id_of(peer)
    }

    fn settle(&mut self, peer: usize) {
        let open = self.open(peer);
        let [old, .., new] = open.as_slice() else {
            self.peers[peer].settling = None;
            return;
        };
        let (old, new) = (*old, *new);
        let is_alive = self.connections[&old].alive == self.connections[&old].asked;
        match self.peers[peer].settling {
            _ if self.decides(peer) && self.connections[&old].role == self.connections[&new].role => {
                self.keep_only(peer, new);
            }
            Some(Settling { asked: Some(asked), .. }) if self.decides(peer) && asked == old => {
                if is_alive {
                    let kept = self.better(peer, old, new);
                    self.keep_only(peer, kept);
                }
            }
            _ if self.decides(peer) => {
                let connection = self.connections.get_mut(&old).unwrap();
                connection.asked += 1;
                let patience = (connection.rtt * 4).max(Duration::from_secs(1));
                let deadline = self.now.saturating_add(patience);
                self.peers[peer].settling = Some(Settling { deadline, asked: Some(old) });
            }
            Some(_) => {}
            None => {
                let deadline = self.now.saturating_add(self.config.settle_timeout);
                self.peers[peer].settling = Some(Settling { deadline, asked: None });
            }
        }
    }

    pub(super) fn expire_settling(&mut self, peer: usize) {
        let Some(settling) = self.peers[peer].settling.filter(|settling| settling.deadline <= self.now) else { return };
        self.peers[peer].settling = None;
        let open = self.open(peer);
        let [old, .., new] = open.as_slice() else { return };
        let same = self.connections[old].role == self.connections[new].role;
        let kept = if settling.asked.is_some() || same { *new } else { self.better(peer, *new, *old) };
        self.keep_only(peer, kept);
    }

    /// The one that is ready if the other is not; else the one that the decider has dialed, if one is: else the second.
    fn better(&self, peer: usize, first: usize, second: usize) -> usize {
        let is_ready = |number: usize| matches!(self.connections[&number].phase, Phase::Open { is_ready: true, .. });
        let decider = if self.decides(peer) { Role::Dialer } else { Role::Listener };
        match (is_ready(first), is_ready(second)) {
            (true, false) => first,
            (false, true) => second,
            _ if self.connections[&first].role == decider => first,
            _ => second,
        }
    }

    fn keep_only(&mut self, peer: usize, kept: usize) {
        self.open(peer).into_iter().filter(|number| *number != kept).for_each(|number| self.close(number));
        self.peers[peer].settling = None;
    }

    /// Several connections are open, and nobody will do anything about it.
    pub(in super::super) fn is_unsettled(&self, peer: usize) -> bool {
        self.open(peer).len() > 1 && self.peers[peer].settling.is_none()
    }

    fn is_crowded(&self) -> bool {
        let open = self.connections.values().filter(|connection| connection.is_open()).count();
        open > self.config.high_watermark
    }

    pub(super) fn next_trim(&self) -> Option<Instant> {
        self.trim_at.filter(|_| self.is_crowded())
    }

    /// A peer is wanted no more, perhaps.
    pub(super) fn trim_anew(&mut self, peer: usize) {
        if self.of_peer(peer).next().is_some() {
            self.trim_at = None;
            self.trim();
        }
    }

    pub(super) fn trim(&mut self) {
        if !self.is_crowded() {
            self.trim_at = None;
        } else if self.trim_at.is_none_or(|at| at <= self.now) {
            self.trim_now();
            let next = self.unwanted().into_iter().map(|(end, ..)| end).filter(|end| *end > self.now).min();
            self.trim_at = next.filter(|_| self.is_crowded());
        }
    }

    /// Drains down to the low watermark, those that misbehave first and then the newest.
    fn trim_now(&mut self) {
        let open = self.connections.values().filter(|connection| connection.is_open()).count();
        let old = self.unwanted().into_iter().filter(|(end, ..)| *end <= self.now);
        let mut old: Vec<_> = old.map(|(end, is_liked, number)| (is_liked, Reverse(end), number)).collect();
        old.sort_unstable();
        for (_, _, number) in old.into_iter().take(open - self.config.low_watermark) {
            self.close(number);
            let peer = self.connections[&number].peer.unwrap();
            self.peers[peer].intent = Some(Intent::Dormant);
        }
    }

    /// The open connections to peers that are not persistent: when their grace ends, whether the peer has behaved, and
    /// which one it is.
    fn unwanted(&self) -> Vec<(Instant, bool, usize)> {
        let mut unwanted = vec![];
        for (number, connection) in &self.connections {
            let Phase::Open { since, .. } = connection.phase else { continue };
            let known = &self.peers[connection.peer.unwrap()];
            if known.intent != Some(Intent::Persistent) {
                let is_liked = known.score < self.config.score.graylist;
                unwanted.push((since.saturating_add(self.config.trim_grace), is_liked, *number));
            }
        }
        unwanted
    }
}

fn new(role: Role, host: u8) -> Connection {
    Connection {
        role,
        peer: None,
        is_counted: false,
        is_secured: false,
        is_admitted: false,
        attempt: None,
        remote: network_of(host),
        host,
        phase: Phase::Upgrading,
        asked: 0,
        alive: 0,
        rtt: Duration::ZERO,
    }
}
