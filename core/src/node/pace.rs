//! How fast addresses are dialed one after the other.

use core::time::Duration;

use super::Node;
use crate::Instant;

/// With fewer persistent peers nothing is spread: nobody waits for nothing, and no listener minds.
const MIN_CROWD: usize = 40;

impl Node {
    /// Another address may be begun now.
    pub(super) fn has_room_to_dial(&self) -> bool {
        self.attempts.len() < self.config.max_dials && self.turn().is_none_or(|turn| turn <= self.now)
    }

    /// When somebody who waits has its turn. Places that others hold become free without a timer.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        let waits = !self.hungry.is_empty() && self.attempts.len() < self.config.max_dials;
        self.turn().filter(|turn| waits && *turn != Instant::NEVER)
    }

    /// When the next address may be begun.
    fn turn(&self) -> Option<Instant> {
        Some(self.last_begin?.saturating_add(self.spacing()))
    }

    /// The time from one address to the next. All persistent peers count, since all may be lost at once; it is no delay
    /// for one that is lost alone.
    fn spacing(&self) -> Duration {
        let crowd = u32::try_from(self.book.persistent()).unwrap_or(u32::MAX);
        if self.book.persistent() < MIN_CROWD {
            return Duration::ZERO;
        }
        self.config.dial_spread.checked_div(crowd).unwrap_or_default()
    }
}
