use super::*;
use alloc::{
    format,
    string::{String, ToString},
    vec,
};
use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;

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

fn component() -> impl Strategy<Value = Protocol<'static>> {
    const NAMES: [&str; 4] = ["example.com", "a", "xn--bcher-kva.example", "b\u{fc}cher.example"];
    const HASHES: [&[u8]; 3] = [&[0x12, 2, 0xab, 0xcd], &[0x00, 0], &[0x99, 0x20, 1, 0xff]];
    let name = || proptest::sample::select(&NAMES[..]);
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| Protocol::Ip4(Ipv4Addr::from(ip))),
        any::<[u8; 16]>().prop_map(|ip| Protocol::Ip6(Ipv6Addr::from(ip))),
        any::<u16>().prop_map(Protocol::Tcp),
        any::<u16>().prop_map(Protocol::Udp),
        any::<u64>().prop_map(Protocol::Memory),
        name().prop_map(Protocol::Ip6zone),
        name().prop_map(Protocol::Dns),
        name().prop_map(Protocol::Dns4),
        name().prop_map(Protocol::Dns6),
        name().prop_map(Protocol::Dnsaddr),
        proptest::sample::select(&HASHES[..]).prop_map(Protocol::Certhash),
        proptest::sample::select(&[PEER, OTHER][..]).prop_map(|text| Protocol::P2p(peer(text))),
        proptest::sample::select(vec![
            Protocol::WebrtcDirect,
            Protocol::Webrtc,
            Protocol::P2pCircuit,
            Protocol::Tls,
            Protocol::Noise,
            Protocol::Quic,
            Protocol::QuicV1,
            Protocol::Webtransport,
            Protocol::Ws,
            Protocol::Wss,
        ]),
    ]
}

/// Components in an order that the rule for peers allows.
fn components() -> impl Strategy<Value = Vec<Protocol<'static>>> {
    proptest::collection::vec(component(), 1..8).prop_map(|drawn| {
        let mut allowed: Vec<Protocol<'static>> = Vec::new();
        for next in drawn {
            if let Some(Protocol::P2p(_)) = allowed.last() {
                allowed.push(Protocol::P2pCircuit);
            }
            allowed.push(next);
        }
        allowed
    })
}

proptest! {
    #[test]
    fn the_multiaddr_crate_agrees_on_bytes_and_text(components in components()) {
        let ours = Multiaddr::from_protocols(components.iter().copied()).unwrap();
        prop_assert_eq!(ours.protocols().collect::<Vec<_>>(), components);

        let theirs = ::multiaddr::Multiaddr::try_from(ours.as_bytes().to_vec()).unwrap();
        prop_assert_eq!(theirs.to_string(), ours.to_string());
        let theirs: ::multiaddr::Multiaddr = ours.to_string().parse().unwrap();
        prop_assert_eq!(theirs.as_ref(), ours.as_bytes());

        prop_assert_eq!(theirs.to_string().parse::<Multiaddr>(), Ok(ours.clone()));
        prop_assert_eq!(Multiaddr::from_bytes(theirs.as_ref()), Ok(ours));
    }
}
