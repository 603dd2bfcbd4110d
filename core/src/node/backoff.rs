//! How long to wait before dialing a peer again.

use core::time::Duration;

use super::{BookError, InvalidValues};

/// The delays between failed dials of one peer: they double from `initial` up to `max`, and each is
/// spread, so that peers that lost the same listener do not return all at once.
///
/// Durations count in whole nanoseconds and at most 584 years of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The delay after the first failure, before it is spread. 1 s unless set.
    pub initial: Duration,
    /// No delay is longer. 5 min unless set.
    pub max: Duration,
    /// A connection that was up for this long makes the next failure the first again; an earlier loss
    /// does not, or a peer that accepts and drops us would be dialed without pause. 60 s unless set.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(5 * 60), reset_after: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// Checks every value and reports all that are wrong at once.
    pub fn validate(&self) -> Result<(), InvalidValues> {
        let mut errors = InvalidValues::default();
        errors.not_zero("backoff.initial", self.initial);
        errors.not_zero("backoff.reset_after", self.reset_after);
        errors.not_more("backoff.initial", "backoff.max", self.initial <= self.max);
        errors.into_result()
    }

    /// The delay after `failures` earlier failures, chosen by 64 `random` bits.
    ///
    /// With d = min(`initial` x 2^`failures`, `max`) it is uniform in [d, 1.25 d], cut at `max`; where d
    /// is `max`, in [0.75 d, d].
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let max = nanos(self.max);
        let base = nanos(doubled(self.initial, failures, self.max));
        let spread = base / 4;
        let (least, most) =
            if base < max { (base, base.saturating_add(spread).min(max)) } else { (base.saturating_sub(spread), base) };
        let choices = u128::from(most.abs_diff(least)).saturating_add(1);
        let offset = choices.saturating_mul(random.into()) >> 64;
        Duration::from_nanos(least.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX)))
    }
}

/// The delays of a peer were not set. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetBackoffError {
    /// They cannot work.
    #[error("the delays cannot work: {0}")]
    Invalid(#[from] InvalidValues),
    /// The peer is not in the book; add it first.
    #[error(transparent)]
    Book(#[from] BookError),
}

/// `base` x 2^`times`, but at most `max`.
pub(super) fn doubled(base: Duration, times: u32, max: Duration) -> Duration {
    let factor = 1_u128.checked_shl(times).unwrap_or(u128::MAX);
    let product = u128::from(nanos(base)).saturating_mul(factor);
    u64::try_from(product).map_or(max, |product| Duration::from_nanos(product).min(max))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
