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
        if part.len() < MIN_SHARED_LEN {
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

    /// Drops everything.
    pub(crate) fn clear(&mut self, spares: &mut SpareBlocks) {
        self.0.clear(spares);
        self.0.take_released();
    }
}

/// Shorter chunks are copied: an entry of the table and a reference would cost more than the copy.
const MIN_SHARED_LEN: usize = 1024;
