//! What the application asks of a node.

use super::{
    Backoff, BookError, DialError, DialId, Intent, Node, Peer, Provenance, SetBackoffError,
    book::AddrAdded,
    transition::{Effort, Input, Presence, Refusal},
};
use crate::{
    ConnectionId, Instant, Multiaddr, PeerId, ProtocolSet,
    link::{ConnectionMessage, ToConnection},
};

impl Node {
    /// Takes a peer into the book, or adds addresses to one that is there, and says what is wanted of it. A persistent
    /// one is dialed at once and whenever it is lost. While it waits for its next attempt, an address that is new lets
    /// it be tried at once.
    ///
    /// # Errors
    /// There is no room, or the node is shutting down. Nothing changes.
    pub fn add_peer(&mut self, now: Instant, id: PeerId, addrs: &[Multiaddr], intent: Intent) -> Result<(), DialError> {
        self.advance(now);
        self.check(id)?;
        let added = self.book.add_peer(id, self.now);
        self.noted(added).map_err(|_| DialError::Full)?;
        let mut has_new = false;
        for addr in addrs {
            // An address that is of no use does not make the others so.
            let added = self.book.add_addr(id, addr, Provenance::Manual, self.now);
            let added = self.noted(added);
            has_new |= matches!(added, Ok(AddrAdded::New { .. }));
        }
        let _ = self.book.set_intent(&id, intent);
        if intent != Intent::Dormant || self.peers.contains_key(&id) {
            self.peer_entry(id).intent = intent;
        }
        if intent == Intent::Persistent {
            // In this order an effort that fails at once is not followed by another one at once.
            if has_new {
                let _ = self.step(id, Input::NewAddr);
            }
            let _ = self.step(id, Input::Keep);
        }
        self.settle_peer(id);
        self.trim_anew(id);
        Ok(())
    }

    /// Takes an address of a peer into the book that somebody else has told. A peer that is new by that is dormant,
    /// unless the address is [`Manual`](Provenance::Manual): else strangers could have each other dialed.
    ///
    /// # Errors
    /// See [`BookError`]. Nothing changes.
    pub fn add_addr(
        &mut self,
        now: Instant,
        id: PeerId,
        addr: &Multiaddr,
        provenance: Provenance,
    ) -> Result<(), BookError> {
        self.advance(now);
        let is_known = self.book.contains(&id);
        let added = self.book.add_addr(id, addr, provenance, self.now);
        self.noted(added)?;
        if !is_known && provenance != Provenance::Manual {
            self.book.set_intent(&id, Intent::Dormant)?;
        }
        Ok(())
    }

    /// Keeps a peer in the book, and its connections when others are closed for the watermark; or no longer.
    ///
    /// # Errors
    /// The peer is not in the book. Nothing changes.
    pub fn protect(&mut self, now: Instant, id: PeerId, protected: bool) -> Result<(), BookError> {
        self.advance(now);
        self.book.set_protected(&id, protected)?;
        self.trim_anew(id);
        Ok(())
    }

    /// Notes something about a peer; nothing, if `value` is empty.
    ///
    /// # Errors
    /// See [`BookError`]. Nothing changes.
    pub fn set_metadata(&mut self, now: Instant, id: PeerId, key: &str, value: &[u8]) -> Result<(), BookError> {
        self.advance(now);
        let noted = self.book.set_metadata(&id, key, value);
        self.noted(noted)
    }

    /// Gives a peer delays of its own between efforts; those of [`Config::backoff`](super::Config::backoff) again, if
    /// `None`. They count from its next failure on, as long as the peer is in the book. They are not part of a
    /// [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    /// See [`SetBackoffError`]. Nothing changes.
    pub fn set_backoff(&mut self, now: Instant, id: PeerId, backoff: Option<Backoff>) -> Result<(), SetBackoffError> {
        self.advance(now);
        backoff.map_or(Ok(()), |backoff| backoff.validate())?;
        Ok(self.book.set_backoff(&id, backoff)?)
    }

    /// Wants a connection to a peer now. If one is being made, this joins it.
    ///
    /// # Errors
    /// See [`DialError`]. Nothing changes.
    pub fn connect(&mut self, now: Instant, id: PeerId) -> Result<DialId, DialError> {
        self.advance(now);
        self.check(id)?;
        if self.book.dial_addrs(&id).all(|addr| self.is_banned_addr(addr)) {
            return Err(DialError::NoAddresses);
        }
        let _ = self.peer_entry(id);
        let outcome = self.step(id, Input::Connect);
        self.settle_peer(id);
        match outcome {
            Ok(()) => {
                let dial = self.peers.get(&id).and_then(|peer| peer.dial.as_ref()).map(|dial| dial.id);
                dial.ok_or(DialError::NoAddresses)
            }
            Err(Refusal::AlreadyConnected) => Err(DialError::AlreadyConnected),
            Err(Refusal::Cooldown) => {
                let until = self.peers.get(&id).and_then(|peer| peer.until).unwrap_or(self.now);
                Err(DialError::Cooldown { left: until.saturating_duration_since(self.now) })
            }
        }
    }

    /// Gives up the effort to reach a peer. Its connections stay, and so does what is wanted of it: a persistent peer is
    /// tried again when it is next lost, or when it is [added](Self::add_peer) or [asked for](Self::connect) again.
    /// During a cooldown this means the effort that would follow it.
    pub fn cancel_reconnect(&mut self, now: Instant, id: PeerId) {
        self.command(now, id, Input::Cancel);
    }

    /// Closes the connections to a peer in good order and makes no more by itself: the peer becomes dormant.
    pub fn disconnect(&mut self, now: Instant, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.intent = Intent::Dormant;
        }
        let _ = self.book.set_intent(&id, Intent::Dormant);
        self.command(now, id, Input::Disconnect);
    }

    /// Closes the connections to a peer and forgets everything about it.
    pub fn remove_peer(&mut self, now: Instant, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.intent = Intent::Dormant;
        }
        self.book.remove(&id);
        self.command(now, id, Input::Expel);
    }

    /// Wants no connection any more: gives up every effort, drains every connection, and refuses new ones. It is done
    /// when [`is_idle`](Self::is_idle).
    pub fn shutdown(&mut self, now: Instant) {
        self.advance(now);
        self.shutting_down = true;
        self.hungry.clear();
        let peers: alloc::vec::Vec<PeerId> = self.peers.keys().copied().collect();
        for id in peers {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.intent = Intent::Dormant;
            }
            self.command(now, id, Input::Expel);
        }
        let arriving: alloc::vec::Vec<_> = self.connections.keys().copied().collect();
        for id in arriving {
            self.close_connection(id, crate::connection::codes::connection::SHUTDOWN);
        }
    }

    /// What inbound streams may negotiate on all connections from now on.
    pub fn serve(&mut self, now: Instant, protocols: &ProtocolSet) {
        self.advance(now);
        self.served = Some(protocols.clone());
        let connections: alloc::vec::Vec<_> = self.connections.keys().copied().collect();
        connections.into_iter().for_each(|id| self.send_policy(id));
    }

    /// Tells a connection what it may serve.
    pub(super) fn send_policy(&mut self, id: ConnectionId) {
        if let (Some(entry), Some(served)) = (self.connections.get_mut(&id), &self.served) {
            entry.outbox.put(ToConnection(ConnectionMessage::Policy(served.clone())));
            self.letters.insert(id);
        }
    }

    /// Dials a persistent peer again that was kept from it.
    pub(super) fn resume(&mut self, id: PeerId) {
        if self.book.intent(&id) == Some(Intent::Persistent) && self.check(id).is_ok() {
            self.peer_entry(id).intent = Intent::Persistent;
            let _ = self.step(id, Input::Keep);
            self.settle_peer(id);
        }
    }

    /// No connection exists and none is being made.
    pub fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.attempts.is_empty()
    }

    fn command(&mut self, now: Instant, id: PeerId, input: Input) {
        self.advance(now);
        let _ = self.step(id, input);
        self.settle_peer(id);
    }

    fn check(&self, id: PeerId) -> Result<(), DialError> {
        if self.shutting_down {
            Err(DialError::ShuttingDown)
        } else if id == self.local {
            Err(DialError::SelfDial)
        } else if self.is_banned(&id) {
            Err(DialError::Banned)
        } else {
            Ok(())
        }
    }

    /// The peer, which the book must not forget as long as there is something to do with it.
    pub(super) fn peer_entry(&mut self, id: PeerId) -> &mut Peer {
        self.peers.entry(id).or_insert_with(|| {
            self.book.pin(id);
            Peer::new(self.book.intent(&id).unwrap_or(Intent::Dormant))
        })
    }

    /// A transient peer that has failed too often is left alone.
    pub(super) fn end_wish_if_exhausted(&mut self, id: PeerId) {
        let presence = self.presence(&id);
        let attempts = self.config.transient_attempts;
        if let Some(peer) = self.peers.get_mut(&id) {
            let is_exhausted = peer.intent == Intent::Transient && peer.failures >= attempts;
            if is_exhausted && peer.effort == Effort::Idle && presence == Presence::Absent {
                peer.intent = Intent::Dormant;
            }
        }
    }
}
