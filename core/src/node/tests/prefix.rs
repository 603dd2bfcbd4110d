use core::net::IpAddr;
use std::string::ToString;

use proptest::prelude::*;

use crate::node::{InvalidPrefix, Prefix, leading_ip};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> Prefix {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_host_is_one_ipv4_address_or_one_64_bit_network() {
    assert_eq!(Prefix::host(ip("192.0.2.7")), net("192.0.2.7/32"));
    assert_eq!(Prefix::host(ip("2001:db8:1:2:3:4:5:6")), net("2001:db8:1:2::/64"));
    assert_eq!(Prefix::host(ip("::ffff:192.0.2.7")), net("192.0.2.7/32"));
}

#[test]
fn a_network_contains_its_addresses_and_no_other() {
    let ten = net("10.0.0.0/8");
    assert!(ten.contains(ip("10.255.255.255")));
    assert!(ten.contains(ip("::ffff:10.1.2.3")));
    assert!(!ten.contains(ip("11.0.0.0")));
    assert!(!ten.contains(ip("a00::")));
    assert!(net("2001:db8::/33").contains(ip("2001:db8:7fff::1")));
    assert!(!net("2001:db8::/33").contains(ip("2001:db8:8000::1")));
    assert!(net("0.0.0.0/0").contains(ip("255.255.255.255")));
    assert!(!net("0.0.0.0/0").contains(ip("::1")));
    assert!(net("::/0").contains(ip("::1")));
    assert!(!net("::/0").contains(ip("::ffff:1.2.3.4")));
}

#[test]
fn coarser_networks_contain_and_are_never_finer() {
    let host = net("192.0.2.7/32");
    assert_eq!(host.coarser(24), net("192.0.2.0/24"));
    assert_eq!(host.coarser(24).coarser(32), net("192.0.2.0/24"));
    assert_eq!(host.coarser(0), net("0.0.0.0/0"));
    assert_eq!(net("2001:db8:1:2::/64").coarser(48), net("2001:db8:1::/48"));
    assert_eq!(net("::/64").coarser(255), net("::/64"));
}

#[test]
fn text_that_is_no_network_says_why() {
    let parse = |text: &str| text.parse::<Prefix>();
    for text in ["10.0.0.0", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/8 ", "10.0.0.0/-1", "", "::"] {
        assert_eq!(parse(text), Err(InvalidPrefix::Length), "{text}");
    }
    for text in ["/8", "10.0.0/8", "10.0.0.256/8", "localhost/8", "fe80::1%eth0/64", "/"] {
        assert_eq!(parse(text), Err(InvalidPrefix::Address), "{text}");
    }
    for text in ["10.0.0.0/33", "10.0.0.0/256", "10.0.0.0/99999999999999999999"] {
        assert_eq!(parse(text), Err(InvalidPrefix::TooLong { max: 32 }), "{text}");
    }
    assert_eq!(parse("::/129"), Err(InvalidPrefix::TooLong { max: 128 }));
    assert_eq!(parse("10.0.0.1/8"), Err(InvalidPrefix::HostBits { network: net("10.0.0.0/8") }));
    assert_eq!(parse("::ffff:10.0.0.1/104"), Err(InvalidPrefix::HostBits { network: net("10.0.0.0/8") }));
    assert_eq!(
        parse("2001:db8::1/64").unwrap_err().to_string(),
        "the address has bits behind its prefix; the network is 2001:db8::/64"
    );
}

#[test]
fn mapped_networks_are_ipv4_networks() {
    assert_eq!(net("::ffff:10.0.0.0/104"), net("10.0.0.0/8"));
    assert_eq!(net("::ffff:0.0.0.0/96"), net("0.0.0.0/0"));
    assert_eq!(Prefix::new(ip("::ffff:10.1.2.3"), 90).unwrap().to_string(), "::ffc0:0:0/90");
    assert_eq!(Prefix::new(ip("10.1.2.3"), 33), Err(InvalidPrefix::TooLong { max: 32 }));
}

#[test]
fn an_address_tells_its_ip_only_if_it_begins_with_one() {
    let leading = |text: &str| leading_ip(&text.parse().unwrap());
    assert_eq!(leading("/ip4/192.0.2.7/tcp/1"), Some(ip("192.0.2.7")));
    assert_eq!(leading("/ip6/::ffff:192.0.2.7/udp/1/quic-v1"), Some(ip("192.0.2.7")));
    assert_eq!(leading("/ip6zone/eth0/ip6/fe80::1/tcp/1"), Some(ip("fe80::1")));
    assert_eq!(leading("/dns4/example.com/tcp/1"), None);
    assert_eq!(leading("/memory/1"), None);
}

proptest! {
    #[test]
    fn every_network_survives_its_text(ip: IpAddr, len in 0_u8..=128) {
        let len = if ip.is_ipv4() { len / 4 } else { len };
        let prefix = Prefix::new(ip, len).unwrap();
        prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        prop_assert_eq!(Prefix::new(prefix.network(), prefix.len()), Ok(prefix));
        // A network of IPv6 wider than the mapped range holds no mapped address.
        prop_assert_eq!(prefix.contains(ip), prefix.network().is_ipv4() == ip.to_canonical().is_ipv4());
    }

    #[test]
    fn containing_is_having_the_first_bits(network: u32, other: u32, len in 0_u8..=32) {
        let prefix = Prefix::new(IpAddr::V4(network.into()), len).unwrap();
        let common = (network ^ other).leading_zeros();
        prop_assert_eq!(prefix.contains(IpAddr::V4(other.into())), common >= len.into());
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "[0-9a-f:./]{0,50}") {
        if let Ok(prefix) = text.parse::<Prefix>() {
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
    }
}
