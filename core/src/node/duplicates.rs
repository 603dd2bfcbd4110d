//! Two connections to one peer: which one stays.

use core::time::Duration;

use super::{Node, connections::Phase};
use crate::{
    ConnectionId, Instant, PeerId, Role,
    connection::codes,
    link::{ConnectionMessage, Query, ToConnection},
};

/// A peer to which there is more than one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Settling {
    pub(super) deadline: Instant,
    asked: Asked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    /// This node decides, but only once it knows whether the older connection is alive.
    Alive { old: ConnectionId, probe: u32 },
    /// The peer decides.
    Peer,
}

/// Least patience with a connection that is asked whether it is alive.
pub(super) const MIN_PATIENCE: Duration = Duration::from_secs(1);
/// The same in round trips.
const PATIENCE_RTTS: u32 = 4;

impl Node {
    /// The open connection to a peer that is to carry what is new: one that is ready if there is one, and of several the
    /// one that will stay. Connections that are being closed are none.
    pub fn connection_to(&self, peer: &PeerId) -> Option<ConnectionId> {
        self.present(peer).into_iter().reduce(|old, new| {
            let is_ready = |id: ConnectionId| self.connection(&id).is_some_and(super::Entry::is_ready);
            // The side that dialed both has given the old one up.
            if self.role(old) == self.role(new) && is_ready(old) == is_ready(new) { new } else { self.better(old, new) }
        })
    }

    /// Looks whether there is one connection too many, and does what the side that this node is does about it.
    ///
    /// Only the side with the larger peer id decides, so that the two never keep different ones. It keeps the newest if
    /// both were dialed by the same side, which then has given the old one up, or if the old one is silent. Else it
    /// keeps the one that is ready, else the one that it dialed itself.
    pub(super) fn settle_duplicates(&mut self, id: PeerId) {
        let Some((old, new)) = self.oldest_and_newest(&id) else {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.settling = None;
            }
            return;
        };
        let decides = self.local > id || cfg!(septa_mutant = "tie-break-on-both-sides");
        let settling = self.peers.get(&id).and_then(|peer| peer.settling);
        match settling.map(|settling| settling.asked) {
            _ if decides && self.role(old) == self.role(new) => self.keep_only(id, new),
            Some(Asked::Alive { old: asked, probe }) if decides && asked == old => {
                if self.connections.get(&old).is_some_and(|entry| entry.last_probe() == probe) {
                    let kept = self.better(old, new);
                    self.keep_only(id, kept);
                }
            }
            _ if decides => self.ask_whether_alive(id, old),
            Some(Asked::Peer) => {}
            _ => {
                let deadline = self.now.saturating_add(self.config.settle_timeout);
                self.set_settling(id, Settling { deadline, asked: Asked::Peer });
            }
        }
    }

    /// The old connection is silent, or the peer that should decide does not.
    pub(super) fn expire_settling(&mut self, id: PeerId) {
        let Some(settling) = self.peers.get(&id).and_then(|peer| peer.settling) else { return };
        if settling.deadline > self.now {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.settling = None;
        }
        let Some((old, new)) = self.oldest_and_newest(&id) else { return };
        let kept = match settling.asked {
            Asked::Alive { .. } => new,
            // What the peer would have kept, had it found the old one alive: it prefers its own.
            Asked::Peer if self.role(old) == self.role(new) => new,
            Asked::Peer => self.better(new, old),
        };
        self.keep_only(id, kept);
    }

    fn ask_whether_alive(&mut self, id: PeerId, old: ConnectionId) {
        let probe = self.new_id() as u32;
        let Some(entry) = self.connections.get_mut(&old) else { return };
        let rtt = entry.report.as_ref().and_then(|report| report.rtt).unwrap_or_default();
        entry.outbox.put(ToConnection(ConnectionMessage::Query(Query::Probe(probe))));
        self.letters.insert(old);
        let patience = rtt.saturating_mul(PATIENCE_RTTS).max(MIN_PATIENCE);
        let deadline = self.now.saturating_add(patience);
        self.set_settling(id, Settling { deadline, asked: Asked::Alive { old, probe } });
    }

    /// The one that is ready if the other is not, else the one that the decider dialed.
    fn better(&self, old: ConnectionId, new: ConnectionId) -> ConnectionId {
        let is_ready = |id: ConnectionId| self.connection(&id).is_some_and(super::Entry::is_ready);
        let dialed_by_decider = |id: ConnectionId| {
            let ours = self.role(id) == Some(Role::Dialer);
            let decides = self.connections.get(&id).and_then(|entry| entry.peer).is_some_and(|peer| self.local > peer);
            ours == (decides || cfg!(septa_mutant = "tie-break-on-both-sides"))
        };
        match (is_ready(old), is_ready(new)) {
            (true, false) => old,
            (false, true) => new,
            _ if dialed_by_decider(old) => old,
            _ => new,
        }
    }

    /// Lets every open connection to a peer retire but one.
    fn keep_only(&mut self, id: PeerId, kept: ConnectionId) {
        for other in self.present(&id) {
            if other != kept {
                self.retire_connection(other, codes::connection::SUPPLANTED);
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.settling = None;
        }
    }

    fn set_settling(&mut self, id: PeerId, settling: Settling) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.settling = Some(settling);
        }
    }

    /// The open connections, in the order in which they opened.
    fn present(&self, id: &PeerId) -> alloc::vec::Vec<ConnectionId> {
        let connections = self.peers.get(id).map(|peer| peer.connections.as_slice()).unwrap_or_default();
        let opened = |id: &ConnectionId| match self.connections.get(id)?.phase {
            Phase::Open { since, .. } => Some((since, *id)),
            _ => None,
        };
        let mut present: alloc::vec::Vec<_> = connections.iter().filter_map(opened).collect();
        present.sort_unstable();
        present.into_iter().map(|(_, id)| id).collect()
    }

    fn oldest_and_newest(&self, id: &PeerId) -> Option<(ConnectionId, ConnectionId)> {
        match self.present(id).as_slice() {
            [old, .., new] => Some((*old, *new)),
            _ => None,
        }
    }

    fn role(&self, id: ConnectionId) -> Option<Role> {
        self.connections.get(&id).map(|entry| entry.role)
    }
}
