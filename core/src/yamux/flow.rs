//! Credit in both directions (yamux spec, flow control). Only body bytes count.

use super::INITIAL_WINDOW;

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
        self.0 = self.0.saturating_sub(body);
    }
}

/// What the remote may send.
///
/// Invariant: `credit + received and not consumed + consumed = target`.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    target: u32,
    credit: u32,
    consumed: u32,
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        Self { target: INITIAL_WINDOW, credit: INITIAL_WINDOW, consumed: 0 }
    }
}

impl ReceiveWindow {
    pub(super) fn credit(&self) -> u32 {
        self.credit
    }

    #[cfg(test)]
    pub(super) fn with_target(target: u32) -> Self {
        Self { target, credit: target, consumed: 0 }
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
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.consumed = self.consumed.saturating_add(bytes).min(self.target.saturating_sub(self.credit));
    }

    /// Half the window or more can be granted anew. Less would cost a frame for little.
    pub(super) fn update_due(&self) -> bool {
        self.consumed >= self.target / 2
    }

    /// Grants what was consumed and returns the delta.
    pub(super) fn grant(&mut self) -> u32 {
        let delta = core::mem::take(&mut self.consumed);
        self.credit = self.credit.saturating_add(delta);
        delta
    }
}
