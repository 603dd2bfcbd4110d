//! What can go wrong, with whom, and what to try.

use std::{fmt, io, net::SocketAddr, time::Duration};

use septa_core::{
    Multiaddr, PeerId,
    connection::{self, CloseReason, OpenError, ReadError, RefuseReason, WriteError},
    multistream,
    node::InvalidValues,
    protocol::{identify, perf, ping},
};

/// Every value of an endpoint's configuration that is wrong. No endpoint was made.
#[derive(Clone, PartialEq, Eq, Debug, Default, thiserror::Error)]
pub struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// One value of an endpoint's configuration that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The connection configuration.
    #[error(transparent)]
    Connection(connection::ConfigErrors),
    /// A limit or timeout that must not be zero.
    #[error("{name} must not be zero")]
    Zero {
        /// The field.
        name: &'static str,
    },
    /// The configuration of a node.
    #[error(transparent)]
    Node(InvalidValues),
    /// The agent version is longer than 256 bytes, of which peers keep no more.
    #[error("the agent version has {len} bytes; at most 256 are kept by peers")]
    AgentVersionTooLong {
        /// Its length in bytes.
        len: usize,
    },
}

/// No listener was made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address is not one that can be listened on.
    #[error("cannot listen on {addr}: use /ip4/<address>/tcp/<port> or /ip6/<address>/tcp/<port>")]
    Unsupported {
        /// The address.
        addr: Multiaddr,
    },
    /// The operating system refused.
    #[error("cannot listen on {addr}: {}", describe(*kind))]
    Io {
        /// The address.
        addr: SocketAddr,
        /// What it said.
        kind: io::ErrorKind,
    },
    /// The endpoint was shut down.
    #[error("the endpoint was shut down")]
    ShutDown,
}

/// An inbound connection did not come to be. The listener goes on, except after
/// [`ShutDown`](AcceptError::ShutDown).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The operating system could not accept; the listener tries again by itself.
    #[error("cannot accept connections: {}; trying again in {retry_in:?}", describe(*kind))]
    Io {
        /// What it said.
        kind: io::ErrorKind,
        /// When the listener tries again.
        retry_in: Duration,
    },
    /// The handshake failed.
    #[error("the connection from {remote} failed: {reason}")]
    Upgrade {
        /// Where it came from.
        remote: SocketAddr,
        /// Why it failed.
        reason: Box<CloseReason>,
    },
    /// The endpoint holds as many connections as it may; the new one was dropped.
    #[error("the connection from {remote} was dropped: the limit of {limit} connections is reached")]
    TooManyConnections {
        /// Where it came from.
        remote: SocketAddr,
        /// [`Limits::max_connections`](crate::Limits::max_connections).
        limit: usize,
    },
    /// The endpoint or the listener was shut down; nothing will come any more.
    #[error("the listener was shut down")]
    ShutDown,
}

/// The connection did not come to be; nothing of it is left.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address has no TCP host and port, or asks for a transport that is not supported.
    #[error("cannot connect to {addr}: use /ip4, /ip6, /dns, /dns4 or /dns6 with /tcp/<port>")]
    Unsupported {
        /// The address.
        addr: Multiaddr,
    },
    /// The address does not say whom to expect.
    #[error("{addr} does not name a peer: add /p2p/<peer id>, or allow any peer")]
    NoPeer {
        /// The address.
        addr: Multiaddr,
    },
    /// The address names another peer than the one that is expected.
    #[error("{addr} does not belong to the expected peer {expected}")]
    OtherPeer {
        /// The address.
        addr: Multiaddr,
        /// Whom the caller expects.
        expected: PeerId,
    },
    /// The name has no addresses.
    #[error("cannot resolve {host}: {}", describe(*kind))]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        kind: io::ErrorKind,
    },
    /// TCP failed. Where several addresses were tried, this is about the last.
    #[error("cannot connect to {addr}: {}", describe(*kind))]
    Io {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        kind: io::ErrorKind,
    },
    /// There was no connection in time.
    #[error("cannot connect to {addr}: no answer in time")]
    Timeout {
        /// The address that was given.
        addr: Multiaddr,
    },
    /// TCP worked, the handshake did not.
    #[error("cannot connect to {addr}: {reason}")]
    Upgrade {
        /// The address.
        addr: SocketAddr,
        /// Why it failed.
        reason: Box<CloseReason>,
    },
    /// The endpoint holds as many connections as it may; close one or raise the limit.
    #[error("the limit of {limit} connections is reached")]
    TooManyConnections {
        /// [`Limits::max_connections`](crate::Limits::max_connections).
        limit: usize,
    },
    /// The endpoint was shut down.
    #[error("the endpoint was shut down")]
    ShutDown,
}

/// No stream was opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStreamError {
    /// The peer did not agree on a protocol.
    #[error("the stream was refused: {0}")]
    Refused(RefuseReason),
    /// The list of protocols is empty or too long.
    #[error(transparent)]
    InvalidProposals(multistream::InvalidProposals),
    /// All stream ids of this connection were used; make a new connection.
    #[error("all stream ids of this connection are used up")]
    IdsExhausted,
    /// This end is closing the connection.
    #[error("the connection is closing")]
    Closing,
    /// The connection is over.
    #[error("connection lost: {0}")]
    ConnectionLost(CloseReason),
}

impl From<OpenError> for OpenStreamError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::InvalidProposals(error) => Self::InvalidProposals(error),
            OpenError::IdsExhausted => Self::IdsExhausted,
            OpenError::ConnectionLost(reason) => Self::ConnectionLost(reason),
            // Handles exist for open connections only, and whoever is blocked waits.
            _ => Self::Closing,
        }
    }
}

/// The round trip was not measured. The connection is as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// There was no stream for it; a peer need not serve ping.
    #[error("cannot ping: {0}")]
    Open(#[from] OpenStreamError),
    /// The peer's answer is wrong or missing.
    #[error(transparent)]
    Protocol(#[from] ping::Error),
    /// The stream failed while reading.
    #[error("cannot ping: {0}")]
    Read(#[from] ReadError),
    /// The stream failed while writing.
    #[error("cannot ping: {0}")]
    Write(#[from] WriteError),
}

/// The peer did not say who it is. The connection is as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// There was no stream for it; a peer need not serve identify.
    #[error("cannot identify: {0}")]
    Open(#[from] OpenStreamError),
    /// The peer's answer is wrong or missing.
    #[error(transparent)]
    Protocol(#[from] identify::Error),
    /// The stream failed.
    #[error("cannot identify: {0}")]
    Read(#[from] ReadError),
}

/// The run of perf has no result. The connection is as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PerfError {
    /// There was no stream for it; most peers do not serve perf.
    #[error("cannot measure: {0}")]
    Open(#[from] OpenStreamError),
    /// The peer broke the rules or stood still.
    #[error(transparent)]
    Protocol(#[from] perf::Error),
    /// The stream failed while reading. A peer that limits downloads resets it.
    #[error("cannot measure: {0}")]
    Read(#[from] ReadError),
    /// The stream failed while writing.
    #[error("cannot measure: {0}")]
    Write(#[from] WriteError),
}

/// An error kind in words, with what to try where that is known.
pub(crate) fn describe(kind: io::ErrorKind) -> String {
    let hint = match kind {
        io::ErrorKind::AddrInUse => "choose another port, or 0 for any free one",
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address",
        io::ErrorKind::PermissionDenied => "use a port above 1023",
        io::ErrorKind::ConnectionRefused => "nobody listens there",
        _ => return kind.to_string(),
    };
    format!("{kind} ({hint})")
}
