//! Mistakes that networks like this one were seen to make. Each test fails on the mistake that it is named for.

use core::time::Duration;
use std::{boxed::Box, vec, vec::Vec};

use super::driver::{Driver, addr, endpoints, ordered, peer};
use crate::{
    ConnectionId, Instant, PeerId, Seed,
    connection::{CloseReason, DenyReason},
    link::{ConnectionMessage, NodeMessage, Query, Report},
    node::{BanSubject, Config, DialError, DialFailure, Event, Intent, Node, PeerState, Snapshot, WallTime},
};

const SECOND: Duration = Duration::from_secs(1);

fn wanting(local: PeerId, other: PeerId) -> Driver {
    let mut driver = Driver::of(local, Config::default());
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
    driver
}

/// The dial that is under way is answered, but the application's handshake is not done.
fn answer(driver: &mut Driver, other: PeerId) -> ConnectionId {
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.secure(id, other);
    assert_eq!(driver.take(id), Some(ConnectionMessage::Admission(Ok(()))));
    driver.tell(id, NodeMessage::Opened { is_ready: false });
    id
}

fn states(driver: &mut Driver) -> Vec<PeerState> {
    let state = |event| match event {
        Event::State { state, .. } => Some(state),
        _ => None,
    };
    driver.take_events().into_iter().filter_map(state).collect()
}

// A state table that knows no way from "reconnecting" to "established", so that a peer is never whole again.

#[test]
fn a_reconnect_without_a_command_reaches_established_as_the_first_connect_did() {
    let (other, local) = ordered();
    let mut driver = wanting(local, other);
    for round in 0..3 {
        let id = answer(&mut driver, other);
        driver.tell(id, NodeMessage::Opened { is_ready: true });
        let expected = [PeerState::Connecting, PeerState::Connected, PeerState::Established];
        assert_eq!(states(&mut driver), expected, "round {round}");
        driver.close(id, CloseReason::Eof);
        assert_eq!(states(&mut driver), [PeerState::Backoff]);
        driver.sleep();
    }
}

#[test]
fn the_end_of_a_cooldown_leads_to_a_dial_and_to_established() {
    let (other, local) = ordered();
    let mut driver = wanting(local, other);
    let id = answer(&mut driver, other);
    driver.close(id, CloseReason::HandshakeTimeout);
    assert_eq!(states(&mut driver).last(), Some(&PeerState::Cooldown));
    driver.sleep();
    let id = answer(&mut driver, other);
    driver.tell(id, NodeMessage::Opened { is_ready: true });
    let expected = [PeerState::Connecting, PeerState::Connected, PeerState::Established];
    assert_eq!(states(&mut driver), expected);
}

// A gate that refuses a peer because it is just being dialed, so that two that dial each other both fail.

#[test]
fn two_that_dial_each_other_refuse_and_kill_neither_connection_before_one_is_open_on_both_sides() {
    let (small, large) = ordered();
    let mut nodes = [wanting(small, large), wanting(large, small)];
    let others = [large, small];
    // Each one's dial arrives at the other while that is dialing itself.
    let ours = [0, 1].map(|side: usize| {
        let attempt = nodes[side].only_dial();
        nodes[side].dialed(attempt).unwrap().id().unwrap()
    });
    let theirs = [0, 1].map(|side: usize| nodes[side].incoming(1));
    for side in 0..2 {
        for id in [ours[side], theirs[side]] {
            nodes[side].secure(id, others[side]);
            assert_eq!(nodes[side].take(id), Some(ConnectionMessage::Admission(Ok(()))));
        }
    }
    // The one that the smaller side dialed opens first on both; the other one goes on.
    nodes[0].tell(ours[0], NodeMessage::Opened { is_ready: true });
    nodes[1].tell(theirs[1], NodeMessage::Opened { is_ready: true });
    for side in 0..2 {
        assert_eq!(nodes[side].sent, vec![], "nothing is given up");
        assert_eq!(nodes[side].node.state(&others[side]), PeerState::Established);
    }
}

// "The newest loses", judged by each side for itself: they see the two open in different orders and keep none.

#[test]
fn both_sides_keep_the_same_connection_whichever_opens_first_on_which_side() {
    let (small, large) = ordered();
    for orders in [[true, true], [true, false], [false, true], [false, false]] {
        let mut nodes = [wanting(small, large), wanting(large, small)];
        let others = [large, small];
        // The connection that each side dialed, as it is called on both sides.
        let mut wires = [[None; 2]; 2];
        for side in 0..2 {
            let attempt = nodes[side].only_dial();
            wires[side][side] = nodes[side].dialed(attempt).unwrap().id();
            wires[side][1 - side] = Some(nodes[1 - side].incoming(1));
        }
        let wires = wires.map(|ends| ends.map(Option::unwrap));
        for side in 0..2 {
            let first = usize::from(orders[side]);
            nodes[side].open(wires[first][side], others[side]);
            nodes[side].open(wires[1 - first][side], others[side]);
        }
        // The larger side asks whether its older one is alive, and it is. The smaller side is told nothing: the
        // goodbye is late, and it has to judge for itself.
        for ends in wires {
            if let Some(ConnectionMessage::Query(Query::Probe(probe))) = nodes[1].take(ends[1]) {
                nodes[1].tell(ends[1], NodeMessage::Report(Box::new(Report { probe, ..Report::default() })));
            }
        }
        nodes[0].wait(10 * SECOND);
        let kept = [0, 1].map(|side: usize| nodes[side].node.connection_to(&others[side]).unwrap());
        assert_eq!(kept, wires[1], "the one that the larger side dialed; {orders:?}");
        for side in 0..2 {
            let lost = wires[0][side];
            assert!(nodes[side].sent.iter().any(|(to, _)| *to == lost), "the other one goes; {orders:?}");
            assert!(nodes[side].sent.iter().all(|(to, _)| *to == lost), "and no other; {orders:?}");
        }
    }
}

// Answers that are matched by a number alone, whoever they come from.

#[test]
fn an_answer_that_is_late_or_of_somebody_else_concerns_nobody() {
    let mut driver = Driver::new(Config::default());
    let [one, two] = [peer(10), peer(11)];
    driver.call(|node, now| node.add_peer(now, one, &[addr(1)], Intent::Persistent)).unwrap();
    let of_one = driver.only_dial();
    driver.fail(of_one);
    driver.call(|node, now| node.add_peer(now, two, &[addr(2)], Intent::Persistent)).unwrap();
    let of_two = driver.only_dial();
    assert_ne!(of_one, of_two, "a number is never used again");
    // What was over comes once more, as good and as bad news.
    let before = (driver.node.state(&one), driver.node.state(&two), driver.node.poll_timeout());
    driver.call(|node, now| node.handle_dial_failed(now, of_one, DialFailure::Refused));
    driver.call(|node, now| node.handle_resolved(now, of_one, &[addr(7)]));
    assert!(driver.call(|node, now| node.handle_dialed(now, of_one, endpoints(1))).is_none());
    assert_eq!((driver.node.state(&one), driver.node.state(&two), driver.node.poll_timeout()), before);
    assert_eq!(driver.only_dial(), of_two);
    // A connection of one ends twice, while there is one of two.
    driver.sleep();
    let of_one = *driver.dials.keys().find(|id| **id != of_two).unwrap();
    let [first, second] = [of_one, of_two].map(|id| driver.dialed(id).unwrap().id().unwrap());
    driver.open(first, one);
    driver.open(second, two);
    for _ in 0..2 {
        driver.close(first, CloseReason::Eof);
        driver.call(|node, now| node.handle_connection_lost(now, first));
    }
    assert_eq!((driver.node.state(&one), driver.node.state(&two)), (PeerState::Backoff, PeerState::Established));
    let closed = driver.take_events().into_iter().filter(|event| matches!(event, Event::Closed { .. })).count();
    assert_eq!(closed, 1);
}

#[test]
fn a_connection_to_one_peer_cannot_speak_for_another() {
    let mut driver = Driver::new(Config::default());
    let [one, two] = [peer(10), peer(11)];
    driver.call(|node, now| node.add_peer(now, one, &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.secure(id, two);
    assert!(matches!(driver.take(id), Some(ConnectionMessage::Close { .. })));
    driver.tell(id, NodeMessage::Opened { is_ready: true });
    assert_eq!((driver.node.state(&one), driver.node.state(&two)), (PeerState::Connecting, PeerState::Disconnected));
    driver.close(id, CloseReason::Local);
    assert_eq!((driver.node.state(&one), driver.node.state(&two)), (PeerState::Backoff, PeerState::Disconnected));
}

#[test]
fn the_sign_of_life_of_one_connection_says_nothing_about_another() {
    let (small, large) = ordered();
    let mut driver = wanting(large, small);
    let attempt = driver.only_dial();
    let old = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(old, small);
    let new = driver.incoming(1);
    driver.open(new, small);
    let Some(ConnectionMessage::Query(Query::Probe(probe))) = driver.take(old) else { panic!("it is not asked") };
    let stranger = driver.incoming(2);
    driver.open(stranger, peer(9));
    for id in [new, stranger] {
        driver.tell(id, NodeMessage::Report(Box::new(Report { probe, ..Report::default() })));
    }
    driver.sleep();
    assert_eq!(driver.node.connection_to(&small), Some(new), "the old one is silent");
}

// A life that is one flag: calls that hang or do nothing after the end, and entries that stay for ever.

#[test]
fn before_during_and_after_the_end_every_command_has_an_answer_and_nothing_is_left() {
    let mut driver = Driver::new(Config { max_dials: 2, ..Config::default() });
    // Before: somebody is dialed, waits, cools down, is let in, is open.
    for number in 10..15 {
        driver.call(|node, now| node.add_peer(now, peer(number), &[addr(number)], Intent::Persistent)).unwrap();
    }
    let dials: Vec<_> = driver.dials.keys().copied().collect();
    let upgrading = driver.dialed(dials[0]).unwrap().id().unwrap();
    driver.fail(dials[1]);
    let open = driver.incoming(1);
    driver.open(open, peer(20));
    let cooling = driver.incoming(2);
    driver.open(cooling, peer(21));
    driver.close(cooling, CloseReason::HandshakeTimeout);
    let arriving = driver.incoming(3);
    assert!(!driver.node.hungry.is_empty() && !driver.node.timers.is_empty() && !driver.node.cooling.is_empty());

    // During: as often as somebody likes.
    let late = driver.only_dial();
    for _ in 0..20 {
        driver.call(|node, now| node.shutdown(now));
    }
    let refused = |driver: &mut Driver| {
        assert_eq!(driver.call(|node, now| node.connect(now, peer(10))), Err(DialError::ShuttingDown));
        let added = driver.call(|node, now| node.add_peer(now, peer(30), &[addr(9)], Intent::Persistent));
        assert_eq!(added, Err(DialError::ShuttingDown));
        let incoming = driver.call(|node, now| node.handle_incoming(now, endpoints(4)));
        assert_eq!(incoming.err(), Some(DenyReason::ShuttingDown));
        assert!(driver.call(|node, now| node.handle_dialed(now, late, endpoints(1))).is_none());
        driver.call(|node, now| node.handle_dial_failed(now, late, DialFailure::Refused));
        for number in [10, 20, 21] {
            driver.call(|node, now| node.cancel_reconnect(now, peer(number)));
            driver.call(|node, now| node.disconnect(now, peer(number)));
            driver.call(|node, now| node.protect(now, peer(number), true)).ok();
            driver.call(|node, now| node.ban(now, peer(number).into(), Some(SECOND))).unwrap();
            assert!(driver.call(|node, now| node.unban(now, peer(number).into())));
        }
        driver.call(|node, now| node.shutdown(now));
        assert_eq!(driver.dials.len(), 0);
    };
    refused(&mut driver);
    assert!(!driver.node.is_idle());
    driver.secure(arriving, peer(22));
    for id in [upgrading, open, arriving] {
        driver.close(id, CloseReason::HandshakeTimeout);
    }

    // After.
    assert!(driver.node.is_idle());
    refused(&mut driver);
    let node = &driver.node;
    assert_eq!(node.poll_timeout(), None);
    assert_eq!((node.peers.len(), node.timers.len(), node.cooling.len(), node.hungry.len()), (0, 0, 0, 0));
    assert_eq!((node.connections.len(), node.attempts.len(), node.letters.len(), node.changed.len()), (0, 0, 0, 0));
    assert_eq!((node.inbound, node.pending_inbound, node.open, node.prefixes.len()), (0, 0, 0, 0));
}

// Ages that are measured with a clock on the wall, which anybody may set.

fn ban_left(snapshot: &Snapshot, now: Instant, wall: WallTime) -> Vec<Option<Duration>> {
    let seed = Seed::from_bytes([3; 32]);
    let (node, _) = Node::restored(Config::default(), ordered().1, now, seed, snapshot.clone(), wall).unwrap();
    node.bans().map(|ban| ban.ends.map(|ends| ends.saturating_duration_since(now))).collect()
}

#[test]
fn no_setting_of_the_clock_on_the_wall_lengthens_a_ban_or_loses_one_before_its_time() {
    let walls = [i64::MIN, -62_135_596_800, -1, 0, 1_763_700_000, 253_402_300_800, i64::MAX - 60, i64::MAX];
    let length = 100 * SECOND;
    for saved in walls {
        let mut driver = Driver::new(Config::default());
        driver.call(|node, now| node.ban(now, peer(8).into(), Some(length))).unwrap();
        let network: BanSubject = "10.0.0.0/8".parse::<crate::node::Prefix>().unwrap().into();
        driver.call(|node, now| node.ban(now, network, None)).unwrap();
        driver.wait(10 * SECOND);
        let mut snapshot = driver.node.snapshot(driver.now, WallTime::from_secs(saved));
        for seen in walls {
            // The clock of the process that reads it may begin anywhere.
            for now in [Instant::EPOCH, driver.now, Instant::from_nanos(u64::MAX / 2)] {
                let left = ban_left(&snapshot, now, WallTime::from_secs(seen));
                assert!(left.contains(&None), "for ever is for ever");
                let passed = seen.saturating_sub(saved).max(0);
                let expected = u64::try_from(90 - i128::from(passed)).ok().filter(|left| *left > 0);
                let running: Vec<u64> = left.into_iter().flatten().map(|left| left.as_secs()).collect();
                assert_eq!(running, Vec::from_iter(expected), "{saved} then {seen}");
            }
        }
        // However often it is stored and read while the clock stands still or goes back.
        for back in 0..5_i64 {
            let (now, wall) = (Instant::EPOCH, WallTime::from_secs(saved.saturating_sub(back)));
            let seed = Seed::from_bytes([4; 32]);
            let local = ordered().1;
            let node = Node::restored(Config::default(), local, now, seed, snapshot, wall).unwrap().0;
            snapshot = node.snapshot(now, wall);
        }
        let left = ban_left(&snapshot, Instant::EPOCH, WallTime::from_secs(i64::MIN));
        assert_eq!(left, [Some(90 * SECOND), None]);
    }
}

#[test]
fn a_clock_that_runs_backwards_shortens_no_ban_and_lengthens_none() {
    let mut driver = Driver::new(Config::default());
    let start = driver.now;
    driver.call(|node, now| node.ban(now, peer(8).into(), Some(100 * SECOND))).unwrap();
    driver.wait(40 * SECOND);
    // The clock is set back, somebody is banned, and the clock is set right again.
    driver.now = Instant::EPOCH;
    driver.call(|node, now| node.handle_timeout(now));
    driver.call(|node, now| node.ban(now, peer(9).into(), Some(20 * SECOND))).unwrap();
    let ends = |seconds| Some(start.saturating_add(seconds * SECOND));
    driver.now = start.saturating_add(50 * SECOND);
    driver.call(|node, now| node.handle_timeout(now));
    let mut running: Vec<_> = driver.node.bans().map(|ban| ban.ends).collect();
    running.sort_unstable();
    assert_eq!(running, [ends(60), ends(100)]);
    assert_eq!(driver.node.poll_timeout(), ends(60));
    driver.now = start.saturating_add(100 * SECOND);
    driver.call(|node, now| node.handle_timeout(now));
    assert!(driver.node.bans().next().is_none());
}
