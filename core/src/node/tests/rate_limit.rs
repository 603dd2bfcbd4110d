use alloc::collections::BTreeMap;
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use std::{string::ToString, vec::Vec};

use proptest::prelude::*;

use crate::{
    Instant,
    node::{Limited, Prefix, Rate, RateLimits, rate_limit::RateLimiter},
};

const SECOND: Duration = Duration::from_secs(1);

fn at(secs: u64) -> Instant {
    Instant::EPOCH.saturating_add(Duration::from_secs(secs))
}

fn v4(address: u32) -> IpAddr {
    Ipv4Addr::from_bits(address).into()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// Two at once and one a second from each network; as good as no overall limit.
fn limits(max_prefixes: usize) -> RateLimits {
    RateLimits {
        prefix: Rate { burst: 2, interval: SECOND },
        overall: Rate { burst: 1_000_000, interval: Duration::from_nanos(1) },
        max_prefixes,
    }
}

#[test]
fn each_network_has_its_own_limit() {
    let mut limiter = RateLimiter::new(limits(10));
    let (one, two) = (v4(0x0a00_0001), v4(0x0a00_0002));
    assert_eq!(limiter.check(at(0), one), Ok(()));
    assert_eq!(limiter.check(at(0), one), Ok(()));
    assert_eq!(limiter.check(at(0), one), Err(Limited::Prefix(prefix("10.0.0.1/32"))));
    assert_eq!(limiter.check(at(0), two), Ok(()));
    assert_eq!(limiter.check(at(1), one), Ok(()));
    assert_eq!(limiter.check(at(1), one).unwrap_err().to_string(), "too many from 10.0.0.1/32 in a short time");
}

#[test]
fn all_addresses_of_one_ipv6_host_share_a_limit() {
    let mut limiter = RateLimiter::new(limits(10));
    let address = |low: u128| IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | low));
    assert_eq!(limiter.check(at(0), address(1)), Ok(()));
    assert_eq!(limiter.check(at(0), address(2)), Ok(()));
    assert_eq!(limiter.check(at(0), address(3)), Err(Limited::Prefix(prefix("2001:db8::/64"))));
    let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    for ip in [mapped, Ipv4Addr::LOCALHOST.into()] {
        assert_eq!(limiter.check(at(0), ip), Ok(()));
    }
    assert_eq!(limiter.check(at(0), mapped), Err(Limited::Prefix(prefix("127.0.0.1/32"))));
}

#[test]
fn a_refusal_of_either_limit_costs_nothing_of_the_other() {
    let mut limiter =
        RateLimiter::new(RateLimits { overall: Rate { burst: 3, interval: Duration::from_secs(10) }, ..limits(10) });
    let (one, two, three) = (v4(1), v4(2), v4(3));
    assert_eq!(limiter.check(at(0), one), Ok(()));
    assert_eq!(limiter.check(at(0), one), Ok(()));
    for _ in 0..10 {
        assert!(matches!(limiter.check(at(0), one), Err(Limited::Prefix(_))));
    }
    assert_eq!(limiter.check(at(0), two), Ok(()), "the refused connects took no overall token");
    for _ in 0..10 {
        assert_eq!(limiter.check(at(0), three), Err(Limited::Overall));
    }
    assert_eq!(limiter.len(), 2, "a refused network gets no bucket");
    assert_eq!(limiter.check(at(10), three), Ok(()));
    assert_eq!(limiter.check(at(20), three), Ok(()));
}

/// The defect of other systems: a limiter that keeps a bucket for every address that ever asked.
#[test]
fn regression_a_flood_from_many_addresses_does_not_grow_the_table() {
    let mut limiter = RateLimiter::new(limits(4));
    for address in 0..10_000 {
        // Each from another /16, the worst case.
        let _ = limiter.check(at(0), v4(address << 16));
        assert!(limiter.len() <= 12);
    }
    assert_eq!(limiter.len(), 12);
    // Once the flood is over, what it left behind vanishes: a little with each check, or at once.
    assert_eq!(limiter.check(at(100), v4(7)), Ok(()));
    assert_eq!(limiter.len(), 12 - 3 * 2 + 1);
    limiter.drop_full(at(200));
    assert_eq!(limiter.len(), 0);
}

#[test]
fn past_a_full_table_addresses_share_the_bucket_of_a_coarser_network() {
    let mut limiter = RateLimiter::new(limits(1));
    let check = |limiter: &mut RateLimiter, ip: &str| limiter.check(at(0), ip.parse().unwrap());
    assert_eq!(check(&mut limiter, "10.0.0.1"), Ok(()), "takes the one /32");
    assert_eq!(check(&mut limiter, "10.0.0.2"), Ok(()), "takes the one /24");
    assert_eq!(check(&mut limiter, "10.0.0.3"), Ok(()));
    assert_eq!(check(&mut limiter, "10.0.0.4"), Err(Limited::Prefix(prefix("10.0.0.0/24"))));
    assert_eq!(check(&mut limiter, "10.0.0.1"), Ok(()), "still has its own");
    assert_eq!(check(&mut limiter, "10.0.1.1"), Ok(()), "takes the one /16");
    assert_eq!(check(&mut limiter, "10.0.2.1"), Ok(()));
    assert_eq!(check(&mut limiter, "10.0.3.1"), Err(Limited::Prefix(prefix("10.0.0.0/16"))));
    for _ in 0..100 {
        assert_eq!(check(&mut limiter, "192.0.2.1"), Ok(()), "nothing left but the overall limit");
    }
    assert_eq!(limiter.len(), 3);
}

#[test]
fn ipv6_is_coarsened_to_48_and_32_bits() {
    let mut limiter = RateLimiter::new(limits(1));
    let check = |limiter: &mut RateLimiter, ip: &str| limiter.check(at(0), ip.parse().unwrap());
    for ip in ["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"] {
        assert_eq!(check(&mut limiter, ip), Ok(()));
    }
    assert_eq!(check(&mut limiter, "2001:db8:1:4::1"), Err(Limited::Prefix(prefix("2001:db8:1::/48"))));
    for ip in ["2001:db8:2::1", "2001:db8:3::1"] {
        assert_eq!(check(&mut limiter, ip), Ok(()));
    }
    assert_eq!(check(&mut limiter, "2001:db8:4::1"), Err(Limited::Prefix(prefix("2001:db8::/32"))));
}

#[test]
fn a_full_table_without_own_buckets_still_has_the_overall_limit() {
    let mut limiter = RateLimiter::new(RateLimits { overall: Rate { burst: 5, interval: SECOND }, ..limits(1) });
    let allowed = (0..100).filter(|address| limiter.check(at(0), v4(address << 16)).is_ok()).count();
    assert_eq!(allowed, 5);
}

#[test]
fn a_clock_that_runs_backwards_stands_still() {
    let mut limiter = RateLimiter::new(limits(10));
    assert_eq!(limiter.check(at(100), v4(1)), Ok(()));
    assert_eq!(limiter.check(at(0), v4(1)), Ok(()));
    assert!(limiter.check(at(0), v4(1)).is_err());
    assert!(limiter.check(at(100), v4(1)).is_err());
    assert_eq!(limiter.check(at(101), v4(1)), Ok(()));
}

#[test]
fn the_defaults_are_valid_and_zeros_are_not() {
    assert_eq!(RateLimits::inbound_connects().validate(), Ok(()));
    assert_eq!(RateLimits::handshakes().validate(), Ok(()));
    let nothing = Rate { burst: 0, interval: Duration::ZERO };
    let wrong = RateLimits { prefix: nothing, overall: nothing, max_prefixes: 0 }.validate().unwrap_err();
    assert_eq!(wrong.iter().count(), 5);
}

/// A limiter without bounds: tokens in milliseconds of refill, for each network.
#[derive(Default)]
struct Naive {
    spent: BTreeMap<Option<Prefix>, Vec<u64>>,
}

impl Naive {
    /// Replays all grants of the bucket `key`.
    fn has_token(&self, key: Option<Prefix>, now: u64, rate: Rate) -> bool {
        let interval = rate.interval.as_millis() as u64;
        let mut full_at = 0;
        for grant in self.spent.get(&key).into_iter().flatten() {
            full_at = full_at.max(*grant) + interval;
        }
        full_at.max(now) + interval - now <= interval * u64::from(rate.burst)
    }
}

proptest! {
    #[test]
    fn a_limiter_with_room_grants_what_one_without_bounds_grants(
        steps in proptest::collection::vec((0_u64..400, 0_u32..6), 1..120),
    ) {
        let prefix = Rate { burst: 3, interval: Duration::from_millis(700) };
        let overall = Rate { burst: 5, interval: Duration::from_millis(200) };
        let mut limiter = RateLimiter::new(RateLimits { prefix, overall, max_prefixes: 6 });
        let mut naive = Naive::default();
        let mut now = 0;
        for (step, address) in steps {
            now += step;
            let key = Prefix::host(v4(address));
            let expected = if !naive.has_token(Some(key), now, prefix) {
                Err(Limited::Prefix(key))
            } else if !naive.has_token(None, now, overall) {
                Err(Limited::Overall)
            } else {
                naive.spent.entry(Some(key)).or_default().push(now);
                naive.spent.entry(None).or_default().push(now);
                Ok(())
            };
            let instant = Instant::EPOCH.saturating_add(Duration::from_millis(now));
            prop_assert_eq!(limiter.check(instant, v4(address)), expected);
        }
    }

    #[test]
    fn tables_stay_bounded_and_overall_holds(
        max in 1_usize..5, steps in proptest::collection::vec((0_u64..2, any::<IpAddr>()), 1..200),
    ) {
        let overall = Rate { burst: 7, interval: SECOND };
        let mut limiter = RateLimiter::new(RateLimits { overall, ..limits(max) });
        let (mut now, mut granted) = (0, 0);
        for (step, ip) in steps {
            now += step;
            granted += u64::from(limiter.check(at(now), ip).is_ok());
            prop_assert!(limiter.len() <= 3 * max);
            prop_assert!(granted <= 7 + now);
        }
    }
}
