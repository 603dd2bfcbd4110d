//! Anything may happen in any order: what always holds.

use core::time::Duration;
use std::{collections::BTreeMap, vec, vec::Vec};

use proptest::prelude::*;

use super::driver::{Driver, addr, endpoints, ordered, peer};
use crate::{
    ConnectionId, Instant, PeerId, Role,
    connection::{CloseReason, ProtocolError},
    link::{ConnectionMessage, NodeMessage, SLOTS},
    node::{AttemptId, BanSubject, Config, DialFailure, Event, Intent, PeerState, transition::Effort},
    yamux::Violation,
};

/// Few, so that limits are met and peers meet again.
const PEERS: usize = 5;
const MAX_DIALS: usize = 3;
const MAX_DIALS_PER_PEER: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    Add(usize, Intent, u8),
    Connect(usize),
    Cancel(usize),
    Disconnect(usize),
    Remove(usize),
    Ban(usize, Option<u16>),
    BanNetwork(u16),
    Unban(usize),
    /// A result of an attempt that is under way, or that was once.
    Dialed(usize),
    DialFailed(usize),
    Resolved(usize, u8),
    Incoming(u8),
    Secure(usize, usize),
    Open(usize, bool),
    Close(usize, u8),
    Lost(usize),
    Answer(usize),
    Sleep,
    Wait(u32),
    Backwards(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let peer = 0..PEERS;
    let some = 0..40_usize;
    let intent = prop_oneof![Just(Intent::Transient), Just(Intent::Persistent), Just(Intent::Dormant)];
    prop_oneof![
        3 => (peer.clone(), intent, any::<u8>()).prop_map(|(peer, intent, addr)| Op::Add(peer, intent, addr)),
        2 => peer.clone().prop_map(Op::Connect),
        1 => peer.clone().prop_map(Op::Cancel),
        1 => peer.clone().prop_map(Op::Disconnect),
        1 => peer.clone().prop_map(Op::Remove),
        1 => (peer.clone(), any::<Option<u16>>()).prop_map(|(peer, length)| Op::Ban(peer, length)),
        1 => any::<u16>().prop_map(Op::BanNetwork),
        1 => peer.clone().prop_map(Op::Unban),
        6 => some.clone().prop_map(Op::Dialed),
        4 => some.clone().prop_map(Op::DialFailed),
        2 => (some.clone(), any::<u8>()).prop_map(|(attempt, count)| Op::Resolved(attempt, count)),
        4 => (1..9_u8).prop_map(Op::Incoming),
        6 => (some.clone(), peer).prop_map(|(connection, peer)| Op::Secure(connection, peer)),
        6 => (some.clone(), any::<bool>()).prop_map(|(connection, ready)| Op::Open(connection, ready)),
        5 => (some.clone(), any::<u8>()).prop_map(|(connection, reason)| Op::Close(connection, reason)),
        1 => some.clone().prop_map(Op::Lost),
        2 => some.prop_map(Op::Answer),
        6 => Just(Op::Sleep),
        3 => (0..200_000_u32).prop_map(Op::Wait),
        1 => any::<u32>().prop_map(Op::Backwards),
    ]
}

/// What the test remembers of a connection.
#[derive(Debug)]
struct Known {
    /// Whom a dialed one must lead to.
    expected: Option<PeerId>,
    secured: Option<PeerId>,
    admitted: bool,
    over: bool,
    closed_events: usize,
}

struct World {
    driver: Driver,
    peers: Vec<PeerId>,
    connections: BTreeMap<ConnectionId, Known>,
    /// Every attempt there was, and whose.
    attempts: Vec<AttemptId>,
    delays: usize,
}

impl World {
    fn new() -> Self {
        let (other, local) = ordered();
        let config = Config {
            max_connections: 8,
            max_inbound: 6,
            max_pending_inbound: 4,
            max_per_prefix: 3,
            max_dials: MAX_DIALS,
            max_dials_per_peer: MAX_DIALS_PER_PEER,
            high_watermark: 6,
            low_watermark: 4,
            ..Config::default()
        };
        let mut peers = vec![other];
        peers.extend((20..20 + PEERS as u8 - 1).map(peer));
        let driver = Driver::of(local, config);
        Self { driver, peers, connections: BTreeMap::new(), attempts: vec![], delays: 0 }
    }

    fn attempt(&self, number: usize) -> Option<AttemptId> {
        // Mostly what is under way, sometimes what is over.
        let live: Vec<AttemptId> = self.driver.dials.keys().chain(self.driver.resolves.keys()).copied().collect();
        match number % 4 {
            0 if !self.attempts.is_empty() => Some(self.attempts[number % self.attempts.len()]),
            _ if live.is_empty() => None,
            _ => Some(live[number % live.len()]),
        }
    }

    fn connection(&self, number: usize) -> Option<ConnectionId> {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        let recent = &ids[ids.len().saturating_sub(8)..];
        (!recent.is_empty()).then(|| recent[number % recent.len()])
    }

    fn apply(&mut self, op: Op) {
        let now_before = self.driver.now;
        match op {
            Op::Add(peer, intent, number) => {
                let name = std::format!("/dns4/host{number}.example/tcp/1").parse().unwrap();
                let addrs = if number % 4 == 0 { vec![name] } else { vec![addr(number % 8 + 1), addr(number % 5 + 1)] };
                let _ = self.driver.call(|node, now| node.add_peer(now, self.peers[peer], &addrs, intent));
            }
            Op::Connect(peer) => drop(self.driver.call(|node, now| node.connect(now, self.peers[peer]))),
            Op::Cancel(peer) => self.driver.call(|node, now| node.cancel_reconnect(now, self.peers[peer])),
            Op::Disconnect(peer) => self.driver.call(|node, now| node.disconnect(now, self.peers[peer])),
            Op::Remove(peer) => self.driver.call(|node, now| node.remove_peer(now, self.peers[peer])),
            Op::Ban(peer, seconds) => {
                let length = seconds.map(|seconds| Duration::from_secs(seconds.into()));
                self.driver.call(|node, now| node.ban(now, self.peers[peer].into(), length)).unwrap();
                let state = self.driver.node.state(&self.peers[peer]);
                assert!(matches!(state, PeerState::Disconnected | PeerState::Draining), "{state:?} though banned");
            }
            Op::BanNetwork(seconds) => {
                let prefix = BanSubject::Prefix("10.0.0.0/29".parse().unwrap());
                let length = Some(Duration::from_secs(u64::from(seconds) / 64));
                self.driver.call(|node, now| node.ban(now, prefix, length)).unwrap();
            }
            Op::Unban(peer) => drop(self.driver.call(|node, now| node.unban(now, self.peers[peer].into()))),
            Op::Dialed(number) => {
                let Some(id) = self.attempt(number) else { return };
                let under_way = self.driver.dials.contains_key(&id);
                if let Some(link) = self.driver.dialed(id) {
                    assert!(under_way, "an attempt that is over yields a connection");
                    let crate::ExpectedPeer::Exactly(expected) = link.expected else { panic!("nobody is expected") };
                    self.know(link.id().unwrap(), Some(expected));
                }
            }
            Op::DialFailed(number) => {
                let Some(id) = self.attempt(number) else { return };
                self.driver.dials.remove(&id);
                self.driver.resolves.remove(&id);
                self.driver.call(|node, now| node.handle_dial_failed(now, id, DialFailure::Refused));
            }
            Op::Resolved(number, count) => {
                let Some(id) = self.attempt(number) else { return };
                // Results for an attempt that is being connected are nonsense, and must be harmless.
                self.driver.resolves.remove(&id);
                let found: Vec<_> = (0..count % 5).map(addr).collect();
                self.driver.call(|node, now| node.handle_resolved(now, id, &found));
            }
            Op::Incoming(from) => {
                if let Ok(link) = self.driver.call(|node, now| node.handle_incoming(now, endpoints(from))) {
                    self.know(link.id().unwrap(), None);
                }
            }
            Op::Secure(number, peer) => {
                let Some(id) = self.connection(number) else { return };
                let known = self.connections.get_mut(&id).unwrap();
                // Noise lets nobody else through to a dialer.
                let who = known.expected.unwrap_or(self.peers[peer]);
                if known.secured.is_none() && !known.over {
                    known.secured = Some(who);
                    self.driver.secure(id, who);
                }
            }
            Op::Open(number, is_ready) => {
                let Some(id) = self.connection(number) else { return };
                if self.connections[&id].admitted && !self.connections[&id].over {
                    self.driver.tell(id, NodeMessage::Opened { is_ready });
                }
            }
            Op::Close(number, reason) => {
                let Some(id) = self.connection(number) else { return };
                self.connections.get_mut(&id).unwrap().over = true;
                let flood = CloseReason::Protocol(ProtocolError::Yamux(Violation::PingFlood));
                let reasons = [
                    CloseReason::Eof,
                    CloseReason::Local,
                    CloseReason::DeniedByRemote,
                    CloseReason::HandshakeTimeout,
                    CloseReason::KeepAliveTimeout,
                    flood,
                ];
                self.driver.close(id, reasons[usize::from(reason) % reasons.len()].clone());
            }
            Op::Lost(number) => {
                let Some(id) = self.connection(number) else { return };
                self.connections.get_mut(&id).unwrap().over = true;
                self.driver.call(|node, now| node.handle_connection_lost(now, id));
            }
            Op::Answer(number) => {
                let Some(id) = self.connection(number) else { return };
                let probe = self.driver.node.last_id as u32;
                let report = crate::link::Report { probe, ..Default::default() };
                self.driver.tell(id, NodeMessage::Report(report));
            }
            Op::Sleep => drop(self.driver.sleep()),
            Op::Wait(millis) => self.driver.wait(Duration::from_millis(millis.into())),
            Op::Backwards(nanos) => {
                self.driver.now = Instant::from_nanos(u64::from(nanos));
                self.driver.call(|node, now| node.handle_timeout(now));
                self.driver.now = now_before;
            }
        }
    }

    fn know(&mut self, id: ConnectionId, expected: Option<PeerId>) {
        let known = Known { expected, secured: None, admitted: false, over: false, closed_events: 0 };
        assert!(self.connections.insert(id, known).is_none(), "an id is used twice");
    }

    /// Takes note of what the node has said, and checks what always holds.
    fn check(&mut self) {
        let mut in_flight: BTreeMap<ConnectionId, usize> = BTreeMap::new();
        for (id, message) in core::mem::take(&mut self.driver.sent) {
            let known = self.connections.get_mut(&id).expect("a message to nobody");
            *in_flight.entry(id).or_default() += 1;
            known.admitted |= message.0 == ConnectionMessage::Admission(Ok(()));
        }
        // All that one step says to one connection; what waits longer is replaced, not added to.
        assert!(in_flight.values().all(|count| *count <= SLOTS), "{in_flight:?}");
        for event in self.driver.take_events() {
            match event {
                Event::Closed { connection, .. } => {
                    let known = self.connections.get_mut(&connection).unwrap();
                    known.closed_events += 1;
                    assert_eq!(known.closed_events, 1, "closed twice");
                    assert!(known.over, "closed before it was over");
                }
                Event::DialFailed { failures, retry_at: Some(at), .. } => {
                    let delay = at.saturating_duration_since(self.driver.now);
                    assert!(delay <= Duration::from_secs(300) && failures > 0, "{delay:?}");
                    self.delays += 1;
                }
                _ => {}
            }
        }
        self.attempts.extend(self.driver.dials.keys().chain(self.driver.resolves.keys()));
        self.attempts.sort_unstable();
        self.attempts.dedup();
        self.check_limits();
        self.check_timers();
    }

    fn check_limits(&self) {
        let node = &self.driver.node;
        let config = &node.config;
        assert!(node.connections.len() <= config.max_connections);
        assert_eq!(node.attempts.len(), self.upgrading() + self.driver.dials.len() + self.driver.resolves.len());
        assert!(node.attempts.len() <= MAX_DIALS);
        let inbound = node.connections.values().filter(|entry| entry.role == Role::Listener);
        let pending = inbound.clone().filter(|entry| entry.since().is_none()).count();
        assert_eq!((node.inbound, node.pending_inbound), (inbound.count(), pending));
        assert_eq!(node.open, node.connections.values().filter(|entry| entry.is_present()).count());
        assert!(node.inbound <= config.max_inbound && pending <= config.max_pending_inbound);
        for (id, peer) in &node.peers {
            let entries = || peer.connections.iter().map(|id| &node.connections[id]);
            assert!(entries().all(|entry| entry.peer == Some(*id)));
            assert!(entries().filter(|entry| entry.is_present()).count() <= config.max_per_peer + MAX_DIALS_PER_PEER);
            assert_eq!(peer.dial.is_some(), peer.effort == Effort::Dialing);
            assert!(
                peer.dial.as_ref().is_none_or(|dial| dial.attempts().len() <= MAX_DIALS_PER_PEER && !dial.has_failed())
            );
            assert_eq!(peer.until.is_some(), matches!(peer.effort, Effort::Waiting | Effort::Cooldown));
            assert_eq!(peer.announced, node.state(id), "the application was not told");
        }
        assert!(node.hungry.iter().all(|(place, id)| node.peers[id].queued == Some(*place)));
        assert!(node.peers.values().all(|peer| peer.queued.is_none_or(|place| node.hungry.contains_key(&place))));
        assert!(node.peers.values().all(|peer| peer.queued.is_none() || peer.dial.is_some()));
    }

    fn upgrading(&self) -> usize {
        self.driver.node.connections.values().filter(|entry| entry.attempt.is_some()).count()
    }

    /// Who has something to wait for stands in the timers, nobody else does, and nothing is overdue.
    fn check_timers(&self) {
        let node = &self.driver.node;
        for (id, peer) in &node.peers {
            assert_eq!(peer.armed, peer.poll_timeout(MAX_DIALS_PER_PEER), "{id}");
        }
        let armed: Vec<_> = node.peers.iter().filter_map(|(id, peer)| Some((peer.armed?, *id))).collect();
        assert_eq!(node.timers.len(), armed.len());
        assert!(armed.iter().all(|timer| node.timers.contains(timer)));
    }

    /// After everybody has left, the node is as it was.
    fn end(&mut self) {
        self.driver.call(|node, now| node.shutdown(now));
        self.check();
        assert!(self.driver.dials.is_empty() && self.driver.resolves.is_empty());
        let open: Vec<ConnectionId> = self.driver.node.connections.keys().copied().collect();
        for id in open {
            self.connections.get_mut(&id).unwrap().over = true;
            self.driver.close(id, CloseReason::Local);
            self.check();
        }
        for peer in &self.peers {
            self.driver.node.unban(self.driver.now, (*peer).into());
        }
        self.driver.wait(Duration::from_secs(100_000));
        let node = &self.driver.node;
        assert!(node.is_idle() && node.poll_timeout().is_none());
        assert_eq!((node.peers.len(), node.timers.len(), node.attempts.len(), node.hungry.len()), (0, 0, 0, 0));
        assert_eq!((node.inbound, node.pending_inbound, node.prefixes.len()), (0, 0, 0));
        assert!(self.connections.values().all(|known| known.closed_events == 1), "exactly one Closed for each");
    }
}

#[test]
fn a_peer_that_takes_the_place_it_gave_up_does_not_wait_for_it_any_more() {
    let mut world = World::new();
    let [transient, persistent] = [Intent::Transient, Intent::Persistent];
    for op in [
        Op::Add(4, Intent::Dormant, 5),
        Op::Add(2, persistent, 80),
        Op::Add(1, persistent, 125),
        Op::Add(1, transient, 55),
        Op::Wait(10_000),
        Op::DialFailed(5),
        Op::Add(0, persistent, 5),
        Op::Dialed(1),
        Op::Sleep,
        Op::Dialed(1),
        Op::Wait(769),
        Op::Sleep,
        Op::DialFailed(17),
        Op::Sleep,
        Op::Sleep,
        Op::Remove(1),
    ] {
        world.apply(op);
        world.check();
    }
    world.end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_nothing_leaks_and_every_connection_is_closed_once(ops in prop::collection::vec(op(), 1..250)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.end();
    }
}
