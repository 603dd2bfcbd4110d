//! What a node has said of its connections.

use std::collections::BTreeMap;

use septa_core::{ConnectionId, node::Event};

/// Sees that each connection that was opened is closed once, and nothing is said of it then.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<ConnectionId, Standing>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// There is a socket.
    Begun,
    Opened,
    Closed,
}

impl Ledger {
    /// A connection was made.
    pub(super) fn begin(&mut self, id: ConnectionId) -> Result<(), String> {
        match self.0.insert(id, Standing::Begun) {
            None => Ok(()),
            Some(standing) => Err(format!("connection {id:?} was made twice; it was {standing:?}")),
        }
    }

    /// What the node says.
    pub(super) fn hear(&mut self, event: &Event) -> Result<(), String> {
        let (id, before, now) = match event {
            Event::Opened { connection, .. } => (connection, Standing::Begun, Standing::Opened),
            Event::Closed { connection, was_open: true, .. } => (connection, Standing::Opened, Standing::Closed),
            Event::Closed { connection, was_open: false, .. } => (connection, Standing::Begun, Standing::Closed),
            _ => return Ok(()),
        };
        match self.0.insert(*id, now) {
            Some(found) if found == before => Ok(()),
            found => Err(format!("a connection that was {before:?} is {now:?}, but {id:?} was {found:?}")),
        }
    }

    /// The node is over: so is every connection.
    pub(super) fn end(&self) -> Result<(), String> {
        let left = self.0.iter().find(|(_, standing)| **standing != Standing::Closed);
        left.map_or(Ok(()), |(id, standing)| {
            Err(format!("nobody has said that connection {id:?} is closed: {standing:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use septa_core::{Multiaddr, Role, connection::CloseReason, node::Endpoints};

    use super::*;

    fn id() -> ConnectionId {
        let config = septa_core::node::Config::default();
        let identity = septa_core::Identity::from_ed25519_seed([1; 32]);
        let now = septa_core::Instant::EPOCH;
        let seed = septa_core::Seed::from_bytes([0; 32]);
        let mut node = septa_core::node::Node::new(config, identity.peer_id(), now, seed).unwrap();
        node.handle_incoming(now, endpoints()).unwrap().id().unwrap()
    }

    fn endpoints() -> Endpoints {
        let addr = Multiaddr::from_socket_addr(([10, 0, 0, 1], 4001).into());
        Endpoints { local: addr.clone(), remote: addr }
    }

    fn opened(connection: ConnectionId) -> Event {
        let peer = septa_core::Identity::from_ed25519_seed([2; 32]).peer_id();
        Event::Opened { peer, connection, role: Role::Listener, endpoints: endpoints() }
    }

    fn closed(connection: ConnectionId, was_open: bool) -> Event {
        Event::Closed { peer: None, connection, was_open, reason: CloseReason::Eof }
    }

    #[test]
    fn a_connection_is_made_opened_and_closed_once() {
        let (mut ledger, id) = (Ledger::default(), id());
        assert_eq!(ledger.begin(id), Ok(()));
        assert_eq!(ledger.hear(&opened(id)), Ok(()));
        assert!(ledger.end().is_err());
        assert_eq!(ledger.hear(&closed(id, true)), Ok(()));
        assert_eq!(ledger.end(), Ok(()));
        assert!(ledger.hear(&closed(id, true)).is_err());
        assert!(ledger.begin(id).is_err());
    }

    #[test]
    fn what_was_never_opened_is_not_closed_as_if_it_had_been() {
        let (mut ledger, id) = (Ledger::default(), id());
        assert!(ledger.hear(&closed(id, false)).is_err());
        ledger = Ledger::default();
        ledger.begin(id).unwrap();
        assert!(ledger.hear(&closed(id, true)).is_err());
        ledger = Ledger::default();
        ledger.begin(id).unwrap();
        assert_eq!(ledger.hear(&closed(id, false)), Ok(()));
        assert_eq!(ledger.end(), Ok(()));
        assert!(ledger.hear(&opened(id)).is_err());
    }
}
