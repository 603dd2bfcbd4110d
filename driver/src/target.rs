//! Where an address leads.

use std::{io, net::SocketAddr};

use septa_core::{Multiaddr, multiaddr::Protocol};

use crate::runtime::Runtime;

/// Most addresses of one name that are tried. Stops a name server from making us dial for ever.
const MAX_ADDRS: usize = 16;

/// The TCP end of an address.
pub(crate) enum Target {
    Addr(SocketAddr),
    Name { host: String, port: u16, family: Family },
}

#[derive(Clone, Copy)]
pub(crate) enum Family {
    Any,
    V4,
    V6,
}

impl Target {
    pub(crate) fn of(addr: &Multiaddr) -> Option<Self> {
        if let Some(addr) = addr.socket_addr() {
            return Some(Self::Addr(addr));
        }
        let mut protocols = addr.protocols();
        let (host, family) = match protocols.next()? {
            Protocol::Dns(host) => (host, Family::Any),
            Protocol::Dns4(host) => (host, Family::V4),
            Protocol::Dns6(host) => (host, Family::V6),
            _ => return None,
        };
        let Protocol::Tcp(port) = protocols.next()? else { return None };
        match (protocols.next(), protocols.next()) {
            (None | Some(Protocol::P2p(_)), None) => Some(Self::Name { host: host.to_owned(), port, family }),
            _ => None,
        }
    }

    /// The name, empty if there is none.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Addr(_) => "",
            Self::Name { host, .. } => host,
        }
    }

    /// At least one address.
    pub(crate) async fn resolve(self, runtime: &dyn Runtime) -> Result<Vec<SocketAddr>, io::ErrorKind> {
        let (host, port, family) = match self {
            Self::Addr(addr) => return Ok(vec![addr]),
            Self::Name { host, port, family } => (host, port, family),
        };
        let addrs = runtime.resolve(&host, port).await.map_err(|error| error.kind())?;
        let fits = |addr: &SocketAddr| match family {
            Family::Any => true,
            Family::V4 => addr.is_ipv4(),
            Family::V6 => addr.is_ipv6(),
        };
        let addrs: Vec<SocketAddr> = addrs.into_iter().filter(fits).take(MAX_ADDRS).collect();
        if addrs.is_empty() { Err(io::ErrorKind::NotFound) } else { Ok(addrs) }
    }
}
