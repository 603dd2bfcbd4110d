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

/// Drained blocks that wait for reuse, so that a busy session allocates none.
///
/// One is of the smallest size, for small messages there and back: it stays with the session until its last stream is
/// gone. The others are of full size: each takes 16 KiB, so they belong to whoever is busy. A session that was busy
/// gives all of them up at its next keep-alive tick. A driver with many connections keeps a list for each of its workers, lends it to the
/// connection at hand ([`Connection::lend_spare_blocks`](crate::Connection::lend_spare_blocks)) and takes it
/// back when that has little to do.
#[derive(Debug)]
pub struct SpareBlocks {
    blocks: Vec<Vec<u8>>,
    /// Full-size blocks that are kept at most.
    max: usize,
    smallest: Option<Vec<u8>>,
}

impl SpareBlocks {
    /// A list that keeps at most `max` full-size blocks.
    pub fn new(max: usize) -> Self {
        Self { blocks: Vec::new(), max, smallest: None }
    }

    /// Moves the full-size blocks of `other` here, as many as there is room for.
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

    /// Keeps `data` for reuse if it is of one of the two sizes and there is room.
    pub(super) fn put(&mut self, mut data: Vec<u8>) {
        data.clear();
        match data.capacity() {
            MIN_BLOCK_LEN if self.smallest.is_none() => self.smallest = Some(data),
            BLOCK_LEN if self.blocks.len() < self.max => self.blocks.push(data),
            _ => {}
        }
    }

    /// Has a full-size block.
    pub(crate) fn has_full_size(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// A block of exactly `size` bytes, if one is kept.
    pub(super) fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        match size {
            MIN_BLOCK_LEN => self.smallest.take(),
            BLOCK_LEN => self.blocks.pop(),
            _ => None,
        }
    }

    /// Frees the full-size blocks and the list of them.
    pub(crate) fn drop_full_size(&mut self) {
        if self.blocks.capacity() > 0 {
            self.blocks = Vec::new();
        }
    }

    /// Frees the block of the smallest size.
    pub(crate) fn drop_smallest(&mut self) {
        self.smallest = None;
    }

    /// Frees all of them and the list itself.
    pub(crate) fn drop_all(&mut self) {
        self.drop_full_size();
        self.drop_smallest();
    }

    /// Bytes held.
    pub fn capacity(&self) -> usize {
        let smallest = self.smallest.as_ref().map_or(0, Vec::capacity);
        self.blocks.len().saturating_mul(BLOCK_LEN).saturating_add(smallest)
    }
}
