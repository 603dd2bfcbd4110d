//! Time as an input: [`Instant`] and the fixed [`TimerTable`] of a state machine.

use core::{fmt, num::NonZeroU64, time::Duration};

/// A point in time, in nanoseconds since an epoch that the driver chooses.
///
/// Stored as nanoseconds plus one, so that `Option<Instant>` is eight bytes. Arithmetic saturates;
/// the saturated value is [`Instant::NEVER`], which no timer reaches. Two instants are comparable only
/// if they come from the same driver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The driver's epoch.
    pub const EPOCH: Self = Self(NonZeroU64::MIN);
    /// Later than every instant that occurs, about 584 years after the epoch.
    pub const NEVER: Self = Self(NonZeroU64::MAX);

    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0.get().saturating_sub(1)
    }

    /// `self + duration`, or [`Instant::NEVER`] if that is not representable.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// `self - earlier`, or zero if `earlier` is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER { f.write_str("never") } else { Duration::from_nanos(self.as_nanos()).fmt(f) }
    }
}

/// Names a timer: a fieldless enum whose discriminants are `0..N`.
pub trait TimerKey: Copy {
    /// The position of this timer in the table.
    fn index(self) -> usize;
}

/// A fixed table of one-shot timers, one slot for each of `N` keys.
///
/// A connection has fewer than ten timers, so a scan of the table beats a heap, and an idle
/// connection pays eight bytes for each. The scan is made when one changes: the earliest is asked for
/// far more often.
#[derive(Clone, Debug)]
pub struct TimerTable<K, const N: usize> {
    deadlines: [Option<Instant>; N],
    earliest: Option<Instant>,
    keys: core::marker::PhantomData<K>,
}

impl<K: TimerKey, const N: usize> Default for TimerTable<K, N> {
    fn default() -> Self {
        Self { deadlines: [None; N], earliest: None, keys: core::marker::PhantomData }
    }
}

impl<K: TimerKey, const N: usize> TimerTable<K, N> {
    /// Arms `key` for `deadline`, replacing an earlier one. [`Instant::NEVER`] disarms.
    pub fn set(&mut self, key: K, deadline: Instant) {
        if let Some(slot) = self.deadlines.get_mut(key.index()) {
            *slot = (deadline != Instant::NEVER).then_some(deadline);
        }
        self.earliest = self.deadlines.iter().flatten().min().copied();
    }

    /// Disarms `key`.
    pub fn stop(&mut self, key: K) {
        self.set(key, Instant::NEVER);
    }

    /// The deadline of `key`, if it is armed.
    pub fn get(&self, key: K) -> Option<Instant> {
        self.deadlines.get(key.index()).copied().flatten()
    }

    /// Disarms `key` and returns true if its deadline is not after `now`.
    pub fn expire(&mut self, key: K, now: Instant) -> bool {
        let due = self.get(key).is_some_and(|deadline| deadline <= now);
        if due {
            self.stop(key);
        }
        due
    }

    /// The earliest deadline of all.
    pub fn next(&self) -> Option<Instant> {
        self.earliest
    }
}

/// The earlier one of two deadlines, of which each may be missing.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

const _: () = assert!(size_of::<Option<Instant>>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Key {
        First,
        Second,
    }

    impl TimerKey for Key {
        fn index(self) -> usize {
            self as usize
        }
    }

    #[test]
    fn instants_saturate_at_both_ends() {
        assert_eq!(Instant::from_nanos(0), Instant::EPOCH);
        assert_eq!(Instant::EPOCH.as_nanos(), 0);
        assert_eq!(Instant::from_nanos(u64::MAX), Instant::NEVER);
        assert_eq!(Instant::NEVER.saturating_add(Duration::from_nanos(1)), Instant::NEVER);
        assert_eq!(Instant::EPOCH.saturating_add(Duration::MAX), Instant::NEVER);
        assert_eq!(Instant::EPOCH.saturating_duration_since(Instant::NEVER), Duration::ZERO);
        assert_eq!(Instant::from_nanos(7).saturating_duration_since(Instant::from_nanos(3)), Duration::from_nanos(4));
    }

    #[test]
    fn a_timer_expires_once_and_not_early() {
        let mut timers = TimerTable::<Key, 2>::default();
        assert_eq!(timers.next(), None);
        timers.set(Key::Second, Instant::from_nanos(20));
        timers.set(Key::First, Instant::from_nanos(10));
        assert_eq!(timers.next(), Some(Instant::from_nanos(10)));
        assert!(!timers.expire(Key::First, Instant::from_nanos(9)));
        assert!(timers.expire(Key::First, Instant::from_nanos(10)));
        assert!(!timers.expire(Key::First, Instant::from_nanos(10)));
        assert_eq!(timers.next(), Some(Instant::from_nanos(20)));
        timers.stop(Key::Second);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_timer_set_to_never_is_not_armed() {
        let mut timers = TimerTable::<Key, 2>::default();
        timers.set(Key::First, Instant::NEVER);
        assert_eq!(timers.next(), None);
        assert!(!timers.expire(Key::First, Instant::NEVER));
    }
}
