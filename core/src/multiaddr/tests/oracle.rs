//! The `multiaddr` crate as oracle. It takes more than we do: empty addresses, names of any length,
//! peers anywhere.

use super::*;
use proptest::prelude::*;

fn component() -> impl Strategy<Value = Protocol<'static>> {
    const NAMES: [&str; 4] = ["example.com", "a", "xn--bcher-kva.example", "b\u{fc}cher.example"];
    const HASHES: [&[u8]; 4] = [&[0x12, 2, 0xab, 0xcd], &[0x12, 1, 0xff], &[0x00, 0], &[0x99, 0x20, 1, 0xff]];
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

proptest! {
    #[test]
    fn bytes_that_we_take_the_multiaddr_crate_takes_alike(
        components in components(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        noise in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut bytes = Multiaddr::from_protocols(components).unwrap().as_bytes().to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes.extend(noise);
        let Ok(ours) = Multiaddr::from_bytes(&bytes) else { return Ok(()) };
        prop_assert_eq!(ours.as_bytes(), &bytes);
        prop_assert_eq!(ours.to_string().parse(), Ok(ours.clone()));
        prop_assert_eq!(Multiaddr::from_protocols(ours.protocols()), Ok(ours.clone()));
        if !ours.protocols().any(|part| matches!(part, Protocol::Unknown(_))) {
            let theirs = ::multiaddr::Multiaddr::try_from(bytes).unwrap();
            prop_assert_eq!(theirs.to_string(), ours.to_string());
        }
    }

    #[test]
    fn text_that_we_take_the_multiaddr_crate_takes_alike(
        parts in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec!["ip4", "ip6", "tcp", "udp", "dns", "ws", "tls", "memory", "1.2.3.4", "::1", "443", "p2p-circuit", "certhash", "uEgFv"]),
            ], 0..6),
        extra in "[/0-9a-z.:+-]{0,4}",
    ) {
        let text = format!("/{}{extra}", parts.join("/"));
        if let Ok(ours) = text.parse::<Multiaddr>() {
            let theirs: ::multiaddr::Multiaddr = text.parse().unwrap();
            prop_assert_eq!(theirs.as_ref(), ours.as_bytes());
        }
    }
}
