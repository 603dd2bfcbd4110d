//! Credit in both directions (yamux spec, flow control). Only body bytes count.

use core::time::Duration;

use super::INITIAL_WINDOW;
use crate::Instant;

/// What we may send.
#[derive(Debug)]
pub(super) struct SendWindow(u32);

impl Default for SendWindow {
    fn default() -> Self {
        Self(INITIAL_WINDOW)
    }
}

impl SendWindow {
    pub(super) fn credit(&self) -> u32 {
        self.0
    }

    /// Adds a delta from the remote; false, and no change, if the sum does not fit in 32 bits.
    #[must_use]
    pub(super) fn grant(&mut self, delta: u32) -> bool {
        match self.0.checked_add(delta) {
            Some(sum) => {
                self.0 = sum;
                true
            }
            None => false,
        }
    }

    pub(super) fn spend(&mut self, body: u32) {
        #[cfg(septa_mutant = "credit-off-by-one")]
        let body = body.saturating_sub(1);
        self.0 = self.0.saturating_sub(body);
    }
}

/// What the remote may send.
///
/// Invariant: `credit + received and not consumed + consumed = target`. So a remote that has used its
/// credit up, to an application that has read everything, is always due an update: `consumed` is the
/// whole target then, and no more than half of it is ever waited for.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    target: u32,
    credit: u32,
    consumed: u32,
    pace: Pace,
}

/// How fast the application consumes.
#[derive(Debug)]
struct Pace {
    since: Instant,
    consumed: u32,
}

impl ReceiveWindow {
    pub(super) fn new(now: Instant) -> Self {
        let pace = Pace { since: now, consumed: 0 };
        Self { target: INITIAL_WINDOW, credit: INITIAL_WINDOW, consumed: 0, pace }
    }

    pub(super) fn credit(&self) -> u32 {
        self.credit
    }

    pub(super) fn target(&self) -> u32 {
        self.target
    }

    /// What the window has grown by, in bytes.
    pub(super) fn extra(&self) -> usize {
        usize::try_from(self.target.saturating_sub(INITIAL_WINDOW)).unwrap_or(usize::MAX)
    }

    #[cfg(test)]
    pub(super) fn consumed(&self) -> u32 {
        self.consumed
    }

    /// Takes a body of this length off the credit; false, and no change, if the credit is less.
    #[must_use]
    pub(super) fn receive(&mut self, body: u32) -> bool {
        match self.credit.checked_sub(body) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        let outstanding = self.credit.saturating_add(self.consumed);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.target.saturating_sub(outstanding));
        self.consumed = self.consumed.saturating_add(bytes);
        self.pace.consumed = self.pace.consumed.saturating_add(bytes);
    }

    /// Enough can be granted anew: half of an initial window, or an eighth of one that has grown, if that
    /// is more. Less would cost a frame for little. More would stop the sender for a part of each round
    /// trip: it needs what is under way and what is waited for here.
    pub(super) fn update_due(&self) -> bool {
        self.consumed >= (self.target / 8).max(INITIAL_WINDOW / 2)
    }

    /// Grants what was consumed and returns the delta.
    pub(super) fn grant(&mut self) -> u32 {
        let delta = core::mem::take(&mut self.consumed);
        self.credit = self.credit.saturating_add(delta);
        delta
    }

    /// How long the application took for the last half of a window; `None` while it is not through.
    pub(super) fn measure_pace(&mut self, now: Instant) -> Option<Duration> {
        if self.pace.consumed < self.target / 2 {
            return None;
        }
        let took = now.saturating_duration_since(self.pace.since);
        self.pace = Pace { since: now, consumed: 0 };
        Some(took)
    }

    /// Makes the window larger. The next [`grant`](Self::grant) tells the remote.
    pub(super) fn grow(&mut self, extra: u32) {
        self.target = self.target.saturating_add(extra);
        self.consumed = self.consumed.saturating_add(extra);
    }

    /// The remote sends no more and all was read: forgets what the window has grown by and returns it.
    pub(super) fn give_up_extra(&mut self) -> usize {
        let extra = self.extra();
        self.target = self.target.min(INITIAL_WINDOW);
        extra
    }
}
