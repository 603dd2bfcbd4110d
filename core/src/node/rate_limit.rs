//! How often one network, and all of them together, may ask something of us.

use alloc::collections::{BTreeMap, BTreeSet};
use core::{net::IpAddr, time::Duration};

use super::{InvalidValue, InvalidValues, Prefix, Rate, prefix::SIZES, token_bucket::TokenBucket};
use crate::Instant;

/// Full buckets dropped in each check. One check adds one bucket, so two shrink a table that grew.
const DROPPED_EACH_CHECK: usize = 2;

/// How often addresses may ask something of us: each network for itself and all together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimits {
    /// For each network: an IPv4 address or an IPv6 /64. Stops one host from taking everybody's share.
    pub prefix: Rate,
    /// For all together. Stops a crowd of hosts from taking all of our processor.
    pub overall: Rate,
    /// How many networks of each of three sizes are told apart, 4096 unless set. A flood from many
    /// addresses cannot make the tables grow past it: further addresses share the bucket of their /24
    /// (IPv6: /48), then of their /16 (/32), and then have none but the overall one, because refusing
    /// them would let the flood lock everybody else out.
    pub max_prefixes: usize,
}

impl RateLimits {
    /// Defaults for inbound connects: 32 at once and four a second from one network, 512 at once and 500 a
    /// second in all.
    pub const fn inbound_connects() -> Self {
        Self {
            prefix: Rate { burst: 32, interval: Duration::from_millis(250) },
            overall: Rate { burst: 512, interval: Duration::from_millis(2) },
            max_prefixes: 4096,
        }
    }

    /// Defaults for handshakes, which cost us public-key operations: 16 at once and two a second from one
    /// network, 256 at once and 250 a second in all.
    pub const fn handshakes() -> Self {
        Self {
            prefix: Rate { burst: 16, interval: Duration::from_millis(500) },
            overall: Rate { burst: 256, interval: Duration::from_millis(4) },
            max_prefixes: 4096,
        }
    }

    /// Checks every value and reports all that are wrong at once.
    pub fn validate(&self) -> Result<(), InvalidValues> {
        let mut errors = InvalidValues::default();
        self.prefix.validate_into(&mut errors, "prefix.burst", "prefix.interval");
        self.overall.validate_into(&mut errors, "overall.burst", "overall.interval");
        errors.refuse(self.max_prefixes == 0, InvalidValue::Zero { name: "max_prefixes" });
        errors.into_result()
    }
}

/// Which limit an address ran into.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Limited {
    /// That of its network.
    #[error("too many from {0} in a short time")]
    Prefix(Prefix),
    /// That of all networks together.
    #[error("too many from all networks together in a short time")]
    Overall,
}

/// Applies [`RateLimits`]. A check takes a token from the bucket of a network and one from the overall
/// bucket, or, when refused, from neither.
///
/// A bucket that is full again is as good as none, so only the others are kept. Each check costs
/// O(log `max_prefixes`).
#[derive(Debug)]
pub(super) struct RateLimiter {
    limits: RateLimits,
    overall: TokenBucket,
    tables: [Buckets; SIZES.len()],
    latest: Instant,
}

impl RateLimiter {
    pub(super) fn new(limits: RateLimits) -> Self {
        let tables = Default::default();
        Self { limits, overall: TokenBucket::new(limits.overall), tables, latest: Instant::EPOCH }
    }

    /// Counts `ip` if both limits allow it; else nothing is counted.
    pub(super) fn check(&mut self, now: Instant, ip: IpAddr) -> Result<(), Limited> {
        self.latest = self.latest.max(now);
        let now = self.latest;
        for table in &mut self.tables {
            table.drop_full(now, DROPPED_EACH_CHECK);
        }
        let Some((prefix, table)) = bucket_of(&mut self.tables, ip, self.limits.max_prefixes) else {
            return if self.overall.try_take(now) { Ok(()) } else { Err(Limited::Overall) };
        };
        let before = table.full_at.get(&prefix).copied();
        let full_at = self.limits.prefix.take(before.unwrap_or(now), now).ok_or(Limited::Prefix(prefix))?;
        if !self.overall.try_take(now) {
            return Err(Limited::Overall);
        }
        table.set(prefix, before, full_at);
        Ok(())
    }

    /// Drops all buckets that are full again, when there is time. Costs O(log n) for each.
    pub(super) fn drop_full(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
        for table in &mut self.tables {
            table.drop_full(self.latest, usize::MAX);
        }
    }

    /// How many buckets of networks are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tables.iter().fold(0, |sum, table| sum.saturating_add(table.full_at.len()))
    }
}

/// The finest network of `ip` that has a bucket or room for one.
fn bucket_of(tables: &mut [Buckets; SIZES.len()], ip: IpAddr, max: usize) -> Option<(Prefix, &mut Buckets)> {
    let host = Prefix::host(ip);
    tables.iter_mut().zip(SIZES).find_map(|(table, size)| {
        let prefix = host.of_size(size);
        (table.full_at.len() < max || table.full_at.contains_key(&prefix)).then_some((prefix, table))
    })
}

/// Buckets of networks of one size, by network and by the time at which they are full again.
#[derive(Debug, Default)]
struct Buckets {
    full_at: BTreeMap<Prefix, Instant>,
    by_full_at: BTreeSet<(Instant, Prefix)>,
}

impl Buckets {
    fn set(&mut self, prefix: Prefix, before: Option<Instant>, full_at: Instant) {
        if let Some(before) = before {
            self.by_full_at.remove(&(before, prefix));
        }
        self.full_at.insert(prefix, full_at);
        self.by_full_at.insert((full_at, prefix));
    }

    fn drop_full(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            let Some(&(full_at, prefix)) = self.by_full_at.first().filter(|(full_at, _)| *full_at <= now) else {
                return;
            };
            self.by_full_at.remove(&(full_at, prefix));
            self.full_at.remove(&prefix);
        }
    }
}
