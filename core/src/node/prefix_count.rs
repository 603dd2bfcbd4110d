//! How many connections each network holds.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use super::Prefix;

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
/// A network without connections has no entry, so the limit of connections bounds the table too. Each
/// operation costs O(log n) in the number of networks.
#[derive(Debug, Default)]
pub(super) struct PrefixCounts {
    counts: BTreeMap<Prefix, u32>,
}

impl PrefixCounts {
    /// Counts a connection of `ip` and returns the network to [`remove`](Self::remove) when it ends.
    /// Nothing changes if the network has `limit` of them.
    pub(super) fn try_add(&mut self, ip: IpAddr, limit: u32) -> Result<Prefix, PrefixFull> {
        let prefix = Prefix::host(ip);
        let count = self.counts.get(&prefix).copied().unwrap_or(0);
        if count >= limit {
            return Err(PrefixFull { prefix, limit });
        }
        self.counts.insert(prefix, count.saturating_add(1));
        Ok(prefix)
    }

    /// A connection of `prefix` ended. A network without connections stays as it is.
    pub(super) fn remove(&mut self, prefix: Prefix) {
        let Some(count) = self.counts.get_mut(&prefix) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.counts.remove(&prefix);
        }
    }

    /// How many connections `prefix` holds.
    #[cfg(test)]
    pub(super) fn get(&self, prefix: Prefix) -> u32 {
        self.counts.get(&prefix).copied().unwrap_or(0)
    }

    /// How many networks hold connections.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }
}
