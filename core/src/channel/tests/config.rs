//! Configs that can work and configs that cannot.

use alloc::{string::ToString, vec::Vec};

use crate::channel::{Config, ConfigError, MAX_MESSAGE_LEN, Watermarks, rpc};

const LOW_MESSAGES: ConfigError =
    ConfigError::LowNotBelowHigh { low: "watermarks.low_messages", high: "watermarks.high_messages" };
const LOW_BYTES: ConfigError =
    ConfigError::LowNotBelowHigh { low: "watermarks.low_bytes", high: "watermarks.high_bytes" };

fn errors(config: &Config) -> Vec<ConfigError> {
    config.validate().err().map(|errors| errors.iter().cloned().collect()).unwrap_or_default()
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(Config::default().validate(), Ok(()));
    assert_eq!(rpc::Config::default().validate(), Ok(()));
}

#[test]
fn each_limit_is_allowed_up_to_its_bound() {
    type Change = fn(&mut Config);
    let table: [(Change, Option<ConfigError>); 12] = [
        (|c| c.max_message_len = 1, None),
        (|c| c.max_message_len = 0, Some(ConfigError::Zero { name: "max_message_len" })),
        (|c| c.max_message_len = MAX_MESSAGE_LEN, None),
        (|c| c.max_message_len = MAX_MESSAGE_LEN + 1, Some(ConfigError::MessageTooLong)),
        (|c| c.max_waiting = 0, Some(ConfigError::Zero { name: "max_waiting" })),
        (|c| c.max_received_messages = 0, Some(ConfigError::Zero { name: "max_received_messages" })),
        (|c| c.max_received_bytes = 0, Some(ConfigError::Zero { name: "max_received_bytes" })),
        (|c| c.watermarks.low_messages = c.watermarks.high_messages, Some(LOW_MESSAGES)),
        (|c| c.watermarks.low_messages = c.watermarks.high_messages - 1, None),
        (|c| c.watermarks.low_bytes = c.watermarks.high_bytes, Some(LOW_BYTES)),
        (|c| c.watermarks.low_bytes = c.watermarks.high_bytes - 1, None),
        (|c| c.watermarks = Watermarks { high_messages: 1, low_messages: 0, high_bytes: 1, low_bytes: 0 }, None),
    ];
    for (row, (change, error)) in table.into_iter().enumerate() {
        let mut config = Config::default();
        change(&mut config);
        assert_eq!(errors(&config), Vec::from_iter(error), "row {row}");
    }
}

#[test]
fn all_that_is_wrong_is_reported_at_once() {
    let zero = Watermarks { high_messages: 0, low_messages: 0, high_bytes: 0, low_bytes: 0 };
    let config = Config { max_waiting: 0, max_message_len: usize::MAX, watermarks: zero, ..Config::default() };
    let waiting = ConfigError::Zero { name: "max_waiting" };
    assert_eq!(errors(&config), [waiting, ConfigError::MessageTooLong, LOW_MESSAGES, LOW_BYTES]);
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "max_waiting must not be zero; max_message_len must be at most 64 MiB; \
         watermarks.low_messages must be less than watermarks.high_messages; \
         watermarks.low_bytes must be less than watermarks.high_bytes",
    );
    let config = rpc::Config {
        max_message_len: 0,
        max_pending: 0,
        max_answering: 0,
        max_held: 0,
        max_held_bytes: 0,
        max_waiting: 0,
        watermarks: zero,
    };
    assert_eq!(config.validate().unwrap_err().iter().count(), 8);
}
