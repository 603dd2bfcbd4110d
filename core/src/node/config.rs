//! Limits of a node.

use alloc::collections::BTreeSet;
use core::time::Duration;

use super::{
    Backoff, BanConfig, BookLimits, InvalidValue, InvalidValues, RateLimits, ScoreConfig, duplicates::MIN_PATIENCE,
};
use crate::PeerId;

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
    pub max_per_prefix: u32,
    /// Networks that are told apart for this, of each of three sizes. Keeps the table small where the limit of
    /// connections does not. Beyond it further addresses share the count of their /24 (IPv6: /48), then of their /16
    /// (/32), and then are not counted.
    pub max_prefixes: usize,
    /// Connections to one peer, those that are being closed included. There is more than one only while it settles
    /// which one stays, and while those that gave way end. Stops a peer from dialing again and again. Room for a link
    /// that is cut again and again: with its backoff, an honest peer makes five in the 11 s for which one that gave
    /// way may stay.
    pub max_per_peer: usize,
    /// Addresses that are being resolved or dialed at once, for all peers.
    pub max_dials: usize,
    /// The same for one peer.
    pub max_dials_per_peer: usize,
    /// How long one address may take to be resolved, and then to be connected.
    pub dial_timeout: Duration,
    /// Time between the begin of one address and the next one of a peer (RFC 8305, connection attempt delay).
    pub dial_stagger: Duration,
    /// Over which time addresses are dialed one after the other, from 40 persistent peers on. Stops all of them from
    /// coming back in the same moment when a network or a listener that they share returns: of n peers at most
    /// n x 100 ms / `dial_spread`, rounded up, are dialed in any 100 ms; that is no more than 5 % unless it is set to
    /// less. Zero spreads nothing.
    pub dial_spread: Duration,
    /// Delays between efforts, for peers that have none of their own.
    pub backoff: Backoff,
    /// Efforts that may fail in a row before a transient peer is given up.
    pub transient_attempts: u32,
    /// How long neither side tries again after the application's handshake failed.
    pub cooldown: Duration,
    /// Peers that nobody asked for and to which there is no connection, of which a cooldown is remembered. Stops a crowd
    /// of identities, each of which fails the handshake once, from filling memory. One more takes the place of the one
    /// whose cooldown ends first.
    pub max_cooling: usize,
    /// How long the peer that does not decide which of two connections stays waits for the one that does.
    pub settle_timeout: Duration,
    /// How often inbound transports may come.
    pub connect_rates: RateLimits,
    /// How often their peers may complete a handshake.
    pub handshake_rates: RateLimits,
    /// What misbehaviour leads to.
    pub score: ScoreConfig,
    /// How long automatic bans last.
    pub bans: BanConfig,
    /// If there is one, every peer that is not on it counts as banned.
    pub allow_list: Option<BTreeSet<PeerId>>,
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
            max_prefixes: 4096,
            max_per_peer: 8,
            max_dials: 64,
            max_dials_per_peer: 4,
            dial_timeout: Duration::from_secs(10),
            dial_stagger: Duration::from_millis(250),
            dial_spread: Duration::from_secs(4),
            backoff: Backoff::default(),
            transient_attempts: 10,
            cooldown: Duration::from_secs(60),
            max_cooling: 4096,
            settle_timeout: Duration::from_secs(10),
            connect_rates: RateLimits::inbound_connects(),
            handshake_rates: RateLimits::handshakes(),
            score: ScoreConfig::default(),
            bans: BanConfig::default(),
            allow_list: None,
            book: BookLimits::default(),
            high_watermark: 900,
            low_watermark: 700,
            trim_grace: Duration::from_secs(20),
        }
    }
}

impl Config {
    /// Checks every value and reports all that are wrong at once.
    ///
    /// # Errors
    /// The values with which the node would not work.
    pub fn validate(&self) -> Result<(), InvalidValues> {
        let mut errors = InvalidValues::default();
        for (name, value) in [
            ("max_connections", self.max_connections),
            ("max_pending_inbound", self.max_pending_inbound),
            ("max_dials", self.max_dials),
            ("max_dials_per_peer", self.max_dials_per_peer),
            ("max_cooling", self.max_cooling),
            ("max_prefixes", self.max_prefixes),
        ] {
            errors.refuse(value == 0, InvalidValue::Zero { name });
        }
        errors.refuse(self.max_per_prefix == 0, InvalidValue::Zero { name: "max_per_prefix" });
        errors.not_zero("dial_timeout", self.dial_timeout);
        errors.not_zero("settle_timeout", self.settle_timeout);
        errors.not_zero("cooldown", self.cooldown);
        errors.not_more("max_inbound", "max_connections", self.max_inbound <= self.max_connections);
        errors.not_more("high_watermark", "max_connections", self.high_watermark <= self.max_connections);
        errors.not_more("low_watermark", "high_watermark", self.low_watermark <= self.high_watermark);
        errors.not_more("2", "max_per_peer", self.max_per_peer >= 2);
        // Else a connection would be closed while the peer that decides still waits for a sign of life.
        errors.not_more("1 s", "settle_timeout", MIN_PATIENCE <= self.settle_timeout);
        errors.refuse(self.transient_attempts == 0, InvalidValue::Zero { name: "transient_attempts" });
        for part in [
            self.backoff.validate(),
            self.book.validate(),
            self.connect_rates.validate(),
            self.handshake_rates.validate(),
            self.score.validate(),
            self.bans.validate(),
        ] {
            errors.merge(part);
        }
        errors.into_result()
    }
}
