//! The limits of a channel.

use alloc::vec::Vec;
use core::fmt;

use crate::yamux::Priority;

/// Longest message that may be configured, in bytes. What is longer belongs on a stream of its own: here it
/// would be in memory as a whole at both ends.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024 * 1024;

/// When senders have to wait, and until when.
///
/// The level is the number of messages that were not handed out whole, and their bytes with their lengths.
/// From the high marks on, in either measure, it blocks; at and below the low marks, in both measures, it no
/// longer does. In between it stays as it was, so that senders are not woken for one message each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// Messages at which senders begin to wait.
    pub high_messages: usize,
    /// Messages at which they go on; less than `high_messages`.
    pub low_messages: usize,
    /// Bytes at which senders begin to wait. Stops a peer that does not read from making this end hold more
    /// than this and one message.
    pub high_bytes: usize,
    /// Bytes at which they go on; less than `high_bytes`.
    pub low_bytes: usize,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { high_messages: 1000, low_messages: 500, high_bytes: 4 * 1024 * 1024, low_bytes: 2 * 1024 * 1024 }
    }
}

impl Watermarks {
    pub(super) fn find_errors(self, errors: &mut Vec<ConfigError>) {
        let pairs = [
            ("watermarks.low_messages", self.low_messages, "watermarks.high_messages", self.high_messages),
            ("watermarks.low_bytes", self.low_bytes, "watermarks.high_bytes", self.high_bytes),
        ];
        let wrong = pairs.into_iter().filter(|(_, low, _, high)| low >= high);
        errors.extend(wrong.map(|(low, _, high, _)| ConfigError::LowNotBelowHigh { low, high }));
    }
}

/// What becomes of a message for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum WhenFull {
    /// Its sender waits, or is told so.
    #[default]
    Wait,
    /// It is dropped, and counted.
    DropNewest,
    /// The messages that have waited longest and were not begun are dropped, and counted, until there is room.
    DropOldest,
}

/// The limits of a channel: of its [`Outbox`](super::Outbox) for each peer, and of the
/// [`Inbox`](super::Inbox) of each stream. Check with [`validate`](Self::validate).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Longest message in bytes, at most [`MAX_MESSAGE_LEN`]. A longer one is not sent, and is refused from
    /// its length alone when a peer sends it: nothing is allocated for it.
    pub max_message_len: usize,
    /// When senders have to wait, for each peer.
    pub watermarks: Watermarks,
    /// What becomes of a message for which there is no room.
    pub when_full: WhenFull,
    /// Senders that may wait for one peer. Stops a peer that does not read from gathering every task that
    /// would tell it something.
    pub max_waiting: usize,
    /// Received messages that may wait for the application, for each stream. Stops a flood of empty
    /// messages, each of which takes an entry of the queue.
    pub max_received_messages: usize,
    /// Bytes of received messages that may wait for the application, for each stream. When they are
    /// reached no more input is taken and the stream's window fills. Stops a peer that sends faster than
    /// the application reads.
    pub max_received_bytes: usize,
    /// The share of the way out that the channel's streams get.
    pub priority: Priority,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_message_len: 1024 * 1024,
            watermarks: Watermarks::default(),
            when_full: WhenFull::Wait,
            max_waiting: 4096,
            max_received_messages: 1000,
            max_received_bytes: 1024 * 1024,
            priority: Priority::Normal,
        }
    }
}

impl Config {
    /// Checks every value and reports all that are wrong at once.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let limits = [
            ("max_message_len", self.max_message_len),
            ("max_waiting", self.max_waiting),
            ("max_received_messages", self.max_received_messages),
            ("max_received_bytes", self.max_received_bytes),
        ];
        ConfigErrors::check(limits, self.max_message_len, self.watermarks)
    }
}

/// A limit that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The limit is zero: nothing would ever pass.
    #[error("{name} must not be zero")]
    Zero {
        /// The field of the config.
        name: &'static str,
    },
    /// See [`MAX_MESSAGE_LEN`].
    #[error("max_message_len must be at most 64 MiB")]
    MessageTooLong,
    /// Without a distance between the marks each message that leaves would wake a sender.
    #[error("{low} must be less than {high}")]
    LowNotBelowHigh {
        /// The field of the low mark.
        low: &'static str,
        /// The field of the high mark.
        high: &'static str,
    },
}

/// Everything that is wrong with a config.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// What the configs of channels and of requests have in common.
    pub(super) fn check<const N: usize>(
        limits: [(&'static str, usize); N],
        max_message_len: usize,
        watermarks: Watermarks,
    ) -> Result<(), Self> {
        let zero = limits.into_iter().filter(|(_, limit)| *limit == 0);
        let mut errors: Vec<ConfigError> = zero.map(|(name, _)| ConfigError::Zero { name }).collect();
        if max_message_len > MAX_MESSAGE_LEN {
            errors.push(ConfigError::MessageTooLong);
        }
        watermarks.find_errors(&mut errors);
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "; " })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigErrors {}
