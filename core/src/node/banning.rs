//! Who is kept out, by hand or for what it did.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use super::{
    Ban, BanReason, BanSubject, BansFull, Event, Intent, LimitName, Misbehaviour, Node, ScoreConfig, Threshold,
    bans::Banned, leading_ip, score::Score, transition::Input,
};
use crate::{Instant, Multiaddr, PeerId, connection::codes};

/// Peers whose misbehaviour is remembered. Stops a crowd of identities from filling memory: one more takes the place of
/// the peer that has behaved for the longest time.
pub(super) const MAX_SCORES: usize = 4096;

/// The scores of peers that have misbehaved, connected or not.
#[derive(Debug, Default)]
pub(super) struct Scores {
    scores: BTreeMap<PeerId, (Instant, Score)>,
    by_age: BTreeSet<(Instant, PeerId)>,
}

impl Scores {
    /// Adds the penalty; true if the peer is to be banned for it, and then nothing is held against it any more.
    fn penalise(&mut self, config: &ScoreConfig, now: Instant, peer: PeerId, misbehaviour: Misbehaviour) -> bool {
        let mut score = self.forget(&peer).unwrap_or_default();
        if score.penalise(config, now, misbehaviour) == Some(Threshold::Ban) {
            return true;
        }
        if self.scores.len() >= MAX_SCORES
            && let Some((_, oldest)) = self.by_age.first().copied()
        {
            self.forget(&oldest);
        }
        self.scores.insert(peer, (now, score));
        self.by_age.insert((now, peer));
        false
    }

    fn forget(&mut self, peer: &PeerId) -> Option<Score> {
        let (at, score) = self.scores.remove(peer)?;
        self.by_age.remove(&(at, *peer));
        Some(score)
    }

    fn is_graylisted(&self, config: &ScoreConfig, now: Instant, peer: &PeerId) -> bool {
        self.scores.get(peer).is_some_and(|(_, score)| score.threshold(config, now).is_some())
    }

    fn value(&self, config: &ScoreConfig, now: Instant, peer: &PeerId) -> u32 {
        self.scores.get(peer).map_or(0, |(_, score)| score.value(config, now))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }
}

impl Node {
    /// Bans a peer or a network for `length`, for ever if `None`. Its connections are closed, and neither side makes new
    /// ones; efforts to reach a peer go on with its addresses outside of a banned network. A persistent peer is dialed
    /// again when its ban is over, and its cooldown if it has one; behind the ban of a network, when its backoff ends.
    ///
    /// # Errors
    /// All places are taken by bans for ever. Nothing changes.
    pub fn ban(&mut self, now: Instant, subject: BanSubject, length: Option<Duration>) -> Result<(), BansFull> {
        self.advance(now);
        let banned = self.bans.ban(self.now, subject, BanReason::Manual, length);
        self.enforce(banned)
    }

    /// Lifts a ban and forgives what led to it. False if there was none.
    pub fn unban(&mut self, now: Instant, subject: BanSubject) -> bool {
        self.advance(now);
        // One that is over already ends as any other, so that a persistent peer is dialed again.
        self.expire_bans();
        let lifted = self.bans.unban(self.now, subject);
        if let Some(ban) = lifted {
            self.unbanned(ban);
        }
        lifted.is_some()
    }

    /// The bans that run now.
    pub fn bans(&self) -> impl Iterator<Item = Ban> {
        self.bans.iter(self.now)
    }

    /// What is held against a peer now; see [`ScoreConfig`].
    pub fn score(&self, peer: &PeerId) -> u32 {
        self.scores.value(&self.config.score, self.now, peer)
    }

    pub(super) fn is_graylisted(&self, peer: &PeerId) -> bool {
        self.scores.is_graylisted(&self.config.score, self.now, peer)
    }

    pub(super) fn is_banned(&self, peer: &PeerId) -> bool {
        let is_outside = self.config.allow_list.as_ref().is_some_and(|allowed| !allowed.contains(peer));
        is_outside || self.bans.banned_peer(self.now, *peer).is_some()
    }

    pub(super) fn is_banned_addr(&self, addr: &Multiaddr) -> bool {
        leading_ip(addr).is_some_and(|ip| self.bans.banned_addr(self.now, ip).is_some())
    }

    /// A peer that has proved who it is did something wrong. If it is to be banned for it, the ban runs and is to be
    /// [enforced](Self::enforce).
    pub(super) fn misbehaved(&mut self, peer: PeerId, misbehaviour: Misbehaviour) -> Option<Result<Banned, BansFull>> {
        let is_enough = self.scores.penalise(&self.config.score, self.now, peer, misbehaviour);
        is_enough.then(|| self.bans.offence(self.now, peer.into(), BanReason::Score))
    }

    /// Tells of a ban and ends what is not to be any more.
    pub(super) fn enforce(&mut self, banned: Result<Banned, BansFull>) -> Result<(), BansFull> {
        if !banned.is_ok_and(|banned| banned.displaced.is_none()) {
            self.limit_reached(LimitName::Bans);
        }
        let banned = banned?;
        self.banned(banned.ban, banned.displaced);
        Ok(())
    }

    pub(super) fn expire_bans(&mut self) {
        while let Some(ban) = self.bans.expire(self.now) {
            self.unbanned(ban);
        }
    }

    /// A persistent peer is dialed again.
    fn unbanned(&mut self, ban: Ban) {
        self.tell(Event::Unbanned { ban });
        if let BanSubject::Peer(peer) = ban.subject {
            self.resume(peer);
        }
    }

    fn banned(&mut self, ban: Ban, displaced: Option<Ban>) {
        if let Some(ban) = displaced {
            self.unbanned(ban);
        }
        self.tell(Event::Banned { ban });
        match ban.subject {
            BanSubject::Peer(peer) => {
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.intent = Intent::Dormant;
                }
                // Not expelled: the ban may end before a cooldown does, which lasts for both sides.
                let _ = self.step(peer, Input::Disconnect);
                self.settle_peer(peer);
            }
            BanSubject::Prefix(prefix) => {
                let concerned = |remote: &Multiaddr| leading_ip(remote).is_some_and(|ip| prefix.contains(ip));
                let within = self.connections.iter().filter(|(_, entry)| concerned(&entry.endpoints.remote));
                let within: alloc::vec::Vec<_> = within.map(|(id, entry)| (*id, entry.peer)).collect();
                for (id, peer) in within {
                    self.close_connection(id, codes::connection::GATED);
                    peer.into_iter().for_each(|peer| self.settle_peer(peer));
                }
            }
        }
    }
}
