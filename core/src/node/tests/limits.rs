//! Limits that are near or reached.

use core::time::Duration;
use std::{vec, vec::Vec};

use super::driver::{Driver, addr, endpoints, ordered, peer};
use crate::{
    connection::CloseReason,
    node::{
        BanConfig, BookLimits, Config, Event, Intent, LimitName, LimitNear, Provenance,
        book::{ADDR_COST, PEER_COST},
    },
};

/// The limits that were told of since the last look.
fn reached(driver: &mut Driver) -> Vec<LimitName> {
    let name = |event| match event {
        Event::LimitReached { name } => Some(name),
        _ => None,
    };
    driver.take_events().into_iter().filter_map(name).collect()
}

fn knock(driver: &mut Driver, from: u8) {
    let _ = driver.call(|node, now| node.handle_incoming(now, endpoints(from)));
}

#[test]
fn a_limit_is_near_from_80_percent_on() {
    let mut driver = Driver::new(Config { max_pending_inbound: 10, ..Config::default() });
    (1..8).for_each(|number| knock(&mut driver, number));
    assert_eq!(driver.node.limits_near(), []);
    knock(&mut driver, 8);
    assert_eq!(driver.node.limits_near(), [LimitNear { name: LimitName::PendingInbound, used: 8, limit: 10 }]);
}

#[test]
fn a_limit_that_is_off_is_not_near() {
    let mut driver = Driver::new(Config { max_inbound: 0, ..Config::default() });
    knock(&mut driver, 1);
    assert_eq!((driver.node.limits_near(), reached(&mut driver)), (vec![], vec![LimitName::Inbound]));
}

#[test]
fn a_limit_is_told_once_and_again_only_after_it_was_not_near() {
    let mut driver = Driver::new(Config { max_pending_inbound: 10, ..Config::default() });
    let ids: Vec<_> = (1..=10).map(|number| driver.incoming(number)).collect();
    assert_eq!(reached(&mut driver), [], "at the limit nothing is refused");
    (11..14).for_each(|number| knock(&mut driver, number));
    assert_eq!(reached(&mut driver), [LimitName::PendingInbound]);
    // Eight are as good as full.
    driver.close(ids[0], CloseReason::Eof);
    driver.close(ids[1], CloseReason::Eof);
    (11..14).for_each(|number| knock(&mut driver, number));
    assert_eq!(reached(&mut driver), []);
    // Seven are not.
    ids[2..5].iter().for_each(|id| driver.close(*id, CloseReason::Eof));
    (20..24).for_each(|number| knock(&mut driver, number));
    assert_eq!(reached(&mut driver), [LimitName::PendingInbound]);
}

#[test]
fn each_limit_of_the_node_tells_when_it_is_reached() {
    let small = Config { max_connections: 1, max_inbound: 1, high_watermark: 1, low_watermark: 1, ..Config::default() };
    let mut driver = Driver::new(small);
    knock(&mut driver, 1);
    knock(&mut driver, 2);
    assert_eq!(reached(&mut driver), [LimitName::Connections]);

    let mut driver = Driver::new(Config { max_inbound: 1, ..Config::default() });
    knock(&mut driver, 1);
    knock(&mut driver, 2);
    assert_eq!(reached(&mut driver), [LimitName::Inbound]);

    let mut driver = Driver::new(Config { max_dials: 1, ..Config::default() });
    driver.call(|node, now| node.add_peer(now, peer(10), &[addr(1)], Intent::Persistent)).unwrap();
    assert_eq!(reached(&mut driver), []);
    driver.call(|node, now| node.add_peer(now, peer(11), &[addr(1)], Intent::Persistent)).unwrap();
    assert_eq!(reached(&mut driver), [LimitName::Dials]);

    let mut driver = Driver::new(Config { max_cooling: 1, ..Config::default() });
    for number in 10..13 {
        let id = driver.incoming(number);
        driver.open(id, peer(number));
        driver.close(id, CloseReason::HandshakeTimeout);
    }
    assert_eq!(reached(&mut driver), [LimitName::Cooling]);

    let book = BookLimits { max_peers: 1, ..BookLimits::default() };
    let mut driver = Driver::new(Config { book, ..Config::default() });
    driver.call(|node, now| node.add_peer(now, ordered().0, &[], Intent::Persistent)).unwrap();
    driver.call(|node, now| node.add_addr(now, peer(9), &addr(1), Provenance::Manual)).unwrap_err();
    driver.call(|node, now| node.add_peer(now, peer(9), &[], Intent::Dormant)).unwrap_err();
    assert_eq!(reached(&mut driver), [LimitName::BookPeers]);

    let bans = BanConfig { max_entries: 1, ..BanConfig::default() };
    let mut driver = Driver::new(Config { bans, ..Config::default() });
    driver.call(|node, now| node.ban(now, peer(10).into(), Some(Duration::from_secs(9)))).unwrap();
    assert_eq!(reached(&mut driver), []);
    driver.call(|node, now| node.ban(now, peer(11).into(), None)).unwrap();
    assert_eq!(reached(&mut driver), [LimitName::Bans], "a ban ended early");
}

#[test]
fn a_book_that_is_full_of_bytes_tells_so() {
    let one = BookLimits { max_addrs: 1, max_metadata_keys: 0, max_metadata_bytes: 0, ..BookLimits::default() };
    let book = BookLimits { max_bytes: PEER_COST + ADDR_COST + crate::multiaddr::MAX_LEN, ..one };
    let mut driver = Driver::new(Config { book, ..Config::default() });
    for number in 10..20 {
        let _ = driver.call(|node, now| node.add_peer(now, peer(number), &[addr(1)], Intent::Persistent));
    }
    assert_eq!(
        reached(&mut driver).into_iter().filter(|name| *name != LimitName::Dials).collect::<Vec<_>>(),
        [LimitName::BookBytes]
    );
}
