//! Books that come back from where they were stored.

use std::string::ToString;

use super::*;

fn known(n: u8, last_seen: i64) -> KnownPeer {
    KnownPeer {
        peer: peer(n),
        addrs: Vec::new(),
        metadata: BTreeMap::new(),
        protected: false,
        intent: Intent::Transient,
        last_seen: WallTime::from_secs(last_seen),
    }
}

fn known_addr(port: u16, last_success: Option<i64>) -> KnownAddr {
    KnownAddr {
        addr: addr(port),
        provenance: Provenance::Identify,
        last_success: last_success.map(WallTime::from_secs),
        failures: 0,
    }
}

fn restore(max_peers: usize, peers: Vec<KnownPeer>) -> (Book, Restored) {
    let limits = BookLimits { max_peers, ..BookLimits::default() };
    let (book, restored) = Book::restore(limits, peers, at(1), WALL);
    check(&book);
    (book, restored)
}

#[test]
fn what_happened_before_this_process_keeps_its_order() {
    let day = 86_400;
    let peers = vec![known(1, WALL.as_secs() - day), known(2, WALL.as_secs() - 3 * day), known(3, 0)];
    let (mut book, restored) = restore(3, peers.clone());
    assert_eq!(restored, Restored { peers: 3, ..Restored::default() });
    assert_eq!(book.snapshot(at(1), WALL), peers);
    let later = WallTime::from_secs(WALL.as_secs() + 9);
    assert_eq!(book.snapshot(at(10), later), peers, "time that passes changes nothing");
    book.add_peer(peer(4), at(11)).unwrap();
    book.add_peer(peer(5), at(12)).unwrap();
    assert_eq!(ids(&book), [peer(1), peer(4), peer(5)]);
}

#[test]
fn times_in_the_future_count_as_now() {
    let mut from_the_future = known(1, i64::MAX);
    from_the_future.addrs = vec![known_addr(1, Some(i64::MAX)), known_addr(2, Some(WALL.as_secs()))];
    let (book, _) = restore(3, vec![from_the_future, known(2, i64::MIN)]);
    let back = book.snapshot(at(1), WALL);
    assert_eq!(back[0].last_seen, WALL);
    assert_eq!(back[0].addrs[0].last_success, Some(WALL));
    assert_eq!(back[0].addrs[1].last_success, Some(WALL));
    // And not as later than whatever comes: the peer ages like any other.
    let later = WallTime::from_secs(WALL.as_secs() + 9);
    assert_eq!(book.snapshot(at(10), later)[0].last_seen, WALL);
}

#[test]
fn a_snapshot_that_is_too_large_is_cut_from_the_end_of_a_fixed_order() {
    let mut peers: Vec<_> = (1..=6).map(|n| known(n, n.into())).collect();
    peers[0].protected = true;
    peers[1].intent = Intent::Persistent;
    let (book, restored) = restore(4, peers.clone());
    assert_eq!(ids(&book), [peer(1), peer(2), peer(5), peer(6)]);
    assert_eq!(restored, Restored { peers: 4, peers_left_out: 2, ..Restored::default() });
    peers.reverse();
    assert_eq!(ids(&restore(4, peers).0), ids(&book), "whatever the order was");
}

#[test]
fn bytes_past_the_limit_are_left_out() {
    let limits = BookLimits { max_bytes: 2 * PEER_COST, ..BookLimits::default() };
    let (book, restored) = Book::restore(limits, vec![known(1, 1), known(2, 2), known(3, 3)], at(1), WALL);
    check(&book);
    assert_eq!((restored.peers, restored.peers_left_out), (2, 1));
}

#[test]
fn a_peer_keeps_its_best_addresses_and_its_first_metadata() {
    let mut large = known(1, 1);
    large.addrs = (1..=20).map(|port| known_addr(port, Some(port.into()))).collect();
    large.metadata = (b'a'..b'f').map(|key| (char::from(key).into(), vec![0; 1023])).collect();
    let (book, restored) = restore(2, vec![large]);
    assert_eq!(ports(&book, 1), (5..=20).rev().collect::<Vec<_>>());
    assert!(book.metadata(&peer(1), "d").is_some());
    let expected = Restored { peers: 1, addrs_left_out: 4, metadata_left_out: 1, ..Restored::default() };
    assert_eq!(restored, expected);
}

#[test]
fn entries_that_mean_nothing_are_skipped_and_counted() {
    let mut odd = known(1, 5);
    let foreign = addr(1).with_peer(peer(2)).unwrap();
    odd.addrs = vec![KnownAddr { addr: foreign, ..known_addr(1, None) }, known_addr(7, None), known_addr(7, None)];
    odd.metadata.insert("empty".into(), Vec::new());
    let twice = known(1, 3);
    let (book, restored) = restore(9, vec![twice, odd]);
    assert_eq!(ports(&book, 1), [7]);
    assert_eq!(restored, Restored { peers: 1, invalid: 4, ..Restored::default() });
}

#[test]
fn a_snapshot_is_text_that_people_can_read() {
    let mut book = book(4);
    let id: PeerId = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA".parse().unwrap();
    book.add_addr(id, &addr(4001), Provenance::PeerRecord, at(0)).unwrap();
    book.set_metadata(&id, "region", b"\x00eu").unwrap();
    book.set_intent(&id, Intent::Persistent).unwrap();
    let snapshot = Snapshot { peers: book.snapshot(at(0), WALL), bans: Vec::new() };
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(
        json["peers"][0],
        serde_json::json!({
            "peer": "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
            "addrs": [{
                "addr": "/ip4/192.0.2.1/tcp/4001",
                "provenance": "peer_record",
                "last_success": null,
                "failures": 0,
            }],
            "metadata": { "region": "AGV1" },
            "protected": false,
            "intent": "persistent",
            "last_seen": 1_700_000_000,
        })
    );
    assert_eq!(serde_json::from_value::<Snapshot>(json).unwrap(), snapshot);
}

#[test]
fn text_that_is_no_peer_address_or_metadata_is_an_error() {
    let parse = |text: &str| serde_json::from_str::<KnownPeer>(text).map_err(|error| error.to_string());
    let id = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    let with = |rest: &str| parse(&std::format!(r#"{{"peer":"{id}","last_seen":1{rest}}}"#));
    assert!(with("").is_ok());
    assert!(with(r#","a_later_field":[1]"#).is_ok());
    assert!(parse(r#"{"peer":"nobody","last_seen":1}"#).unwrap_err().contains("multihash"));
    assert!(with(r#","addrs":[{"addr":"here","provenance":"manual"}]"#).is_err());
    assert!(with(r#","metadata":{"a":"="}"#).unwrap_err().contains("base64url"));
}
