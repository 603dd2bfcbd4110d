//! What the node remembers of a peer that it has something to do with.

use alloc::{boxed::Box, vec::Vec};

use super::{
    Intent, PeerState,
    dial::Dial,
    duplicates::Settling,
    transition::{Effort, Presence, State},
};
use crate::{ConnectionId, Instant};

/// A peer with a wish, an effort, a connection or a history of failures. Others are in the book only.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) intent: Intent,
    pub(crate) effort: Effort,
    /// Set while the effort is [`Effort::Dialing`]. Boxed, as that does not last.
    pub(crate) dial: Option<Box<Dial>>,
    /// When [`Effort::Waiting`] or [`Effort::Cooldown`] ends.
    pub(crate) until: Option<Instant>,
    /// Efforts that failed, and connections that did not last, one after the other.
    pub(crate) failures: u32,
    /// The last effort was denied by the peer: the next delay is the longest.
    pub(crate) was_denied: bool,
    /// That its last good connection is gone was noted. It is not lost once more when those that were leaving end.
    pub(crate) is_lost: bool,
    /// No dial follows the [cooldown](Effort::Cooldown).
    pub(crate) called_off: bool,
    /// In the order in which they were made, at most [`Config::max_per_peer`](super::Config::max_per_peer) and those
    /// that are being dialed or were not let in.
    pub(crate) connections: Vec<ConnectionId>,
    pub(crate) settling: Option<Settling>,
    /// What the application was last told.
    pub(crate) announced: PeerState,
    /// The deadline under which the peer stands in the node's timers.
    pub(crate) armed: Option<Instant>,
    /// The end of the cooldown under which the peer stands among those of whom nothing else is known.
    pub(crate) cooling: Option<Instant>,
    /// The place in the queue for dials, if the peer waits there.
    pub(crate) queued: Option<u64>,
}

impl Peer {
    pub(crate) fn new(intent: Intent) -> Self {
        Self {
            intent,
            effort: Effort::Idle,
            dial: None,
            until: None,
            failures: 0,
            was_denied: false,
            is_lost: false,
            called_off: false,
            connections: Vec::new(),
            settling: None,
            announced: PeerState::Disconnected,
            armed: None,
            cooling: None,
            queued: None,
        }
    }

    pub(crate) fn state(&self, presence: Presence, transient_attempts: u32) -> State {
        let is_exhausted = self.intent == Intent::Transient && self.failures >= transient_attempts;
        let is_called_off = self.called_off && self.effort == Effort::Cooldown;
        let may_retry = !is_exhausted && !is_called_off;
        State { intent: self.intent, effort: self.effort, presence, may_retry }
    }

    /// When something is to be done by itself, if at most `max_dials` addresses are dialed at once.
    pub(crate) fn poll_timeout(&self, max_dials: usize) -> Option<Instant> {
        // A peer that waits for a place to dial is served when one becomes free.
        let room = |dial: &Dial| self.queued.is_none() && dial.attempts().len() < max_dials;
        let dial = self.dial.as_ref().and_then(|dial| dial.poll_timeout(room(dial)));
        let settling = self.settling.as_ref().map(|settling| settling.deadline);
        [self.until, dial, settling].into_iter().flatten().min()
    }

    /// When the cooldown ends that is all there is to the peer.
    pub(crate) fn cools_until(&self) -> Option<Instant> {
        let is_all = self.effort == Effort::Cooldown && self.intent == Intent::Dormant && self.connections.is_empty();
        self.until.filter(|_| is_all)
    }

    /// Nothing is left that the book does not know.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.intent != Intent::Persistent && self.effort == Effort::Idle && self.connections.is_empty()
    }
}
