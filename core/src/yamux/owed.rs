//! Frames that are owed to the remote and belong to no live stream.

use alloc::{boxed::Box, collections::VecDeque};

use super::StreamId;

/// Pongs and resets that wait for room in the output, each kind in order. Bounded by
/// [`Config::max_pending_pongs`](super::Config::max_pending_pongs) and
/// [`Config::max_pending_resets`](super::Config::max_pending_resets), which those who push look at.
///
/// Mostly nothing is owed, and then it takes a word.
#[derive(Debug, Default)]
pub(super) struct Owed(Option<Box<Queues>>);

#[derive(Debug, Default)]
struct Queues {
    pongs: VecDeque<u32>,
    resets: VecDeque<(StreamId, u32)>,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Pongs that wait.
    pub(super) fn pongs(&self) -> usize {
        self.0.as_ref().map_or(0, |queues| queues.pongs.len())
    }

    /// Resets that wait.
    pub(super) fn resets(&self) -> usize {
        self.0.as_ref().map_or(0, |queues| queues.resets.len())
    }

    pub(super) fn push_pong(&mut self, value: u32) {
        self.0.get_or_insert_default().pongs.push_back(value);
    }

    pub(super) fn push_reset(&mut self, id: StreamId, code: u32) {
        self.0.get_or_insert_default().resets.push_back((id, code));
    }

    pub(super) fn next_pong(&self) -> Option<u32> {
        self.0.as_ref()?.pongs.front().copied()
    }

    pub(super) fn next_reset(&self) -> Option<(StreamId, u32)> {
        self.0.as_ref()?.resets.front().copied()
    }

    /// The next pong was framed.
    pub(super) fn pop_pong(&mut self) {
        self.pop(|queues| {
            queues.pongs.pop_front();
        });
    }

    /// The next reset was framed.
    pub(super) fn pop_reset(&mut self) {
        self.pop(|queues| {
            queues.resets.pop_front();
        });
    }

    /// Nothing is framed any more.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    #[cfg(test)]
    pub(super) fn reset_ids(&self) -> impl Iterator<Item = StreamId> {
        self.0.iter().flat_map(|queues| &queues.resets).map(|(id, _)| *id)
    }

    fn pop(&mut self, pop: impl FnOnce(&mut Queues)) {
        let Some(queues) = &mut self.0 else { return };
        pop(queues);
        if queues.pongs.is_empty() && queues.resets.is_empty() {
            self.0 = None;
        }
    }
}
