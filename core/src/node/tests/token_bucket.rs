use core::time::Duration;

use proptest::prelude::*;

use crate::{
    Instant,
    node::{InvalidValues, MAX_FILL_TIME, Rate, token_bucket::TokenBucket},
};

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Instant {
    Instant::EPOCH.saturating_add(Duration::from_millis(millis))
}

fn bucket(burst: u32, interval: Duration) -> TokenBucket {
    TokenBucket::new(Rate { burst, interval })
}

fn taken(bucket: &mut TokenBucket, now: Instant) -> usize {
    (0..100).take_while(|_| bucket.try_take(now)).count()
}

#[test]
fn a_bucket_starts_full_and_gets_one_token_each_interval() {
    let mut bucket = bucket(3, SECOND);
    assert!(bucket.is_full(at(0)));
    assert_eq!(taken(&mut bucket, at(0)), 3);
    assert!(!bucket.try_take(at(999)));
    assert_eq!(taken(&mut bucket, at(1_000)), 1);
    assert_eq!(taken(&mut bucket, at(3_000)), 2);
    assert!(!bucket.is_full(at(5_999)));
    assert!(bucket.is_full(at(6_000)));
    assert_eq!(taken(&mut bucket, at(60_000)), 3, "a full bucket gets no fuller");
}

#[test]
fn asking_often_neither_gains_nor_loses_tokens() {
    let mut bucket = bucket(1, Duration::from_millis(300));
    // Asked each millisecond, out of step with the interval.
    let granted = (0..30_000).filter(|now| bucket.try_take(at(*now))).count();
    assert_eq!(granted, 100);
}

#[test]
fn a_clock_that_runs_backwards_stands_still() {
    let mut bucket = bucket(2, SECOND);
    assert_eq!(taken(&mut bucket, at(10_000)), 2);
    assert_eq!(taken(&mut bucket, at(11_000)), 1);
    assert!(!bucket.try_take(at(0)));
    assert!(!bucket.is_full(at(0)));
    assert_eq!(taken(&mut bucket, at(12_000)), 1);
    assert_eq!(taken(&mut bucket, at(20_000)), 2);
    assert!(!bucket.try_take(at(20_999)));
    assert!(bucket.is_full(at(22_000)));
    assert!(bucket.try_take(at(22_000)));
    assert!(bucket.try_take(at(0)), "the second token is there, whatever the clock says now");
}

#[test]
fn at_the_end_of_time_a_bucket_refuses_rather_than_grants() {
    let mut late = bucket(5, SECOND);
    assert_eq!(taken(&mut late, Instant::NEVER), 0);
    let mut slow = bucket(5, Duration::MAX);
    assert_eq!(taken(&mut slow, at(0)), 0);
    let mut empty = bucket(0, SECOND);
    assert_eq!(taken(&mut empty, at(0)), 0);
}

#[test]
fn rates_that_cannot_work_are_refused() {
    let wrong = |burst, interval| {
        let mut errors = InvalidValues::default();
        Rate { burst, interval }.validate_into(&mut errors, "burst", "interval");
        errors.iter().count()
    };
    assert_eq!(wrong(0, Duration::ZERO), 2);
    assert_eq!(wrong(2, MAX_FILL_TIME / 2), 0);
    assert_eq!(wrong(2, MAX_FILL_TIME / 2 + Duration::from_nanos(1)), 1);
    assert_eq!(wrong(u32::MAX, Duration::MAX), 1);
}

proptest! {
    #[test]
    fn a_bucket_grants_what_exact_counting_grants(
        burst in 1_u64..5, interval in 1_u64..50, steps in proptest::collection::vec(0_u64..60, 1..100),
    ) {
        let mut bucket = bucket(burst as u32, Duration::from_millis(interval));
        // Tokens in units of 1/interval, so that the model is exact too.
        let (mut now, mut level, full) = (0, burst * interval, burst * interval);
        for step in steps {
            now += step;
            level = (level + step).min(full);
            let expected = level >= interval;
            prop_assert_eq!(bucket.is_full(at(now)), level == full);
            prop_assert_eq!(bucket.try_take(at(now)), expected);
            level -= if expected { interval } else { 0 };
        }
    }
}
