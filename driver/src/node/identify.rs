//! A node asks each peer who it is, and remembers where it says that it can be found.

use std::sync::Arc;

use septa_core::{
    Multiaddr,
    node::{Provenance, leading_ip},
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
        for addr in addrs.iter().filter(|addr| is_plausible(addr, &remote)) {
            let _ = state.core.add_addr(now, peer, addr, provenance);
        }
    });
}

/// A stranger must not make this node dial its own machine, or names that cost a question each.
fn is_plausible(addr: &Multiaddr, remote: &Multiaddr) -> bool {
    let is_local = |addr: &Multiaddr| leading_ip(addr).is_some_and(|ip| ip.is_loopback());
    leading_ip(addr).is_some_and(|ip| !ip.is_unspecified()) && (!is_local(addr) || is_local(remote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_neighbour_on_this_machine_may_name_an_address_of_this_machine() {
        let addr = |text: &str| text.parse::<Multiaddr>().unwrap();
        let (far, near) = (addr("/ip4/203.0.113.9/tcp/9"), addr("/ip4/127.0.0.1/tcp/9"));
        for (claimed, from_far, from_near) in [
            ("/ip4/198.51.100.1/tcp/1", true, true),
            ("/ip4/127.0.0.1/tcp/1", false, true),
            ("/ip6/::1/tcp/1", false, true),
            ("/ip4/0.0.0.0/tcp/1", false, false),
            ("/ip6/::/tcp/1", false, false),
            ("/dns4/example.org/tcp/1", false, false),
        ] {
            assert_eq!(is_plausible(&addr(claimed), &far), from_far, "{claimed}");
            assert_eq!(is_plausible(&addr(claimed), &near), from_near, "{claimed}");
        }
    }
}
