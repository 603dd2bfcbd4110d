//! What is known about one peer.

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};
use core::{
    cmp::{Ordering, Reverse},
    time::Duration,
};

use super::{
    BookError,
    limits::{ADDR_COST, METADATA_COST, PEER_COST},
};
use crate::{
    Instant, Multiaddr, PeerId,
    node::{Backoff, Intent, KnownAddr, KnownPeer, Provenance, WallTime},
};

/// A point in time on the driver's clock in nanoseconds, negative before its epoch: most of what is
/// restored happened before this process began, where no [`Instant`] reaches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Moment(i64);

/// The same point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) now: Instant,
    pub(super) wall: WallTime,
}

impl Moment {
    pub(super) fn at(instant: Instant) -> Self {
        Self(i64::try_from(instant.as_nanos()).unwrap_or(i64::MAX))
    }

    /// A time in the future counts as now: no clock that was wrong makes a peer the last to be evicted.
    pub(super) fn from_wall(then: WallTime, clocks: Clocks) -> Self {
        let age = clocks.wall.saturating_duration_since(then).as_nanos();
        Self(Self::at(clocks.now).0.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX)))
    }

    pub(super) fn to_wall(self, clocks: Clocks) -> WallTime {
        let age = Self::at(clocks.now).0.saturating_sub(self.0);
        let age = Duration::from_nanos(u64::try_from(age).unwrap_or(0));
        let secs = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        WallTime::from_secs(clocks.wall.as_secs().saturating_sub(secs))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) addr: Multiaddr,
    pub(super) provenance: Provenance,
    pub(super) last_success: Option<Moment>,
    pub(super) failures: u32,
}

impl Address {
    pub(super) fn new(addr: Multiaddr, provenance: Provenance) -> Self {
        Self { addr, provenance, last_success: None, failures: 0 }
    }

    /// The smallest is dialed first. The address itself comes last, so that the order is total.
    fn rank(&self) -> (Reverse<Option<Moment>>, Reverse<Provenance>, u32, &Multiaddr) {
        (Reverse(self.last_success), Reverse(self.provenance), self.failures, &self.addr)
    }

    /// The order in which addresses are dialed.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }

    pub(super) fn cost(&self) -> usize {
        ADDR_COST.saturating_add(self.addr.as_bytes().len())
    }
}

/// Where a new address goes.
pub(super) enum Place {
    /// It is there already.
    Known(usize),
    /// There is room.
    Free,
    /// In the place of one that is worse.
    InsteadOf(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) addrs: Vec<Address>,
    pub(super) metadata: BTreeMap<String, Vec<u8>>,
    pub(super) protected: bool,
    pub(super) intent: Intent,
    pub(super) last_seen: Moment,
    /// Boxed, since few have one. [`PEER_COST`] has room for it.
    pub(super) backoff: Option<Box<Backoff>>,
}

impl Entry {
    pub(super) fn new(last_seen: Moment) -> Self {
        let (addrs, metadata) = (Vec::new(), BTreeMap::new());
        Self { addrs, metadata, protected: false, intent: Intent::default(), last_seen, backoff: None }
    }

    /// What it counts towards [`BookLimits::max_bytes`](super::BookLimits::max_bytes).
    pub(super) fn cost(&self) -> usize {
        let addrs = self.addrs.iter().map(Address::cost);
        let metadata = self.metadata.iter().map(|(key, value)| metadata_cost(key, value));
        addrs.chain(metadata).fold(PEER_COST, usize::saturating_add)
    }

    /// It stays whatever happens: the application said so.
    pub(super) fn is_kept(&self) -> bool {
        self.protected || self.intent == Intent::Persistent
    }

    /// The application has said something of it.
    pub(super) fn is_chosen(&self) -> bool {
        !self.metadata.is_empty() || self.addrs.iter().any(|known| known.provenance == Provenance::Manual)
    }

    pub(super) fn addr_mut(&mut self, addr: &Multiaddr) -> Option<&mut Address> {
        self.addrs.iter_mut().find(|known| known.addr == *addr)
    }

    pub(super) fn ranked(&self) -> Vec<&Address> {
        let mut ranked: Vec<_> = self.addrs.iter().collect();
        ranked.sort_unstable_by(|left, right| left.compare(right));
        ranked
    }

    /// An address that is better known is never displaced by one that is less: a peer cannot push out what
    /// the user typed.
    pub(super) fn place(&self, addr: &Multiaddr, provenance: Provenance, max_addrs: usize) -> Result<Place, BookError> {
        if let Some(index) = self.addrs.iter().position(|known| known.addr == *addr) {
            return Ok(Place::Known(index));
        }
        if self.addrs.len() < max_addrs {
            return Ok(Place::Free);
        }
        let worst = self
            .addrs
            .iter()
            .enumerate()
            .filter(|(_, known)| known.provenance <= provenance)
            .max_by(|(_, left), (_, right)| left.compare(right));
        worst.map(|(index, _)| Place::InsteadOf(index)).ok_or(BookError::TooManyAddrs { limit: max_addrs })
    }

    /// Keys and values, in bytes.
    pub(super) fn metadata_bytes(&self) -> usize {
        self.metadata
            .iter()
            .fold(0, |sum: usize, (key, value)| sum.saturating_add(key.len()).saturating_add(value.len()))
    }

    pub(super) fn to_known(&self, peer: PeerId, clocks: Clocks) -> KnownPeer {
        let known_addr = |address: &Address| KnownAddr {
            addr: address.addr.clone(),
            provenance: address.provenance,
            last_success: address.last_success.map(|moment| moment.to_wall(clocks)),
            failures: address.failures,
        };
        KnownPeer {
            peer,
            addrs: self.ranked().into_iter().map(known_addr).collect(),
            metadata: self.metadata.clone(),
            protected: self.protected,
            intent: self.intent,
            last_seen: self.last_seen.to_wall(clocks),
        }
    }
}

/// What a piece of metadata counts.
pub(super) fn metadata_cost(key: &str, value: &[u8]) -> usize {
    METADATA_COST.saturating_add(key.len()).saturating_add(value.len())
}

/// The address as the book holds it: without `peer` at its end.
pub(super) fn without_peer(addr: &Multiaddr, peer: &PeerId) -> Result<Multiaddr, BookError> {
    match addr.peer_id() {
        Some(other) if other != *peer => Err(BookError::OtherPeer { addr: addr.clone(), other }),
        _ => addr.without_peer().ok_or_else(|| BookError::NoAddr { addr: addr.clone() }),
    }
}
