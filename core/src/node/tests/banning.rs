//! Who is kept out, and what happens to it.

use core::time::Duration;
use std::{collections::BTreeSet, vec::Vec};

use super::driver::{Driver, addr, endpoints, ordered, peer};
use crate::{
    connection::{CloseReason, DenyReason, ProtocolError},
    link::ConnectionMessage,
    node::{BanConfig, BanSubject, Config, DialError, Event, Intent, PeerState, ScoreConfig, banning::MAX_SCORES},
    yamux::Violation,
};

const HOUR: Duration = Duration::from_secs(3600);

fn refused(driver: &mut Driver, from: u8, peer: crate::PeerId) -> Option<DenyReason> {
    let id = driver.incoming(from);
    driver.secure(id, peer);
    let verdict = driver.take(id);
    driver.close(id, CloseReason::Local);
    driver.take(id);
    match verdict {
        Some(ConnectionMessage::Admission(verdict)) => verdict.err(),
        other => panic!("{other:?}"),
    }
}

fn flood() -> CloseReason {
    CloseReason::Protocol(ProtocolError::Yamux(Violation::PingFlood))
}

#[test]
fn a_banned_peer_is_cut_off_kept_out_and_not_dialed_until_the_ban_is_over() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let id = driver.reach(other);
    driver.call(|node, now| node.ban(now, other.into(), Some(HOUR))).unwrap();
    assert_eq!(driver.take(id), Some(ConnectionMessage::Close { code: 0x1007 }));
    driver.close(id, CloseReason::Local);
    driver.take(id);
    assert_eq!(driver.node.state(&other), PeerState::Disconnected);
    assert_eq!(driver.call(|node, now| node.connect(now, other)), Err(DialError::Banned));
    assert_eq!(refused(&mut driver, 1, other), Some(DenyReason::Banned));
    driver.take_events();
    assert_eq!(driver.sleep(), Some(HOUR));
    assert!(matches!(driver.take_events().as_slice(), [Event::Unbanned { .. }, Event::State { .. }]));
    assert_eq!(driver.node.state(&other), PeerState::Connecting, "it is still wanted");
    assert_eq!(refused(&mut driver, 1, other), None);
}

#[test]
fn a_network_that_is_banned_while_it_is_dialed_leads_nowhere() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let network = || BanSubject::Prefix("10.0.0.0/24".parse().unwrap());
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
    // While the transport is being made.
    let attempt = driver.only_dial();
    driver.call(|node, now| node.ban(now, network(), Some(HOUR))).unwrap();
    assert!(driver.dialed(attempt).is_none());
    assert_eq!(driver.node.state(&other), PeerState::Backoff);
    driver.call(|node, now| node.unban(now, network()));
    // While the connection is being upgraded.
    driver.sleep();
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.call(|node, now| node.ban(now, network(), Some(HOUR))).unwrap();
    assert_eq!(driver.take(id), Some(ConnectionMessage::Close { code: 0x1007 }));
    driver.close(id, CloseReason::Local);
    assert_eq!(driver.node.state(&other), PeerState::Backoff, "the effort is not stuck");
}

#[test]
fn a_ban_in_any_state_ends_every_effort() {
    let other = ordered().0;
    for state in ["unknown", "dialing", "waiting", "upgrading", "cooldown"] {
        let mut driver = Driver::new(Config::default());
        if state != "unknown" {
            driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
            let attempt = driver.only_dial();
            match state {
                "waiting" => driver.fail(attempt),
                "upgrading" => drop(driver.dialed(attempt).unwrap()),
                "cooldown" => {
                    let id = driver.dialed(attempt).unwrap().id().unwrap();
                    driver.open(id, other);
                    driver.close(id, CloseReason::HandshakeTimeout);
                }
                _ => {}
            }
        }
        driver.call(|node, now| node.ban(now, other.into(), None)).unwrap();
        assert!(driver.dials.is_empty(), "{state}");
        let has_timer = driver.node.poll_timeout().is_some();
        assert_eq!(has_timer, state == "cooldown", "{state}: a ban for ever needs no timer");
        match driver.node.state(&other) {
            PeerState::Cooldown => assert_eq!(state, "cooldown"),
            found => assert!(matches!(found, PeerState::Disconnected | PeerState::Draining), "{state}: {found:?}"),
        }
        assert!(driver.call(|node, now| node.unban(now, other.into())), "{state}");
        assert!(!driver.call(|node, now| node.unban(now, other.into())), "{state}");
    }
}

#[test]
fn a_ban_that_is_shorter_than_the_cooldown_does_not_cut_it_short() {
    let second = Duration::from_secs(1);
    for is_by_hand in [false, true] {
        let bans = BanConfig { base: second, max: second, ..BanConfig::default() };
        // One handshake that failed is 5 points.
        let score = ScoreConfig { graylist: 1, ban: if is_by_hand { 100 } else { 5 }, ..ScoreConfig::default() };
        let mut driver = Driver::new(Config { bans, score, cooldown: 4 * second, ..Config::default() });
        let other = ordered().0;
        let id = driver.reach(other);
        driver.close(id, CloseReason::HandshakeTimeout);
        if is_by_hand {
            driver.call(|node, now| node.ban(now, other.into(), Some(second))).unwrap();
        }
        assert_eq!(driver.node.bans().count(), 1);

        driver.wait(2 * second);
        assert_eq!(driver.node.bans().count(), 0);
        assert_eq!(driver.node.state(&other), PeerState::Cooldown);
        assert!(driver.dials.is_empty());
        driver.wait(2 * second);
        driver.only_dial();
    }
}

#[test]
fn a_ban_for_a_failed_handshake_is_told_to_the_other_connection() {
    let score = ScoreConfig { graylist: 1, ban: 5, ..ScoreConfig::default() };
    let mut driver = Driver::new(Config { score, ..Config::default() });
    let other = ordered().0;
    let (first, second) = (driver.incoming(1), driver.incoming(1));
    driver.open(first, other);
    driver.open(second, other);
    driver.close(second, CloseReason::HandshakeTimeout);
    assert_eq!(driver.node.bans().count(), 1);
    let last = core::iter::from_fn(|| driver.take(first)).last();
    assert_eq!(last, Some(ConnectionMessage::Close { code: 0x1007 }));
}

/// It is asked for still, although not while the ban runs.
#[test]
fn strangers_do_not_end_the_cooldown_of_a_banned_peer() {
    let (second, strangers) = (Duration::from_secs(1), [peer(21), peer(22)]);
    let mut driver = Driver::new(Config { max_cooling: 1, ..Config::default() });
    let other = ordered().0;
    let id = driver.reach(other);
    driver.close(id, CloseReason::HandshakeTimeout);
    driver.call(|node, now| node.ban(now, other.into(), Some(second))).unwrap();
    driver.wait(second / 2);
    for peer in strangers {
        let id = driver.incoming(2);
        driver.open(id, peer);
        driver.close(id, CloseReason::HandshakeTimeout);
    }
    assert_eq!(driver.node.state(&other), PeerState::Cooldown);
    let cooling = strangers.iter().filter(|peer| driver.node.state(peer) == PeerState::Cooldown);
    assert_eq!(cooling.count(), 1, "one takes the place of the other");
    driver.wait(second);
    assert!(driver.dials.is_empty(), "the cooldown goes on behind the ban");
}

#[test]
fn a_banned_network_is_neither_let_in_nor_dialed() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let id = driver.incoming(1);
    driver.open(id, other);
    driver.call(|node, now| node.ban(now, BanSubject::Prefix("10.0.0.0/24".parse().unwrap()), Some(HOUR))).unwrap();
    assert_eq!(driver.take(id), Some(ConnectionMessage::Close { code: 0x1007 }));
    assert_eq!(driver.call(|node, now| node.handle_incoming(now, endpoints(2))).unwrap_err(), DenyReason::Banned);
    let elsewhere = "/ip4/10.1.0.1/tcp/4001".parse().unwrap();
    driver.call(|node, now| node.add_peer(now, peer(9), &[addr(7), elsewhere], Intent::Persistent)).unwrap();
    assert_eq!(driver.dials.values().collect::<Vec<_>>(), [&"/ip4/10.1.0.1/tcp/4001".parse().unwrap()]);
    // With no other address the effort fails like any other.
    driver.call(|node, now| node.add_peer(now, peer(8), &[addr(7)], Intent::Persistent)).unwrap();
    assert_eq!(driver.node.state(&peer(8)), PeerState::Backoff);
}

#[test]
fn an_allow_list_bans_everybody_else() {
    let (other, _) = ordered();
    let allow_list = Some(BTreeSet::from([other]));
    let mut driver = Driver::new(Config { allow_list, ..Config::default() });
    assert_eq!(refused(&mut driver, 1, other), None);
    assert_eq!(refused(&mut driver, 1, peer(9)), Some(DenyReason::Banned));
    assert_eq!(driver.call(|node, now| node.connect(now, peer(9))), Err(DialError::Banned));
}

#[test]
fn misbehaviour_adds_up_to_a_ban_and_decays_without_a_timer() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let mut floods = 0;
    while driver.node.bans().next().is_none() {
        let id = driver.incoming(1);
        driver.open(id, other);
        driver.close(id, flood());
        driver.take(id);
        floods += 1;
        assert!(floods < 20);
    }
    assert!(floods > 1, "one is not enough");
    assert_eq!(driver.node.score(&other), 0, "the ban settles it");
    assert_eq!(refused(&mut driver, 1, other), Some(DenyReason::Banned));

    let mut driver = Driver::new(Config::default());
    for _ in 0..50 {
        let id = driver.incoming(1);
        driver.open(id, other);
        driver.close(id, flood());
        driver.take(id);
        assert_eq!(driver.node.poll_timeout(), None);
        driver.wait(HOUR);
        assert_eq!(driver.node.score(&other), 0);
    }
    assert_eq!(driver.node.bans().count(), 0);
}

#[test]
fn what_comes_before_the_peer_is_known_speaks_against_nobody() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.close(id, CloseReason::UpgradeTimeout);
    assert_eq!(driver.node.score(&other), 0);
}

#[test]
fn a_crowd_of_identities_does_not_grow_what_is_held_against_them() {
    let mut driver = Driver::new(Config::default());
    for number in 0..MAX_SCORES as u64 + 10 {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let other = crate::Identity::from_ed25519_seed(key).peer_id();
        let id = driver.incoming((number % 200) as u8 + 1);
        driver.open(id, other);
        driver.close(id, flood());
        driver.take(id);
        driver.wait(Duration::from_millis(20));
    }
    assert_eq!(driver.node.scores.len(), MAX_SCORES);
    assert!(driver.node.is_idle());
}
