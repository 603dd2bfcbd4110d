//! The time of day, as far as it can be believed.

use core::time::Duration;

/// What the driver takes for the time of day: whole seconds since 1970-01-01T00:00:00Z, without leap
/// seconds.
///
/// It may be negative, stand still or jump either way, so nothing that runs is timed by it; it only
/// bridges the time between two processes. Arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct WallTime(i64);

impl WallTime {
    /// `secs` seconds after 1970, or before it if negative.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs)
    }

    /// Seconds since 1970.
    pub const fn as_secs(self) -> i64 {
        self.0
    }

    /// `self + duration`, without the part of a second.
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(duration.as_secs()))
    }

    /// `self - earlier`, or zero if `earlier` is later.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        if self.0 > earlier.0 { Duration::from_secs(self.0.abs_diff(earlier.0)) } else { Duration::ZERO }
    }
}
