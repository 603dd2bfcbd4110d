//! Limits and timeouts of a [`Connection`](super::Connection).

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use crate::{ProtocolSet, yamux};

/// Longest drain that may be configured: a peer that does not read must not hold a shutdown up.
pub const MAX_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Smallest send quota of a stream, in bytes: the header of multistream-select and the longest proposal
/// are written into it at once and must fit.
pub const MIN_SEND_QUOTA: usize = 1024;

/// What happens when Noise has authenticated the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Every authenticated peer is let in.
    Automatic,
    /// Yamux input waits, unprocessed, until [`admit`](super::Connection::admit) or
    /// [`deny`](super::Connection::deny): bans and limits are decided before a stream exists.
    Manual,
}

/// What happens when the connection is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeMode {
    /// Nothing more: the peer is ready at once, and [`Event::Ready`](super::Event::Ready) comes right
    /// behind `Open`. A peer that wants a handshake of the applications is told that there is none.
    Automatic,
    /// Both applications exchange messages of their own, then accept each other with
    /// [`finalize`](super::Connection::finalize) or [`reject`](super::Connection::reject). Until both have
    /// accepted, only ping and identify are served; other streams of the peer wait, bounded in number by the
    /// limit on streams and in bytes by their windows.
    Application {
        /// From [`Event::Open`](super::Event::Open) to [`Event::Ready`](super::Event::Ready). Stops a
        /// peer that holds a connection slot and never decides.
        timeout: Duration,
    },
}

impl HandshakeMode {
    /// The application handshake with the usual timeout, 30 s.
    pub const APPLICATION: Self = Self::Application { timeout: Duration::from_secs(30) };

    fn timeout(self) -> Option<Duration> {
        if let Self::Application { timeout } = self { Some(timeout) } else { None }
    }
}

/// Limits and timeouts of a connection, shared by all connections of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who decides about an authenticated peer.
    pub admission: Admission,
    /// Whether the applications have a say about an open connection.
    pub handshake: HandshakeMode,
    /// The protocols that inbound streams may negotiate at first; see [`serve`](super::Connection::serve).
    pub protocols: ProtocolSet,
    /// From creation to [`Event::Open`](super::Event::Open), admission included. Stops a peer that
    /// holds a connection slot by sending its handshake slowly or never.
    pub upgrade_timeout: Duration,
    /// multistream-select on one stream. Stops a peer that holds a stream slot without using it.
    pub negotiation_timeout: Duration,
    /// How long [`retire`](super::Connection::retire) waits for the streams to end. Stops a stream without end from
    /// keeping a connection that another one has replaced.
    pub retire_timeout: Duration,
    /// How long [`close`](super::Connection::close) waits for written data to leave, and then again for
    /// the peer's end of stream. At most [`MAX_DRAIN_TIMEOUT`].
    pub drain_timeout: Duration,
    /// How long the transport may refuse bytes. Stops a peer that never reads.
    pub write_stall_timeout: Duration,
    /// Limits of the stream multiplexer. Shared, as each connection keeps them; [`Arc::make_mut`] changes one.
    pub yamux: Arc<yamux::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            admission: Admission::Automatic,
            handshake: HandshakeMode::Automatic,
            protocols: ProtocolSet::default(),
            upgrade_timeout: Duration::from_secs(10),
            negotiation_timeout: Duration::from_secs(10),
            retire_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1),
            write_stall_timeout: Duration::from_secs(30),
            yamux: Arc::default(),
        }
    }
}

impl Config {
    /// Checks every value and reports all that are wrong at once.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let timeouts = [
            ("upgrade_timeout", self.upgrade_timeout),
            ("negotiation_timeout", self.negotiation_timeout),
            ("retire_timeout", self.retire_timeout),
            ("drain_timeout", self.drain_timeout),
            ("write_stall_timeout", self.write_stall_timeout),
            ("handshake.timeout", self.handshake.timeout().unwrap_or(Duration::MAX)),
        ];
        let mut errors: Vec<ConfigError> = timeouts
            .into_iter()
            .filter(|(_, timeout)| timeout.is_zero())
            .map(|(name, _)| ConfigError::ZeroTimeout { name })
            .collect();
        if self.yamux.send_quota < MIN_SEND_QUOTA {
            errors.push(ConfigError::SendQuotaTooSmall);
        }
        if self.drain_timeout > MAX_DRAIN_TIMEOUT {
            errors.push(ConfigError::DrainTimeoutTooLong);
        }
        if let Err(error) = self.yamux.validate() {
            errors.push(ConfigError::Yamux(error));
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }
}

/// A value of [`Config`] that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A timeout of zero would expire before anything happens.
    #[error("{name} must be longer than zero")]
    ZeroTimeout {
        /// The field of [`Config`].
        name: &'static str,
    },
    /// See [`MAX_DRAIN_TIMEOUT`].
    #[error("drain_timeout must be at most 10 s")]
    DrainTimeoutTooLong,
    /// See [`MIN_SEND_QUOTA`].
    #[error("yamux.send_quota must be at least 1024 bytes")]
    SendQuotaTooSmall,
    /// A limit of the stream multiplexer.
    #[error("yamux: {0}")]
    Yamux(yamux::ConfigErrors),
}

/// Everything that is wrong with a [`Config`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigErrors {}
