//! Limits of a node.

use alloc::vec::Vec;
use core::{fmt, time::Duration};

use super::{Backoff, BookLimits};

/// Limits and delays of a [`Node`](super::Node).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Connections in total, those that are being made included. Stops strangers from filling memory.
    pub max_connections: usize,
    /// Of these, inbound ones. Keeps room for those that this node wants itself: a flood from outside must not cut it
    /// off.
    pub max_inbound: usize,
    /// Inbound connections that are not open yet. Stops a flood of connections that say nothing.
    pub max_pending_inbound: usize,
    /// Connections from one IP prefix (/32 of IPv4, /64 of IPv6). Stops one machine from taking all places.
    pub max_per_prefix: usize,
    /// Connections to one peer while it settles which one stays. Stops a peer from dialing again and again.
    pub max_per_peer: usize,
    /// Addresses that are being resolved or dialed at once, for all peers.
    pub max_dials: usize,
    /// The same for one peer.
    pub max_dials_per_peer: usize,
    /// How long one address may take to be resolved, and then to be connected.
    pub dial_timeout: Duration,
    /// Time between the begin of one address and the next one of a peer (RFC 8305, connection attempt delay).
    pub dial_stagger: Duration,
    /// Delays between efforts, for peers that have none of their own.
    pub backoff: Backoff,
    /// Efforts that may fail in a row before a transient peer is given up.
    pub transient_attempts: u32,
    /// How long neither side tries again after the application's handshake failed.
    pub cooldown: Duration,
    /// How long the peer that does not decide which of two connections stays waits for the one that does.
    pub settle_timeout: Duration,
    /// Limits of the address book.
    pub book: BookLimits,
    /// Above so many open connections, those that nobody asked for are closed, the newest first ...
    pub high_watermark: usize,
    /// ... until so many are left.
    pub low_watermark: usize,
    /// A connection younger than this is not closed for the watermark.
    pub trim_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_inbound: 768,
            max_pending_inbound: 128,
            max_per_prefix: 64,
            max_per_peer: 3,
            max_dials: 64,
            max_dials_per_peer: 4,
            dial_timeout: Duration::from_secs(10),
            dial_stagger: Duration::from_millis(250),
            backoff: Backoff::default(),
            transient_attempts: 10,
            cooldown: Duration::from_secs(60),
            settle_timeout: Duration::from_secs(10),
            book: BookLimits::default(),
            high_watermark: 900,
            low_watermark: 700,
            trim_grace: Duration::from_secs(20),
        }
    }
}

/// A value that cannot work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The limit is zero, so that nothing would work.
    #[error("{0} must not be 0")]
    Zero(&'static str),
    /// The first must not be larger than the second.
    #[error("{0} must not be larger than {1}")]
    Larger(&'static str, &'static str),
}

/// Everything that is wrong with a [`Config`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node cannot be configured so:")?;
        self.0.iter().try_for_each(|error| write!(f, " {error};"))
    }
}

impl core::error::Error for ConfigErrors {}

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// Says everything that is wrong, not only the first.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let positive = [
            ("max_connections", self.max_connections),
            ("max_pending_inbound", self.max_pending_inbound),
            ("max_per_prefix", self.max_per_prefix),
            ("max_dials", self.max_dials),
            ("max_dials_per_peer", self.max_dials_per_peer),
        ];
        let ordered = [
            (("max_inbound", self.max_inbound), ("max_connections", self.max_connections)),
            (("high_watermark", self.high_watermark), ("max_connections", self.max_connections)),
            (("low_watermark", self.low_watermark), ("high_watermark", self.high_watermark)),
            (("2", 2), ("max_per_peer", self.max_per_peer)),
        ];
        let mut errors: Vec<ConfigError> =
            positive.iter().filter(|(_, value)| *value == 0).map(|(name, _)| ConfigError::Zero(name)).collect();
        errors.extend(ordered.iter().filter(|(a, b)| a.1 > b.1).map(|(a, b)| ConfigError::Larger(a.0, b.0)));
        if self.dial_timeout.is_zero() {
            errors.push(ConfigError::Zero("dial_timeout"));
        }
        if self.backoff.initial > self.backoff.max {
            errors.push(ConfigError::Larger("backoff.initial", "backoff.max"));
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }
}
