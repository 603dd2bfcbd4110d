//! The limits of requests on one stream.

use super::super::{ConfigErrors, Watermarks};

/// The limits of a [`Client`](super::Client) and of a [`Server`](super::Server). Check with
/// [`validate`](Self::validate).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Longest body of a request or answer in bytes, at most
    /// [`MAX_MESSAGE_LEN`](crate::channel::MAX_MESSAGE_LEN). A longer one is refused from its length alone.
    pub max_message_len: usize,
    /// When those who ask have to wait, and when the answering end takes no further requests.
    pub watermarks: Watermarks,
    /// Requests without an answer, for each stream. Stops a peer that never answers from making this end remember ever
    /// more. From it on those who ask wait.
    pub max_pending: usize,
    /// Requests that are being answered, for each stream. Stops a peer that asks faster than we answer; the
    /// rest of its requests waits.
    pub max_answering: usize,
    /// Requests that wait until others are answered, for each stream; further ones stay in the stream's window, and
    /// cancellations behind them. Stops a peer that asks faster than we answer from filling memory. As many as
    /// `max_pending` of the peer let it cancel all that it asks.
    pub max_held: usize,
    /// Their bytes; the one that reaches this is still taken.
    pub max_held_bytes: usize,
    /// Callers that may wait to ask. Stops a peer that does not read from gathering every task that would
    /// ask it something.
    pub max_waiting: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_message_len: 1024 * 1024,
            watermarks: Watermarks::default(),
            max_pending: 1000,
            max_answering: 64,
            max_held: 1000,
            max_held_bytes: 1024 * 1024,
            max_waiting: 4096,
        }
    }
}

impl Config {
    /// Checks every value and reports all that are wrong at once.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let limits = [
            ("max_message_len", self.max_message_len),
            ("max_pending", self.max_pending),
            ("max_answering", self.max_answering),
            ("max_held", self.max_held),
            ("max_held_bytes", self.max_held_bytes),
            ("max_waiting", self.max_waiting),
        ];
        ConfigErrors::check(limits, self.max_message_len, self.watermarks)
    }
}
