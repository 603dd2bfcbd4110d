//! A node asks each peer who it is, and remembers where it says that it can be found.

use std::{net::IpAddr, sync::Arc};

use septa_core::{
    Multiaddr,
    node::Provenance,
    protocol::identify::{ClaimedRecord, Received},
};

use super::shared::NodeShared;
use crate::connection::Connection;

/// Asks on a task of its own. A peer need not answer.
pub(super) fn start(node: &Arc<NodeShared>, connection: Connection) {
    let asking = {
        let node = node.clone();
        async move {
            if let Ok(received) = connection.identify().await {
                learn(&node, &connection, &received);
            }
        }
    };
    node.endpoint.spawn("identify", asking);
}

/// What the peer has signed counts more than what it merely says. The book bounds how many addresses it keeps.
fn learn(node: &NodeShared, connection: &Connection, received: &Received) {
    let (addrs, provenance) = match &received.peer_record {
        ClaimedRecord::Valid(record) => (record.addrs(), Provenance::PeerRecord),
        _ => (received.info.listen_addrs.as_slice(), Provenance::Identify),
    };
    let (peer, remote) = (connection.peer_id(), connection.remote_addr());
    // The book may be full, and the node may have ended.
    let _ = node.command(|state, now| {
        // It may have been removed or banned since it was asked.
        if state.core.connection_to(&peer) != connection.id() {
            return;
        }
        for addr in addrs.iter().filter(|addr| is_plausible(addr, &remote)) {
            let _ = state.core.add_addr(now, peer, addr, provenance);
        }
    });
}

/// How far an address reaches: this machine, this network, or all.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Machine,
    Network,
    Global,
}

impl Scope {
    fn of(addr: &Multiaddr) -> Option<Self> {
        // A name could stand for anything. IPv4 inside IPv6 is dialed as IPv4.
        let ip = addr.socket_addr()?.ip().to_canonical();
        let is_private = match ip {
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        match () {
            () if ip.is_unspecified() => None,
            () if ip.is_loopback() => Some(Self::Machine),
            () if is_private => Some(Self::Network),
            () => Some(Self::Global),
        }
    }
}

/// A stranger must not make this node dial its own machine or network.
fn is_plausible(addr: &Multiaddr, remote: &Multiaddr) -> bool {
    Scope::of(addr).is_some_and(|claimed| Scope::of(remote).is_none_or(|seen| claimed >= seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_neighbour_may_name_an_address_in_the_neighbourhood() {
        let addr = |text: &str| text.parse::<Multiaddr>().unwrap();
        let (far, near, here) =
            (addr("/ip4/203.0.113.9/tcp/9"), addr("/ip6/::ffff:192.168.1.9/tcp/9"), addr("/ip4/127.0.0.1/tcp/9"));
        for (claimed, expected) in [
            ("/ip4/198.51.100.1/tcp/1", [true, true, true]),
            ("/ip6/2001:db8::1/tcp/1", [true, true, true]),
            ("/ip4/10.0.0.1/tcp/1", [false, true, true]),
            ("/ip4/169.254.1.1/tcp/1", [false, true, true]),
            ("/ip6/fd00::1/tcp/1", [false, true, true]),
            ("/ip4/127.0.0.1/tcp/1", [false, false, true]),
            ("/ip6/::1/tcp/1", [false, false, true]),
            ("/ip6/::ffff:198.51.100.1/tcp/1", [true, true, true]),
            ("/ip6/::ffff:10.0.0.1/tcp/1", [false, true, true]),
            ("/ip6/::ffff:127.0.0.1/tcp/1", [false, false, true]),
            ("/ip6/::ffff:0.0.0.0/tcp/1", [false; 3]),
            ("/ip4/0.0.0.0/tcp/1", [false; 3]),
            ("/dns4/example.org/tcp/1", [false; 3]),
            ("/ip4/198.51.100.1/udp/1/quic-v1", [false; 3]),
            ("/ip4/198.51.100.1/tcp/1/ws", [false; 3]),
        ] {
            let found = [&far, &near, &here].map(|remote| is_plausible(&addr(claimed), remote));
            assert_eq!(found, expected, "{claimed}");
        }
    }
}
