//! Counters of traffic that costs us time and moves nothing.

use core::time::Duration;

use super::{Config, Violation};
use crate::Instant;

/// How long the flood counters of a session add up before they start again.
pub const FLOOD_INTERVAL: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct FloodGuard {
    since: Instant,
    empty_frames: u32,
    unaccepted_resets: u32,
}

impl FloodGuard {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, empty_frames: 0, unaccepted_resets: 0 }
    }

    pub(super) fn observe(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= FLOOD_INTERVAL {
            *self = Self::new(now);
        }
    }

    /// Data moved, either way.
    pub(super) fn progress(&mut self) {
        self.empty_frames = 0;
    }

    pub(super) fn empty_frame(&mut self, config: &Config) -> Result<(), Violation> {
        self.empty_frames = self.empty_frames.saturating_add(1);
        if self.empty_frames > config.max_empty_frames { Err(Violation::EmptyFrameFlood) } else { Ok(()) }
    }

    pub(super) fn unaccepted_reset(&mut self, config: &Config) -> Result<(), Violation> {
        self.unaccepted_resets = self.unaccepted_resets.saturating_add(1);
        if self.unaccepted_resets > config.max_unaccepted_resets { Err(Violation::RapidReset) } else { Ok(()) }
    }
}
