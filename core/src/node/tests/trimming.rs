//! Which connections go when there are too many, and what a node remembers.

use core::time::Duration;
use std::vec::Vec;

use super::driver::{Driver, addr, ordered, peer};
use crate::{
    ConnectionId, Seed,
    connection::CloseReason,
    link::ConnectionMessage,
    node::{BanSubject, Config, Intent, Node, PeerState, WallTime},
};

const MINUTE: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config { high_watermark: 6, low_watermark: 3, ..Config::default() }
}

fn trimmed(driver: &mut Driver) -> Vec<ConnectionId> {
    let sent = core::mem::take(&mut driver.sent);
    let closed = |(id, message): (ConnectionId, crate::link::ToConnection)| {
        (message.0 == ConnectionMessage::Close { code: 0x1001 }).then_some(id)
    };
    sent.into_iter().filter_map(closed).collect()
}

#[test]
fn above_the_high_watermark_the_newest_strangers_go_until_the_low_one() {
    let mut driver = Driver::new(config());
    let mut ids = Vec::new();
    for number in 10..16 {
        let id = driver.incoming(number);
        driver.open(id, peer(number));
        ids.push(id);
        driver.wait(MINUTE);
    }
    assert_eq!(trimmed(&mut driver), []);
    let last = driver.incoming(16);
    driver.open(last, peer(16));
    // The seventh is too young to go.
    assert_eq!(trimmed(&mut driver), [ids[2], ids[3], ids[4], ids[5]]);
    assert_eq!(driver.node.state(&peer(15)), PeerState::Draining);
}

#[test]
fn what_was_too_young_to_go_goes_when_its_grace_ends() {
    let mut driver = Driver::new(config());
    let mut ids = Vec::new();
    for number in 10..18 {
        let id = driver.incoming(number);
        driver.open(id, peer(number));
        ids.push(id);
        driver.wait(Duration::from_secs(1));
    }
    assert_eq!(trimmed(&mut driver), []);
    // The first was open for 8 s by now. When its grace ends one goes, and then the next, until there is room.
    assert_eq!(driver.sleep(), Some(Duration::from_secs(12)));
    assert_eq!(trimmed(&mut driver), [ids[0]]);
    assert_eq!(driver.sleep(), Some(Duration::from_secs(1)));
    assert_eq!(trimmed(&mut driver), [ids[1]]);
    assert_eq!(driver.node.poll_timeout(), None, "six are not too many");
}

#[test]
fn nobody_waits_for_a_grace_when_there_is_room_again() {
    let mut driver = Driver::new(config());
    let ids: Vec<_> = (10..17).map(|number| driver.incoming(number)).collect();
    for (id, number) in ids.iter().zip(10..) {
        driver.open(*id, peer(number));
    }
    assert!(driver.node.poll_timeout().is_some());
    driver.close(ids[0], CloseReason::Eof);
    assert_eq!(driver.node.poll_timeout(), None);
    // The next one too many makes it wait again.
    let id = driver.incoming(30);
    driver.open(id, peer(30));
    assert_eq!(driver.sleep(), Some(Duration::from_secs(20)));
    assert_eq!(trimmed(&mut driver).len(), 4);
}

#[test]
fn among_those_who_stay_nobody_is_looked_for_until_a_stranger_has_had_its_grace() {
    let mut driver = Driver::new(config());
    for number in 10..17 {
        driver.call(|node, now| node.add_peer(now, peer(number), &[], Intent::Persistent)).unwrap();
        let id = driver.incoming(number);
        driver.open(id, peer(number));
    }
    assert_eq!((driver.node.trim_at, driver.node.poll_timeout()), (Some(crate::Instant::NEVER), None));
    let stranger = driver.incoming(20);
    driver.open(stranger, peer(20));
    assert_eq!(driver.sleep(), Some(Config::default().trim_grace));
    assert_eq!(trimmed(&mut driver), [stranger]);
}

#[test]
fn who_is_not_protected_any_more_may_go_at_once() {
    let mut driver = Driver::new(config());
    for number in 10..17 {
        driver.call(|node, now| node.add_peer(now, peer(number), &[], Intent::Dormant)).unwrap();
        driver.call(|node, now| node.protect(now, peer(number), true)).unwrap();
        let id = driver.incoming(number);
        driver.open(id, peer(number));
    }
    driver.wait(MINUTE);
    assert_eq!((trimmed(&mut driver).len(), driver.node.poll_timeout()), (0, None));
    driver.call(|node, now| node.protect(now, peer(12), false)).unwrap();
    assert_eq!(trimmed(&mut driver).len(), 1);
}

#[test]
fn who_is_wanted_stays_and_who_misbehaves_goes_first() {
    let mut driver = Driver::new(config());
    let (other, _) = ordered();
    let wanted = driver.reach(other);
    let flood = crate::connection::ProtocolError::Yamux(crate::yamux::Violation::PingFlood);
    while !driver.node.is_graylisted(&peer(10)) {
        let id = driver.incoming(10);
        driver.open(id, peer(10));
        driver.close(id, CloseReason::Protocol(flood.clone()));
    }
    driver.sent.clear();
    let bad = driver.incoming(10);
    driver.open(bad, peer(10));
    driver.wait(Duration::from_secs(21));
    let mut strangers = Vec::new();
    for number in 11..15 {
        let id = driver.incoming(number);
        driver.open(id, peer(number));
        strangers.push(id);
    }
    driver.wait(Duration::from_secs(21));
    let last = driver.incoming(20);
    driver.open(last, peer(20));
    let gone = trimmed(&mut driver);
    assert_eq!(gone.len(), 4);
    assert!(gone.contains(&bad) && !gone.contains(&wanted) && !gone.contains(&last));
}

#[test]
fn a_node_remembers_peers_and_bans_and_takes_up_its_efforts() {
    let mut driver = Driver::new(Config::default());
    let (other, local) = ordered();
    let wall = WallTime::from_secs(-5);
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
    driver.call(|node, now| node.add_peer(now, peer(9), &[addr(2)], Intent::Dormant)).unwrap();
    driver.call(|node, now| node.ban(now, BanSubject::Peer(peer(8)), Some(MINUTE))).unwrap();
    let snapshot = driver.node.snapshot(driver.now, wall);

    let seed = || Seed::from_bytes([3; 32]);
    let later = WallTime::from_secs(25);
    let (mut node, restored) =
        Node::restored(Config::default(), local, driver.now, seed(), snapshot.clone(), later).unwrap();
    assert_eq!((restored.peers, restored.invalid), (2, 0));
    assert_eq!(node.state(&other), PeerState::Connecting);
    assert_eq!(node.book().dial_addrs(&peer(9)).collect::<Vec<_>>(), [&addr(2)]);
    let left = node.bans().next().unwrap();
    assert!(node.poll_action().is_some());
    assert_eq!(left.subject, BanSubject::Peer(peer(8)));
    assert_eq!(node.poll_timeout().unwrap().saturating_duration_since(driver.now), Duration::from_secs(10));
    let ends = |wall| {
        let node = Node::restored(Config::default(), local, driver.now, seed(), snapshot.clone(), wall).unwrap().0;
        let ban = node.bans().next();
        ban.map(|ban| ban.ends.unwrap().saturating_duration_since(driver.now))
    };
    assert_eq!(ends(later), Some(Duration::from_secs(30)));
    assert_eq!(ends(WallTime::from_secs(-1_000_000)), Some(MINUTE), "a clock set back lengthens nothing");
    assert_eq!(ends(WallTime::from_secs(1_000_000)), None);
}
