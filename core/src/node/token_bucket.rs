//! How often something may happen.

use core::time::Duration;

use super::{InvalidValue, InvalidValues};
use crate::Instant;

/// Longest time in which a bucket fills: a limit that takes longer to forget is a ban.
pub const MAX_FILL_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A rate with a burst: `burst` tokens at first, and one more each `interval` up to `burst`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many may come at once.
    pub burst: u32,
    /// The time in which one token comes back. `burst` of them are at most [`MAX_FILL_TIME`].
    pub interval: Duration,
}

impl Rate {
    pub(super) fn validate_into(&self, errors: &mut InvalidValues, burst: &'static str, interval: &'static str) {
        errors.refuse(self.burst == 0, InvalidValue::Zero { name: burst });
        errors.not_zero(interval, self.interval);
        errors.not_more(interval, "MAX_FILL_TIME / burst", self.fill_time() <= MAX_FILL_TIME);
    }

    /// Takes a token from a bucket that is full again at `full_at`; the new such time, or `None` if the
    /// bucket is empty.
    ///
    /// That one instant is all there is to a bucket: each token taken moves it by one interval, so nothing
    /// is rounded and nothing drifts.
    pub(super) fn take(self, full_at: Instant, now: Instant) -> Option<Instant> {
        let full_at = full_at.max(now).saturating_add(self.interval);
        // Time saturates at its end, where all buckets would look full: refuse there instead.
        let has_token = full_at != Instant::NEVER && full_at.saturating_duration_since(now) <= self.fill_time();
        has_token.then_some(full_at)
    }

    fn fill_time(&self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }
}

/// Tokens that are taken one by one and come back with time. Full at first.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    rate: Rate,
    full_at: Instant,
    latest: Instant,
}

impl TokenBucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full_at: Instant::EPOCH, latest: Instant::EPOCH }
    }

    /// Takes a token if there is one; else nothing changes.
    pub(super) fn try_take(&mut self, now: Instant) -> bool {
        self.latest = self.latest.max(now);
        let taken = self.rate.take(self.full_at, self.latest);
        self.full_at = taken.unwrap_or(self.full_at);
        taken.is_some()
    }

    /// Whether all tokens are back, so that the bucket is as good as a new one.
    #[cfg(test)]
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now.max(self.latest)
    }
}
