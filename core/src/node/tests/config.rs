//! Which limits cannot work.

use core::time::Duration;
use std::{string::ToString, vec::Vec};

use crate::node::{Config, InvalidValue};

fn wrong(config: Config) -> Vec<InvalidValue> {
    config.validate().err().map(|errors| errors.iter().cloned().collect()).unwrap_or_default()
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    assert_eq!(wrong(Config::default()), []);
    let config = Config {
        transient_attempts: 0,
        max_dials: 0,
        max_per_peer: 1,
        low_watermark: 901,
        settle_timeout: Duration::from_millis(999),
        ..Config::default()
    };
    let errors = config.validate().unwrap_err().to_string();
    for name in ["transient_attempts", "max_dials", "max_per_peer", "low_watermark", "settle_timeout"] {
        assert!(errors.contains(name), "{name}: {errors}");
    }
    assert_eq!(wrong(config).len(), 5);
}

#[test]
fn the_side_that_does_not_decide_waits_at_least_as_long_as_the_other_asks() {
    let config = |millis| Config { settle_timeout: Duration::from_millis(millis), ..Config::default() };
    assert_eq!(wrong(config(1000)), []);
    assert_eq!(wrong(config(999)), [InvalidValue::Order { lower: "1 s", upper: "settle_timeout" }]);
}
