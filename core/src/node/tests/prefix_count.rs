use alloc::{collections::BTreeMap, vec::Vec};
use core::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use crate::node::{Prefix, PrefixFull, prefix_count::PrefixCounts};

#[test]
fn a_network_holds_as_many_connections_as_its_limit() {
    let mut counts = PrefixCounts::default();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let key = counts.try_add(ip("2001:db8::1"), 2, 4096).unwrap().unwrap();
    assert_eq!(counts.try_add(ip("2001:db8::2"), 2, 4096), Ok(Some(key)));
    assert_eq!(counts.try_add(ip("2001:db8::3"), 2, 4096), Err(PrefixFull { prefix: key, limit: 2 }));
    assert_eq!(counts.get(key), 2);
    assert!(counts.try_add(ip("2001:db8:0:1::3"), 2, 4096).is_ok(), "another /64");
    counts.remove(key);
    assert_eq!(counts.try_add(ip("2001:db8::3"), 2, 4096), Ok(Some(key)));
}

#[test]
fn networks_without_connections_vanish() {
    let mut counts = PrefixCounts::default();
    assert!(counts.try_add(Ipv4Addr::LOCALHOST.into(), 0, 4096).is_err());
    assert_eq!(counts.len(), 0);
    let key = counts.try_add(Ipv4Addr::LOCALHOST.into(), 1, 4096).unwrap().unwrap();
    counts.remove(key);
    counts.remove(key);
    assert_eq!(counts.len(), 0);
    assert_eq!(counts.get(key), 0);
}

#[test]
fn a_limit_that_was_lowered_lets_nobody_in_until_enough_have_left() {
    let mut counts = PrefixCounts::default();
    let keys: Vec<_> = (0..3).map(|_| counts.try_add(Ipv4Addr::LOCALHOST.into(), 3, 4096).unwrap().unwrap()).collect();
    for key in keys {
        assert!(counts.try_add(Ipv4Addr::LOCALHOST.into(), 1, 4096).is_err());
        counts.remove(key);
    }
    assert!(counts.try_add(Ipv4Addr::LOCALHOST.into(), 1, 4096).is_ok());
}

#[test]
fn where_too_many_networks_are_told_apart_further_ones_share_coarser_counts() {
    let mut counts = PrefixCounts::default();
    let mut add = |text: &str| {
        counts.try_add(text.parse().unwrap(), 2, 1).map(|key| key.map(|key| std::string::ToString::to_string(&key)))
    };
    let under = |text: &str| Ok(Some(text.into()));
    assert_eq!(add("10.0.0.1"), under("10.0.0.1/32"));
    assert_eq!(add("10.0.0.2"), under("10.0.0.0/24"));
    assert_eq!(add("10.0.0.1"), under("10.0.0.1/32"), "who has a count of its own keeps it");
    assert!(add("10.0.0.1").is_err(), "and does not escape to a coarser one");
    assert_eq!(add("10.0.1.1"), under("10.0.0.0/16"));
    assert_eq!(add("10.0.0.3"), under("10.0.0.0/24"));
    assert!(add("10.0.0.4").is_err(), "they share it");
    assert_eq!(add("10.1.0.1"), Ok(None), "others are not locked out");
    assert_eq!(counts.len(), 3);
    for key in ["10.0.0.1/32", "10.0.0.1/32", "10.0.0.0/24", "10.0.0.0/24", "10.0.0.0/16"] {
        counts.remove(key.parse().unwrap());
    }
    assert_eq!(counts.len(), 0);
    let add = |text: &str| counts.try_add(text.parse().unwrap(), 2, 1).unwrap().unwrap().len();
    let addrs = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1"];
    assert_eq!(addrs.map(add), [64, 48, 32]);
}

proptest! {
    #[test]
    fn counts_are_exact(steps in proptest::collection::vec((any::<bool>(), 0_u32..5), 0..200)) {
        let mut counts = PrefixCounts::default();
        let mut naive = BTreeMap::<Prefix, u32>::new();
        for (add, address) in steps {
            let ip = IpAddr::V4(address.into());
            let key = Prefix::host(ip);
            let count = naive.entry(key).or_default();
            if add {
                prop_assert_eq!(counts.try_add(ip, 4, 4096).is_ok(), *count < 4);
                *count = 4.min(*count + 1);
            } else {
                counts.remove(key);
                *count = count.saturating_sub(1);
            }
            naive.retain(|_, count| *count > 0);
            prop_assert_eq!(counts.len(), naive.len());
            prop_assert!(naive.iter().all(|(key, count)| counts.get(*key) == *count));
        }
    }
}
