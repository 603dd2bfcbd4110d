//! How much a connection may hold.

use septa_core::{
    channel,
    connection::{Config, HandshakeMode, MAX_RECV},
    yamux::INITIAL_WINDOW,
};

const BLOCK: usize = 16 * 1024;
/// What a stream takes that carries nothing.
const STREAM: usize = 2 * 1024;

/// The most that a connection with certain limits may hold, by how many streams it has now. What streams have left behind
/// that are over must fit in what is kept for the next ones, however many there might be.
pub(super) struct MemoryBound {
    /// What every connection may hold: the blocks that are kept, what has come and is not understood yet, and what the
    /// applications say to each other before it is ready.
    base: usize,
    /// For each stream: the window that it begins with and a quota, in blocks that may be nearly empty at both ends.
    of_stream: usize,
    /// What the window of a stream may grow by.
    growth: usize,
    /// What all windows together may grow by.
    all_growth: usize,
}

impl MemoryBound {
    pub(super) fn new(config: &Config) -> Self {
        let (yamux, window) = (&config.yamux, INITIAL_WINDOW as usize);
        let handshake = match config.handshake {
            HandshakeMode::Automatic => 0,
            // Those that wait in both directions, and one in each that is on its way.
            _ => 2 * (channel::handshake::MAX_WAITING + 1) * channel::handshake::MAX_MESSAGE_LEN,
        };
        Self {
            base: yamux.spare_blocks.saturating_mul(BLOCK).saturating_add(3 * MAX_RECV + handshake),
            of_stream: yamux.send_quota.saturating_add(window + 4 * BLOCK + STREAM),
            growth: (yamux.max_window as usize).saturating_sub(window),
            all_growth: yamux.memory_budget.saturating_sub(yamux.max_streams.saturating_mul(window)),
        }
    }

    /// With so many streams.
    pub(super) fn of(&self, streams: usize) -> usize {
        let growth = streams.saturating_mul(self.growth).min(self.all_growth);
        streams.saturating_mul(self.of_stream).saturating_add(growth).saturating_add(self.base)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_a_connection_may_hold_depends_on_the_streams_that_it_has() {
        let bound = MemoryBound::new(&Config::default());
        assert!(bound.of(0) < 2 * 1024 * 1024, "{}", bound.of(0));
        let window = Config::default().yamux.max_window as usize;
        assert!(bound.of(1) > window && bound.of(1) < window + 3 * 1024 * 1024, "{}", bound.of(1));
        assert!(bound.of(256) < 256 * 1024 * 1024, "{}", bound.of(256));
        assert_eq!(bound.of(usize::MAX), usize::MAX);
    }

    #[test]
    fn windows_that_may_not_grow_make_no_room() {
        let mut config = Config::default();
        Arc::make_mut(&mut config.yamux).max_window = INITIAL_WINDOW;
        let bound = MemoryBound::new(&config);
        assert!(bound.of(1) < bound.of(0) + 1024 * 1024, "{}", bound.of(1));
    }
}
