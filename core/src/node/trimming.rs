//! Too many connections: which ones go.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Intent, Node, connections::Phase, stats};
use crate::{ConnectionId, Instant, PeerId, connection::codes};

impl Node {
    /// Above [`Config::high_watermark`](super::Config::high_watermark) open connections, drains those that can best be
    /// done without until the low one is reached. Persistent and protected peers stay, and so does what is younger than
    /// the grace. Misbehaving peers go first, then the newest: who floods us with connections must not push out those
    /// that have proved themselves. A transient peer is not wanted any more when it is drained, or it would be back.
    ///
    /// If that is not enough, it tries again when the next grace ends, and until then it has nothing to do. So all
    /// connections are looked at once for each grace at most.
    pub(super) fn trim(&mut self) {
        if !self.is_crowded() {
            self.trim_at = None;
            return;
        }
        if self.trim_at.is_some_and(|at| at > self.now) {
            return;
        }
        let open = self.open;
        let mut candidates: Vec<_> = self.connections.keys().filter_map(|id| self.candidate(*id)).collect();
        candidates.sort_unstable();
        for (_, _, id) in candidates.into_iter().take(open.saturating_sub(self.config.low_watermark)) {
            self.close_connection(id, codes::connection::RESOURCE_LIMIT);
            stats::increase(&mut self.counters.connections_trimmed);
            let Some(peer) = self.connections.get(&id).and_then(|entry| entry.peer) else { continue };
            if let Some(known) = self.peers.get_mut(&peer) {
                known.intent = Intent::Dormant;
            }
            self.settle_peer(peer);
        }
        let young = self.connections.keys().filter_map(|id| self.grace_end(*id)).filter(|end| *end > self.now);
        // Where all that are left are to stay, there is nothing to look for.
        self.trim_at = self.is_crowded().then(|| young.min().unwrap_or(Instant::NEVER));
    }

    /// One more connection is open.
    pub(super) fn trim_opened(&mut self, id: ConnectionId) {
        if let (Some(at), Some(end)) = (self.trim_at, self.grace_end(id)) {
            self.trim_at = Some(at.min(end));
        }
        self.trim();
    }

    /// A peer may have been passed over before, but is not protected or wanted any more.
    pub(super) fn trim_anew(&mut self, id: PeerId) {
        if self.peers.get(&id).is_some_and(|peer| !peer.connections.is_empty()) {
            self.trim_at = None;
            self.trim();
        }
    }

    /// When it is worth to look again.
    pub(super) fn next_trim(&self) -> Option<Instant> {
        self.trim_at.filter(|at| self.is_crowded() && *at != Instant::NEVER)
    }

    fn is_crowded(&self) -> bool {
        self.open > self.config.high_watermark
    }

    /// The place of a connection that may be drained, the first one first.
    fn candidate(&self, id: ConnectionId) -> Option<(bool, Reverse<Instant>, ConnectionId)> {
        let entry = self.connections.get(&id)?;
        let (since, peer) = (entry.since()?, entry.peer?);
        let is_old = self.grace_end(id)? <= self.now;
        is_old.then(|| (!self.is_graylisted(&peer), Reverse(since), id))
    }

    /// From when on an open connection may be drained; `None` if never.
    fn grace_end(&self, id: ConnectionId) -> Option<Instant> {
        let entry = self.connections.get(&id)?;
        let Phase::Open { since, .. } = entry.phase else { return None };
        let peer = entry.peer?;
        let is_wanted = self.peers.get(&peer).is_some_and(|known| known.intent == Intent::Persistent);
        let stays = is_wanted || self.book.is_protected(&peer);
        (!stays).then(|| since.saturating_add(self.config.trim_grace))
    }
}
