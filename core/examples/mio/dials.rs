//! Sockets that are being connected.

use std::{collections::BTreeMap, io, net::SocketAddr};

use mio::{Interest, Registry, Token, net::TcpStream};
use septa_core::node::{AttemptId, DialFailure, Endpoints};

use crate::application::multiaddr;

/// The dials under way: at most as many as the node begins at once, each until it is connected, has failed or is aborted.
/// The node watches the time.
#[derive(Default)]
pub(crate) struct Dials {
    sockets: BTreeMap<Token, (AttemptId, TcpStream)>,
    tokens: BTreeMap<AttemptId, Token>,
}

/// A dial that is over.
pub(crate) struct Dialed {
    pub(crate) id: AttemptId,
    pub(crate) outcome: Result<(TcpStream, Endpoints), DialFailure>,
}

impl Dials {
    /// What a socket is registered for while it is being connected.
    pub(crate) const INTEREST: Interest = Interest::WRITABLE;

    /// Begins to connect; the socket becomes writable when that is done, or has failed.
    ///
    /// # Errors
    /// It has failed already.
    pub(crate) fn start(
        &mut self,
        id: AttemptId,
        addr: SocketAddr,
        token: Token,
        registry: &Registry,
    ) -> Result<(), DialFailure> {
        let mut socket = TcpStream::connect(addr).map_err(|error| failure(&error))?;
        registry.register(&mut socket, token, Self::INTEREST).map_err(|error| failure(&error))?;
        self.sockets.insert(token, (id, socket));
        self.tokens.insert(id, token);
        Ok(())
    }

    /// Drops a socket that nobody wants any more.
    pub(crate) fn abort(&mut self, id: AttemptId, registry: &Registry) {
        if let Some((_, mut socket)) = self.tokens.remove(&id).and_then(|token| self.sockets.remove(&token)) {
            let _ = registry.deregister(&mut socket);
        }
    }

    /// The socket is ready: `None` if it is none of these, or goes on connecting. A socket that is connected stays
    /// registered.
    pub(crate) fn finish(&mut self, token: Token, registry: &Registry) -> Option<Dialed> {
        let (_, socket) = self.sockets.get(&token)?;
        let outcome = outcome(socket).transpose()?;
        let (id, mut socket) = self.sockets.remove(&token)?;
        self.tokens.remove(&id);
        if outcome.is_err() {
            let _ = registry.deregister(&mut socket);
        }
        let outcome = outcome.map(|endpoints| (socket, endpoints)).map_err(|error| failure(&error));
        Some(Dialed { id, outcome })
    }
}

/// Where a socket leads that is connected; `None` as long as it is not. Writability alone proves nothing: it may come
/// too early, and it comes with a failure too.
fn outcome(socket: &TcpStream) -> io::Result<Option<Endpoints>> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(remote) => Ok(Some(Endpoints { local: multiaddr(socket.local_addr()?), remote: multiaddr(remote) })),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the node makes of an error, and tells the application.
fn failure(error: &io::Error) -> DialFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialFailure::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            DialFailure::Unreachable
        }
        io::ErrorKind::TimedOut => DialFailure::TimedOut,
        _ => DialFailure::Other,
    }
}
