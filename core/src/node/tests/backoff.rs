use core::time::Duration;
use std::string::ToString;

use proptest::prelude::*;

use crate::node::Backoff;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn delays_double_from_one_second_to_five_minutes() {
    let backoff = Backoff::default();
    assert_eq!(backoff.validate(), Ok(()));
    for (failures, base) in [(0, 1), (1, 2), (2, 4), (7, 128), (8, 256)] {
        let base = SECOND * base;
        assert_eq!(backoff.delay(failures, 0), base);
        assert_eq!(backoff.delay(failures, u64::MAX), (base + base / 4).min(backoff.max));
    }
    for failures in [9, 10, 63, 64, 127, 128, u32::MAX] {
        assert_eq!(backoff.delay(failures, 0), Duration::from_secs(225));
        assert_eq!(backoff.delay(failures, u64::MAX), Duration::from_secs(300));
    }
}

#[test]
fn a_spread_that_would_pass_the_longest_delay_is_cut_there() {
    let backoff = Backoff { max: SECOND * 9 / 8, ..Backoff::default() };
    assert_eq!(backoff.delay(0, u64::MAX), backoff.max);
    assert_eq!(backoff.delay(1, 0), backoff.max - backoff.max / 4);
}

#[test]
fn delays_are_spread_evenly() {
    let backoff = Backoff { initial: Duration::from_nanos(12), ..Backoff::default() };
    // Four values, each chosen by a quarter of all random numbers.
    for (quarter, nanos) in (12..=15).enumerate() {
        let first = (u64::MAX / 4 + 1) * quarter as u64;
        assert_eq!(backoff.delay(0, first), Duration::from_nanos(nanos));
        assert_eq!(backoff.delay(0, first + u64::MAX / 4), Duration::from_nanos(nanos));
    }
}

#[test]
fn all_values_that_cannot_work_are_named_at_once() {
    let backoff = Backoff { initial: Duration::ZERO, max: SECOND, reset_after: Duration::ZERO };
    assert_eq!(
        backoff.validate().unwrap_err().to_string(),
        "backoff.initial must be more than zero; backoff.reset_after must be more than zero"
    );
    let backoff = Backoff { initial: SECOND * 2, max: SECOND, reset_after: SECOND };
    assert_eq!(backoff.validate().unwrap_err().to_string(), "backoff.initial must not be more than backoff.max");
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..100).prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_secs),
        Just(Duration::MAX),
    ]
}

/// The interval of the specification, in exact arithmetic.
fn interval(backoff: &Backoff, failures: u32) -> (u128, u128) {
    let capped = |duration: Duration| duration.as_nanos().min(u64::MAX.into());
    let (mut base, max) = (capped(backoff.initial).min(capped(backoff.max)), capped(backoff.max));
    for _ in 0..failures.min(200) {
        base = (base * 2).min(max);
    }
    if base < max { (base, (base + base / 4).min(max)) } else { (base - base / 4, base) }
}

proptest! {
    #[test]
    fn a_delay_is_within_its_interval_and_reaches_both_ends(
        initial in any_duration(), max in any_duration(), failures in prop_oneof![0_u32..130, any::<u32>()], random: u64,
    ) {
        let backoff = Backoff { initial, max, reset_after: SECOND };
        let (least, most) = interval(&backoff, failures);
        prop_assert_eq!(backoff.delay(failures, 0).as_nanos(), least);
        prop_assert_eq!(backoff.delay(failures, u64::MAX).as_nanos(), most);
        let delay = backoff.delay(failures, random);
        prop_assert!((least..=most).contains(&delay.as_nanos()));
        prop_assert!(delay <= max);
    }

    #[test]
    fn more_failures_never_wait_less_until_the_longest_delay(
        initial in any_duration(), max in any_duration(), failures in 0_u32..130, random: u64,
    ) {
        let backoff = Backoff { initial, max, reset_after: SECOND };
        let (now, next) = (interval(&backoff, failures), interval(&backoff, failures + 1));
        // Delays end where time does.
        if next.1 < max.as_nanos().min(u64::MAX.into()) {
            prop_assert!(backoff.delay(failures, random) <= backoff.delay(failures + 1, random), "{now:?} {next:?}");
        }
        prop_assert!(super::super::backoff::doubled(initial, failures, max) <= super::super::backoff::doubled(initial, failures + 1, max));
    }
}
