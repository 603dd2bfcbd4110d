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
        if let Some(queues) = &mut self.0 {
            queues.pongs.pop_front();
        }
        self.give_back_if_empty();
    }

    /// The next reset was framed.
    pub(super) fn pop_reset(&mut self) {
        if let Some(queues) = &mut self.0 {
            queues.resets.pop_front();
        }
        self.give_back_if_empty();
    }

    /// Nothing is framed any more.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    #[cfg(test)]
    pub(super) fn reset_ids(&self) -> impl Iterator<Item = StreamId> {
        self.0.iter().flat_map(|queues| &queues.resets).map(|(id, _)| *id)
    }

    fn give_back_if_empty(&mut self) {
        self.0.take_if(|queues| queues.pongs.is_empty() && queues.resets.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_leaves_in_order_and_nothing_stays_behind_the_last() {
        let id = |number| StreamId::new(number).unwrap();
        let mut owed = Owed::default();
        assert!(owed.is_empty());
        owed.push_pong(7);
        owed.push_reset(id(1), 2);
        owed.push_pong(8);
        owed.push_reset(id(3), 4);
        assert_eq!((owed.pongs(), owed.resets()), (2, 2));
        assert_eq!(owed.next_pong(), Some(7));
        owed.pop_pong();
        assert_eq!(owed.next_pong(), Some(8));
        owed.pop_pong();
        assert_eq!(owed.next_pong(), None);
        owed.pop_pong();
        assert_eq!(owed.next_reset(), Some((id(1), 2)));
        owed.pop_reset();
        assert!(!owed.is_empty());
        assert_eq!(owed.next_reset(), Some((id(3), 4)));
        owed.pop_reset();
        assert!(owed.is_empty());
        assert_eq!((owed.pongs(), owed.resets(), owed.next_reset()), (0, 0, None));

        owed.push_reset(id(5), 6);
        owed.clear();
        assert!(owed.is_empty());
    }
}
