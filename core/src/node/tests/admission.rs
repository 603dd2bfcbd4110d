//! Who is let in.

use core::time::Duration;
use std::vec::Vec;

use super::driver::{Driver, addr, endpoints, ordered, peer};
use crate::{
    connection::{CloseReason, DenyReason},
    link::{ConnectionMessage, NodeMessage},
    node::{Config, DialError, Event, Intent, MAX_EVENTS, PeerState, Provenance},
};

const SECOND: Duration = Duration::from_secs(1);

fn denied(driver: &mut Driver, from: u8) -> DenyReason {
    let remote = endpoints(from);
    let reason = driver.call(|node, now| node.handle_incoming(now, remote.clone())).unwrap_err();
    let mut told = driver.take_events();
    told.retain(|event| !matches!(event, Event::LimitReached { .. }));
    assert_eq!(told, [Event::Denied { peer: None, remote: remote.remote, reason }]);
    reason
}

#[test]
fn a_stranger_is_let_in_and_forgotten_when_it_goes() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let id = driver.incoming(1);
    assert_eq!(driver.node.state(&other), PeerState::Disconnected, "nobody knows who it is");
    driver.secure(id, other);
    assert_eq!(driver.node.state(&other), PeerState::Connecting);
    assert_eq!(driver.take(id), Some(ConnectionMessage::Admission(Ok(()))));
    driver.tell(id, NodeMessage::Opened { is_ready: false });
    assert_eq!(driver.node.state(&other), PeerState::Connected);
    driver.tell(id, NodeMessage::Opened { is_ready: true });
    assert_eq!(driver.node.state(&other), PeerState::Established);
    driver.close(id, CloseReason::Eof);
    assert_eq!(driver.node.state(&other), PeerState::Disconnected);
    assert_eq!(driver.take(id), Some(ConnectionMessage::Retired));
    assert_eq!(driver.node.poll_timeout(), None);
    assert!(driver.node.is_idle());
}

#[test]
fn each_limit_on_inbound_connections_holds_at_its_bound() {
    let limits = [
        Config { max_connections: 2, max_inbound: 2, high_watermark: 2, low_watermark: 1, ..Config::default() },
        Config { max_inbound: 2, ..Config::default() },
        Config { max_pending_inbound: 2, ..Config::default() },
    ];
    for config in limits {
        let mut driver = Driver::new(config);
        let first = driver.incoming(1);
        driver.incoming(2);
        assert_eq!(denied(&mut driver, 3), DenyReason::Limit);
        driver.close(first, CloseReason::Eof);
        driver.incoming(4);
        driver.take_events();
        assert_eq!(denied(&mut driver, 5), DenyReason::Limit);
    }
}

#[test]
fn a_connection_that_has_opened_is_not_pending_any_more() {
    let mut driver = Driver::new(Config { max_pending_inbound: 1, ..Config::default() });
    for number in 10..20 {
        let id = driver.incoming(number);
        driver.take_events();
        assert_eq!(denied(&mut driver, 1), DenyReason::Limit);
        driver.open(id, peer(number));
        driver.take_events();
    }
}

#[test]
fn one_address_has_only_so_many_connections_and_gets_them_back() {
    let mut driver = Driver::new(Config { max_per_prefix: 2, ..Config::default() });
    let first = driver.incoming(1);
    driver.incoming(1);
    assert_eq!(denied(&mut driver, 1), DenyReason::Limit);
    driver.incoming(2);
    driver.close(first, CloseReason::Eof);
    driver.incoming(1);
}

#[test]
fn who_connects_too_often_waits() {
    let mut driver = Driver::new(Config::default());
    for _ in 0..32 {
        let id = driver.incoming(1);
        driver.close(id, CloseReason::Eof);
    }
    driver.take_events();
    assert_eq!(denied(&mut driver, 1), DenyReason::RateLimited);
    driver.incoming(2);
    driver.wait(SECOND);
    driver.incoming(1);
}

#[test]
fn a_peer_that_makes_handshakes_too_often_is_denied() {
    let mut driver = Driver::new(Config::default());
    for round in 0..17 {
        let id = driver.incoming(1);
        driver.secure(id, ordered().0);
        let verdict = if round < 16 { Ok(()) } else { Err(DenyReason::RateLimited) };
        assert_eq!(driver.take(id), Some(ConnectionMessage::Admission(verdict)));
        driver.close(id, CloseReason::Eof);
        driver.take(id);
    }
}

#[test]
fn this_node_itself_is_not_let_in() {
    let local = ordered().1;
    let mut driver = Driver::of(local, Config::default());
    let id = driver.incoming(1);
    driver.secure(id, local);
    assert_eq!(driver.take(id), Some(ConnectionMessage::Admission(Err(DenyReason::SelfDial))));
}

#[test]
fn one_peer_holds_only_so_many_connections_while_they_settle() {
    let config = Config::default();
    let mut driver = Driver::of(ordered().0, config.clone());
    let other = ordered().1;
    for _ in 0..config.max_per_peer {
        let id = driver.incoming(1);
        driver.open(id, other);
    }
    let id = driver.incoming(1);
    driver.secure(id, other);
    assert_eq!(driver.take(id), Some(ConnectionMessage::Admission(Err(DenyReason::Limit))));
    // A stranger is not concerned.
    let id = driver.incoming(2);
    driver.open(id, peer(9));
}

/// Else a peer that keeps its streams would hold as many as it likes, for as long as connections may retire.
#[test]
fn a_connection_counts_for_its_peer_until_it_is_over_however_it_ends() {
    let (other, local) = ordered();
    let mut driver = Driver::of(local, Config { max_per_peer: 3, ..Config::default() });
    let first = driver.incoming(1);
    driver.open(first, other);
    let second = driver.incoming(1);
    driver.open(second, other);
    assert!(driver.node.connections[&first].is_leaving(), "this node decides, and one gives way");
    driver.call(|node, now| node.disconnect(now, other));
    assert!(driver.node.connections[&second].is_leaving());
    let third = driver.incoming(1);
    driver.open(third, other);

    let fourth = driver.incoming(1);
    driver.secure(fourth, other);
    assert_eq!(driver.take(fourth), Some(ConnectionMessage::Admission(Err(DenyReason::Limit))));
    driver.close(first, CloseReason::Eof);
    let fifth = driver.incoming(1);
    driver.secure(fifth, other);
    assert_eq!(driver.take(fifth), Some(ConnectionMessage::Admission(Ok(()))), "the denied one does not count");
}

#[test]
fn a_failed_handshake_of_the_application_shuts_both_directions_for_a_while() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let id = driver.reach(other);
    driver.close(id, CloseReason::HandshakeTimeout);
    assert_eq!(driver.node.state(&other), PeerState::Cooldown);
    assert_eq!(
        driver.call(|node, now| node.connect(now, other)),
        Err(DialError::Cooldown { left: Duration::from_secs(60) })
    );
    let inbound = driver.incoming(1);
    driver.secure(inbound, other);
    assert_eq!(driver.take(inbound), Some(ConnectionMessage::Admission(Err(DenyReason::Cooldown))));
    // When it is over, a persistent peer is dialed: the way out of the cooldown is not a dead end.
    assert_eq!(driver.sleep(), Some(Duration::from_secs(60)));
    assert_eq!(driver.node.state(&other), PeerState::Connecting);
    driver.only_dial();
}

#[test]
fn a_crowd_that_fails_the_handshake_is_remembered_up_to_a_limit() {
    let mut driver = Driver::new(Config { max_cooling: 3, ..Config::default() });
    let fail = |driver: &mut Driver, number: u8| {
        let id = driver.incoming(number);
        driver.open(id, peer(number));
        driver.close(id, CloseReason::HandshakeTimeout);
        driver.wait(SECOND);
    };
    // Whom this node wants counts for itself.
    driver.call(|node, now| node.add_peer(now, peer(9), &[addr(9)], Intent::Persistent)).unwrap();
    fail(&mut driver, 9);
    let cooling = |driver: &Driver| -> Vec<u8> {
        (9..20).filter(|number| driver.node.state(&peer(*number)) == PeerState::Cooldown).collect()
    };
    (10..13).for_each(|number| fail(&mut driver, number));
    assert_eq!(cooling(&driver), [9, 10, 11, 12]);
    driver.take_events();
    fail(&mut driver, 13);
    assert_eq!(cooling(&driver), [9, 11, 12, 13], "the oldest is forgotten");
    assert!(driver.take_events().contains(&Event::State { peer: peer(10), state: PeerState::Disconnected }));
    (14..20).for_each(|number| fail(&mut driver, number));
    assert_eq!(cooling(&driver), [9, 17, 18, 19]);
    assert_eq!((driver.node.peers.len(), driver.node.timers.len(), driver.node.cooling.len()), (4, 4, 3));
    driver.call(|node, now| node.remove_peer(now, peer(9)));
    driver.wait(60 * SECOND);
    assert_eq!((driver.node.peers.len(), driver.node.timers.len(), driver.node.cooling.len()), (0, 0, 0));
}

#[test]
fn a_peer_of_whom_a_stranger_has_told_is_not_dialed_when_it_leaves() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    driver.call(|node, now| node.add_addr(now, other, &addr(1), Provenance::Identify)).unwrap();
    let id = driver.incoming(1);
    driver.open(id, other);
    driver.close(id, CloseReason::Eof);
    assert_eq!((driver.node.state(&other), driver.node.poll_timeout()), (PeerState::Disconnected, None));
    driver.call(|node, now| node.connect(now, other)).unwrap();
    driver.only_dial();
}

#[test]
fn a_transient_peer_whose_handshake_always_fails_is_given_up() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Transient)).unwrap();
    driver.call(|node, now| node.connect(now, other)).unwrap();
    let mut rounds = 0;
    while let Some(attempt) = driver.dials.keys().next().copied() {
        let id = driver.dialed(attempt).unwrap().id().unwrap();
        driver.open(id, other);
        driver.close(id, CloseReason::HandshakeTimeout);
        driver.sleep();
        rounds += 1;
        assert!(rounds < 20);
    }
    assert_eq!((rounds, driver.node.poll_timeout()), (10, None));
}

#[test]
fn messages_of_a_connection_that_is_over_change_nothing() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let id = driver.incoming(1);
    driver.open(id, other);
    driver.close(id, CloseReason::Eof);
    driver.take_events();
    driver.sent.clear();
    driver.secure(id, other);
    driver.tell(id, NodeMessage::Opened { is_ready: true });
    driver.close(id, CloseReason::Eof);
    driver.call(|node, now| node.handle_connection_lost(now, id));
    assert_eq!((driver.take_events(), driver.sent.len()), (std::vec![], 0));
}

#[test]
fn a_task_that_died_is_a_connection_that_is_lost() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    // Before the handshake is done: the address has failed.
    driver.call(|node, now| node.handle_connection_lost(now, id));
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
    driver.sleep();
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(id, other);
    driver.take_events();
    driver.call(|node, now| node.handle_connection_lost(now, id));
    let closed = Event::Closed { peer: Some(other), connection: id, was_open: true, reason: CloseReason::Io };
    assert_eq!(driver.take_events(), [closed, Event::State { peer: other, state: PeerState::Backoff }]);
}

#[test]
fn the_latest_state_of_every_peer_is_told_however_late_the_application_asks() {
    let config = Config { max_dials: 10_000, ..Config::default() };
    let mut node =
        crate::node::Node::new(config, ordered().1, crate::Instant::EPOCH, crate::Seed::from_bytes([1; 32])).unwrap();
    for number in 0..MAX_EVENTS as u64 + 1000 {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let other = crate::Identity::from_ed25519_seed(key).peer_id();
        node.add_peer(crate::Instant::EPOCH, other, &[addr(1)], Intent::Persistent).unwrap();
    }
    let mut told = 0;
    while let Some(event) = node.poll_event() {
        assert!(matches!(event, Event::State { state: PeerState::Connecting, .. }));
        told += 1;
    }
    assert_eq!((told, node.lost_events()), (MAX_EVENTS + 1000, 0));
}

#[test]
fn shutting_down_drains_what_there_is_and_refuses_the_rest() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let ours = driver.reach(other);
    let arriving = driver.incoming(2);
    driver.call(|node, now| node.shutdown(now));
    driver.call(|node, now| node.shutdown(now));
    for id in [ours, arriving] {
        assert_eq!(driver.take(id), Some(ConnectionMessage::Close { code: 0x1006 }));
        assert_eq!(driver.take(id), None);
    }
    driver.take_events();
    assert_eq!(denied(&mut driver, 3), DenyReason::ShuttingDown);
    assert!(!driver.node.is_idle());
    driver.close(ours, CloseReason::Local);
    driver.close(arriving, CloseReason::Local);
    assert!(driver.node.is_idle());
    assert_eq!(driver.node.poll_timeout(), None);
}
