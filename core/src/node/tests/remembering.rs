//! When there is something new to store.

use core::time::Duration;

use super::driver::{Driver, addr, ordered, peer};
use crate::{
    Instant,
    connection::CloseReason,
    node::{Config, Intent, Node, Provenance, Snapshot, WallTime},
};

const MINUTE: Duration = Duration::from_secs(60);

/// What would be stored, whatever the time.
fn stored(node: &Node) -> Snapshot {
    let mut snapshot = node.snapshot(Instant::EPOCH, WallTime::from_secs(0));
    snapshot.bans.iter_mut().for_each(|ban| ban.saved = WallTime::from_secs(0));
    snapshot
}

#[test]
fn whatever_changes_the_snapshot_changes_the_revision() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    type Change = fn(&mut Node, Instant, crate::PeerId);
    let changes: [(&str, Change); 12] = [
        ("add", |node, now, other| node.add_peer(now, other, &[addr(1)], Intent::Dormant).unwrap()),
        ("addr", |node, now, other| node.add_addr(now, other, &addr(2), Provenance::Identify).unwrap()),
        ("better source", |node, now, other| node.add_addr(now, other, &addr(2), Provenance::Manual).unwrap()),
        ("metadata", |node, now, other| node.set_metadata(now, other, "name", b"x").unwrap()),
        ("less metadata", |node, now, other| node.set_metadata(now, other, "name", b"").unwrap()),
        ("protect", |node, now, other| node.protect(now, other, true).unwrap()),
        ("intent", |node, now, other| node.add_peer(now, other, &[], Intent::Transient).unwrap()),
        ("disconnect", |node, now, other| node.disconnect(now, other)),
        ("ban", |node, now, other| node.ban(now, other.into(), None).unwrap()),
        ("another ban", |node, now, other| node.ban(now, other.into(), Some(MINUTE)).unwrap()),
        ("unban", |node, now, other| assert!(node.unban(now, other.into()))),
        ("remove", |node, now, other| node.remove_peer(now, other)),
    ];
    for (name, change) in changes {
        let before = (driver.node.revision(), stored(&driver.node));
        driver.call(|node, now| change(node, now, other));
        let after = (driver.node.revision(), stored(&driver.node));
        assert_ne!(before.1, after.1, "{name} is no change");
        assert!(before.0 < after.0, "{name} is not to be seen");
    }
}

#[test]
fn dials_and_the_end_of_a_ban_change_the_revision() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let mut last = driver.node.revision();
    let mut is_new = |driver: &Driver| core::mem::replace(&mut last, driver.node.revision()) < driver.node.revision();
    driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
    assert!(is_new(&driver));
    let attempt = driver.only_dial();
    assert!(!is_new(&driver), "a dial that begins is nothing to store");
    driver.fail(attempt);
    assert!(is_new(&driver), "the address has failed once more");
    driver.sleep();
    assert!(!is_new(&driver));
    let attempt = driver.only_dial();
    let id = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(id, other);
    assert!(is_new(&driver), "the peer was seen, and its address is good");
    driver.call(|node, now| node.ban(now, peer(9).into(), Some(MINUTE))).unwrap();
    assert!(is_new(&driver));
    driver.close(id, CloseReason::Eof);
    assert!(!is_new(&driver));
    driver.wait(MINUTE);
    assert!(is_new(&driver), "the ban is over");
}

#[test]
fn what_fails_and_what_looks_changes_no_revision() {
    let mut driver = Driver::new(Config::default());
    let other = ordered().0;
    let before = driver.node.revision();
    driver.call(|node, now| node.protect(now, other, true)).unwrap_err();
    driver.call(|node, now| node.unban(now, other.into()));
    driver.call(|node, now| node.remove_peer(now, other));
    let id = driver.incoming(1);
    driver.open(id, other);
    driver.wait(MINUTE);
    stored(&driver.node);
    assert_eq!(driver.node.revision(), before);
}
