//! Too many connections: which ones go.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Intent, Node, connections::Phase};
use crate::{ConnectionId, connection::codes};

impl Node {
    /// Above [`Config::high_watermark`](super::Config::high_watermark) open connections, drains those that can best be
    /// done without until the low one is reached. Persistent and protected peers stay, and so does what is younger than
    /// the grace. Misbehaving peers go first, then the newest: who floods us with connections must not push out those
    /// that have proved themselves. A transient peer is not wanted any more when it is drained, or it would be back.
    ///
    /// Above the high watermark it looks at all connections.
    pub(super) fn trim(&mut self) {
        let open = self.open;
        if open <= self.config.high_watermark {
            return;
        }
        let mut candidates: Vec<_> = self.connections.keys().filter_map(|id| self.candidate(*id)).collect();
        candidates.sort_unstable();
        for (_, _, id) in candidates.into_iter().take(open.saturating_sub(self.config.low_watermark)) {
            self.close_connection(id, codes::connection::RESOURCE_LIMIT);
            let Some(peer) = self.connections.get(&id).and_then(|entry| entry.peer) else { continue };
            if let Some(known) = self.peers.get_mut(&peer) {
                known.intent = Intent::Dormant;
            }
            self.settle_peer(peer);
        }
    }

    /// The place of a connection that may be drained, the first one first.
    fn candidate(&self, id: ConnectionId) -> Option<(bool, Reverse<crate::Instant>, ConnectionId)> {
        let entry = self.connections.get(&id)?;
        let Phase::Open { since, .. } = entry.phase else { return None };
        let peer = entry.peer?;
        let is_wanted = self.peers.get(&peer).is_some_and(|known| known.intent == Intent::Persistent);
        let is_young = self.now.saturating_duration_since(since) < self.config.trim_grace;
        let stays = is_wanted || is_young || self.book.is_protected(&peer);
        (!stays).then(|| (!self.is_graylisted(&peer), Reverse(since), id))
    }
}
