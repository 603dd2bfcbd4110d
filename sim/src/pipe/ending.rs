//! How a pipe comes to its end.

use septa_core::Instant;

/// What there is to be known of the end of a pipe, from when it begins to end. Until then it has none of this.
#[derive(Default)]
pub(super) struct Ending {
    /// When the end of the output arrives, once the writer has ended it.
    pub(super) end: Option<Instant>,
    /// When the reader's end learns that the connection is reset.
    pub(super) reset: Option<Instant>,
    /// When the reader's end learns that nobody takes what it sends.
    pub(super) closed: Option<Instant>,
    /// It has learned of the reset. That it does not forget, whatever stalls the pipe later.
    pub(super) has_failed: bool,
    /// It has learned that whatever it sends is lost, and does not forget that either.
    pub(super) is_told: bool,
}

impl Ending {
    /// When the reader's end learns that whatever it sends is lost.
    pub(super) fn news_arrive(&self) -> Option<Instant> {
        [self.reset, self.closed].into_iter().flatten().min()
    }

    /// The reader's end has learned of the reset.
    pub(super) fn is_reset(&self, is_stalled: bool, now: Instant) -> bool {
        self.reset.is_some_and(|at| self.has_failed || (at <= now && !is_stalled))
    }
}
