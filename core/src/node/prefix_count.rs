//! How many connections each network holds.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use super::{Prefix, prefix::SIZES};

/// A network holds as many connections as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{prefix} already has {limit} connections")]
pub struct PrefixFull {
    /// The network.
    pub prefix: Prefix,
    /// How many it may hold.
    pub limit: u32,
}

/// Counts live connections by network: an IPv4 address or an IPv6 /64.
///
/// A network without connections has no entry. Of each size so many networks are told apart at most; further ones share
/// the count of their /24 (IPv6: /48), then of their /16 (/32), and then are not counted, because refusing them would let
/// a crowd lock everybody else out. Which size a connection is counted under depends on what there was when it came, so
/// a network holds the limit once for each size at most. Each operation costs O(log n) in the number of networks.
#[derive(Debug, Default)]
pub(super) struct PrefixCounts {
    counts: [BTreeMap<Prefix, u32>; SIZES.len()],
}

impl PrefixCounts {
    /// Counts a connection of `ip` and returns the network to [`remove`](Self::remove) when it ends.
    /// `None` if it is not counted: there are `max` networks of each size, and its own are not among them. Nothing
    /// changes if the network has `limit` of them.
    pub(super) fn try_add(&mut self, ip: IpAddr, limit: u32, max: usize) -> Result<Option<Prefix>, PrefixFull> {
        let host = Prefix::host(ip);
        for (counts, size) in self.counts.iter_mut().zip(SIZES) {
            let prefix = host.of_size(size);
            let count = counts.get(&prefix).copied().unwrap_or(0);
            if count >= limit {
                return Err(PrefixFull { prefix, limit });
            }
            if count > 0 || counts.len() < max {
                counts.insert(prefix, count.saturating_add(1));
                return Ok(Some(prefix));
            }
        }
        Ok(None)
    }

    /// A connection of `prefix` ended. A network without connections stays as it is.
    pub(super) fn remove(&mut self, prefix: Prefix) {
        let Some(counts) = self.counts.iter_mut().find(|counts| counts.contains_key(&prefix)) else { return };
        let Some(count) = counts.get_mut(&prefix) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&prefix);
        }
    }

    /// How many connections `prefix` holds.
    #[cfg(test)]
    pub(super) fn get(&self, prefix: Prefix) -> u32 {
        self.counts.iter().find_map(|counts| counts.get(&prefix)).copied().unwrap_or(0)
    }

    /// How many networks hold connections.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.counts.iter().map(BTreeMap::len).sum()
    }
}
