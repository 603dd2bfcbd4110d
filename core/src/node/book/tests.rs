//! Peers that come, stay and go.

mod model;
mod restored;

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::time::Duration;

use super::*;
use crate::node::{KnownAddr, Snapshot};

const WALL: WallTime = WallTime::from_secs(1_700_000_000);

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, n]).unwrap()
}

fn addr(port: u16) -> Multiaddr {
    Multiaddr::from_socket_addr(([192, 0, 2, 1], port).into())
}

fn at(secs: u64) -> Instant {
    Instant::EPOCH.saturating_add(Duration::from_secs(secs))
}

fn book(max_peers: usize) -> Book {
    Book::new(BookLimits { max_peers, ..BookLimits::default() })
}

fn ports(book: &Book, n: u8) -> Vec<u16> {
    book.dial_addrs(&peer(n)).map(|addr| addr.socket_addr().unwrap().port()).collect()
}

fn ids(book: &Book) -> Vec<PeerId> {
    book.peers().copied().collect()
}

/// Recomputes by search what the book keeps up to date.
fn check(book: &Book) {
    let limits = &book.limits;
    let evictable = |(id, entry): &(&PeerId, &Entry)| !entry.is_kept() && !book.pins.contains_key(*id);
    let expected: BTreeSet<_> =
        book.peers.iter().filter(evictable).map(|(id, e)| ((e.is_chosen(), e.last_seen), *id)).collect();
    assert_eq!(book.evictable, expected);
    assert_eq!(book.bytes, book.peers.values().map(Entry::cost).sum::<usize>());
    assert_eq!(book.kept_bytes, book.peers.iter().filter(|p| !evictable(p)).map(|(_, e)| e.cost()).sum::<usize>());
    assert!(book.len() <= limits.max_peers && book.bytes <= limits.max_bytes);
    assert!(book.pins.values().all(|count| *count > 0));
    for entry in book.peers.values() {
        assert!(entry.last_seen <= Moment::at(book.now));
        assert!(entry.addrs.len() <= limits.max_addrs);
        assert!(entry.metadata_bytes() <= limits.max_metadata_bytes);
        assert!(entry.metadata.len() <= limits.max_metadata_keys);
        assert!(entry.metadata.values().all(|value| !value.is_empty()));
    }
}

#[test]
fn the_defaults_are_valid_and_all_errors_are_reported_at_once() {
    assert_eq!(BookLimits::default().validate(), Ok(()));
    let limits = BookLimits { max_peers: 0, max_addrs: 0, max_bytes: 1, ..BookLimits::default() };
    assert_eq!(limits.validate().unwrap_err().iter().count(), 3);
    let least = BookLimits::default().largest_peer();
    assert_eq!(BookLimits { max_bytes: least, ..BookLimits::default() }.validate(), Ok(()));
    assert!(BookLimits { max_bytes: least - 1, ..BookLimits::default() }.validate().is_err());
}

#[test]
fn an_address_is_held_without_the_peer_and_never_for_another() {
    let mut book = book(10);
    let full = addr(1).with_peer(peer(1)).unwrap();
    assert_eq!(book.add_addr(peer(1), &full, Provenance::Manual, at(0)), Ok(AddrAdded::New { evicted: None }));
    assert_eq!(book.dial_addrs(&peer(1)).collect::<Vec<_>>(), [&addr(1)]);
    assert_eq!(book.add_addr(peer(1), &addr(1), Provenance::Inbound, at(0)), Ok(AddrAdded::Known));
    assert_eq!(
        book.add_addr(peer(2), &full, Provenance::Manual, at(0)),
        Err(BookError::OtherPeer { addr: full.clone(), other: peer(1) })
    );
    let only_peer = Multiaddr::from_protocols([crate::multiaddr::Protocol::P2p(peer(2))]).unwrap();
    assert!(matches!(book.add_addr(peer(2), &only_peer, Provenance::Manual, at(0)), Err(BookError::NoAddr { .. })));
    assert!(!book.contains(&peer(2)), "what is refused changes nothing");
    assert!(book.remove_addr(&peer(1), &full));
    assert!(!book.remove_addr(&peer(1), &full));
    check(&book);
}

#[test]
fn addresses_are_ranked_by_last_success_then_provenance_then_failures() {
    let mut book = book(10);
    for (port, provenance) in [
        (1, Provenance::Inbound),
        (2, Provenance::Identify),
        (3, Provenance::Identify),
        (4, Provenance::Manual),
        (5, Provenance::Inbound),
        (6, Provenance::Identify),
    ] {
        book.add_addr(peer(1), &addr(port), provenance, at(0)).unwrap();
    }
    book.dial_failed(&peer(1), &addr(2));
    book.dial_succeeded(&peer(1), &addr(1), at(5));
    book.dial_succeeded(&peer(1), &addr(6), at(7));
    book.dial_failed(&peer(1), &addr(6));
    assert_eq!(ports(&book, 1), [6, 1, 4, 3, 2, 5]);
    let known = book.get(&peer(1), at(10), WALL).unwrap();
    assert_eq!(known.addrs[0].failures, 1, "counted since the last success");
    assert_eq!(known.addrs[0].last_success, Some(WallTime::from_secs(WALL.as_secs() - 3)));
    assert_eq!(known.last_seen, WallTime::from_secs(WALL.as_secs() - 3));
}

#[test]
fn a_full_list_drops_the_worst_of_the_same_or_a_worse_source() {
    let mut book = book(10);
    let limit = u16::try_from(book.limits.max_addrs).unwrap();
    for port in 1..=limit {
        book.add_addr(peer(1), &addr(port), Provenance::Identify, at(0)).unwrap();
    }
    book.dial_succeeded(&peer(1), &addr(limit), at(1));
    assert_eq!(
        book.add_addr(peer(1), &addr(100), Provenance::Inbound, at(2)),
        Err(BookError::TooManyAddrs { limit: 16 })
    );
    // The last to be dialed: the greatest of those that never worked.
    assert_eq!(
        book.add_addr(peer(1), &addr(101), Provenance::Identify, at(2)),
        Ok(AddrAdded::New { evicted: Some(addr(limit - 1)) })
    );
    assert_eq!(book.dial_addrs(&peer(1)).count(), 16);
    assert_eq!(ports(&book, 1)[0], limit, "what worked stays");
    check(&book);
}

#[test]
fn a_peer_cannot_push_out_what_the_user_typed() {
    let mut book = book(10);
    for port in 1..=16 {
        book.add_addr(peer(1), &addr(port), Provenance::Manual, at(0)).unwrap();
        book.dial_failed(&peer(1), &addr(port));
    }
    for provenance in [Provenance::Inbound, Provenance::Identify, Provenance::PeerRecord] {
        let refused = book.add_addr(peer(1), &addr(99), provenance, at(0));
        assert_eq!(refused, Err(BookError::TooManyAddrs { limit: 16 }));
    }
    assert_eq!(
        book.add_addr(peer(1), &addr(99), Provenance::Manual, at(0)),
        Ok(AddrAdded::New { evicted: Some(addr(16)) })
    );
}

#[test]
fn a_full_table_evicts_who_was_not_seen_for_the_longest_time() {
    let mut book = book(3);
    for n in 1..=3 {
        book.add_peer(peer(n), at(n.into())).unwrap();
    }
    book.seen(&peer(1), at(10));
    book.add_peer(peer(4), at(11)).unwrap();
    assert_eq!(ids(&book), [peer(1), peer(3), peer(4)]);
    assert_eq!(book.evictions(), 1);
    check(&book);
}

#[test]
fn strangers_do_not_push_out_whom_the_application_has_named_or_noted() {
    let mut book = book(3);
    book.add_addr(peer(1), &addr(1), Provenance::Manual, at(1)).unwrap();
    book.add_addr(peer(2), &addr(2), Provenance::PeerRecord, at(2)).unwrap();
    book.set_metadata(&peer(2), "name", b"x").unwrap();
    for n in 3..10 {
        book.add_addr(peer(n), &addr(n.into()), Provenance::PeerRecord, at(n.into())).unwrap();
    }
    assert_eq!(ids(&book), [peer(1), peer(2), peer(9)]);
    book.set_metadata(&peer(2), "name", b"").unwrap();
    book.add_addr(peer(10), &addr(10), Provenance::Manual, at(10)).unwrap();
    assert_eq!(ids(&book), [peer(1), peer(9), peer(10)], "nobody knows it any more, and it is the older one");
    check(&book);

    let smaller = BookLimits { max_peers: 2, ..book.limits };
    let (restored, _) = Book::restore(smaller, book.snapshot(at(11), WALL), at(11), WALL);
    assert_eq!(ids(&restored), [peer(1), peer(10)]);
}

#[test]
fn protected_persistent_and_pinned_peers_stay_until_they_no_longer_are() {
    let mut book = book(3);
    for n in 1..=3 {
        book.add_peer(peer(n), at(0)).unwrap();
    }
    book.set_protected(&peer(1), true).unwrap();
    book.set_intent(&peer(2), Intent::Persistent).unwrap();
    book.pin(peer(3));
    book.pin(peer(3));
    assert_eq!(book.add_peer(peer(4), at(1)), Err(BookError::Full { peers: 3 }));
    book.unpin(&peer(3));
    assert_eq!(book.add_peer(peer(4), at(1)), Err(BookError::Full { peers: 3 }));
    book.unpin(&peer(3));
    book.unpin(&peer(3));
    check(&book);
    assert_eq!(book.add_peer(peer(4), at(1)), Ok(()));
    assert_eq!(ids(&book), [peer(1), peer(2), peer(4)]);
    book.set_protected(&peer(1), false).unwrap();
    book.set_intent(&peer(2), Intent::Dormant).unwrap();
    book.add_peer(peer(5), at(1)).unwrap();
    book.add_peer(peer(6), at(2)).unwrap();
    assert_eq!(ids(&book), [peer(4), peer(5), peer(6)]);
}

#[test]
fn a_pin_holds_for_a_peer_that_is_removed_and_added_again() {
    let mut book = book(1);
    book.pin(peer(1));
    book.add_peer(peer(1), at(0)).unwrap();
    assert!(book.remove(&peer(1)));
    book.add_peer(peer(1), at(0)).unwrap();
    assert_eq!(book.add_peer(peer(2), at(1)), Err(BookError::Full { peers: 1 }));
    book.unpin(&peer(1));
    assert_eq!(book.add_peer(peer(2), at(1)), Ok(()));
    check(&book);
}

#[test]
fn bytes_are_bounded_over_all_peers() {
    let limits = BookLimits { max_bytes: 3 * (PEER_COST + ADDR_COST + 8), ..BookLimits::default() };
    let mut book = Book::new(limits);
    for n in 1..=3 {
        book.add_addr(peer(n), &addr(1), Provenance::Identify, at(n.into())).unwrap();
    }
    assert_eq!(book.bytes(), book.limits.max_bytes);
    // A peer makes room for its own address at the cost of others, even if it is the next to go itself.
    book.add_addr(peer(1), &addr(2), Provenance::Identify, at(4)).unwrap();
    assert_eq!(ids(&book), [peer(1), peer(3)]);
    check(&book);
    book.set_protected(&peer(3), true).unwrap();
    let before = book.snapshot(at(4), WALL);
    let refused = book.set_metadata(&peer(1), "note", &[7; 400]);
    assert_eq!(refused, Err(BookError::Full { peers: 2 }));
    assert_eq!(book.snapshot(at(4), WALL), before, "what is refused evicts nobody");
    check(&book);
}

#[test]
fn metadata_is_merged_capped_and_deleted_by_an_empty_value() {
    let mut book = book(2);
    assert_eq!(book.set_metadata(&peer(1), "a", b"1"), Err(BookError::UnknownPeer));
    book.add_peer(peer(1), at(0)).unwrap();
    book.set_metadata(&peer(1), "a", b"1").unwrap();
    book.set_metadata(&peer(1), "b", &[0; 4093]).unwrap();
    assert_eq!(book.set_metadata(&peer(1), "a", b"12"), Err(BookError::MetadataTooLong { bytes: 4097, limit: 4096 }));
    assert_eq!(book.metadata(&peer(1), "a"), Some(&b"1"[..]));
    book.set_metadata(&peer(1), "b", b"").unwrap();
    assert_eq!(book.metadata(&peer(1), "b"), None);
    book.set_metadata(&peer(1), "b", b"").unwrap();
    for n in 0..63_u8 {
        book.set_metadata(&peer(1), core::str::from_utf8(&[b'A' + n % 26, b'0' + n / 26]).unwrap(), b"x").unwrap();
    }
    assert_eq!(book.set_metadata(&peer(1), "one more", b"x"), Err(BookError::TooManyKeys { limit: 64 }));
    assert_eq!(book.set_metadata(&peer(1), "a", b"2"), Ok(()));
    check(&book);
}

#[test]
fn what_is_handed_out_is_a_copy() {
    let mut book = book(2);
    book.add_addr(peer(1), &addr(1), Provenance::Manual, at(0)).unwrap();
    let mut copy = book.get(&peer(1), at(0), WALL).unwrap();
    let before = copy.clone();
    copy.addrs.clear();
    copy.protected = true;
    copy.metadata.insert("a".into(), vec![1]);
    assert_eq!(book.get(&peer(1), at(0), WALL), Some(before));
}

#[test]
fn a_clock_that_runs_backwards_counts_as_the_last_time() {
    let mut book = book(2);
    book.add_peer(peer(1), at(10)).unwrap();
    book.add_peer(peer(2), at(5)).unwrap();
    book.seen(&peer(1), at(3));
    let known = book.snapshot(at(0), WALL);
    assert!(known.iter().all(|known| known.last_seen == WALL));
    check(&book);
}
