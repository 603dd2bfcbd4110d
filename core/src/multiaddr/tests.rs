mod oracle;

use super::*;
use alloc::{
    format,
    string::{String, ToString},
    vec,
};
use core::net::{Ipv4Addr, Ipv6Addr};

const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
const OTHER: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";

fn addr(text: &str) -> Multiaddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn peer(text: &str) -> PeerId {
    text.parse().unwrap()
}

fn peer_hex(text: &str) -> String {
    let id = peer(text);
    format!("a503{:02x}{}", id.as_bytes().len(), hex::encode(id.as_bytes()))
}

#[test]
fn known_addresses_have_their_known_bytes() {
    let (p, o) = (peer_hex(PEER), peer_hex(OTHER));
    let table = [
        ("/ip4/192.0.2.1/tcp/4001".into(), "04c0000201060fa1".into()),
        ("/ip4/192.0.2.1/udp/4001/quic-v1".into(), "04c000020191020fa1cd03".into()),
        (format!("/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"), format!("04c0000201060fa1{p}")),
        ("/dns4/example.com/tcp/443/tls/ws".into(), "360b6578616d706c652e636f6d0601bbc003dd03".to_string()),
        (format!("/ip4/192.0.2.1/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{OTHER}"), format!("04c0000201060fa1{p}a202{o}")),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/0".into(), "2a046574683029fe800000000000000000000000000001060000".into()),
        ("/dns/a/dns6/b/dnsaddr/c".into(), "350161370162380163".into()),
        ("/memory/18446744073709551615".into(), "8906ffffffffffffffff".into()),
        ("/webrtc-direct/webrtc/noise/quic/webtransport/wss".into(), "98029902c603cc03d103de03".into()),
        ("/certhash/uEgNvb28".into(), "d2030512036f6f6f".into()),
        ("/unknown/u0Q_A".into(), "d10fc0".into()),
    ];
    for (text, bytes) in table {
        assert_eq!(hex::encode(addr(&text).as_bytes()), bytes, "{text}");
        let read = Multiaddr::from_bytes(&hex::decode(&bytes).unwrap()).unwrap();
        assert_eq!(read, addr(&text));
        assert_eq!(read.to_string(), text);
        assert_eq!(format!("{read:?}"), text);
    }
    assert_eq!(addr(&format!("/ipfs/{PEER}")), addr(&format!("/p2p/{PEER}")));
}

fn bytes(text: &str) -> Result<Multiaddr, Error> {
    Multiaddr::from_bytes(&hex::decode(text).unwrap())
}

#[test]
fn an_address_has_at_most_1024_bytes_however_it_is_made() {
    // Four bytes each: 256 of them are the limit.
    let udp = [Protocol::Udp(7); 257];
    let text = "/udp/7".repeat(257);
    let encoded: Vec<u8> = [0x91, 0x02, 0x00, 0x07].repeat(257);
    let longest = Multiaddr::from_protocols(udp[1..].iter().copied()).unwrap();
    assert_eq!(longest.as_bytes().len(), MAX_LEN);
    assert_eq!(Multiaddr::from_bytes(&encoded[4..]), Ok(longest.clone()));
    assert_eq!(text["/udp/7".len()..].parse(), Ok(longest.clone()));

    assert_eq!(Multiaddr::from_protocols(udp), Err(Error::TooLong));
    assert_eq!(Multiaddr::from_bytes(&encoded), Err(Error::TooLong));
    assert_eq!(text.parse::<Multiaddr>(), Err(Error::TooLong));
    assert_eq!(longest.with_peer(peer(PEER)), Err(Error::TooLong));

    // One byte more, hidden in a part that is not looked at.
    let unknown = |len| [&[0x7f][..], &vec![0; len - 1]].concat();
    assert!(Multiaddr::from_bytes(&unknown(MAX_LEN)).is_ok());
    assert_eq!(Multiaddr::from_bytes(&unknown(MAX_LEN + 1)), Err(Error::TooLong));
    assert!(Multiaddr::from_protocols([Protocol::Unknown(&unknown(MAX_LEN))]).is_ok());
    assert_eq!(Multiaddr::from_protocols([Protocol::Unknown(&unknown(MAX_LEN + 1))]), Err(Error::TooLong));
    let text = Multiaddr::from_bytes(&unknown(MAX_LEN)).unwrap().to_string();
    assert!(text.parse::<Multiaddr>().is_ok());
    assert_eq!((text + "AA").parse::<Multiaddr>(), Err(Error::TooLong));
    assert_eq!(format!("/unknown/u{}", "A".repeat(100_000)).parse::<Multiaddr>(), Err(Error::TooLong));
}

#[test]
fn there_is_no_empty_address() {
    assert_eq!(Multiaddr::from_bytes(&[]), Err(Error::Empty));
    assert_eq!(Multiaddr::from_protocols([]), Err(Error::Empty));
    assert_eq!("".parse::<Multiaddr>(), Err(Error::Empty));
    assert_eq!("/".parse::<Multiaddr>(), Err(Error::UnknownName));
}

#[test]
fn names_have_from_1_to_253_bytes() {
    let longest = "x".repeat(MAX_NAME_LEN);
    let too_long = "x".repeat(MAX_NAME_LEN + 1);
    for component in [Protocol::Dns, Protocol::Dns4, Protocol::Dns6, Protocol::Dnsaddr, Protocol::Ip6zone] {
        for (name, good) in [(&*longest, true), (&*too_long, false), ("", false), ("x", true)] {
            let expected = if good { Ok(()) } else { Err(Error::Name) };
            let mut encoded = Vec::new();
            component(name).encode_to(&mut encoded);
            assert_eq!(Multiaddr::from_bytes(&encoded).map(|_| ()), expected);
            assert_eq!(Multiaddr::from_protocols([component(name)]).map(|_| ()), expected);
            assert_eq!(component(name).to_string().parse::<Multiaddr>().map(|_| ()), expected);
        }
    }
}

#[test]
fn names_that_would_read_as_something_else_are_refused() {
    for name in ["a/tcp/1", "/", "a b", "a\n", "\u{0}", "\u{7f}", "\u{a0}", "\u{2028}", "\u{85}"] {
        let mut encoded = Vec::new();
        Protocol::Dns(name).encode_to(&mut encoded);
        assert_eq!(Multiaddr::from_bytes(&encoded), Err(Error::Name), "{name:?}");
        assert_eq!(Multiaddr::from_protocols([Protocol::Dns(name)]), Err(Error::Name), "{name:?}");
    }
    assert_eq!(bytes("3501ff"), Err(Error::Name));
    assert_eq!("/dns/a b".parse::<Multiaddr>(), Err(Error::Name));
}

#[test]
fn a_certificate_hash_is_a_multihash_of_at_most_64_bytes() {
    let hash = |len: usize| [&[0x12, u8::try_from(len).unwrap()], &vec![7; len][..]].concat();
    for (hash, good) in [
        (hash(0), true),
        (hash(32), true),
        (hash(64), true),
        (hash(65), false),
        (hash(32)[..33].to_vec(), false),
        ([hash(32), vec![0]].concat(), false),
        (vec![0x12], false),
        (vec![], false),
        (vec![0x80, 0x00, 0x00], false),
        (vec![0x12, 0x81, 0x00, 0x07], false),
    ] {
        let expected = if good { Ok(()) } else { Err(Error::Certhash) };
        let mut encoded = Vec::new();
        Protocol::Certhash(&hash).encode_to(&mut encoded);
        assert_eq!(Multiaddr::from_bytes(&encoded).map(|_| ()), expected, "{hash:?}");
        let text = Protocol::Certhash(&hash).to_string();
        assert_eq!(text.parse::<Multiaddr>().map(|addr| addr.to_string()), expected.map(|()| text));
    }
}

#[test]
fn lengths_and_codes_are_minimal_and_bounded() {
    assert_eq!(bytes("840004000000"), Err(Error::Varint(varint::Error::NotMinimal)));
    assert_eq!(bytes("35810061"), Err(Error::Varint(varint::Error::NotMinimal)));
    assert_eq!(bytes("358108"), Err(Error::Varint(varint::Error::TooLarge { max: 1024 })));
    assert_eq!(bytes("35ffffff"), Err(Error::Varint(varint::Error::TooLarge { max: 1024 })));
    assert_eq!(bytes("358008"), Err(Error::Truncated));
    assert_eq!(bytes("ffffffffffffffffff01"), Err(Error::Varint(varint::Error::TooLong)));
    assert_eq!(bytes("80"), Err(Error::Truncated));
}

#[test]
fn an_address_cut_anywhere_is_refused_or_ends_with_a_whole_component() {
    let whole = addr(&format!(
        "/dns4/example.com/ip6zone/a/ip6/::1/ip4/1.2.3.4/tcp/1/udp/2/memory/3/certhash/uEgNvb28/ws/p2p/{PEER}/p2p-circuit/p2p/{OTHER}"
    ));
    let all: Vec<_> = whole.protocols().collect();
    let mut complete = 0;
    for cut in 1..whole.as_bytes().len() {
        match Multiaddr::from_bytes(&whole.as_bytes()[..cut]) {
            Ok(part) => {
                complete += 1;
                assert_eq!(part.protocols().collect::<Vec<_>>(), all[..complete]);
            }
            Err(error) => assert_eq!(error, Error::Truncated),
        }
    }
    assert_eq!(complete, all.len() - 1);
}

#[test]
fn a_peer_comes_last_or_before_a_circuit() {
    let p = format!("/p2p/{PEER}");
    for good in [
        p.clone(),
        format!("/tcp/1{p}"),
        format!("{p}/p2p-circuit"),
        format!("{p}/p2p-circuit{p}"),
        format!("{p}/p2p-circuit/webrtc{p}"),
        "/p2p-circuit".into(),
        format!("/p2p-circuit{p}"),
    ] {
        assert_eq!(addr(&good).to_string(), good);
    }
    for bad in [format!("{p}/tcp/1"), format!("{p}{p}"), format!("{p}/p2p-circuit{p}/ws"), format!("{p}/unknown/u0Q_A")]
    {
        assert_eq!(bad.parse::<Multiaddr>(), Err(Error::AfterPeer), "{bad}");
    }
    let peer_bytes = peer_hex(PEER);
    assert_eq!(bytes(&format!("{peer_bytes}060001")), Err(Error::AfterPeer));
    assert_eq!(bytes(&format!("{peer_bytes}7f")), Err(Error::AfterPeer));
    assert_eq!(bytes("a5030100"), Err(Error::Peer(InvalidPeerId::Multihash)));
    assert_eq!("/p2p/12D3".parse::<Multiaddr>(), Err(Error::Peer(InvalidPeerId::Multihash)));
    let cid = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
    assert_eq!(addr(&format!("/p2p/{cid}")), addr(&format!("/p2p/{OTHER}")));
}

#[test]
fn unknown_components_round_trip_and_nothing_stands_behind_them() {
    let read = bytes("04c0000201e103056162632f64").unwrap();
    let parts: Vec<_> = read.protocols().collect();
    let rest = hex::decode("e103056162632f64").unwrap();
    assert_eq!(parts, [Protocol::Ip4(Ipv4Addr::new(192, 0, 2, 1)), Protocol::Unknown(&rest)]);
    assert_eq!(addr(&read.to_string()), read);
    assert_eq!(Multiaddr::from_protocols(parts), Ok(read.clone()));
    assert_eq!((read.socket_addr(), read.peer_id()), (None, None));
    assert_eq!(read.with_peer(peer(PEER)), Err(Error::AfterUnknown));
    assert_eq!(read.without_peer(), Some(read.clone()));

    assert_eq!(format!("{read}/tcp/1").parse::<Multiaddr>(), Err(Error::AfterUnknown));
    assert_eq!(Multiaddr::from_protocols([Protocol::Unknown(&rest), Protocol::Tcp(1)]), Err(Error::AfterUnknown));
}

#[test]
fn an_unknown_component_cannot_hide_a_known_one() {
    assert_eq!(Multiaddr::from_protocols([Protocol::Unknown(&[0x06, 0x00, 0x01])]), Err(Error::NotUnknown));
    assert_eq!(Multiaddr::from_protocols([Protocol::Unknown(&[])]), Err(Error::Truncated));
    assert_eq!(Multiaddr::from_protocols([Protocol::Unknown(&[0x80])]), Err(Error::Truncated));
    assert_eq!("/unknown/uBgAB".parse::<Multiaddr>(), Err(Error::NotUnknown));
    assert_eq!("/unknown/u".parse::<Multiaddr>(), Err(Error::Truncated));
}

#[test]
fn text_that_is_no_address_is_refused() {
    let table = [
        ("tcp/1", Error::NoSlash),
        (" /tcp/1", Error::NoSlash),
        ("/tcp/1/", Error::UnknownName),
        ("//tcp/1", Error::UnknownName),
        ("/TCP/1", Error::UnknownName),
        ("/sctp/1", Error::UnknownName),
        ("/tcp", Error::MissingValue),
        ("/ip4", Error::MissingValue),
        ("/p2p", Error::MissingValue),
        ("/tcp/", Error::Value),
        ("/tcp/65536", Error::Value),
        ("/tcp/-1", Error::Value),
        ("/tcp/+1", Error::Value),
        ("/tcp/01", Error::Value),
        ("/tcp/00", Error::Value),
        ("/udp/1 ", Error::Value),
        ("/memory/18446744073709551616", Error::Value),
        ("/ip4/1.2.3", Error::Value),
        ("/ip4/1.2.3.256", Error::Value),
        ("/ip4/01.2.3.4", Error::Value),
        ("/ip4/::1", Error::Value),
        ("/ip6/1.2.3.4", Error::Value),
        ("/ip6/fe80::1%eth0", Error::Value),
        ("/certhash/EgNvb28", Error::Value),
        ("/certhash/mEgNvb28", Error::Value),
        ("/certhash/uEgNvb28=", Error::Value),
        ("/certhash/uEgNvb2+", Error::Value),
        // A digit too many, and spare bits that are not zero.
        ("/certhash/uEgNvb", Error::Value),
        ("/certhash/uEgNvb29", Error::Value),
        ("/certhash/uEgFvbx", Error::Value),
    ];
    for (text, error) in table {
        assert_eq!(text.parse::<Multiaddr>(), Err(error), "{text}");
    }
    assert!("/tcp/0".parse::<Multiaddr>().is_ok());
    assert!("/tcp/65535".parse::<Multiaddr>().is_ok());
}

#[test]
fn plain_tcp_addresses_convert_to_socket_addresses_and_back() {
    for text in ["192.0.2.1:4001", "0.0.0.0:0", "[2001:db8::1]:65535", "[::ffff:192.0.2.1]:1"] {
        let socket_addr: SocketAddr = text.parse().unwrap();
        let plain = Multiaddr::from_socket_addr(socket_addr);
        assert_eq!(plain.socket_addr(), Some(socket_addr));
        assert_eq!(plain.to_string().parse(), Ok(plain.clone()));
        assert_eq!(plain.with_peer(peer(PEER)).unwrap().socket_addr(), Some(socket_addr));
    }
    let scoped = SocketAddr::V6(core::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 2, 3));
    assert_eq!(Multiaddr::from_socket_addr(scoped).to_string(), "/ip6/::1/tcp/1");

    for other in [
        "/tcp/1".into(),
        "/ip4/192.0.2.1".into(),
        "/dns/localhost/tcp/1".into(),
        "/ip4/192.0.2.1/udp/1".into(),
        "/ip4/192.0.2.1/tcp/1/ws".into(),
        "/ip4/192.0.2.1/tcp/1/tls/ws".into(),
        "/ip4/192.0.2.1/tcp/1/tcp/1".into(),
        "/ip4/192.0.2.1/udp/1/tcp/1".into(),
        "/ip6zone/eth0/ip6/fe80::1/tcp/1".into(),
        format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit"),
        format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{OTHER}"),
    ] {
        assert_eq!(addr(&other).socket_addr(), None, "{other}");
    }
}

#[test]
fn the_peer_at_the_end_is_found_added_and_taken_off() {
    let plain = addr("/ip4/192.0.2.1/tcp/1");
    let full = plain.with_peer(peer(PEER)).unwrap();
    assert_eq!(full.to_string(), format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}"));
    assert_eq!((plain.peer_id(), full.peer_id()), (None, Some(peer(PEER))));
    assert_eq!(full.with_peer(peer(PEER)), Ok(full.clone()));
    assert_eq!(full.with_peer(peer(OTHER)), Err(Error::OtherPeer));
    assert_eq!(full.without_peer(), Some(plain.clone()));
    assert_eq!(plain.without_peer(), Some(plain));
    assert_eq!(addr(&format!("/p2p/{PEER}")).without_peer(), None);

    // The relay is not the peer at the end.
    let relayed = addr(&format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit"));
    assert_eq!(relayed.peer_id(), None);
    assert_eq!(relayed.without_peer(), Some(relayed.clone()));
    let target = relayed.with_peer(peer(OTHER)).unwrap();
    assert_eq!(target.peer_id(), Some(peer(OTHER)));
    assert_eq!(target.without_peer(), Some(relayed));
}
