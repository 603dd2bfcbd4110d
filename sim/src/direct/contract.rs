//! What a node has said of its connections.

use std::collections::BTreeMap;

use septa_core::{ConnectionId, node::Event};

/// Sees that each connection that was opened is closed once, and nothing is said of it then.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Those that are not closed.
    live: BTreeMap<ConnectionId, Standing>,
    /// The latest: names are given in order, and so none of them twice.
    latest: Option<ConnectionId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// There is a socket.
    Begun,
    Opened,
}

impl Ledger {
    /// A connection was made.
    pub(super) fn begin(&mut self, id: ConnectionId) -> Result<(), String> {
        if self.latest.is_some_and(|latest| id <= latest) {
            return Err(format!("connection {id:?} was made behind {:?}", self.latest));
        }
        self.latest = Some(id);
        self.live.insert(id, Standing::Begun);
        Ok(())
    }

    /// What the node says.
    pub(super) fn hear(&mut self, event: &Event) -> Result<(), String> {
        let (id, before, now) = match event {
            Event::Opened { connection, .. } => (connection, Standing::Begun, Some(Standing::Opened)),
            Event::Closed { connection, was_open: true, .. } => (connection, Standing::Opened, None),
            Event::Closed { connection, was_open: false, .. } => (connection, Standing::Begun, None),
            _ => return Ok(()),
        };
        let found = match now {
            Some(now) => self.live.insert(*id, now),
            None => self.live.remove(id),
        };
        match found {
            Some(found) if found == before => Ok(()),
            _ => Err(format!("of connection {id:?}, which is {found:?}, it is said that it was {before:?}: {event:?}")),
        }
    }

    /// The node is over: so is every connection.
    pub(super) fn end(&self) -> Result<(), String> {
        self.live.first_key_value().map_or(Ok(()), |(id, standing)| {
            Err(format!("nobody has said that connection {id:?} is closed: {standing:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use septa_core::{Multiaddr, Role, connection::CloseReason, node::Endpoints};

    use super::*;

    fn node() -> septa_core::node::Node {
        let config = septa_core::node::Config::default();
        let identity = septa_core::Identity::from_ed25519_seed([1; 32]);
        let seed = septa_core::Seed::from_bytes([0; 32]);
        septa_core::node::Node::new(config, identity.peer_id(), septa_core::Instant::EPOCH, seed).unwrap()
    }

    fn id_of(node: &mut septa_core::node::Node) -> ConnectionId {
        node.handle_incoming(septa_core::Instant::EPOCH, endpoints()).unwrap().id().unwrap()
    }

    fn id() -> ConnectionId {
        id_of(&mut node())
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

    #[test]
    fn what_is_closed_takes_no_room_and_comes_no_more() {
        let (mut ledger, mut node) = (Ledger::default(), node());
        let [first, second] = [(); 2].map(|()| id_of(&mut node));
        for id in [first, second] {
            ledger.begin(id).unwrap();
            ledger.hear(&opened(id)).unwrap();
            ledger.hear(&closed(id, true)).unwrap();
            assert!(ledger.live.is_empty());
        }
        for id in [first, second] {
            assert!(ledger.begin(id).is_err());
            assert!(ledger.hear(&closed(id, true)).is_err());
        }
    }
}
