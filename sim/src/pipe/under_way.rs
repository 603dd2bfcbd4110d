//! Bytes on their way.

use std::collections::VecDeque;

use septa_core::Instant;

/// Bytes that the reader has not read yet, and when they arrive. There is at least one.
///
/// Most pipes are empty most of the time, and there are thousands of them: an empty one has none of this.
#[derive(Default)]
pub(super) struct UnderWay {
    bytes: VecDeque<u8>,
    /// Of what parts they are made.
    segments: VecDeque<Segment>,
}

/// Bytes that arrive at once.
struct Segment {
    arrives: Instant,
    len: usize,
}

impl UnderWay {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// When the first of them arrive.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.segments.front().map(|segment| segment.arrives)
    }

    /// Adds some, which arrive last.
    pub(super) fn push(&mut self, arrives: Instant, bytes: &[u8]) {
        self.bytes.extend(bytes);
        match self.segments.back_mut().filter(|segment| segment.arrives == arrives) {
            Some(segment) => segment.len += bytes.len(),
            None => self.segments.push_back(Segment { arrives, len: bytes.len() }),
        }
    }

    /// Fills `out` with those that have arrived, as far as they go, and returns how many they were.
    pub(super) fn take(&mut self, now: Instant, out: &mut [u8]) -> usize {
        let mut count = 0;
        while count < out.len() {
            let Some(segment) = self.segments.front_mut().filter(|segment| segment.arrives <= now) else { break };
            let taken = segment.len.min(out.len() - count);
            segment.len -= taken;
            count += taken;
            if segment.len == 0 {
                self.segments.pop_front();
            }
        }
        self.take_bytes(&mut out[..count]);
        count
    }

    /// Fills `out` with the first bytes. There are as many.
    fn take_bytes(&mut self, out: &mut [u8]) {
        let (first, second) = self.bytes.as_slices();
        let in_first = out.len().min(first.len());
        let (from_first, from_second) = out.split_at_mut(in_first);
        from_first.copy_from_slice(&first[..in_first]);
        from_second.copy_from_slice(&second[..from_second.len()]);
        self.bytes.drain(..out.len());
    }
}
