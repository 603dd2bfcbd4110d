//! What one stream has to send.

use bytes::Bytes;

use super::{block::SpareBlocks, chunk_queue::ChunkQueue};

/// Written and not yet framed bytes of one stream, up to a quota.
///
/// Small writes are packed into the last block, so that many of them leave as one frame; large
/// [`Bytes`] are kept without copying.
#[derive(Debug, Default)]
pub(crate) struct SendQueue(ChunkQueue);

impl SendQueue {
    /// Shorter chunks are copied: an entry of the table and a reference would cost more than the copy.
    pub(crate) const MIN_SHARED_LEN: usize = 1024;

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of memory that the queue occupies; a shared chunk counts its length.
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Copies as much of `data` as fits in `quota` and returns how much that was.
    pub(crate) fn write(&mut self, data: &[u8], quota: usize, spares: &mut SpareBlocks) -> usize {
        let room = quota.saturating_sub(self.len());
        let part = data.get(..room).unwrap_or(data);
        self.0.append_outgoing(part, spares);
        part.len()
    }

    /// Takes as much off the front of `data` as fits in `quota` and returns how much that was.
    pub(crate) fn write_chunk(&mut self, data: &mut Bytes, quota: usize, spares: &mut SpareBlocks) -> usize {
        let part = data.split_to(quota.saturating_sub(self.len()).min(data.len()));
        if part.len() < Self::MIN_SHARED_LEN {
            self.0.append_outgoing(&part, spares);
            return part.len();
        }
        let taken = part.len();
        self.0.push_shared(part);
        taken
    }

    /// Moves as much as fits into `out` and returns how much that was.
    pub(crate) fn read(&mut self, out: &mut [u8], spares: &mut SpareBlocks) -> usize {
        let copied = self.0.read(out, spares);
        self.0.take_released();
        copied
    }

    /// The first contiguous bytes; empty if there are none.
    pub(crate) fn front(&self) -> &[u8] {
        self.0.front()
    }

    /// The first contiguous bytes without copying them, if they are shared.
    pub(crate) fn front_shared(&self) -> Option<Bytes> {
        self.0.front_shared()
    }

    /// Takes at most `max` contiguous bytes; `None` if there are none or `max` is 0.
    pub(crate) fn take_chunk(&mut self, max: usize, spares: &mut SpareBlocks) -> Option<Bytes> {
        let chunk = self.0.take_chunk(max, spares);
        self.0.take_released();
        chunk
    }

    /// Drops the first `n` bytes, or all if there are fewer.
    pub(crate) fn consume(&mut self, n: usize, spares: &mut SpareBlocks) {
        self.0.consume(n, spares);
        self.0.take_released();
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, spares: &mut SpareBlocks) {
        self.0.clear(spares);
        self.0.take_released();
    }
}
