//! What a node is doing, for people who look into it.
//!
//! Everything here is owned and plain: what is handed out cannot change a node, and holds nothing that is secret. Times
//! are told as how long ago or how far ahead.

use alloc::{collections::BTreeSet, vec::Vec};
use core::time::Duration;

use super::{BanReason, BanSubject, Intent, LimitNear, Node, NodeStats, PeerState, connections::Entry};
use crate::{
    ConnectionId, Multiaddr, PeerId, Role,
    connection::{ProtocolStats, Stats},
};

/// Everything that a node is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DebugSnapshot {
    /// Which peer the node is.
    pub local: PeerId,
    /// How much there is of everything.
    pub stats: NodeStats,
    /// The limits that are nearly used up.
    pub limits_near: Vec<LimitNear>,
    /// The peers with a wish, an effort, a connection or a cooldown, ordered by id. Others are in the book only.
    pub peers: Vec<PeerInfo>,
    /// Connections of none of them: it is not known yet who is at the other end, or it was not let in.
    pub others: Vec<ConnectionInfo>,
    /// The bans that run.
    pub bans: Vec<BanInfo>,
    /// It wants no connections any more.
    pub shutting_down: bool,
}

/// What a peer is to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PeerInfo {
    /// Which.
    pub peer: PeerId,
    /// What it is now.
    pub state: PeerState,
    /// What is wanted of it.
    pub intent: Intent,
    /// It is never evicted from the book, and its connections are not closed for others.
    pub protected: bool,
    /// Efforts that failed, and connections that did not last, one after the other.
    pub failures: u32,
    /// How long its backoff or cooldown lasts still; `None` if there is none.
    pub retry_in: Option<Duration>,
    /// The addresses that are being tried.
    pub dialing: Vec<Multiaddr>,
    /// What it did wrong lately; see [`ScoreConfig`](super::ScoreConfig).
    pub score: u32,
    /// It is banned, or not on the allow-list.
    pub banned: bool,
    /// Its connections, in the order in which they were made.
    pub connections: Vec<ConnectionInfo>,
}

/// One connection of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Which.
    pub id: ConnectionId,
    /// Which end this node is.
    pub role: Role,
    /// This end.
    pub local: Multiaddr,
    /// The other end.
    pub remote: Multiaddr,
    /// How far it has come.
    pub phase: ConnectionPhase,
    /// How long ago it opened; `None` if it never did.
    pub age: Option<Duration>,
    /// The round trip time that it reported last.
    pub rtt: Option<Duration>,
    /// What it counted when it reported last; nothing if it never did.
    pub stats: Stats,
    /// What its streams have moved by protocol. It does not report that: who drives the node asks the connection.
    pub protocols: Vec<ProtocolStats>,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ConnectionPhase {
    /// The handshake is being made.
    Upgrading,
    /// The peer was let in.
    Admitted,
    /// It is open, but the application's handshake is not done.
    Open,
    /// The peer can be talked to.
    Ready,
    /// This node closes it.
    Closing,
}

/// A ban that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BanInfo {
    /// Who is banned.
    pub subject: BanSubject,
    /// Why.
    pub reason: BanReason,
    /// How long it lasts still. `None` is for ever.
    pub left: Option<Duration>,
    /// How many automatic bans the subject had in succession, this one included.
    pub offences: u32,
}

impl Node {
    /// What a peer is to this node, as of the latest time that it was told; `None` if nothing is known about it.
    pub fn peer_info(&self, peer: &PeerId) -> Option<PeerInfo> {
        let (tracked, banned, score) = (self.peers.get(peer), self.is_banned(peer), self.score(peer));
        if tracked.is_none() && !self.book.contains(peer) && !banned && score == 0 {
            return None;
        }
        let until = tracked.and_then(|tracked| tracked.until);
        let attempts = tracked.and_then(|tracked| tracked.dial.as_ref()).map_or(&[][..], |dial| dial.attempts());
        let connections = tracked.map_or(&[][..], |tracked| &tracked.connections);
        Some(PeerInfo {
            peer: *peer,
            state: self.state(peer),
            intent: tracked.map(|tracked| tracked.intent).or(self.book.intent(peer)).unwrap_or(Intent::Dormant),
            protected: self.book.is_protected(peer),
            failures: tracked.map_or(0, |tracked| tracked.failures),
            retry_in: until.map(|until| until.saturating_duration_since(self.now)),
            dialing: attempts.iter().map(|attempt| attempt.candidate.addr.clone()).collect(),
            score,
            banned,
            connections: connections.iter().filter_map(|id| self.connection_info(*id)).collect(),
        })
    }

    /// Everything that this node is doing, as of the latest time that it was told. Takes time and memory for each peer
    /// that it has something to do with, and for each connection and ban.
    pub fn debug_snapshot(&self) -> DebugSnapshot {
        let listed: BTreeSet<_> = self.peers.values().flat_map(|peer| &peer.connections).copied().collect();
        let others = self.connections.keys().filter(|id| !listed.contains(id));
        DebugSnapshot {
            local: self.local,
            stats: self.stats(),
            limits_near: self.limits_near(),
            peers: self.peers.keys().filter_map(|peer| self.peer_info(peer)).collect(),
            others: others.filter_map(|id| self.connection_info(*id)).collect(),
            bans: self.ban_infos().collect(),
            shutting_down: self.shutting_down,
        }
    }

    fn connection_info(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        let entry = self.connections.get(&id)?;
        let report = entry.report.as_deref();
        Some(ConnectionInfo {
            id,
            role: entry.role,
            local: entry.endpoints.local.clone(),
            remote: entry.endpoints.remote.clone(),
            phase: phase(entry),
            age: entry.since().map(|since| self.now.saturating_duration_since(since)),
            rtt: report.and_then(|report| report.rtt),
            stats: report.map(|report| report.stats).unwrap_or_default(),
            protocols: Vec::new(),
        })
    }

    fn ban_infos(&self) -> impl Iterator<Item = BanInfo> {
        self.bans().map(|ban| BanInfo {
            subject: ban.subject,
            reason: ban.reason,
            left: ban.ends.map(|ends| ends.saturating_duration_since(self.now)),
            offences: ban.offences,
        })
    }
}

fn phase(entry: &Entry) -> ConnectionPhase {
    match entry {
        _ if entry.is_ready() => ConnectionPhase::Ready,
        _ if entry.is_present() => ConnectionPhase::Open,
        _ if entry.is_leaving() => ConnectionPhase::Closing,
        _ if entry.phase == super::connections::Phase::Admitted => ConnectionPhase::Admitted,
        _ => ConnectionPhase::Upgrading,
    }
}
