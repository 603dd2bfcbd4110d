//! Rings: the order in which streams get their turn, and the turns of those that have data.

use alloc::{boxed::Box, collections::BTreeMap, collections::VecDeque};

use super::{
    StreamId,
    header::HEADER_LEN,
    stream::{RingName, Stream},
};

pub(super) type Streams = BTreeMap<StreamId, Box<Stream>>;

/// A queue of streams in which each stands at most once, by a flag inside the stream.
///
/// Withdrawing only clears the flag and leaves a stale entry, which is skipped later, so that it
/// costs no search. When more entries are stale than not the ring is rebuilt: a remote that opens and
/// resets streams in a loop cannot grow it.
#[derive(Debug)]
pub(super) struct Ring {
    queue: VecDeque<StreamId>,
    live: u32,
    name: RingName,
}

impl Ring {
    pub(super) fn new(name: RingName) -> Self {
        Self { queue: VecDeque::new(), live: 0, name }
    }

    /// Streams that stand in the ring.
    pub(super) fn len(&self) -> usize {
        self.live as usize
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
        if stream.rings.set(self.name) {
            self.live = self.live.saturating_add(1);
            self.queue.push_back(id);
        }
    }

    /// Puts a stream that was just popped back at the front.
    pub(super) fn put_back(&mut self, id: StreamId, stream: &mut Stream) {
        if stream.rings.set(self.name) {
            self.live = self.live.saturating_add(1);
            self.queue.push_front(id);
        }
    }

    pub(super) fn withdraw(&mut self, stream: &mut Stream) {
        if stream.rings.take(self.name) {
            self.live = self.live.saturating_sub(1);
        }
    }

    /// Takes the first entry.
    pub(super) fn pop<'s>(&mut self, streams: &'s mut Streams) -> Popped<'s> {
        let Some(id) = self.queue.pop_front() else { return Popped::Nothing };
        let Some(stream) = streams.get_mut(&id) else { return Popped::Stale };
        if !stream.rings.take(self.name) {
            return Popped::Stale;
        }
        self.live = self.live.saturating_sub(1);
        Popped::Stream(id, stream)
    }

    /// Rebuilds the ring if most of its entries are stale. Call after withdrawing.
    pub(super) fn compact(&mut self, streams: &mut Streams) {
        if self.queue.len() <= self.len().saturating_mul(2).saturating_add(MAX_STALE) {
            return;
        }
        // Taking the flag keeps the first entry of a stream and drops its duplicates.
        self.queue.retain(|id| streams.get_mut(id).is_some_and(|stream| stream.rings.take(self.name)));
        for id in &self.queue {
            if let Some(stream) = streams.get_mut(id) {
                stream.rings.set(self.name);
            }
        }
        self.live = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
    }

    /// Gives back the memory of an empty ring.
    pub(super) fn shrink(&mut self) {
        if self.live == 0 {
            self.queue = VecDeque::new();
        }
    }
}

/// What came out of a ring.
pub(super) enum Popped<'s> {
    /// It is empty.
    Nothing,
    /// An entry whose stream does not stand in the ring any more: try again.
    Stale,
    Stream(StreamId, &'s mut Stream),
}

/// Stale entries that are tolerated beyond one for each live one.
const MAX_STALE: usize = 32;

/// How much of the way out a stream gets beside the other streams that have something to send.
///
/// Streams that always have data get bytes in the proportion 16 to 4 to 1, each stream for itself: two
/// streams of one priority get as much as each other, and together twice as much as one. A stream with
/// nothing to send takes no share, and none saves its share up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Priority {
    /// Work in the background: a sixteenth of [`High`](Self::High), and never nothing.
    Low,
    /// What every stream begins with.
    #[default]
    Normal,
    /// Four times as much as [`Normal`](Self::Normal).
    High,
}

impl Priority {
    const DESCENDING: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    fn weight(self) -> u32 {
        match self {
            Self::Low => 1,
            Self::Normal => 4,
            Self::High => 16,
        }
    }
}

/// The streams that have data or a FIN to send and take turns: deficit round robin (Shreedhar and
/// Varghese, 1995) by bytes, headers included.
///
/// In its turn a stream may send [`QUANTUM`] bytes if no stream of a higher priority is ready, and its
/// proportion of that if one is. So one round, which is the longest wait for a turn, is at most a full
/// frame of each ready stream, and short turns are given only where they are needed. What is left of a
/// turn when the output is full is the deficit: the stream goes on with it. A stream that has nothing
/// left to send loses it. One that is alone has no use for turns.
#[derive(Debug)]
pub(super) struct Ready {
    ring: Ring,
    /// How many streams of each priority stand in the ring.
    by_priority: [u32; Priority::DESCENDING.len()],
}

impl Ready {
    pub(super) fn new() -> Self {
        Self { ring: Ring::new(RingName::Ready), by_priority: [0; Priority::DESCENDING.len()] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Puts the stream behind all others, or in front if its turn is not over, unless it is there.
    pub(super) fn insert(&mut self, id: StreamId, stream: &mut Stream) {
        if stream.rings.has(RingName::Ready) {
            return;
        }
        if stream.deficit > 0 {
            self.ring.put_back(id, stream)
        } else {
            self.ring.insert(id, stream)
        }
        self.count(stream.priority, 1);
    }

    /// Takes the stream out: it has nothing to send.
    pub(super) fn withdraw(&mut self, stream: &mut Stream) {
        stream.deficit = 0;
        if stream.rings.has(RingName::Ready) {
            self.count(stream.priority, -1);
            self.ring.withdraw(stream);
        }
    }

    /// Takes out the stream whose turn it is, with the deficit that it may use up.
    pub(super) fn pop<'s>(&mut self, streams: &'s mut Streams) -> Popped<'s> {
        let mut popped = self.ring.pop(streams);
        if let Popped::Stream(_, stream) = &mut popped {
            if stream.deficit == 0 {
                stream.deficit = self.quantum(stream.priority);
            }
            self.count(stream.priority, -1);
        }
        popped
    }

    /// Changes the priority; the turn that the stream is in ends as it began.
    pub(super) fn set_priority(&mut self, stream: &mut Stream, priority: Priority) {
        if stream.rings.has(RingName::Ready) {
            self.count(stream.priority, -1);
            self.count(priority, 1);
        }
        stream.priority = priority;
    }

    /// See [`Ring::compact`].
    pub(super) fn compact(&mut self, streams: &mut Streams) {
        self.ring.compact(streams);
    }

    /// See [`Ring::shrink`].
    pub(super) fn shrink(&mut self) {
        self.ring.shrink();
    }

    #[cfg(test)]
    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The counts are those of the streams that stand in the ring, and only those have a deficit.
    #[cfg(test)]
    pub(super) fn is_consistent(&self, streams: &Streams) -> bool {
        let standing = |priority| {
            streams.values().filter(|s| s.rings.has(RingName::Ready) && s.priority == priority).count() as u32
        };
        self.by_priority == Priority::DESCENDING.map(standing)
            && streams.values().all(|s| s.rings.has(RingName::Ready) || s.deficit == 0)
    }

    fn quantum(&self, priority: Priority) -> u32 {
        let ready = Priority::DESCENDING.into_iter().zip(self.by_priority).find(|(_, count)| *count > 0);
        match ready {
            Some((highest, _)) if highest != priority => {
                QUANTUM.saturating_mul(priority.weight()).checked_div(highest.weight()).unwrap_or(QUANTUM)
            }
            _ => QUANTUM,
        }
    }

    fn count(&mut self, priority: Priority, change: i32) {
        let [high, normal, low] = &mut self.by_priority;
        let count = match priority {
            Priority::High => high,
            Priority::Normal => normal,
            Priority::Low => low,
        };
        *count = count.saturating_add_signed(change);
    }
}

impl Stream {
    /// Takes a frame off the stream's turn. What is left must hold a header and a byte to be of use.
    pub(super) fn spend_turn(&mut self, body: usize) {
        let frame = u32::try_from(body.saturating_add(HEADER_LEN)).unwrap_or(u32::MAX);
        self.deficit = self.deficit.saturating_sub(frame);
        if self.turn_room() == 0 {
            self.deficit = 0;
        }
    }

    /// The longest body that the turn allows.
    pub(super) fn turn_room(&self) -> usize {
        usize::try_from(self.deficit).unwrap_or(usize::MAX).saturating_sub(HEADER_LEN)
    }
}

/// What a stream of the highest ready priority may send in one turn, in bytes: one frame of 16 KiB.
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
const QUANTUM: u32 = 16 * 1024 + HEADER_LEN as u32;
