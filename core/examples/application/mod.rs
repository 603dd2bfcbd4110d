//! The application that the examples `mio` and `blocking_node` run. It is the same in both: what differs is who moves the
//! bytes.
//!
//! One node listens. Two others keep a connection to it: each sends a message on a stream and hears it echoed, then asks
//! to be cut off, loses the connection, waits for its backoff, comes back, hears another echo, and leaves in good order.

mod node;
mod session;

use std::{fs::File, io, io::Read, sync::Arc, time::Duration};

use septa_core::{
    Connection, Identity, Instant, Link, Multiaddr, PeerId, ProtocolId, Seed, connection,
    crypto::RustCrypto,
    node::{Backoff, Config, InvalidValues, Node},
    noise::Credentials,
};

pub(crate) use node::Application;
pub(crate) use session::{Session, Word};

/// A stream on which everything comes back.
pub(crate) const ECHO: ProtocolId = ProtocolId::from_static("/example/echo/1.0.0");
/// Who opens a stream of this protocol is cut off without a word, so that there is a loss to recover from.
pub(crate) const HANG_UP: ProtocolId = ProtocolId::from_static("/example/hang-up/1.0.0");
/// Length of each message in bytes: more than a stream's window, a send quota and a socket take at once.
pub(crate) const MESSAGE_LEN: usize = 1024 * 1024;
/// Nodes that come, and how often each of them does.
pub(crate) const VISITORS: usize = 2;
pub(crate) const VISITS: usize = 2;
/// The first delay before a lost peer is dialed again. An example need not wait for the usual second.
pub(crate) const BACKOFF: Duration = Duration::from_millis(200);

/// Where the time of a node and all its connections comes from.
#[derive(Clone, Copy)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now(self) -> Instant {
        Instant::EPOCH.saturating_add(self.0.elapsed())
    }
}

/// What a node has of its own, and all its connections share.
pub(crate) struct Party {
    identity: Identity,
    config: Arc<connection::Config>,
    credentials: Arc<Credentials>,
}

impl Party {
    /// An identity that is made up on the spot; a real node stores its own.
    pub(crate) fn new() -> io::Result<Self> {
        let identity = Identity::generate(seed()?);
        let credentials = Arc::new(Credentials::new(&identity, Arc::new(RustCrypto), seed()?));
        // What is served stays the same. If it is to change, `Node::serve` tells all connections, old and new.
        let protocols = [ECHO, HANG_UP].into_iter().collect();
        let config = Arc::new(connection::Config { protocols, ..connection::Config::default() });
        Ok(Self { identity, config, credentials })
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// The node, which knows nobody yet.
    pub(crate) fn node(&self, now: Instant) -> Result<Node, NodeError> {
        let config = Config { backoff: Backoff { initial: BACKOFF, ..Backoff::default() }, ..Config::default() };
        Ok(Node::new(config, self.peer_id(), now, seed()?)?)
    }

    /// The connection for a link that the node has handed out.
    pub(crate) fn connection(&self, link: Link, now: Instant) -> Connection {
        Connection::new(link, self.config.clone(), self.credentials.clone(), now)
    }
}

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("no randomness: {0}")]
    Seed(#[from] io::Error),
    #[error(transparent)]
    Config(#[from] InvalidValues),
}

/// 32 bytes from the operating system.
fn seed() -> io::Result<Seed> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Seed::from_bytes(bytes))
}

/// The node's way to write a socket's address.
pub(crate) fn multiaddr(addr: std::net::SocketAddr) -> Multiaddr {
    Multiaddr::from_socket_addr(addr)
}
