//! Two nodes with real connections between them: what the messages in the slots bring about.

use core::time::Duration;
use std::{sync::Arc, vec::Vec};

use super::driver::{Driver, addr, endpoints, peer};
use crate::{
    Connection, ConnectionId, ProtocolId, ProtocolSet,
    connection::{self, CloseReason, HandshakeMode},
    link::{Mailbox, SLOTS, ToConnection, ToNode},
    node::{Config, Event, Intent, PeerState},
    testing::{Cuts, End, Pair, credentials},
};

const ECHO: ProtocolId = ProtocolId::from_static("/echo/1");

/// Node 1 has dialed node 2, and their connection runs.
struct World {
    nodes: [Driver; 2],
    ids: [ConnectionId; 2],
    pair: Pair,
    slots: [(Mailbox<ToNode>, Mailbox<ToConnection>); 2],
}

impl World {
    fn new(config: connection::Config, prepare: impl FnOnce(&mut [Driver; 2])) -> Self {
        let mut nodes = [Driver::of(peer(1), Config::default()), Driver::of(peer(2), Config::default())];
        prepare(&mut nodes);
        nodes[0].call(|node, now| node.add_peer(now, peer(2), &[addr(2)], Intent::Persistent)).unwrap();
        let attempt = nodes[0].only_dial();
        let dialer = nodes[0].dialed(attempt).unwrap();
        let listener = nodes[1].call(|node, now| node.handle_incoming(now, endpoints(1))).unwrap();
        let ids = [dialer.id().unwrap(), listener.id().unwrap()];
        let now = nodes[0].now;
        let config = Arc::new(config);
        let dialer = Connection::new(dialer, config.clone(), credentials(1), now);
        let listener = Connection::new(listener, config, credentials(2), now);
        let pair = Pair::join(dialer, listener, now, Duration::from_millis(1), Cuts::Whole);
        Self { nodes, ids, pair, slots: Default::default() }
    }

    /// Carries bytes and messages for so many milliseconds.
    fn run(&mut self, millis: usize) {
        self.run_nodes(millis, &End::BOTH);
    }

    /// The same, while only these nodes hear and say something.
    fn run_nodes(&mut self, millis: usize, awake: &[End]) {
        for _ in 0..millis {
            for (side, end) in End::BOTH.into_iter().enumerate().filter(|(_, end)| awake.contains(end)) {
                let (to_node, to_connection) = &mut self.slots[side];
                for (_, message) in core::mem::take(&mut self.nodes[side].sent) {
                    to_connection.put(message);
                }
                let connection = self.pair.connection(end);
                while let Some(message) = to_connection.take() {
                    connection.handle_node(self.nodes[side].now, message);
                }
                while connection.wants_node() {
                    to_node.put(connection.poll_node().expect("it said so"));
                }
                assert!(connection.poll_node().is_none(), "it said so");
                assert!(to_node.len() <= SLOTS);
                while let Some(message) = to_node.take() {
                    self.nodes[side].call(|node, now| node.handle_connection(now, self.ids[side], message));
                }
            }
            self.pair.run_for(Duration::from_millis(1));
            for driver in &mut self.nodes {
                driver.now = self.pair.now;
            }
        }
    }

    fn states(&self) -> [PeerState; 2] {
        [self.nodes[0].node.state(&peer(2)), self.nodes[1].node.state(&peer(1))]
    }

    fn closed(&self, side: usize) -> Vec<CloseReason> {
        let reason = |event: &Event| match event {
            Event::Closed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        self.nodes[side].events.iter().filter_map(reason).collect()
    }
}

#[test]
fn a_connection_is_admitted_and_opens_on_both_sides() {
    let mut world = World::new(connection::Config::default(), |_| {});
    assert_eq!(world.states(), [PeerState::Connecting, PeerState::Disconnected]);
    world.run(20);
    assert_eq!(world.states(), [PeerState::Established; 2]);
    world.nodes[0].call(|node, now| node.disconnect(now, peer(2)));
    assert_eq!(world.states()[0], PeerState::Draining);
    world.run(50);
    assert_eq!(world.states(), [PeerState::Disconnected; 2]);
    assert_eq!(world.closed(0), [CloseReason::Local]);
    assert_eq!(world.closed(1), [CloseReason::Remote { code: 0 }]);
    assert!(world.pair.connection(End::Dialer).poll_node().is_none(), "nothing follows the last message");
    assert_eq!(world.nodes[0].node.poll_timeout(), None);
}

#[test]
fn a_peer_that_is_not_wanted_is_denied_before_a_stream_exists_and_does_not_come_back_soon() {
    let mut world = World::new(connection::Config::default(), |nodes| {
        nodes[1].call(|node, now| node.ban(now, peer(1).into(), None)).unwrap();
    });
    world.run(50);
    assert_eq!(world.states(), [PeerState::Backoff, PeerState::Disconnected]);
    assert_eq!(world.closed(0), [CloseReason::DeniedByRemote]);
    assert!(world.nodes[0].sleep().unwrap() >= Duration::from_secs(225));
}

#[test]
fn without_a_verdict_the_connection_waits_and_gives_up() {
    let mut world = World::new(connection::Config::default(), |_| {});
    // The node of the listener hears nothing and says nothing.
    let listener = world.ids[1];
    world.nodes[1].call(|node, now| node.handle_connection_lost(now, listener));
    world.run(9_000);
    assert_eq!(world.states()[0], PeerState::Established, "the dialer's own node has let it in");
    world.run(2_000);
    assert_ne!(world.states()[0], PeerState::Established);
}

#[test]
fn applications_that_want_a_handshake_are_connected_and_then_established() {
    let handshake = HandshakeMode::Application { timeout: Duration::from_secs(30) };
    let mut world = World::new(connection::Config { handshake, ..Default::default() }, |_| {});
    world.run(20);
    assert_eq!(world.states(), [PeerState::Connected; 2]);
    for end in End::BOTH {
        let now = world.pair.now;
        world.pair.connection(end).finalize(now).unwrap();
    }
    world.run(20);
    assert_eq!(world.states(), [PeerState::Established; 2]);
}

#[test]
fn a_rejected_handshake_is_a_cooldown_on_both_sides() {
    let handshake = HandshakeMode::Application { timeout: Duration::from_secs(30) };
    let mut world = World::new(connection::Config { handshake, ..Default::default() }, |_| {});
    world.run(20);
    let now = world.pair.now;
    world.pair.connection(End::Listener).reject(now, 7, "not today").unwrap();
    world.run(2_000);
    assert_eq!(world.states(), [PeerState::Cooldown; 2]);
}

#[test]
fn what_is_served_reaches_connections_that_are_there_and_those_that_come() {
    let serve = |driver: &mut Driver| driver.call(|node, now| node.serve(now, &ProtocolSet::from_iter([ECHO])));
    for early in [true, false] {
        let mut world = World::new(connection::Config::default(), |nodes| {
            if early {
                serve(&mut nodes[1]);
            }
        });
        world.run(20);
        if !early {
            serve(&mut world.nodes[1]);
            world.run(1);
        }
        let now = world.pair.now;
        let id = world.pair.connection(End::Dialer).open(now, &[ECHO]).unwrap();
        world.run(20);
        assert_eq!(world.pair.connection(End::Dialer).stream(id).protocol(), Some(&ECHO), "early: {early}");
    }
}

/// A dialer may open a stream before the listener's node has said anything.
#[test]
fn what_is_served_is_known_when_a_peer_is_let_in() {
    let mut world = World::new(connection::Config::default(), |nodes| {
        nodes[1].call(|node, now| node.serve(now, &ProtocolSet::from_iter([ECHO])));
    });
    world.run_nodes(20, &[End::Dialer]);
    assert_eq!(world.states()[0], PeerState::Established);
    let now = world.pair.now;
    let id = world.pair.connection(End::Dialer).open(now, &[ECHO]).unwrap();
    world.run_nodes(20, &[End::Dialer]);
    world.run(20);
    assert_eq!(world.pair.connection(End::Dialer).stream(id).protocol(), Some(&ECHO));
}

#[test]
fn a_living_connection_answers_a_probe_and_a_dead_one_does_not() {
    for alive in [true, false] {
        let mut world = World::new(connection::Config::default(), |_| {});
        world.run(1_000);
        let probe = crate::link::ConnectionMessage::Query(crate::link::Query::Probe(7));
        let now = world.pair.now;
        let connection = world.pair.connection(End::Dialer);
        connection.handle_node(now, ToConnection(probe));
        if alive {
            world.pair.run_for(Duration::from_millis(5));
        }
        let report = world.pair.connection(End::Dialer).poll_node();
        let answered = match report.map(|message| message.0) {
            Some(crate::link::NodeMessage::Report(report)) => Some(report.probe),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(answered, alive.then_some(7));
    }
}
