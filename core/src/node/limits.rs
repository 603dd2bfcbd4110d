//! How much of each limit is used.

use alloc::vec::Vec;
use core::fmt;

use super::{BookError, Event, Node};

/// A limit of a node as a whole. Those of one peer or one network are told with each refusal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LimitName {
    /// [`Config::max_connections`](super::Config::max_connections): further ones are refused.
    Connections,
    /// [`Config::max_inbound`](super::Config::max_inbound): further ones are refused.
    Inbound,
    /// [`Config::max_pending_inbound`](super::Config::max_pending_inbound): further ones are refused.
    PendingInbound,
    /// [`Config::max_dials`](super::Config::max_dials): further addresses wait.
    Dials,
    /// [`Config::max_cooling`](super::Config::max_cooling): the oldest cooldowns end early.
    Cooling,
    /// [`BookLimits::max_peers`](super::BookLimits::max_peers): further peers are refused, as none may be evicted.
    BookPeers,
    /// [`BookLimits::max_bytes`](super::BookLimits::max_bytes): the same.
    BookBytes,
    /// [`BanConfig::max_entries`](super::BanConfig::max_entries): bans end early, or further ones are refused.
    Bans,
}

impl LimitName {
    const ALL: [Self; 8] = [
        Self::Connections,
        Self::Inbound,
        Self::PendingInbound,
        Self::Dials,
        Self::Cooling,
        Self::BookPeers,
        Self::BookBytes,
        Self::Bans,
    ];

    /// The option that sets it, as in [`Config`](super::Config).
    pub fn option(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Inbound => "max_inbound",
            Self::PendingInbound => "max_pending_inbound",
            Self::Dials => "max_dials",
            Self::Cooling => "max_cooling",
            Self::BookPeers => "book.max_peers",
            Self::BookBytes => "book.max_bytes",
            Self::Bans => "bans.max_entries",
        }
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.option())
    }
}

/// A limit that is nearly used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LimitNear {
    /// Which.
    pub name: LimitName,
    /// How much of it is used.
    pub used: usize,
    /// How much may be.
    pub limit: usize,
}

impl LimitNear {
    /// 80 % or more are used.
    fn is_near(&self) -> bool {
        self.used.saturating_mul(5) >= self.limit.saturating_mul(4)
    }
}

impl Node {
    /// The limits of which 80 % or more are used. One that is zero is not near but off.
    pub fn limits_near(&self) -> Vec<LimitNear> {
        let usages = LimitName::ALL.into_iter().map(|name| self.usage(name));
        usages.filter(|usage| usage.limit > 0 && usage.is_near()).collect()
    }

    /// A limit stands in the way of something. Told once, and again when less than 80 % were used meanwhile: whoever is
    /// at a limit would else be told with each refusal.
    pub(super) fn limit_reached(&mut self, name: LimitName) {
        if self.limits_reached.insert(name) {
            self.tell(Event::LimitReached { name });
        }
    }

    /// Forgets which limits were told of that are not near any more.
    pub(super) fn rearm_limits(&mut self) {
        for name in LimitName::ALL {
            if self.limits_reached.contains(&name) && !self.usage(name).is_near() {
                self.limits_reached.remove(&name);
            }
        }
    }

    /// Takes note if the book was full.
    pub(super) fn noted<T>(&mut self, outcome: Result<T, BookError>) -> Result<T, BookError> {
        if let Err(BookError::Full { peers }) = outcome {
            let is_crowded = peers >= self.config.book.max_peers;
            self.limit_reached(if is_crowded { LimitName::BookPeers } else { LimitName::BookBytes });
        }
        outcome
    }

    fn usage(&self, name: LimitName) -> LimitNear {
        let config = &self.config;
        let (used, limit) = match name {
            LimitName::Connections => (self.connections.len(), config.max_connections),
            LimitName::Inbound => (self.inbound, config.max_inbound),
            LimitName::PendingInbound => (self.pending_inbound, config.max_pending_inbound),
            LimitName::Dials => (self.attempts.len(), config.max_dials),
            LimitName::Cooling => (self.cooling.len(), config.max_cooling),
            LimitName::BookPeers => (self.book.len(), config.book.max_peers),
            LimitName::BookBytes => (self.book.bytes(), config.book.max_bytes),
            LimitName::Bans => (self.bans.len(), config.bans.max_entries),
        };
        LimitNear { name, used, limit }
    }
}
