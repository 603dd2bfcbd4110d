//! The address book: which peers are known, and where they may be.

mod entry;
mod limits;
mod restore;
#[cfg(test)]
mod tests;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use self::entry::{Address, Clocks, Entry, Moment, Place, metadata_cost, without_peer};
pub use self::{
    limits::{ADDR_COST, BookLimits, METADATA_COST, PEER_COST},
    restore::Restored,
};
use super::{Backoff, Intent, KnownPeer, Provenance, WallTime};
use crate::{Instant, Multiaddr, PeerId};

/// Peers with their addresses and what the application noted about them.
///
/// * The book never exceeds its [`BookLimits`]. To make room, the peer that was not seen for the longest
///   time is evicted; among equals, the one with the smaller id. Those of which the application has said
///   something, an address or metadata, come last, or strangers who come and go would push them out. The
///   addresses of one peer make room as described at [`add_addr`](Book::add_addr).
/// * A peer is never evicted while it is protected, persistent or pinned. Whoever is connected to a peer or
///   dials it holds a pin; pins are counted, and need no entry in the book.
/// * What fails changes nothing. A `now` that runs backwards counts as the last one.
/// * Every operation takes O(log n) in the number of peers, except [`snapshot`](Book::snapshot) and
///   [`restore`](Book::restore). Growing may evict several peers, each of which came at the same price
///   before: there O(log n) is an average over all calls.
#[derive(Clone, Debug)]
pub struct Book {
    limits: BookLimits,
    /// The latest time that was told.
    now: Instant,
    peers: BTreeMap<PeerId, Entry>,
    /// Never zero. Bounded by the dials and connections of whoever pins.
    pins: BTreeMap<PeerId, u32>,
    /// Exactly the peers that may be evicted, the next one first.
    evictable: BTreeSet<(Rank, PeerId)>,
    /// What all peers count, and what those count that may not be evicted.
    bytes: usize,
    kept_bytes: usize,
    persistent: usize,
    evictions: u64,
    revision: u64,
}

/// A command of [`Book`] was refused. The book is as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// There is no room, and all other peers are protected, persistent, connected or being dialed.
    #[error("the address book is full, and none of its {peers} peers may be evicted")]
    Full {
        /// How many peers there are.
        peers: usize,
    },
    /// The peer has as many addresses as it may, all of them from better sources.
    #[error("the peer has {limit} addresses from better sources already")]
    TooManyAddrs {
        /// [`BookLimits::max_addrs`].
        limit: usize,
    },
    /// The address belongs to another peer.
    #[error("{addr} belongs to another peer")]
    OtherPeer {
        /// The address.
        addr: Multiaddr,
        /// The peer at its end.
        other: PeerId,
    },
    /// The address says who, but not where.
    #[error("{addr} only names a peer: put a host and a port before it")]
    NoAddr {
        /// The address.
        addr: Multiaddr,
    },
    /// The metadata of the peer would have more bytes than it may.
    #[error("the metadata of the peer would have {bytes} bytes; at most {limit} are kept")]
    MetadataTooLong {
        /// What there would be, keys and values.
        bytes: usize,
        /// [`BookLimits::max_metadata_bytes`].
        limit: usize,
    },
    /// The metadata of the peer has as many keys as it may.
    #[error("the metadata of the peer has {limit} keys already")]
    TooManyKeys {
        /// [`BookLimits::max_metadata_keys`].
        limit: usize,
    },
    /// The peer is not in the book; add it first.
    #[error("the peer is not in the address book")]
    UnknownPeer,
}

/// What became of an address that was added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddrAdded {
    /// It was there already. Its provenance is the better one of both.
    Known,
    /// It is new.
    New {
        /// The address that had to go for it.
        evicted: Option<Multiaddr>,
    },
}

/// Whether the application has said something of a peer, and when it was last seen: the smallest is evicted first.
type Rank = (bool, Moment);

/// What an entry means to the whole book.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    cost: usize,
    /// If it may be evicted: when.
    evictable: Option<Rank>,
    is_persistent: bool,
}

impl Book {
    /// An empty book. Limits that [`BookLimits::validate`] refuses make a book that refuses.
    pub fn new(limits: BookLimits) -> Self {
        Self {
            limits,
            now: Instant::EPOCH,
            peers: BTreeMap::new(),
            pins: BTreeMap::new(),
            evictable: BTreeSet::new(),
            bytes: 0,
            kept_bytes: 0,
            persistent: 0,
            evictions: 0,
            revision: 0,
        }
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// There are no peers.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// How many peers are [`Persistent`](Intent::Persistent).
    pub fn persistent(&self) -> usize {
        self.persistent
    }

    /// How many peers are pinned.
    #[cfg(test)]
    pub(super) fn pins(&self) -> usize {
        self.pins.len()
    }

    /// What all peers count, at most [`BookLimits::max_bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many peers were evicted to make room since the book was made.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Changes with whatever a [`snapshot`](Self::snapshot) holds. Counts up.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The peer is in the book.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// The peers, ordered by id.
    pub fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.keys()
    }

    /// A copy of all that is known about a peer.
    pub fn get(&self, peer: &PeerId, now: Instant, wall: WallTime) -> Option<KnownPeer> {
        self.peers.get(peer).map(|entry| entry.to_known(*peer, self.clocks(now, wall)))
    }

    /// What the application noted under `key`.
    pub fn metadata(&self, peer: &PeerId, key: &str) -> Option<&[u8]> {
        self.peers.get(peer)?.metadata.get(key).map(Vec::as_slice)
    }

    /// What the application wants with a peer.
    pub fn intent(&self, peer: &PeerId) -> Option<Intent> {
        self.peers.get(peer).map(|entry| entry.intent)
    }

    /// The delays between efforts to reach a peer, if it has some of its own. They are not stored.
    pub fn backoff(&self, peer: &PeerId) -> Option<&Backoff> {
        self.peers.get(peer)?.backoff.as_deref()
    }

    /// The peer is in the book and protected.
    pub fn is_protected(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|entry| entry.protected)
    }

    /// Where to dial a peer, the best first: reached most recently, then from the better source, then failed
    /// less often. At most [`BookLimits::max_addrs`]; none if the peer is not known.
    pub fn dial_addrs(&self, peer: &PeerId) -> impl Iterator<Item = &Multiaddr> {
        self.peers.get(peer).map(Entry::ranked).unwrap_or_default().into_iter().map(|address| &address.addr)
    }

    /// Adds a peer. One that is there stays as it is; a new one counts as seen now.
    pub fn add_peer(&mut self, peer: PeerId, now: Instant) -> Result<(), BookError> {
        self.tell(now);
        self.reserve(peer, 0)
    }

    /// Adds an address, and its peer if that is not there. `peer` at its end is left out.
    ///
    /// A peer that has all the addresses it may have loses the one that would be dialed last among those
    /// from the same or a worse source: a peer cannot push out what the user typed.
    pub fn add_addr(
        &mut self,
        peer: PeerId,
        addr: &Multiaddr,
        provenance: Provenance,
        now: Instant,
    ) -> Result<AddrAdded, BookError> {
        self.tell(now);
        let address = Address::new(without_peer(addr, &peer)?, provenance);
        let entry = self.peers.get(&peer);
        let place =
            entry.map_or(Ok(Place::Free), |entry| entry.place(&address.addr, provenance, self.limits.max_addrs))?;
        let displaced = match place {
            Place::Known(index) => {
                self.edit(&peer, |entry| {
                    if let Some(known) = entry.addrs.get_mut(index) {
                        known.provenance = known.provenance.max(provenance);
                    }
                });
                return Ok(AddrAdded::Known);
            }
            Place::Free => None,
            Place::InsteadOf(index) => Some(index),
        };
        let freed = displaced.and_then(|index| entry?.addrs.get(index)).map_or(0, Address::cost);
        self.reserve(peer, address.cost().saturating_sub(freed))?;
        let evicted = self.edit(&peer, |entry| {
            let evicted = displaced.map(|index| entry.addrs.swap_remove(index).addr);
            entry.addrs.push(address);
            evicted
        });
        Ok(AddrAdded::New { evicted: evicted.flatten() })
    }

    /// Forgets an address. False if it was not there.
    pub fn remove_addr(&mut self, peer: &PeerId, addr: &Multiaddr) -> bool {
        let Ok(addr) = without_peer(addr, peer) else { return false };
        let removed = self.edit(peer, |entry| {
            let before = entry.addrs.len();
            entry.addrs.retain(|known| known.addr != addr);
            entry.addrs.len() < before
        });
        removed.unwrap_or(false)
    }

    /// Forgets a peer, even one that is protected or pinned; its pins stay. False if it was not there.
    pub fn remove(&mut self, peer: &PeerId) -> bool {
        let Some(entry) = self.peers.remove(peer) else { return false };
        self.revise();
        self.unaccount(*peer, self.standing(peer, &entry));
        true
    }

    /// The peer gave a sign of life. Ignored if it is not in the book.
    pub fn seen(&mut self, peer: &PeerId, now: Instant) {
        let last_seen = self.tell(now);
        self.edit(peer, |entry| entry.last_seen = last_seen);
    }

    /// The peer was reached at `addr`, and so was seen. Of an address that is not known nothing is noted.
    pub fn dial_succeeded(&mut self, peer: &PeerId, addr: &Multiaddr, now: Instant) {
        let last_seen = self.tell(now);
        let addr = without_peer(addr, peer);
        self.edit(peer, |entry| {
            entry.last_seen = last_seen;
            if let Some(address) = addr.ok().and_then(|addr| entry.addr_mut(&addr)) {
                (address.last_success, address.failures) = (Some(last_seen), 0);
            }
        });
    }

    /// The peer was not reached at `addr`. Ignored if that is not known.
    pub fn dial_failed(&mut self, peer: &PeerId, addr: &Multiaddr) {
        let Ok(addr) = without_peer(addr, peer) else { return };
        self.edit(peer, |entry| {
            if let Some(address) = entry.addr_mut(&addr) {
                address.failures = address.failures.saturating_add(1);
            }
        });
    }

    /// Notes `value` under `key`. An empty value deletes the key.
    pub fn set_metadata(&mut self, peer: &PeerId, key: &str, value: &[u8]) -> Result<(), BookError> {
        let entry = self.peers.get(peer).ok_or(BookError::UnknownPeer)?;
        if value.is_empty() {
            self.edit(peer, |entry| entry.metadata.remove(key));
            return Ok(());
        }
        let old = entry.metadata.get(key);
        let (old_bytes, freed) =
            old.map_or((0, 0), |old| (key.len().saturating_add(old.len()), metadata_cost(key, old)));
        let bytes = entry.metadata_bytes().saturating_sub(old_bytes);
        let bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
        if bytes > self.limits.max_metadata_bytes {
            return Err(BookError::MetadataTooLong { bytes, limit: self.limits.max_metadata_bytes });
        }
        if old.is_none() && entry.metadata.len() >= self.limits.max_metadata_keys {
            return Err(BookError::TooManyKeys { limit: self.limits.max_metadata_keys });
        }
        self.reserve(*peer, metadata_cost(key, value).saturating_sub(freed))?;
        self.edit(peer, |entry| entry.metadata.insert(key.into(), value.into()));
        Ok(())
    }

    /// Protects a peer from eviction, or no longer.
    pub fn set_protected(&mut self, peer: &PeerId, protected: bool) -> Result<(), BookError> {
        self.edit(peer, |entry| entry.protected = protected).ok_or(BookError::UnknownPeer)
    }

    /// Changes what the application wants with a peer.
    pub fn set_intent(&mut self, peer: &PeerId, intent: Intent) -> Result<(), BookError> {
        self.edit(peer, |entry| entry.intent = intent).ok_or(BookError::UnknownPeer)
    }

    /// Gives a peer delays of its own between efforts, or none.
    pub fn set_backoff(&mut self, peer: &PeerId, backoff: Option<Backoff>) -> Result<(), BookError> {
        let known = self.peers.get_mut(peer).ok_or(BookError::UnknownPeer)?;
        known.backoff = backoff.map(Box::new);
        Ok(())
    }

    /// Keeps a peer from being evicted, now or once it is added, until [`unpin`](Book::unpin) was called as
    /// often as this.
    pub fn pin(&mut self, peer: PeerId) {
        self.change_pins(peer, |count| count.saturating_add(1));
    }

    /// Takes one pin back. Ignored if there is none.
    pub fn unpin(&mut self, peer: &PeerId) {
        self.change_pins(*peer, |count| count.saturating_sub(1));
    }

    /// A copy of all peers, ordered by id. O(n).
    pub fn snapshot(&self, now: Instant, wall: WallTime) -> Vec<KnownPeer> {
        let clocks = self.clocks(now, wall);
        self.peers.iter().map(|(peer, entry)| entry.to_known(*peer, clocks)).collect()
    }

    fn clocks(&self, now: Instant, wall: WallTime) -> Clocks {
        Clocks { now: self.now.max(now), wall }
    }

    fn tell(&mut self, now: Instant) -> Moment {
        self.now = self.now.max(now);
        Moment::at(self.now)
    }

    /// Makes room for `bytes` more of a peer, and adds it if it is not there.
    fn reserve(&mut self, peer: PeerId, bytes: usize) -> Result<(), BookError> {
        if self.contains(&peer) {
            return self.make_room(&peer, 0, bytes);
        }
        self.make_room(&peer, 1, bytes.saturating_add(PEER_COST))?;
        self.insert(peer, Entry::new(Moment::at(self.now)));
        Ok(())
    }

    /// Evicts others than `peer` until as many more peers and bytes fit, or nobody if that cannot be.
    fn make_room(&mut self, peer: &PeerId, peers: usize, bytes: usize) -> Result<(), BookError> {
        let full = BookError::Full { peers: self.len() };
        let own = self.peers.get(peer).map(|entry| self.standing(peer, entry));
        let own_bytes = own.filter(|own| own.evictable.is_some()).map_or(0, |own| own.cost);
        let kept_bytes = self.kept_bytes.saturating_add(own_bytes);
        let kept_peers = self.len().saturating_sub(self.evictable.len());
        if kept_peers.saturating_add(peers) > self.limits.max_peers
            || kept_bytes.saturating_add(bytes) > self.limits.max_bytes
        {
            return Err(full);
        }
        while !self.has_room(peers, bytes) {
            let mut candidates = self.evictable.iter().map(|(_, candidate)| *candidate);
            let victim = candidates.find(|candidate| candidate != peer).ok_or_else(|| full.clone())?;
            self.remove(&victim);
            self.evictions = self.evictions.saturating_add(1);
        }
        Ok(())
    }

    fn has_room(&self, peers: usize, bytes: usize) -> bool {
        self.len().saturating_add(peers) <= self.limits.max_peers
            && self.bytes.saturating_add(bytes) <= self.limits.max_bytes
    }

    /// The one way to change an entry: keeps the index and the sums right.
    fn edit<R>(&mut self, peer: &PeerId, change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let before = self.standing(peer, self.peers.get(peer)?);
        let answer = change(self.peers.get_mut(peer)?);
        let after = self.standing(peer, self.peers.get(peer)?);
        if before != after {
            self.unaccount(*peer, before);
            self.account(*peer, after);
        }
        self.revise();
        Some(answer)
    }

    fn revise(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }

    fn insert(&mut self, peer: PeerId, entry: Entry) {
        self.revise();
        self.account(peer, self.standing(&peer, &entry));
        self.peers.insert(peer, entry);
    }

    fn change_pins(&mut self, peer: PeerId, change: impl FnOnce(u32) -> u32) {
        let before = self.peers.get(&peer).map(|entry| self.standing(&peer, entry));
        match change(self.pins.get(&peer).copied().unwrap_or(0)) {
            0 => self.pins.remove(&peer),
            count => self.pins.insert(peer, count),
        };
        let after = self.peers.get(&peer).map(|entry| self.standing(&peer, entry));
        if let (Some(before), Some(after)) = (before, after) {
            self.unaccount(peer, before);
            self.account(peer, after);
        }
    }

    fn standing(&self, peer: &PeerId, entry: &Entry) -> Standing {
        let evictable = !entry.is_kept() && !self.pins.contains_key(peer);
        let is_persistent = entry.intent == Intent::Persistent;
        let rank = (entry.is_chosen(), entry.last_seen);
        Standing { cost: entry.cost(), evictable: evictable.then_some(rank), is_persistent }
    }

    fn account(&mut self, peer: PeerId, standing: Standing) {
        self.bytes = self.bytes.saturating_add(standing.cost);
        self.persistent = self.persistent.saturating_add(usize::from(standing.is_persistent));
        match standing.evictable {
            Some(rank) => _ = self.evictable.insert((rank, peer)),
            None => self.kept_bytes = self.kept_bytes.saturating_add(standing.cost),
        }
    }

    fn unaccount(&mut self, peer: PeerId, standing: Standing) {
        self.bytes = self.bytes.saturating_sub(standing.cost);
        self.persistent = self.persistent.saturating_sub(usize::from(standing.is_persistent));
        match standing.evictable {
            Some(rank) => _ = self.evictable.remove(&(rank, peer)),
            None => self.kept_bytes = self.kept_bytes.saturating_sub(standing.cost),
        }
    }
}
