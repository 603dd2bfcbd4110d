//! What a node counts and shows.

use core::time::Duration;
use std::vec::Vec;

use super::driver::{Driver, addr, endpoints, ordered, peer};
use crate::{
    Role,
    connection::{CloseReason, Stats},
    link::{NodeMessage, Report},
    node::{Config, ConnectionPhase, DebugSnapshot, DialFailure, Intent, MAX_EVENTS, NodeStats, PeerState, Prefix},
};

const SECOND: Duration = Duration::from_secs(1);

fn report(received: u64, sent: u64) -> Report {
    let stats = Stats { bytes_received: received, bytes_sent: sent, ..Stats::default() };
    Report { stats, rtt: Some(SECOND / 50), probe: 0 }
}

#[test]
fn a_node_counts_what_there_is_and_what_became_of_it() {
    let mut driver = Driver::new(Config { max_dials: 2, max_pending_inbound: 2, ..Config::default() });
    assert_eq!(driver.node.stats(), NodeStats::default());
    for number in 10..13 {
        driver.call(|node, now| node.add_peer(now, peer(number), &[addr(number)], Intent::Persistent)).unwrap();
    }
    let attempts: Vec<_> = driver.dials.keys().copied().collect();
    let dialed = driver.dialed(attempts[0]).unwrap().id().unwrap();
    driver.open(dialed, peer(10));
    let inbound = driver.incoming(1);
    driver.open(inbound, peer(20));
    driver.incoming(2);
    driver.call(|node, now| node.ban(now, peer(30).into(), None)).unwrap();
    let stats = driver.node.stats();
    assert_eq!((stats.known_peers, stats.persistent_peers, stats.tracked_peers), (3, 3, 4));
    assert_eq!((stats.connections, stats.inbound, stats.outbound), (3, 2, 1));
    assert_eq!((stats.open, stats.pending_inbound, stats.bans), (2, 1, 1));
    assert_eq!((stats.dialing, stats.queued), (2, 0));
    let counters = stats.counters;
    assert_eq!((counters.dials_begun, counters.dials_succeeded, counters.dials_failed), (3, 1, 0));
    assert_eq!((counters.connections_opened, counters.connections_closed), (2, 0));

    let attempts: Vec<_> = driver.dials.keys().copied().collect();
    driver.fail(attempts[0]);
    let failing = driver.dialed(attempts[1]).unwrap().id().unwrap();
    driver.close(failing, CloseReason::UpgradeTimeout);
    driver.close(inbound, CloseReason::Eof);
    let counters = driver.node.stats().counters;
    assert_eq!((counters.dials_begun, counters.dials_succeeded, counters.dials_failed), (3, 1, 2));
    assert_eq!((counters.connections_opened, counters.connections_closed, counters.connections_failed), (2, 1, 1));
    assert_eq!(counters.bans_begun, 1);
}

#[test]
fn every_refusal_counts_under_its_reason() {
    let config = Config { max_pending_inbound: 40, max_per_peer: 2, ..Config::default() };
    let mut driver = Driver::of(ordered().0, config);
    let (local, other) = ordered();
    let network: Prefix = "10.0.0.9/32".parse().unwrap();
    driver.call(|node, now| node.ban(now, network.into(), None)).unwrap();
    driver.call(|node, now| node.handle_incoming(now, endpoints(9))).unwrap_err();
    let own = driver.incoming(1);
    driver.secure(own, local);
    for _ in 0..2 {
        let id = driver.incoming(1);
        driver.open(id, other);
    }
    let third = driver.incoming(1);
    driver.secure(third, other);
    let fails = driver.incoming(2);
    driver.open(fails, peer(20));
    driver.close(fails, CloseReason::HandshakeTimeout);
    let again = driver.incoming(2);
    driver.secure(again, peer(20));
    while driver.call(|node, now| node.handle_incoming(now, endpoints(3))).is_ok() {}
    driver.call(|node, now| node.shutdown(now));
    driver.call(|node, now| node.handle_incoming(now, endpoints(4))).unwrap_err();
    let refused = driver.node.stats().counters.refused;
    assert_eq!((refused.banned, refused.self_dial, refused.limit), (1, 1, 1));
    assert_eq!((refused.cooldown, refused.rate_limited, refused.shutting_down), (1, 1, 1));
    assert_eq!(refused.duplicate, 0);
}

#[test]
fn what_a_connection_reports_last_counts_and_so_does_what_one_had_reported_that_died() {
    let mut driver = Driver::new(Config::default());
    let [ends, dies] = [driver.incoming(1), driver.incoming(2)];
    driver.open(ends, peer(10));
    driver.open(dies, peer(11));
    driver.tell(ends, NodeMessage::Report(report(10, 20).into()));
    driver.tell(dies, NodeMessage::Report(report(100, 200).into()));
    assert_eq!(driver.node.stats().counters.bytes_received, 0, "they are not over");
    driver.tell(ends, NodeMessage::Closed { reason: CloseReason::Eof, last: report(11, 22).into() });
    driver.call(|node, now| node.handle_connection_lost(now, dies));
    // Told twice, counted once.
    driver.tell(ends, NodeMessage::Closed { reason: CloseReason::Eof, last: report(11, 22).into() });
    let counters = driver.node.stats().counters;
    assert_eq!((counters.bytes_received, counters.bytes_sent), (111, 222));
}

#[test]
fn trimmed_connections_and_lost_events_count() {
    let config = Config { high_watermark: 2, low_watermark: 1, trim_grace: Duration::ZERO, ..Config::default() };
    let mut driver = Driver::new(config);
    for number in 10..13 {
        let id = driver.incoming(number);
        driver.open(id, peer(number));
    }
    assert_eq!(driver.node.stats().counters.connections_trimmed, 2);
    let denied = |driver: &mut Driver| drop(driver.node.handle_incoming(driver.now, endpoints(9)));
    driver.node.shutdown(driver.now);
    (0..=MAX_EVENTS).for_each(|_| denied(&mut driver));
    let stats = driver.node.stats();
    assert_eq!((stats.counters.lost_events, driver.node.lost_events()), (1, 1));
    assert_eq!(stats.counters.refused.shutting_down, MAX_EVENTS as u64 + 1, "they count all the same");
}

#[test]
fn a_peer_shows_what_it_is_and_where_its_connections_are() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    assert_eq!(driver.node.peer_info(&other), None);
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Dormant)).unwrap();
    let info = driver.node.peer_info(&other).unwrap();
    assert_eq!((info.state, info.intent, info.retry_in), (PeerState::Disconnected, Intent::Dormant, None));
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
    driver.call(|node, now| node.protect(now, other, true)).unwrap();
    let info = driver.node.peer_info(&other).unwrap();
    assert_eq!((info.state, info.dialing, info.protected), (PeerState::Connecting, [addr(1)].into(), true));

    let attempt = driver.only_dial();
    driver.fail(attempt);
    let info = driver.node.peer_info(&other).unwrap();
    let until = driver.node.poll_timeout().unwrap();
    assert_eq!((info.state, info.failures), (PeerState::Backoff, 1));
    assert_eq!(info.retry_in, Some(until.saturating_duration_since(driver.now)));

    driver.sleep();
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    let phase = |driver: &Driver| driver.node.peer_info(&other).unwrap().connections[0].phase;
    assert_eq!(phase(&driver), ConnectionPhase::Upgrading);
    driver.secure(id, other);
    assert_eq!(phase(&driver), ConnectionPhase::Admitted);
    driver.tell(id, NodeMessage::Opened { is_ready: false });
    assert_eq!(phase(&driver), ConnectionPhase::Open);
    driver.tell(id, NodeMessage::Opened { is_ready: true });
    driver.tell(id, NodeMessage::Report(report(5, 6).into()));
    driver.wait(7 * SECOND);
    let info = driver.node.peer_info(&other).unwrap();
    let [connection] = info.connections.as_slice() else { panic!("{info:?}") };
    assert_eq!((connection.id, connection.role, connection.phase), (id, Role::Dialer, ConnectionPhase::Ready));
    assert_eq!((&connection.local, &connection.remote), (&endpoints(1).local, &endpoints(1).remote));
    assert_eq!((connection.age, connection.rtt), (Some(7 * SECOND), Some(SECOND / 50)));
    assert_eq!((connection.stats.bytes_received, connection.stats.bytes_sent), (5, 6));

    driver.call(|node, now| node.ban(now, other.into(), None)).unwrap();
    let info = driver.node.peer_info(&other).unwrap();
    assert_eq!((info.banned, info.connections[0].phase), (true, ConnectionPhase::Closing));
}

#[test]
fn a_snapshot_for_people_shows_everything_and_survives_json() {
    let mut driver = Driver::new(Config { max_dials: 1, ..Config::default() });
    driver.call(|node, now| node.add_peer(now, peer(10), &[addr(1)], Intent::Persistent)).unwrap();
    driver.call(|node, now| node.add_peer(now, peer(11), &[addr(2)], Intent::Dormant)).unwrap();
    driver.call(|node, now| node.ban(now, peer(12).into(), Some(60 * SECOND))).unwrap();
    let open = driver.incoming(1);
    driver.open(open, peer(13));
    let arriving = driver.incoming(2);
    let denied = driver.incoming(3);
    driver.secure(denied, peer(12));
    driver.wait(20 * SECOND / 10);
    let snapshot = driver.node.debug_snapshot();
    let mut tracked = [peer(10), peer(13)];
    tracked.sort_unstable();
    assert_eq!(snapshot.peers.iter().map(|info| info.peer).collect::<Vec<_>>(), tracked, "the other one does nothing");
    assert_eq!(snapshot.others.iter().map(|connection| connection.id).collect::<Vec<_>>(), [arriving, denied]);
    assert_eq!(snapshot.bans.iter().map(|ban| ban.left).collect::<Vec<_>>(), [Some(58 * SECOND)]);
    assert_eq!((snapshot.stats, snapshot.limits_near.len()), (driver.node.stats(), 1));
    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<DebugSnapshot>(&json).unwrap(), snapshot);
}

#[test]
fn a_dial_that_is_given_up_has_neither_succeeded_nor_failed() {
    let mut driver = Driver::new(Config::default());
    driver.call(|node, now| node.add_peer(now, peer(10), &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    driver.call(|node, now| node.cancel_reconnect(now, peer(10)));
    driver.call(|node, now| node.handle_dial_failed(now, attempt, DialFailure::Refused));
    let counters = driver.node.stats().counters;
    assert_eq!((counters.dials_begun, counters.dials_succeeded, counters.dials_failed), (1, 0, 0));
}
