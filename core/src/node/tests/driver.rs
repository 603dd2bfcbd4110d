//! A driver for nodes without sockets: the test says what becomes of each dial and each connection.

use std::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use crate::{
    ConnectionId, Instant, Link, Multiaddr, PeerId, Seed,
    connection::CloseReason,
    link::{ConnectionMessage, NodeMessage, ToConnection, ToNode},
    node::{Action, AttemptId, Config, DialFailure, Endpoints, Event, Intent, Node},
    testing::identity,
};

pub(super) fn peer(number: u8) -> PeerId {
    identity(number).peer_id()
}

/// Two peers, the one with the smaller id first.
pub(super) fn ordered() -> (PeerId, PeerId) {
    let (a, b) = (peer(1), peer(2));
    if a < b { (a, b) } else { (b, a) }
}

pub(super) fn addr(number: u8) -> Multiaddr {
    std::format!("/ip4/10.0.0.{number}/tcp/4001").parse().unwrap()
}

pub(super) fn endpoints(number: u8) -> Endpoints {
    Endpoints { local: addr(200), remote: addr(number) }
}

/// A node, the time, and what the node has asked for.
pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) now: Instant,
    pub(super) dials: BTreeMap<AttemptId, Multiaddr>,
    pub(super) resolves: BTreeMap<AttemptId, Multiaddr>,
    pub(super) aborted: Vec<AttemptId>,
    pub(super) sent: Vec<(ConnectionId, ToConnection)>,
    pub(super) events: Vec<Event>,
}

impl Driver {
    pub(super) fn new(config: Config) -> Self {
        Self::of(ordered().1, config)
    }

    pub(super) fn of(local: PeerId, config: Config) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let node = Node::new(config, local, now, Seed::from_bytes([9; 32])).unwrap();
        let (dials, resolves) = (BTreeMap::new(), BTreeMap::new());
        Self { node, now, dials, resolves, aborted: vec![], sent: vec![], events: vec![] }
    }

    /// Carries out what the node wants, as far as that needs nobody else.
    pub(super) fn drain(&mut self) {
        while let Some(action) = self.node.poll_action() {
            match action {
                Action::StartDial { id, addr } => drop(self.dials.insert(id, addr)),
                Action::Resolve { id, addr } => drop(self.resolves.insert(id, addr)),
                Action::AbortDial { id } => {
                    let known = self.dials.remove(&id).or_else(|| self.resolves.remove(&id));
                    assert!(known.is_some(), "{id:?} is aborted, but is not under way");
                    self.aborted.push(id);
                }
                Action::Send { to, message } => self.sent.push((to, message)),
            }
        }
        while let Some(event) = self.node.poll_event() {
            self.events.push(event);
        }
    }

    pub(super) fn call<T>(&mut self, f: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let result = f(&mut self.node, self.now);
        self.drain();
        result
    }

    /// Lets time pass to the next deadline and tells the node; the time that passed, if there was a deadline.
    pub(super) fn sleep(&mut self) -> Option<core::time::Duration> {
        let deadline = self.node.poll_timeout()?;
        let passed = deadline.saturating_duration_since(self.now);
        self.now = self.now.max(deadline);
        self.call(|node, now| node.handle_timeout(now));
        Some(passed)
    }

    /// Lets time pass without a look at deadlines.
    pub(super) fn wait(&mut self, time: core::time::Duration) {
        self.now = self.now.saturating_add(time);
        self.call(|node, now| node.handle_timeout(now));
    }

    pub(super) fn only_dial(&self) -> AttemptId {
        assert_eq!(self.dials.len(), 1, "{:?}", self.dials);
        *self.dials.keys().next().unwrap()
    }

    pub(super) fn fail(&mut self, id: AttemptId) {
        self.dials.remove(&id);
        self.call(|node, now| node.handle_dial_failed(now, id, DialFailure::Refused));
    }

    /// The transport of an attempt is there.
    pub(super) fn dialed(&mut self, id: AttemptId) -> Option<Link> {
        self.dials.remove(&id);
        self.call(|node, now| node.handle_dialed(now, id, endpoints(1)))
    }

    pub(super) fn incoming(&mut self, from: u8) -> ConnectionId {
        self.call(|node, now| node.handle_incoming(now, endpoints(from))).unwrap().id().unwrap()
    }

    pub(super) fn tell(&mut self, from: ConnectionId, message: NodeMessage) {
        self.call(|node, now| node.handle_connection(now, from, ToNode(message)));
    }

    pub(super) fn secure(&mut self, id: ConnectionId, peer: PeerId) {
        self.tell(id, NodeMessage::Secured { peer });
    }

    /// Secured, admitted and open.
    pub(super) fn open(&mut self, id: ConnectionId, peer: PeerId) {
        self.secure(id, peer);
        assert_eq!(self.take(id), Some(ConnectionMessage::Admission(Ok(()))));
        self.tell(id, NodeMessage::Opened { is_ready: true });
    }

    /// A peer is wanted from now on, and reached.
    pub(super) fn reach(&mut self, peer: PeerId) -> ConnectionId {
        self.call(|node, now| node.add_peer(now, peer, &[addr(1)], Intent::Persistent)).unwrap();
        let attempt = self.only_dial();
        let id = self.dialed(attempt).unwrap().id().unwrap();
        self.open(id, peer);
        id
    }

    pub(super) fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        self.tell(id, NodeMessage::Closed { reason, last: Box::default() });
    }

    /// The next message to a connection.
    pub(super) fn take(&mut self, id: ConnectionId) -> Option<ConnectionMessage> {
        let index = self.sent.iter().position(|(to, _)| *to == id)?;
        Some(self.sent.remove(index).1.0)
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }
}
