//! One block of a queue, and the short list of drained blocks that wait for reuse.

use alloc::vec::Vec;

use bytes::Bytes;

/// Largest block that a queue allocates, in bytes.
pub(crate) const BLOCK_LEN: usize = 16 * 1024;
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

/// Drained full-size blocks that wait for reuse, so that a busy session allocates none.
///
/// Each block takes 16 KiB, so they belong to whoever is busy. A session that was busy gives them up at its
/// next keep-alive tick. A driver with many connections keeps a list for each of its workers, lends it to the
/// connection at hand ([`Connection::lend_spare_blocks`](crate::Connection::lend_spare_blocks)) and takes it
/// back when that has little to do.
#[derive(Debug)]
pub struct SpareBlocks {
    blocks: Vec<Vec<u8>>,
    max: usize,
}

impl SpareBlocks {
    /// A list that keeps at most `max` blocks.
    pub fn new(max: usize) -> Self {
        Self { blocks: Vec::new(), max }
    }

    /// Moves the blocks of `other` here, as many as there is room for.
    pub(crate) fn take_from(&mut self, other: &mut Self) {
        if self.blocks.is_empty() && other.blocks.len() <= self.max {
            core::mem::swap(&mut self.blocks, &mut other.blocks);
            return;
        }
        while self.blocks.len() < self.max
            && let Some(block) = other.blocks.pop()
        {
            self.blocks.push(block);
        }
    }

    /// Keeps `data` for reuse if it is a full-size block and the list has room.
    pub(super) fn put(&mut self, mut data: Vec<u8>) {
        if data.capacity() == BLOCK_LEN && self.blocks.len() < self.max {
            data.clear();
            self.blocks.push(data);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        self.blocks.pop()
    }

    /// Frees all of them and the list itself.
    pub(crate) fn drop_all(&mut self) {
        self.blocks = Vec::new();
    }

    /// Bytes held.
    pub fn capacity(&self) -> usize {
        self.blocks.len().saturating_mul(BLOCK_LEN)
    }
}
