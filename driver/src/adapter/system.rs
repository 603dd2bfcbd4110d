//! Time and randomness of the operating system.

use std::{
    fmt, io,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use septa_core::{Instant, Seed};

/// The monotonic clock of the operating system, counted from when this was made.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock(std::time::Instant);

impl MonotonicClock {
    /// A clock whose epoch is now.
    #[expect(clippy::disallowed_methods, reason = "adapters are where time comes from")]
    pub fn new() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the epoch.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Time since 1970, zero if the clock of the operating system is set to an earlier time.
#[expect(clippy::disallowed_methods, reason = "adapters are where time comes from")]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Unpredictable seeds, derived from one that the operating system gave.
pub struct OsSeeds(Mutex<Seed>);

impl OsSeeds {
    /// Asks the operating system, once.
    ///
    /// # Errors
    /// It gives no randomness.
    #[expect(clippy::disallowed_methods, reason = "adapters are where randomness comes from")]
    pub fn new() -> io::Result<Self> {
        let mut root = [0; 32];
        getrandom::fill(&mut root).map_err(io::Error::other)?;
        Ok(Self(Mutex::new(Seed::from_bytes(root))))
    }

    /// Another seed each time.
    pub fn draw(&self) -> Seed {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).child("runtime")
    }
}

impl fmt::Debug for OsSeeds {
    /// Tells nothing of the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsSeeds")
    }
}
