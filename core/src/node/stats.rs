//! What a node counts.

use super::{Event, Node};
use crate::{connection::DenyReason, link::Report};

/// How much there is of everything now, and what was counted since the node was made. Cheap to take.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct NodeStats {
    /// Peers in the address book.
    pub known_peers: usize,
    /// Of them, persistent ones.
    pub persistent_peers: usize,
    /// Peers with a wish, an effort, a connection or a cooldown, in the book or not.
    pub tracked_peers: usize,
    /// Connections, those that are being made or closed included.
    pub connections: usize,
    /// Of them, those that others dialed.
    pub inbound: usize,
    /// Of them, those that this node dialed.
    pub outbound: usize,
    /// Of them, those that are open and not being closed.
    pub open: usize,
    /// Of the inbound ones, those that are not open yet.
    pub pending_inbound: usize,
    /// Addresses that are being resolved, dialed or upgraded.
    pub dialing: usize,
    /// Peers with an address that waits for its turn to be dialed.
    pub queued: usize,
    /// Bans that run.
    pub bans: usize,
    /// What was counted.
    pub counters: Counters,
}

/// What a node has counted since it was made. Nothing here ever goes down.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Counters {
    /// Efforts to reach a peer that began. Those that neither succeeded nor failed are under way, were given up, or
    /// ended because the peer came by itself.
    pub dials_begun: u64,
    /// Efforts that led to an open connection.
    pub dials_succeeded: u64,
    /// Efforts that came to nothing because every address failed.
    pub dials_failed: u64,
    /// Connections that opened.
    pub connections_opened: u64,
    /// Of them, those that are over.
    pub connections_closed: u64,
    /// Connections that were over before they opened.
    pub connections_failed: u64,
    /// Connections that were closed because there were too many.
    pub connections_trimmed: u64,
    /// Bytes that came on connections that are over, handshake and overhead included.
    pub bytes_received: u64,
    /// Bytes that went on connections that are over, handshake and overhead included.
    pub bytes_sent: u64,
    /// Bans that began, by hand or for a score.
    pub bans_begun: u64,
    /// Peers that left the address book to make room for others.
    pub book_evictions: u64,
    /// Events that were dropped; see [`Node::lost_events`].
    pub lost_events: u64,
    /// Connections that this node did not want.
    pub refused: Refusals,
}

/// Transports and peers that were turned away, by [`DenyReason`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Refusals {
    /// [`DenyReason::Banned`].
    pub banned: u64,
    /// [`DenyReason::Limit`].
    pub limit: u64,
    /// [`DenyReason::Duplicate`].
    pub duplicate: u64,
    /// [`DenyReason::SelfDial`].
    pub self_dial: u64,
    /// [`DenyReason::Cooldown`].
    pub cooldown: u64,
    /// [`DenyReason::RateLimited`].
    pub rate_limited: u64,
    /// [`DenyReason::ShuttingDown`].
    pub shutting_down: u64,
}

impl Refusals {
    pub(super) fn count(&mut self, reason: DenyReason) {
        increase(match reason {
            DenyReason::Banned => &mut self.banned,
            DenyReason::Limit => &mut self.limit,
            DenyReason::Duplicate => &mut self.duplicate,
            DenyReason::SelfDial => &mut self.self_dial,
            DenyReason::Cooldown => &mut self.cooldown,
            DenyReason::RateLimited => &mut self.rate_limited,
            DenyReason::ShuttingDown => &mut self.shutting_down,
        });
    }
}

impl Counters {
    /// Counts what the application is told, whether it takes it or not.
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Opened { .. } => increase(&mut self.connections_opened),
            Event::Closed { was_open: true, .. } => increase(&mut self.connections_closed),
            Event::Closed { was_open: false, .. } => increase(&mut self.connections_failed),
            Event::Denied { reason, .. } => self.refused.count(*reason),
            Event::Banned { .. } => increase(&mut self.bans_begun),
            Event::DialFailed { .. } => increase(&mut self.dials_failed),
            Event::State { .. } | Event::Unbanned { .. } | Event::LimitReached { .. } => {}
        }
    }

    /// Counts what a connection that is over has said last.
    pub(super) fn count_traffic(&mut self, last: &Report) {
        self.bytes_received = self.bytes_received.saturating_add(last.stats.bytes_received);
        self.bytes_sent = self.bytes_sent.saturating_add(last.stats.bytes_sent);
    }
}

pub(super) fn increase(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

impl Node {
    /// How much there is of everything. Takes the same time however many peers there are.
    pub fn stats(&self) -> NodeStats {
        NodeStats {
            known_peers: self.book.len(),
            persistent_peers: self.book.persistent(),
            tracked_peers: self.peers.len(),
            connections: self.connections.len(),
            inbound: self.inbound,
            outbound: self.connections.len().saturating_sub(self.inbound),
            open: self.open,
            pending_inbound: self.pending_inbound,
            dialing: self.attempts.len(),
            queued: self.hungry.len(),
            bans: self.bans.running(),
            counters: Counters { book_evictions: self.book.evictions(), ..self.counters },
        }
    }
}
