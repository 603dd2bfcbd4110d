//! One block of a queue, and the short list of drained blocks that wait for reuse.

use alloc::vec::Vec;

use bytes::Bytes;

/// Largest block that a queue allocates, in bytes.
pub(super) const BLOCK_LEN: usize = 16 * 1024;
/// Smallest block that a queue allocates while there is room for it, in bytes.
pub(super) const MIN_BLOCK_LEN: usize = 256;

/// A run of contiguous bytes of a queue.
#[derive(Debug)]
pub(super) enum Block {
    /// Still being appended to.
    Filling(Vec<u8>),
    /// Shared with, or handed in by, the application. `capacity` is what it is counted for.
    Frozen { bytes: Bytes, capacity: usize },
}

impl Block {
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Filling(data) => data.capacity(),
            Self::Frozen { capacity, .. } => *capacity,
        }
    }

    /// How many bytes `append` would take without growing.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Filling(data) => data.capacity().saturating_sub(data.len()),
            Self::Frozen { .. } => 0,
        }
    }
}

/// Drained full-size blocks that wait for reuse, so that a busy session allocates none to send.
///
/// At most [`SpareBlocks::MAX`] (256 KiB): a session that was busy once must not hold more than
/// that until its next keep-alive tick, which drops them.
#[derive(Debug, Default)]
pub(crate) struct SpareBlocks(Vec<Vec<u8>>);

impl SpareBlocks {
    pub(crate) const MAX: usize = 16;

    /// Keeps `data` for reuse if it is a full-size block and the list has room.
    pub(super) fn put(&mut self, mut data: Vec<u8>) {
        if data.capacity() == BLOCK_LEN && self.0.len() < Self::MAX {
            data.clear();
            self.0.push(data);
        }
    }

    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        self.0.pop()
    }

    /// Frees all of them and the list itself.
    pub(crate) fn drop_all(&mut self) {
        self.0 = Vec::new();
    }

    /// Bytes held.
    pub(crate) fn capacity(&self) -> usize {
        self.0.len().saturating_mul(BLOCK_LEN)
    }
}
