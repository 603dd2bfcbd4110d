//! A node beside a reference that does the same in the plainest way, whatever happens in whatever order.

mod reference;
mod transition;

use core::time::Duration;
use std::{boxed::Box, collections::BTreeMap, format, vec, vec::Vec};

use proptest::prelude::*;
use proptest_state_machine::{StateMachineTest, prop_state_machine};

use self::{
    reference::{
        Addr, Answer, Effort, MYSELF, PEERS, Phase, Reason, Reference, Told, Window, addrs, config, id_of, number_of,
    },
    transition::Transition,
};
use super::driver::{Driver, addr};
use crate::{
    ConnectionId, ExpectedPeer, Instant, Link, Multiaddr, Role,
    connection::{CloseReason, ProtocolError},
    link::{ConnectionMessage, Mailbox, NodeMessage, Query, Report, SLOTS, ToConnection, ToNode},
    node::{
        AttemptId, BanSubject, DialError, DialFailure, Endpoints, Event, Intent, Node, connections,
        transition::Effort as RealEffort,
    },
    yamux::Violation,
};

/// A connection as its task and its driver see it: the mailboxes, and what was read from one of them.
struct Task {
    id: ConnectionId,
    number: usize,
    to_connection: Mailbox<ToConnection>,
    to_node: Mailbox<ToNode>,
    /// The last probe that was read.
    probe: u32,
    is_retired: bool,
}

/// A node, its driver, and the tasks of its connections.
struct World {
    driver: Driver,
    /// By number, those that are over included.
    tasks: Vec<Task>,
    attempts: Vec<AttemptId>,
    closed: BTreeMap<ConnectionId, usize>,
    told: Vec<Told>,
    calls: usize,
}

struct NodeTest;

impl StateMachineTest for NodeTest {
    type SystemUnderTest = World;
    type Reference = Reference;

    fn init_test(_: &Reference) -> World {
        let driver = Driver::of(id_of(MYSELF), config());
        World { driver, tasks: vec![], attempts: vec![], closed: BTreeMap::new(), told: vec![], calls: 0 }
    }

    fn apply(mut world: World, reference: &Reference, transition: Transition) -> World {
        let answer = world.apply(transition);
        world.carry(reference);
        assert_eq!(answer, reference.answer);
        let mut expected = reference.told.clone();
        expected.sort();
        world.told.sort();
        assert_eq!(core::mem::take(&mut world.told), expected);
        world
    }

    fn check_invariants(world: &World, reference: &Reference) {
        world.compare(reference);
        world.check_limits();
        world.check_tables();
        for peer in 0..PEERS {
            assert!(!reference.is_unsettled(peer), "two connections, and nobody will choose between them");
        }
    }

    fn teardown(mut world: World, reference: Reference) {
        world.end(&reference);
    }
}

impl World {
    /// Does to the node what the transition says.
    fn apply(&mut self, transition: Transition) -> Answer {
        match transition {
            Transition::Add { peer, intent, with_addrs } => {
                let addrs = if with_addrs { addrs_of(peer) } else { vec![] };
                Answer::Dial(self.call(|node, now| node.add_peer(now, id_of(peer), &addrs, intent)))
            }
            Transition::Connect(peer) => {
                let dial = self.call(|node, now| node.connect(now, id_of(peer)));
                let under_way = self.driver.node.peers.get(&id_of(peer)).and_then(|peer| peer.dial.as_ref());
                assert_eq!(dial.as_ref().ok().copied(), under_way.map(|dial| dial.id).filter(|_| dial.is_ok()));
                Answer::Dial(dial.map(drop))
            }
            Transition::Cancel(peer) => self.command(|node, now| node.cancel_reconnect(now, id_of(peer))),
            Transition::Disconnect(peer) => self.command(|node, now| node.disconnect(now, id_of(peer))),
            Transition::Remove(peer) => self.command(|node, now| node.remove_peer(now, id_of(peer))),
            Transition::Ban(peer, length) => {
                self.command(|node, now| node.ban(now, id_of(peer).into(), length).unwrap())
            }
            Transition::Unban(peer) => Answer::Lifted(self.call(|node, now| node.unban(now, id_of(peer).into()))),
            Transition::BanNetwork(length) => {
                let network = BanSubject::Prefix("10.0.0.0/29".parse().unwrap());
                self.command(|node, now| node.ban(now, network, Some(length)).unwrap())
            }
            Transition::Dialed(peer, index) => self.dialed(peer, index),
            Transition::DialFailed(peer, index) => {
                let id = self.attempt(peer, index);
                self.driver.dials.remove(&id).expect("nobody dials there");
                self.command(|node, now| node.handle_dial_failed(now, id, DialFailure::Refused))
            }
            Transition::Resolved(peer, index, count) => {
                let id = self.attempt(peer, index);
                self.driver.resolves.remove(&id).expect("nobody resolves that");
                let found: Vec<Multiaddr> = (0..count as u8).map(|host| addr(100 + host)).collect();
                self.command(|node, now| node.handle_resolved(now, id, &found))
            }
            Transition::Nonsense(number) => self.nonsense(number),
            Transition::Incoming(host) => {
                let endpoints = Endpoints { local: addr(200), remote: addr(host) };
                let link = self.call(|node, now| node.handle_incoming(now, endpoints));
                Answer::Incoming(link.map(|link| self.begin(&link)))
            }
            Transition::Secured(number, peer) => self.tell(number, NodeMessage::Secured { peer: id_of(peer) }),
            Transition::Opened(number, is_ready) => self.tell(number, NodeMessage::Opened { is_ready }),
            Transition::Reported(number, rtt) => {
                self.read(number);
                let report = Report { probe: self.tasks[number].probe, rtt: Some(rtt), ..Report::default() };
                self.tell(number, NodeMessage::Report(Box::new(report)))
            }
            Transition::Closed(number, reason) => self.close(number, reason),
            Transition::Reads(number) => {
                self.read(number);
                Answer::Nothing
            }
            Transition::Pass(time) => {
                self.driver.now = self.driver.now.saturating_add(time);
                Answer::Nothing
            }
            Transition::Wake => {
                self.command(Node::handle_timeout);
                // A spurious one, right behind it.
                self.command(Node::handle_timeout)
            }
            Transition::WakeEarly(time) => {
                let over = Instant::EPOCH.saturating_add(time).min(self.driver.node.now);
                self.command(|node, _| node.handle_timeout(over))
            }
        }
    }

    fn command(&mut self, command: impl FnOnce(&mut Node, Instant)) -> Answer {
        self.call(command);
        Answer::Nothing
    }

    /// A clock that runs backwards counts as one that stands still: every other call has one.
    fn call<T>(&mut self, call: impl FnOnce(&mut Node, Instant) -> T) -> T {
        self.calls += 1;
        let runs_backwards = self.calls.is_multiple_of(2) && self.driver.node.now == self.driver.now;
        self.driver.call(|node, now| call(node, if runs_backwards { Instant::EPOCH } else { now }))
    }

    /// The attempts to reach a peer, in the order in which they began.
    fn attempts(&self, peer: usize) -> Vec<AttemptId> {
        let attempts = self.driver.node.attempts.iter().filter(|(_, id)| **id == id_of(peer));
        attempts.map(|(attempt, _)| *attempt).collect()
    }

    fn attempt(&self, peer: usize, index: usize) -> AttemptId {
        self.attempts(peer)[index]
    }

    fn dialed(&mut self, peer: usize, index: usize) -> Answer {
        let id = self.attempt(peer, index);
        let remote = self.driver.dials.remove(&id).expect("nobody dials there");
        let endpoints = Endpoints { local: addr(200), remote };
        let link = self.call(|node, now| node.handle_dialed(now, id, endpoints));
        if let Some(link) = &link {
            assert_eq!(link.expected, ExpectedPeer::Exactly(id_of(peer)));
            self.begin(link);
        }
        Answer::Transport(link.is_some())
    }

    /// Results of attempts that are over, and those that an attempt cannot have where it is.
    fn nonsense(&mut self, number: usize) -> Answer {
        let Some(id) = self.attempts.get(number % self.attempts.len().max(1)).copied() else { return Answer::Nothing };
        let endpoints = Endpoints { local: addr(200), remote: addr(1) };
        if !self.driver.dials.contains_key(&id) {
            assert!(self.call(|node, now| node.handle_dialed(now, id, endpoints)).is_none());
            if !self.driver.resolves.contains_key(&id) {
                self.command(|node, now| node.handle_dial_failed(now, id, DialFailure::Other));
            }
        }
        if !self.driver.resolves.contains_key(&id) {
            self.command(|node, now| node.handle_resolved(now, id, &[addr(9)]));
        }
        // Connections that there never were, or that are over.
        if let Some(task) = self.tasks.iter().find(|task| task.is_retired) {
            let id = task.id;
            self.driver.close(id, CloseReason::Eof);
            self.driver.secure(id, id_of(0));
            self.command(|node, now| node.handle_connection_lost(now, id));
        }
        Answer::Nothing
    }

    fn begin(&mut self, link: &Link) {
        let id = link.id().unwrap();
        assert!(self.tasks.iter().all(|task| task.id != id), "an id is used twice");
        let (to_connection, to_node) = (Mailbox::default(), Mailbox::default());
        let number = self.tasks.len();
        self.tasks.push(Task { id, number, to_connection, to_node, probe: 0, is_retired: false });
    }

    /// A message goes through the mailbox of its connection.
    fn tell(&mut self, number: usize, message: NodeMessage) -> Answer {
        let task = &mut self.tasks[number];
        // The driver is late, and finds the newest one only.
        if let NodeMessage::Report(_) = message {
            task.to_node.put(ToNode(NodeMessage::Report(Box::default())));
        }
        task.to_node.put(ToNode(message));
        assert!(task.to_node.len() <= SLOTS);
        let id = task.id;
        while let Some(message) = self.tasks[number].to_node.take() {
            self.call(|node, now| node.handle_connection(now, id, message));
        }
        Answer::Nothing
    }

    fn close(&mut self, number: usize, reason: Reason) -> Answer {
        let reason = match reason {
            Reason::Eof => CloseReason::Eof,
            Reason::Local => CloseReason::Local,
            Reason::Denied => CloseReason::DeniedByRemote,
            Reason::HandshakeTimeout => CloseReason::HandshakeTimeout,
            Reason::KeepAlive => CloseReason::KeepAliveTimeout,
            Reason::Flood => CloseReason::Protocol(ProtocolError::Yamux(Violation::PingFlood)),
            Reason::Lost => {
                let id = self.tasks[number].id;
                self.tasks[number].is_retired = true;
                return self.command(|node, now| node.handle_connection_lost(now, id));
            }
        };
        self.tell(number, NodeMessage::Closed { reason, last: Box::default() })
    }

    /// A connection reads all that waits for it.
    fn read(&mut self, number: usize) {
        let task = &mut self.tasks[number];
        while let Some(message) = task.to_connection.take() {
            if let ConnectionMessage::Query(Query::Probe(probe)) = message.0 {
                task.probe = probe;
            }
        }
    }

    /// Puts what the node has said where it belongs.
    fn carry(&mut self, reference: &Reference) {
        for (to, message) in core::mem::take(&mut self.driver.sent) {
            let task = self.tasks.iter_mut().find(|task| task.id == to).expect("a message to nobody");
            assert!(!task.is_retired, "{message:?} to a connection that is over");
            task.is_retired = message.is_last();
            task.to_connection.put(message);
            assert!(task.to_connection.len() <= SLOTS);
        }
        for event in self.driver.take_events() {
            self.note(event, reference);
        }
        self.attempts.extend(self.driver.dials.keys().chain(self.driver.resolves.keys()));
        self.attempts.sort_unstable();
        self.attempts.dedup();
    }

    fn note(&mut self, event: Event, reference: &Reference) {
        let number_of_task = |id: ConnectionId| self.tasks.iter().find(|task| task.id == id).unwrap().number;
        let told = match event {
            Event::Opened { peer, connection, .. } => {
                Told::Opened { connection: number_of_task(connection), peer: number_of(peer) }
            }
            Event::Closed { peer, connection, .. } => {
                let times = self.closed.entry(connection).or_default();
                *times += 1;
                assert_eq!(*times, 1, "closed twice");
                Told::Closed { connection: number_of_task(connection), peer: peer.map(number_of) }
            }
            Event::Denied { peer, reason, .. } => {
                Told::Denied { peer: peer.map(number_of), reason: format!("{reason:?}") }
            }
            Event::DialFailed { peer, failures, retry_at, .. } => {
                let peer = number_of(peer);
                if let (Some(at), Effort::Waiting(window)) = (retry_at, &reference.peers[peer].effort) {
                    assert!(window.contains(at), "a delay out of its interval: {at:?} {window:?}");
                }
                Told::DialFailed { peer, failures, retries: retry_at.is_some() }
            }
            Event::Banned { .. } => Told::Banned,
            Event::Unbanned { .. } => Told::Unbanned,
            // When it comes is tested by itself.
            Event::LimitReached { .. } => return,
            Event::State { peer, state, .. } => {
                assert_eq!(state, reference.state(number_of(peer)), "the application is told something else");
                return;
            }
        };
        self.told.push(told);
    }

    /// The node is where the reference is.
    fn compare(&self, reference: &Reference) {
        let node = &self.driver.node;
        assert_eq!(self.driver.now, reference.now);
        for peer in 0..PEERS {
            let id = id_of(peer);
            assert_eq!(node.state(&id), reference.state(peer), "the state of peer {peer}");
            assert_eq!(self.attempts(peer).len(), reference.attempts(peer).len(), "attempts of peer {peer}");
            let entry = node.peers.get(&id);
            assert_eq!(entry.is_some(), reference.is_remembered(peer), "peer {peer} is remembered, or not");
            let Some(entry) = entry else { continue };
            assert_eq!(entry.failures, reference.peers[peer].failures, "failures of peer {peer}");
            let deadline = (entry.armed, reference.deadline(peer));
            assert!(matches(deadline), "the timer of peer {peer}: {deadline:?}");
            if let Effort::Waiting(window) = &reference.peers[peer].effort {
                assert!(window.contains(entry.until.unwrap()), "a delay out of its interval");
            }
        }
        let deadline = (node.poll_timeout(), reference.next_deadline());
        assert!(matches(deadline), "the node's timer: {deadline:?}");
        let connections: Vec<_> = node.connections.keys().map(|id| self.number(*id)).collect();
        assert_eq!(connections, reference.connections.keys().copied().collect::<Vec<_>>());
        for (number, connection) in &reference.connections {
            let entry = &node.connections[&self.tasks[*number].id];
            assert_eq!(phase_of(entry), connection.phase, "the phase of connection {number}");
        }
        let queue: Vec<usize> = node.hungry.values().map(|id| number_of(*id)).collect();
        assert_eq!(queue, reference.queue);
    }

    fn number(&self, id: ConnectionId) -> usize {
        self.tasks.iter().find(|task| task.id == id).unwrap().number
    }

    fn check_limits(&self) {
        let (node, config) = (&self.driver.node, &self.driver.node.config);
        let upgrading = node.connections.values().filter(|entry| entry.attempt.is_some()).count();
        assert_eq!(node.attempts.len(), upgrading + self.driver.dials.len() + self.driver.resolves.len());
        assert!(node.attempts.len() <= config.max_dials);
        assert!(node.connections.len() <= config.max_connections);
        let inbound = node.connections.values().filter(|entry| entry.role == Role::Listener);
        let pending = inbound.clone().filter(|entry| entry.since().is_none()).count();
        assert_eq!((node.inbound, node.pending_inbound), (inbound.count(), pending));
        assert!(node.inbound <= config.max_inbound && pending <= config.max_pending_inbound);
        assert_eq!(node.open, node.connections.values().filter(|entry| entry.is_present()).count());
        for (id, peer) in &node.peers {
            let entries = || peer.connections.iter().map(|id| &node.connections[id]);
            assert!(entries().all(|entry| entry.peer == Some(*id)));
            assert!(entries().filter(|entry| entry.is_admitted).count() <= config.max_per_peer);
            let may_be_left_out =
                |entry: &connections::Entry| entry.since().is_none() && entry.phase != connections::Phase::Admitted;
            assert!(entries().all(|entry| entry.is_admitted || may_be_left_out(entry)));
            let attempts = peer.dial.as_ref().map_or(&[][..], |dial| dial.attempts());
            assert!(attempts.len() <= config.max_dials_per_peer);
        }
    }

    /// Tables that say the same say the same.
    fn check_tables(&self) {
        let node = &self.driver.node;
        for (id, peer) in &node.peers {
            assert_eq!(peer.dial.is_some(), peer.effort == RealEffort::Dialing);
            assert!(peer.dial.as_ref().is_none_or(|dial| !dial.has_failed()));
            assert_eq!(peer.until.is_some(), matches!(peer.effort, RealEffort::Waiting | RealEffort::Cooldown));
            assert_eq!(peer.announced, node.state(id), "the application was not told");
            assert_eq!(peer.armed, peer.poll_timeout(node.config.max_dials_per_peer), "{id}");
            assert_eq!(peer.cooling, node.cools_until(id, peer), "{id}");
            assert!(peer.queued.is_none_or(|place| node.hungry.get(&place) == Some(id)));
        }
        let armed: Vec<_> = node.peers.iter().filter_map(|(id, peer)| Some((peer.armed?, *id))).collect();
        assert_eq!(node.timers.len(), armed.len());
        assert!(armed.iter().all(|timer| node.timers.contains(timer)));
        assert_eq!(node.book.pins(), node.peers.len());
    }

    /// After everybody has left, the node is as it was.
    fn end(&mut self, reference: &Reference) {
        self.call(Node::shutdown);
        assert!(self.driver.dials.is_empty() && self.driver.resolves.is_empty());
        let connect = self.call(|node, now| node.connect(now, id_of(0)));
        assert_eq!(connect, Err(DialError::ShuttingDown));
        for number in reference.connections.keys() {
            self.close(*number, Reason::Local);
        }
        for peer in 0..PEERS {
            self.call(|node, now| node.unban(now, id_of(peer).into()));
        }
        self.driver.wait(Duration::from_secs(1_000_000));
        for event in self.driver.take_events() {
            if let Event::Closed { connection, .. } = event {
                *self.closed.entry(connection).or_default() += 1;
            }
        }
        assert!(self.tasks.iter().all(|task| self.closed.get(&task.id) == Some(&1)), "exactly one Closed for each");
        let node = &self.driver.node;
        assert!(node.is_idle() && node.poll_timeout().is_none());
        assert_eq!(node.entries(), 0, "something is left");
    }
}

impl Node {
    /// Entries of all tables, besides the book, the bans and the scores, which are to outlive connections.
    fn entries(&self) -> usize {
        let counts = self.inbound + self.pending_inbound + self.open + self.prefixes.len();
        let rates = self.connects.len() + self.handshakes.len();
        let peers = self.peers.len()
            + self.timers.len()
            + self.cooling.len()
            + self.hungry.len()
            + self.book.pins()
            + self.changed.len();
        let tables = self.attempts.len() + self.connections.len() + self.letters.len();
        counts + rates + peers + tables + self.actions.len() + self.events.len()
    }
}

fn matches((real, expected): (Option<Instant>, Option<Window>)) -> bool {
    match (real, expected) {
        (Some(real), Some(expected)) => expected.contains(real),
        (None, None) => true,
        _ => false,
    }
}

fn phase_of(entry: &connections::Entry) -> Phase {
    match entry.phase {
        connections::Phase::Upgrading => Phase::Upgrading,
        connections::Phase::Admitted => Phase::Admitted,
        connections::Phase::Open { since, is_ready } => Phase::Open { since, is_ready },
        connections::Phase::Retiring { since } => Phase::Leaving { since: Some(since) },
        connections::Phase::Leaving { since } => Phase::Leaving { since },
    }
}

/// The addresses of a peer, of the kinds that the reference says.
fn addrs_of(peer: usize) -> Vec<Multiaddr> {
    let kinds = if peer == MYSELF { &[] } else { addrs(peer) };
    let numbered = (0_u8..).zip(kinds);
    let of_kind = |(number, kind): (u8, &Addr)| match kind {
        Addr::Inside => addr(1 + number),
        Addr::Outside => addr(20 + 10 * peer as u8 + number),
        Addr::Name => "/dns4/host.example/tcp/1".parse().unwrap(),
    };
    numbered.map(of_kind).collect()
}

#[test]
fn a_peer_that_takes_the_place_it_gave_up_does_not_wait_for_it_any_more() {
    let add = |peer| Transition::Add { peer, intent: Intent::Persistent, with_addrs: true };
    let transitions = vec![
        add(1),
        add(0),
        add(3),
        // Peers 0 and 1 have more addresses, but all places are taken.
        Transition::Pass(Duration::from_millis(250)),
        Transition::Wake,
        Transition::DialFailed(1, 0),
        Transition::Remove(1),
    ];
    NodeTest::test_sequential(ProptestConfig::default(), Reference::new(), transitions, None);
}

#[test]
fn a_peer_whose_addresses_are_all_banned_fails_once_when_it_is_added() {
    let transitions = vec![
        Transition::BanNetwork(Duration::from_secs(1)),
        Transition::Add { peer: 0, intent: Intent::Persistent, with_addrs: true },
    ];
    NodeTest::test_sequential(ProptestConfig::default(), Reference::new(), transitions, None);
}

#[test]
fn a_ban_that_is_lifted_late_is_over_like_any_other() {
    let transitions = vec![
        Transition::Add { peer: 3, intent: Intent::Persistent, with_addrs: true },
        Transition::Ban(3, Some(Duration::from_secs(1))),
        Transition::Pass(Duration::from_secs(2)),
        // Nobody has told the node yet that the ban is over. The peer is dialed all the same.
        Transition::Unban(3),
        Transition::Dialed(3, 0),
    ];
    NodeTest::test_sequential(ProptestConfig::default(), Reference::new(), transitions, None);
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_node_does_what_the_reference_does(sequential 1..200 => NodeTest);
}
