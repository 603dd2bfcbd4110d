//! Outbound connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use septa_core::{ExpectedPeer, Instant, Link, Multiaddr, connection::CloseReason};

use crate::{
    connection::Connection,
    endpoint::{EndpointInner, NoSlot},
    error::ConnectError,
    inner::Owner,
    shared::Handle,
    target::Target,
    time::{after, within},
};

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
    let host = target.host().to_owned();
    let resolved = within(runtime, deadline, target.resolve(runtime)).await.ok_or_else(timed_out)?;
    let addrs = resolved.map_err(|kind| ConnectError::Resolve { host, kind })?;
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
    let link = Link::dialer(expected, endpoint.runtime.seed());
    let shared = endpoint.start(slot, socket, link, Owner::Dialer);
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
