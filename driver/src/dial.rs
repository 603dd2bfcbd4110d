//! Outbound connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use septa_core::{ExpectedPeer, Instant, Multiaddr, connection::CloseReason, multiaddr::Protocol};

use crate::{
    connection::Connection,
    endpoint::{EndpointInner, NoSlot},
    error::ConnectError,
    shared::Handle,
    time::{after, within},
};

/// Most addresses of one name that are tried. Stops a name server from making us dial for ever.
const MAX_ADDRS: usize = 16;

/// The peer that `addr` names at its end, as an expectation for
/// [`Endpoint::connect`](crate::Endpoint::connect).
///
/// # Errors
/// It names none. Whoever does not care says so with [`ExpectedPeer::Any`].
pub fn expected_peer(addr: &Multiaddr) -> Result<ExpectedPeer, ConnectError> {
    addr.peer_id().map(ExpectedPeer::Exactly).ok_or_else(|| ConnectError::NoPeer { addr: addr.clone() })
}

pub(crate) async fn connect(
    endpoint: &Arc<EndpointInner>,
    addr: &Multiaddr,
    expected: ExpectedPeer,
) -> Result<Connection, ConnectError> {
    let expected = agree(addr, expected)?;
    let target = Target::of(addr).ok_or_else(|| ConnectError::Unsupported { addr: addr.clone() })?;
    if endpoint.is_shut_down() {
        return Err(ConnectError::ShutDown);
    }
    let runtime = &*endpoint.runtime;
    let timed_out = || ConnectError::Timeout { addr: addr.clone() };
    let deadline = after(runtime, endpoint.limits.connect_timeout);
    let addrs = within(runtime, deadline, target.resolve(endpoint)).await.ok_or_else(timed_out)??;
    let mut last = timed_out();
    for (index, socket_addr) in addrs.iter().enumerate() {
        let share = share(runtime.now(), deadline, addrs.len() - index);
        let attempt = within(runtime, after(runtime, share), attempt(endpoint, *socket_addr, expected)).await;
        match attempt.unwrap_or_else(|| Err(timed_out())) {
            Ok(connection) => return Ok(connection),
            Err(error @ (ConnectError::ShutDown | ConnectError::TooManyConnections { .. })) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn attempt(
    endpoint: &Arc<EndpointInner>,
    addr: SocketAddr,
    expected: ExpectedPeer,
) -> Result<Connection, ConnectError> {
    let io_error = |error: std::io::Error| ConnectError::Io { addr, kind: error.kind() };
    let slot = endpoint.reserve().map_err(|error| match error {
        NoSlot::Full => ConnectError::TooManyConnections { limit: endpoint.limits.max_connections },
        NoSlot::ShutDown => ConnectError::ShutDown,
    })?;
    let socket = endpoint.runtime.connect(addr).await.map_err(io_error)?;
    if endpoint.is_shut_down() {
        return Err(ConnectError::ShutDown);
    }
    let shared = endpoint.start(slot, socket, Some(expected), None);
    let handle = Handle::new(&shared);
    let opened = shared.wait(
        |inner| &mut inner.phase,
        |inner| match (inner.opened(), inner.reason().or_else(|| inner.over())) {
            // This end may think that it is open before it hears that it is not wanted.
            (_, Some(reason @ CloseReason::DeniedByRemote)) | (None, Some(reason)) => Some(Err(reason)),
            (Some(peer), _) => Some(Ok(peer)),
            (None, None) => None,
        },
    );
    match opened.await {
        Ok(peer) => Ok(Connection::new(handle, peer)),
        Err(_) if endpoint.is_shut_down() => Err(ConnectError::ShutDown),
        Err(reason) => Err(ConnectError::Upgrade { addr, reason: Box::new(reason) }),
    }
}

/// Whom to expect, from what the caller and the address say.
fn agree(addr: &Multiaddr, expected: ExpectedPeer) -> Result<ExpectedPeer, ConnectError> {
    match (addr.peer_id(), expected) {
        (Some(named), ExpectedPeer::Exactly(expected)) if named != expected => {
            Err(ConnectError::OtherPeer { addr: addr.clone(), expected })
        }
        (Some(named), _) => Ok(ExpectedPeer::Exactly(named)),
        (None, expected) => Ok(expected),
    }
}

/// An equal part of what is left, for each of the addresses that are left: a first address that does
/// not answer must not use up the time of the others.
fn share(now: Instant, deadline: Instant, addrs_left: usize) -> Duration {
    deadline.saturating_duration_since(now) / u32::try_from(addrs_left).unwrap_or(u32::MAX).max(1)
}

/// Where an address leads.
enum Target {
    Addr(SocketAddr),
    Name { host: String, port: u16, family: Family },
}

#[derive(Clone, Copy)]
enum Family {
    Any,
    V4,
    V6,
}

impl Target {
    fn of(addr: &Multiaddr) -> Option<Self> {
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

    async fn resolve(self, endpoint: &EndpointInner) -> Result<Vec<SocketAddr>, ConnectError> {
        let (host, port, family) = match self {
            Self::Addr(addr) => return Ok(vec![addr]),
            Self::Name { host, port, family } => (host, port, family),
        };
        let addrs = match endpoint.runtime.resolve(&host, port).await {
            Ok(addrs) => addrs,
            Err(error) => return Err(ConnectError::Resolve { host, kind: error.kind() }),
        };
        let fits = |addr: &SocketAddr| match family {
            Family::Any => true,
            Family::V4 => addr.is_ipv4(),
            Family::V6 => addr.is_ipv6(),
        };
        let addrs: Vec<SocketAddr> = addrs.into_iter().filter(fits).take(MAX_ADDRS).collect();
        if addrs.is_empty() {
            return Err(ConnectError::Resolve { host, kind: std::io::ErrorKind::NotFound });
        }
        Ok(addrs)
    }
}
