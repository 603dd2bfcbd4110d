//! Rings: the order in which streams get their turn.

use alloc::{boxed::Box, collections::BTreeMap, collections::VecDeque};

use super::{StreamId, stream::Stream};

pub(super) type Streams = BTreeMap<StreamId, Box<Stream>>;

/// A queue of streams in which each stands at most once, by a flag inside the stream.
///
/// Withdrawing only clears the flag and leaves a stale entry, which is skipped later, so that it
/// costs no search. When more entries are stale than not the ring is rebuilt: a remote that opens and
/// resets streams in a loop cannot grow it.
#[derive(Debug)]
pub(super) struct Ring {
    queue: VecDeque<StreamId>,
    live: usize,
    flag: fn(&mut Stream) -> &mut bool,
}

impl Ring {
    pub(super) fn new(flag: fn(&mut Stream) -> &mut bool) -> Self {
        Self { queue: VecDeque::new(), live: 0, flag }
    }

    /// Streams that stand in the ring.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Entries, the stale ones included.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.queue.len()
    }

    /// Puts the stream at the end, unless it stands in the ring already.
    pub(super) fn insert(&mut self, id: StreamId, stream: &mut Stream) {
        if !core::mem::replace((self.flag)(stream), true) {
            self.live = self.live.saturating_add(1);
            self.queue.push_back(id);
        }
    }

    /// Puts a stream that was just popped back at the front.
    pub(super) fn put_back(&mut self, id: StreamId, stream: &mut Stream) {
        if !core::mem::replace((self.flag)(stream), true) {
            self.live = self.live.saturating_add(1);
            self.queue.push_front(id);
        }
    }

    pub(super) fn withdraw(&mut self, stream: &mut Stream) {
        if core::mem::take((self.flag)(stream)) {
            self.live = self.live.saturating_sub(1);
        }
    }

    pub(super) fn pop(&mut self, streams: &mut Streams) -> Option<StreamId> {
        while let Some(id) = self.queue.pop_front() {
            let stands = streams.get_mut(&id).is_some_and(|stream| core::mem::take((self.flag)(stream)));
            if stands {
                self.live = self.live.saturating_sub(1);
                return Some(id);
            }
        }
        None
    }

    /// Rebuilds the ring if most of its entries are stale. Call after withdrawing.
    pub(super) fn compact(&mut self, streams: &mut Streams) {
        if self.queue.len() <= self.live.saturating_mul(2).saturating_add(MAX_STALE) {
            return;
        }
        // Taking the flag keeps the first entry of a stream and drops its duplicates.
        self.queue.retain(|id| streams.get_mut(id).is_some_and(|stream| core::mem::take((self.flag)(stream))));
        for id in &self.queue {
            if let Some(stream) = streams.get_mut(id) {
                *(self.flag)(stream) = true;
            }
        }
        self.live = self.queue.len();
    }

    /// Gives back the memory of an empty ring.
    pub(super) fn shrink(&mut self) {
        if self.live == 0 {
            self.queue = VecDeque::new();
        }
    }
}

/// Stale entries that are tolerated beyond one for each live one.
const MAX_STALE: usize = 32;
