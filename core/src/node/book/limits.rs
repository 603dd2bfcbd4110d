//! Limits of a [`Book`](super::Book), and what an entry counts.

use crate::{
    multiaddr,
    node::{InvalidValue, InvalidValues},
};

/// What a peer counts towards [`BookLimits::max_bytes`] with nothing known about it.
pub const PEER_COST: usize = 256;
/// What an address counts beside its bytes.
pub const ADDR_COST: usize = 64;
/// What a piece of metadata counts beside its bytes.
pub const METADATA_COST: usize = 64;

/// Limits of a [`Book`](super::Book). The book never exceeds them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BookLimits {
    /// Peers. Stops strangers from filling memory with identities, which cost nothing to make.
    pub max_peers: usize,
    /// Addresses of one peer. Stops a peer from making us dial thousands of hosts that are not it.
    pub max_addrs: usize,
    /// Metadata of one peer, keys and values together, in bytes. Stops an application that notes what peers
    /// tell from noting without end.
    pub max_metadata_bytes: usize,
    /// Metadata keys of one peer. As above, for keys with tiny values.
    pub max_metadata_keys: usize,
    /// All peers together, in bytes of addresses and metadata plus [`PEER_COST`], [`ADDR_COST`] and
    /// [`METADATA_COST`] for each of them. Stops strangers who each stay within the limits above from
    /// filling memory and disk all the same.
    pub max_bytes: usize,
}

impl Default for BookLimits {
    fn default() -> Self {
        Self {
            max_peers: 100_000,
            max_addrs: 16,
            max_metadata_bytes: 4096,
            max_metadata_keys: 64,
            max_bytes: 64 * 1024 * 1024,
        }
    }
}

impl BookLimits {
    /// Checks every value and reports all that are wrong.
    pub fn validate(&self) -> Result<(), InvalidValues> {
        let mut errors = InvalidValues::default();
        for (name, limit) in [("book.max_peers", self.max_peers), ("book.max_addrs", self.max_addrs)] {
            errors.refuse(limit == 0, InvalidValue::Zero { name });
        }
        errors.not_more("what the book may hold of one peer", "book.max_bytes", self.largest_peer() <= self.max_bytes);
        errors.into_result()
    }

    /// What a peer with everything it may have counts.
    pub(super) fn largest_peer(&self) -> usize {
        let addrs = self.max_addrs.saturating_mul(ADDR_COST.saturating_add(multiaddr::MAX_LEN));
        let metadata = self.max_metadata_keys.saturating_mul(METADATA_COST).saturating_add(self.max_metadata_bytes);
        PEER_COST.saturating_add(addrs).saturating_add(metadata)
    }
}
