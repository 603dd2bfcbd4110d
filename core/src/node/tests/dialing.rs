//! Whom a node dials, when, and when it stops.

use core::time::Duration;
use std::{vec, vec::Vec};

use super::driver::{Driver, addr, ordered, peer};
use crate::{
    Multiaddr,
    connection::{CloseReason, DenyReason},
    link::ConnectionMessage,
    node::{Backoff, Config, DialError, DialFailure, Event, FailedAttempt, Intent, PeerState, SetBackoffError},
};

const SECOND: Duration = Duration::from_secs(1);

fn known(intent: Intent, addrs: &[u8]) -> (Driver, crate::PeerId) {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let addrs: Vec<Multiaddr> = addrs.iter().map(|number| addr(*number)).collect();
    driver.call(|node, now| node.add_peer(now, other, &addrs, intent)).unwrap();
    (driver, other)
}

#[test]
fn a_persistent_peer_is_dialed_at_once_and_again_after_each_failure() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let mut least = SECOND;
    for failures in 1..20 {
        let attempt = driver.only_dial();
        assert_eq!(driver.node.state(&other), PeerState::Connecting);
        driver.fail(attempt);
        assert_eq!(driver.node.state(&other), PeerState::Backoff);
        let Some(Event::DialFailed { failures: told, retry_at: Some(at), .. }) =
            driver.take_events().into_iter().find(|event| matches!(event, Event::DialFailed { .. }))
        else {
            panic!("nothing was said of failure {failures}");
        };
        assert_eq!(told, failures);
        let delay = at.saturating_duration_since(driver.now);
        let (low, high) =
            if least < Duration::from_secs(300) { (least, least * 5 / 4) } else { (least * 3 / 4, least) };
        assert!(low <= delay && delay <= high.min(Duration::from_secs(300)), "{delay:?} after {failures}");
        assert_eq!(driver.sleep(), Some(delay));
        least = (least * 2).min(Duration::from_secs(300));
    }
}

#[test]
fn a_new_address_ends_the_wait_for_the_next_attempt_and_an_old_one_does_not() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let attempt = driver.only_dial();
    driver.fail(attempt);
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
    driver.call(|node, now| node.add_peer(now, other, &[addr(1), addr(2)], Intent::Persistent)).unwrap();
    assert_eq!(driver.node.state(&other), PeerState::Connecting);
    assert_eq!(driver.dials.values().collect::<Vec<_>>(), [&addr(2)], "the one that has not failed comes first");
    // That is no forgiveness: the next delay is as long as it would have been.
    while let Some(attempt) = driver.dials.keys().next().copied() {
        driver.fail(attempt);
    }
    assert!(driver.sleep().unwrap() >= 2 * SECOND);
}

#[test]
fn a_transient_peer_is_given_up_after_its_attempts_and_leaves_no_timer() {
    let (mut driver, other) = known(Intent::Transient, &[1]);
    driver.call(|node, now| node.connect(now, other)).unwrap();
    for _ in 1..10 {
        let attempt = driver.only_dial();
        driver.fail(attempt);
        driver.sleep();
    }
    let attempt = driver.only_dial();
    driver.fail(attempt);
    assert_eq!((driver.node.state(&other), driver.node.poll_timeout()), (PeerState::Disconnected, None));
    assert_eq!(driver.sleep(), None);
    // Asked for by name, it is tried again.
    driver.call(|node, now| node.connect(now, other)).unwrap();
    driver.only_dial();
}

#[test]
fn addresses_are_tried_a_moment_apart_and_the_first_that_opens_ends_the_effort() {
    let (mut driver, other) = known(Intent::Persistent, &[1, 2, 3, 4, 5, 6]);
    let mut begun = vec![driver.dials.len()];
    for _ in 0..3 {
        assert_eq!(driver.sleep(), Some(Duration::from_millis(250)));
        begun.push(driver.dials.len());
    }
    assert_eq!(begun, [1, 2, 3, 4], "four at once for one peer");
    // However long they take, and whoever asks again.
    driver.wait(SECOND);
    driver.call(|node, now| node.connect(now, other)).unwrap();
    driver.call(|node, now| node.add_peer(now, other, &[addr(7)], Intent::Persistent)).unwrap();
    assert_eq!(driver.dials.len(), 4);
    // A failure makes room for the next one at once.
    let first = *driver.dials.keys().next().unwrap();
    driver.fail(first);
    assert_eq!(driver.dials.len(), 4);
    let second = *driver.dials.keys().next().unwrap();
    let id = driver.dialed(second).unwrap().id().unwrap();
    driver.open(id, other);
    assert_eq!((driver.dials.len(), driver.aborted.len()), (0, 3));
    assert_eq!((driver.node.state(&other), driver.node.poll_timeout()), (PeerState::Established, None));
}

#[test]
fn an_address_that_does_not_answer_is_given_up() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let attempt = driver.only_dial();
    assert_eq!(driver.sleep(), Some(10 * SECOND));
    assert_eq!(driver.aborted, [attempt]);
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
    // What comes late is not wanted.
    assert!(driver.dialed(attempt).is_none());
    driver.call(|node, now| node.handle_dial_failed(now, attempt, crate::node::DialFailure::Other));
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
}

#[test]
fn names_are_resolved_by_the_driver_and_their_addresses_tried_in_order() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let name: Multiaddr = "/dns4/example.org/tcp/4001".parse().unwrap();
    driver.call(|node, now| node.add_peer(now, other, &[name], Intent::Persistent)).unwrap();
    let (id, _) = driver.resolves.pop_first().unwrap();
    let found: Vec<Multiaddr> = (1..=200).map(addr).collect();
    driver.call(|node, now| node.handle_resolved(now, id, &found));
    assert_eq!(driver.dials.values().next(), Some(&addr(1)));
    let mut tried = 1;
    while let Some((attempt, _)) = driver.dials.pop_first() {
        driver.fail(attempt);
        tried += usize::from(!driver.dials.is_empty());
    }
    assert_eq!(tried, 31, "a name server does not decide how long we dial");
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
}

#[test]
fn a_name_that_leads_nowhere_is_a_failure() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let name: Multiaddr = "/dns4/example.org/tcp/4001".parse().unwrap();
    driver.call(|node, now| node.add_peer(now, other, &[name], Intent::Persistent)).unwrap();
    let (id, _) = driver.resolves.pop_first().unwrap();
    driver.call(|node, now| node.handle_resolved(now, id, &[]));
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
}

#[test]
fn all_peers_together_dial_only_so_many_addresses_and_wait_in_order() {
    let mut driver = Driver::new(Config { max_dials: 3, ..Config::default() });
    let peers: Vec<_> = (10..16).map(peer).collect();
    for (number, id) in peers.iter().enumerate() {
        let addr = addr(number as u8 + 1);
        driver.call(|node, now| node.add_peer(now, *id, &[addr], Intent::Persistent)).unwrap();
    }
    assert_eq!(driver.dials.len(), 3);
    let mut order = Vec::new();
    while order.len() < 6 {
        let (attempt, addr) = driver.dials.pop_first().unwrap();
        order.push(addr);
        driver.fail(attempt);
        assert!(driver.dials.len() <= 3);
    }
    assert_eq!(order, (1..=6).map(addr).collect::<Vec<_>>());
    assert!(peers.iter().all(|id| driver.node.state(id) == PeerState::Backoff));
}

#[test]
fn a_lost_connection_is_made_again_and_only_one_that_lasted_forgives_failures() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let mut delays = Vec::new();
    for uptime in [1, 1, 1, 61, 1] {
        let attempt = driver.only_dial();
        let id = driver.dialed(attempt).unwrap().id().unwrap();
        driver.open(id, other);
        driver.wait(uptime * SECOND);
        driver.close(id, CloseReason::Eof);
        assert_eq!(driver.node.state(&other), PeerState::Backoff);
        delays.push(driver.sleep().unwrap().as_secs());
    }
    assert_eq!(delays, [1, 2, 4, 1, 2]);
}

#[test]
fn a_denial_counts_once_and_not_when_a_later_connection_is_lost() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.close(id, CloseReason::DeniedByRemote);
    driver.sleep();
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(id, other);
    driver.wait(61 * SECOND);
    driver.close(id, CloseReason::Eof);
    assert!(driver.sleep().unwrap() <= Duration::from_millis(1250));
}

#[test]
fn a_peer_that_denies_us_is_not_asked_again_soon() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.close(id, CloseReason::DeniedByRemote);
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
    assert!(driver.sleep().unwrap() >= Duration::from_secs(225));
    // An ordinary failure afterwards takes the ordinary step.
    let attempt = driver.only_dial();
    driver.fail(attempt);
    assert!(driver.sleep().unwrap() <= Duration::from_millis(2500));
}

#[test]
fn a_denial_that_comes_when_this_end_is_open_counts_as_well() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(id, other);
    driver.close(id, CloseReason::DeniedByRemote);
    assert!(driver.sleep().unwrap() >= Duration::from_secs(225));
}

#[test]
fn a_place_that_a_name_gives_up_is_taken_by_who_waits() {
    let mut driver = Driver::new(Config { max_dials: 1, ..Config::default() });
    let name: Multiaddr = "/dns4/example.org/tcp/4001".parse().unwrap();
    driver.call(|node, now| node.add_peer(now, peer(10), &[name], Intent::Persistent)).unwrap();
    driver.call(|node, now| node.add_peer(now, peer(11), &[addr(1)], Intent::Persistent)).unwrap();
    assert!(driver.dials.is_empty());
    let (id, _) = driver.resolves.pop_first().unwrap();
    driver.call(|node, now| node.handle_resolved(now, id, &[]));
    driver.only_dial();
}

#[test]
fn the_end_of_time_is_no_deadline() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let attempt = driver.only_dial();
    driver.fail(attempt);
    driver.now = crate::Instant::NEVER;
    driver.call(|node, now| node.handle_timeout(now));
    assert_eq!(driver.node.state(&other), PeerState::Connecting);
}

#[test]
fn cancelling_ends_the_effort_and_its_connections_but_not_the_wish() {
    let (mut driver, other) = known(Intent::Persistent, &[1, 2]);
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.wait(SECOND);
    assert_eq!(driver.dials.len(), 1);
    driver.call(|node, now| node.cancel_reconnect(now, other));
    assert_eq!((driver.dials.len(), driver.node.poll_timeout()), (0, None));
    assert!(matches!(driver.take(id), Some(ConnectionMessage::Close { .. })));
    driver.close(id, CloseReason::Local);
    assert_eq!(driver.node.state(&other), PeerState::Disconnected);
    // It is still wanted: an inbound connection that is lost brings the effort back.
    let id = driver.incoming(1);
    driver.open(id, other);
    driver.close(id, CloseReason::Eof);
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
}

#[test]
fn what_follows_a_cooldown_can_be_called_off_and_on() {
    for asked_again in [false, true] {
        let (mut driver, other) = known(Intent::Persistent, &[1]);
        let attempt = driver.only_dial();
        let id = driver.dialed(attempt).unwrap().id().unwrap();
        driver.open(id, other);
        driver.close(id, CloseReason::HandshakeTimeout);
        driver.call(|node, now| node.cancel_reconnect(now, other));
        assert_eq!(driver.node.state(&other), PeerState::Cooldown, "that goes on");
        if asked_again {
            driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
        }
        assert_eq!(driver.sleep(), Some(60 * SECOND));
        assert_eq!(driver.dials.len(), usize::from(asked_again));
        if asked_again {
            continue;
        }
        assert_eq!((driver.node.state(&other), driver.node.poll_timeout()), (PeerState::Disconnected, None));
        // It is still wanted: the next time that it is lost, or fails, it is tried again.
        for reason in [CloseReason::Eof, CloseReason::HandshakeTimeout] {
            let inbound = driver.incoming(1);
            driver.open(inbound, other);
            driver.close(inbound, reason);
            driver.sleep();
            driver.only_dial();
        }
    }
}

#[test]
fn an_inbound_connection_ends_the_effort_but_not_what_is_being_upgraded() {
    let (mut driver, other) = known(Intent::Persistent, &[1, 2]);
    let attempt = driver.only_dial();
    let ours = driver.dialed(attempt).unwrap().id().unwrap();
    driver.wait(SECOND);
    let theirs = driver.incoming(1);
    driver.open(theirs, other);
    assert_eq!((driver.dials.len(), driver.node.state(&other)), (0, PeerState::Established));
    assert_eq!(driver.take(ours), None, "the peer may have opened it already");
    driver.close(ours, CloseReason::UpgradeTimeout);
    assert_eq!(driver.node.state(&other), PeerState::Established);
}

#[test]
fn the_same_wish_twice_is_one_effort() {
    let (mut driver, other) = known(Intent::Dormant, &[1]);
    let first = driver.call(|node, now| node.connect(now, other)).unwrap();
    assert_eq!(driver.call(|node, now| node.connect(now, other)), Ok(first));
    assert_eq!(driver.dials.len(), 1);
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(id, other);
    assert_eq!(driver.call(|node, now| node.connect(now, other)), Err(DialError::AlreadyConnected));
}

#[test]
fn wishes_that_cannot_be_granted_are_typed_errors() {
    let mut driver = Driver::new(Config::default());
    let (other, local) = ordered();
    assert_eq!(driver.call(|node, now| node.connect(now, local)), Err(DialError::SelfDial));
    assert_eq!(driver.call(|node, now| node.connect(now, other)), Err(DialError::NoAddresses));
    driver.call(|node, now| node.shutdown(now));
    assert_eq!(driver.call(|node, now| node.connect(now, other)), Err(DialError::ShuttingDown));
    assert_eq!(
        driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)),
        Err(DialError::ShuttingDown)
    );
}

#[test]
fn a_dormant_peer_is_tried_once_when_asked_for() {
    let (mut driver, other) = known(Intent::Dormant, &[1]);
    assert!(driver.dials.is_empty());
    driver.call(|node, now| node.connect(now, other)).unwrap();
    let attempt = driver.only_dial();
    driver.fail(attempt);
    assert_eq!((driver.node.state(&other), driver.node.poll_timeout()), (PeerState::Disconnected, None));
}

#[test]
fn disconnecting_withdraws_the_wish() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(id, other);
    driver.call(|node, now| node.disconnect(now, other));
    assert_eq!(driver.node.state(&other), PeerState::Draining);
    assert_eq!(driver.take(id), Some(ConnectionMessage::Close { code: 0 }));
    driver.close(id, CloseReason::Local);
    assert_eq!((driver.node.state(&other), driver.node.poll_timeout()), (PeerState::Disconnected, None));
    assert!(driver.dials.is_empty());
}

fn failed_attempts(driver: &mut Driver) -> Vec<FailedAttempt> {
    let told = driver.take_events().into_iter().find_map(|event| match event {
        Event::DialFailed { attempts, .. } => Some(attempts),
        _ => None,
    });
    told.expect("the effort has not failed")
}

#[test]
fn a_failed_effort_says_what_became_of_each_address() {
    let (mut driver, _) = known(Intent::Persistent, &[1, 2, 3, 4]);
    let name: Multiaddr = "/dns4/example.org/tcp/4001".parse().unwrap();
    let other = ordered().0;
    driver.call(|node, now| node.add_peer(now, other, core::slice::from_ref(&name), Intent::Persistent)).unwrap();
    driver.call(|node, now| node.ban(now, "10.0.0.4/32".parse::<crate::node::Prefix>().unwrap().into(), None)).unwrap();
    // One refuses, one is given up, one closes the connection, one is in a banned network, one has no address.
    driver.call(|node, now| node.cancel_reconnect(now, other));
    driver.call(|node, now| node.connect(now, other)).unwrap();
    let mut failed = 0;
    while driver.node.state(&other) == PeerState::Connecting {
        if let Some(id) = driver.dials.iter().find(|(_, to)| **to == addr(1)).map(|(id, _)| *id) {
            driver.fail(id);
        } else if let Some(id) = driver.dials.iter().find(|(_, to)| **to == addr(3)).map(|(id, _)| *id) {
            let connection = driver.dialed(id).unwrap().id().unwrap();
            driver.close(connection, CloseReason::UpgradeTimeout);
        } else if let Some((id, _)) = driver.resolves.pop_first() {
            driver.call(|node, now| node.handle_resolved(now, id, &[]));
        } else {
            driver.sleep();
        }
        failed += 1;
        assert!(failed < 50);
    }
    let mut attempts = failed_attempts(&mut driver);
    attempts.sort_by(|a, b| a.addr.cmp(&b.addr));
    let expected = [
        (addr(1), DialFailure::Refused),
        (addr(2), DialFailure::TimedOut),
        (addr(3), DialFailure::Closed(CloseReason::UpgradeTimeout)),
        (addr(4), DialFailure::Denied(DenyReason::Banned)),
        (name, DialFailure::ResolveFailed),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(addr, why)| FailedAttempt { addr, why }).collect();
    assert_eq!(attempts, expected);
}

#[test]
fn a_transport_for_which_there_is_no_room_is_a_failure_of_our_own() {
    let config =
        Config { max_connections: 1, max_inbound: 1, high_watermark: 1, low_watermark: 1, ..Config::default() };
    let mut driver = Driver::new(config);
    driver.incoming(9);
    driver.call(|node, now| node.add_peer(now, ordered().0, &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    assert!(driver.dialed(attempt).is_none());
    let failed = FailedAttempt { addr: addr(1), why: DialFailure::Denied(DenyReason::Limit) };
    assert_eq!(failed_attempts(&mut driver), [failed]);
}

#[test]
fn a_failed_effort_names_at_most_32_addresses() {
    let mut driver = Driver::new(Config::default());
    let name: Multiaddr = "/dns4/example.org/tcp/4001".parse().unwrap();
    driver.call(|node, now| node.add_peer(now, ordered().0, &[name, addr(201)], Intent::Persistent)).unwrap();
    let found: Vec<Multiaddr> = (1..=200).map(addr).collect();
    while driver.node.state(&ordered().0) == PeerState::Connecting {
        if let Some((id, _)) = driver.resolves.pop_first() {
            driver.call(|node, now| node.handle_resolved(now, id, &found));
        } else if let Some(id) = driver.dials.keys().next().copied() {
            driver.fail(id);
        }
    }
    let attempts = failed_attempts(&mut driver);
    // The name itself has not failed.
    assert_eq!(attempts.len(), 31);
    assert!(attempts.iter().all(|attempt| attempt.why == DialFailure::Refused));
}

#[test]
fn a_peer_may_have_delays_of_its_own_as_long_as_the_book_knows_it() {
    let (mut driver, other) = known(Intent::Dormant, &[1]);
    let quick = Backoff { initial: SECOND / 100, max: SECOND / 100, reset_after: SECOND };
    driver.call(|node, now| node.set_backoff(now, other, Some(quick))).unwrap();
    // Nothing is to be done with the peer, so that only the book remembers it.
    assert!(driver.node.peers.is_empty());
    let delay = |driver: &mut Driver| {
        driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
        let attempt = driver.only_dial();
        driver.fail(attempt);
        let delay = driver.sleep().unwrap();
        driver.call(|node, now| node.disconnect(now, other));
        delay
    };
    assert!(delay(&mut driver) <= SECOND / 100);
    driver.call(|node, now| node.set_backoff(now, other, None)).unwrap();
    assert!(delay(&mut driver) >= SECOND);
    driver.call(|node, now| node.set_backoff(now, other, Some(quick))).unwrap();
    driver.call(|node, now| node.remove_peer(now, other));
    assert!(delay(&mut driver) >= SECOND, "a peer that comes anew has none");
}

#[test]
fn delays_of_a_peer_that_cannot_work_or_that_nobody_knows_are_refused() {
    let (mut driver, other) = known(Intent::Dormant, &[1]);
    let never = Backoff { initial: Duration::ZERO, ..Backoff::default() };
    let refused = driver.call(|node, now| node.set_backoff(now, other, Some(never)));
    assert!(matches!(refused, Err(SetBackoffError::Invalid(_))), "{refused:?}");
    let refused = driver.call(|node, now| node.set_backoff(now, peer(9), Some(Backoff::default())));
    assert_eq!(refused, Err(SetBackoffError::Book(crate::node::BookError::UnknownPeer)));
}

#[test]
fn a_connection_that_lets_somebody_else_through_is_closed_and_the_application_told() {
    let (mut driver, other) = known(Intent::Persistent, &[1]);
    let attempt = driver.only_dial();
    let dialed = driver.dialed(attempt).unwrap().id().unwrap();
    // The effort ends because the peer comes by itself; what it has begun goes on.
    let inbound = driver.incoming(2);
    driver.open(inbound, other);
    driver.close(inbound, CloseReason::Eof);
    assert_eq!(driver.node.state(&other), PeerState::Connecting);
    driver.take_events();
    driver.secure(dialed, peer(77));
    assert!(matches!(driver.take(dialed), Some(ConnectionMessage::Close { .. })));
    let told = Event::State { peer: other, state: PeerState::Draining };
    assert!(driver.take_events().contains(&told));
}
