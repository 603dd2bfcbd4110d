//! A first-in, first-out queue of bytes in blocks.

use alloc::{collections::VecDeque, vec::Vec};

use bytes::{Buf, Bytes};

use super::block::{BLOCK_LEN, Block, MIN_BLOCK_LEN, SpareBlocks};
use crate::room;

/// Bytes in order, in blocks of at most 16 KiB.
///
/// Appending copies into the last block; taking copies out ([`read`](Self::read)) or hands out a
/// whole block ([`take_chunk`](Self::take_chunk)). Only the first block is ever partly read and only
/// the last partly filled.
#[derive(Debug, Default)]
pub(crate) struct ChunkQueue {
    blocks: VecDeque<Block>,
    /// Bytes of the first block that were read already.
    front_read: usize,
    len: usize,
    capacity: usize,
    /// Bytes whose blocks were given up since the last [`take_released`](Self::take_released).
    released: usize,
}

impl ChunkQueue {
    /// Unread bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that the blocks occupy.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends received bytes, which must be at most `limit`.
    ///
    /// The first block is sized to the data, those behind it are full size, and none is larger than
    /// `limit`: the bytes that the remote may still send, these included. So what a stream occupies
    /// never exceeds its window, however the bytes are dribbled.
    pub(crate) fn append_received(&mut self, mut data: &[u8], limit: usize, spares: &mut SpareBlocks) {
        let mut limit = limit;
        while !data.is_empty() {
            if self.tail_room() == 0 {
                let size = if self.blocks.is_empty() { data.len().clamp(MIN_BLOCK_LEN, BLOCK_LEN) } else { BLOCK_LEN };
                self.push_block(size.min(limit).max(1), spares);
            }
            let copied = self.fill_tail(data);
            data = data.get(copied..).unwrap_or_default();
            limit = limit.saturating_sub(copied);
        }
    }

    /// Appends bytes to send. Blocks behind one another are full size, so that drained ones can be reused. The
    /// first one is sized to the data unless a drained block waits: a message that leaves at once costs no 16 KiB.
    /// One behind a shared chunk always is: headers between chunks must not occupy a full block each.
    pub(super) fn append_outgoing(&mut self, mut data: &[u8], spares: &mut SpareBlocks) {
        while !data.is_empty() {
            if self.tail_room() == 0 {
                let is_full_size = match self.blocks.back() {
                    Some(Block::Filling(_)) => true,
                    Some(Block::Frozen { .. }) => false,
                    None => spares.has_full_size(),
                };
                let size = if is_full_size { BLOCK_LEN } else { data.len().clamp(MIN_BLOCK_LEN, BLOCK_LEN) };
                self.push_block(size, spares);
            }
            let copied = self.fill_tail(data);
            data = data.get(copied..).unwrap_or_default();
        }
    }

    /// Appends a chunk without copying it.
    pub(super) fn push_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let capacity = bytes.len();
        self.len = self.len.saturating_add(capacity);
        self.capacity = self.capacity.saturating_add(capacity);
        room::push_back(&mut self.blocks, Block::Frozen { bytes, capacity });
    }

    /// The first contiguous unread bytes; empty if there are none.
    pub(crate) fn front(&self) -> &[u8] {
        match self.blocks.front() {
            Some(Block::Filling(data)) => data.get(self.front_read..).unwrap_or_default(),
            Some(Block::Frozen { bytes, .. }) => bytes,
            None => &[],
        }
    }

    /// The first contiguous unread bytes without copying them, if they are shared.
    pub(super) fn front_shared(&self) -> Option<Bytes> {
        if let Some(Block::Frozen { bytes, .. }) = self.blocks.front() { Some(bytes.clone()) } else { None }
    }

    /// Copies out as much as fits and returns how much that was.
    pub(crate) fn read(&mut self, out: &mut [u8], spares: &mut SpareBlocks) -> usize {
        let mut copied: usize = 0;
        while let Some(rest) = out.get_mut(copied..) {
            let front = self.front();
            let part = front.len().min(rest.len());
            let (Some(from), Some(to)) = (front.get(..part), rest.get_mut(..part)) else { break };
            if part == 0 {
                break;
            }
            to.copy_from_slice(from);
            self.advance_front(part, spares);
            copied = copied.saturating_add(part);
        }
        copied
    }

    /// Takes at most `max` contiguous bytes; `None` if there are none. Does not copy them, unless they
    /// are a part of a block that is not full: shared, it could not be filled up, and a block more than
    /// the window would be occupied.
    pub(crate) fn take_chunk(&mut self, max: usize, spares: &mut SpareBlocks) -> Option<Bytes> {
        let front = self.front();
        let part = front.len().min(max);
        if part == 0 {
            return None;
        }
        if part < front.len() && self.blocks.front().is_some_and(|block| block.room() > 0) {
            let chunk = front.get(..part).map(Bytes::copy_from_slice);
            self.advance_front(part, spares);
            return chunk;
        }
        self.freeze_front();
        let Some(Block::Frozen { bytes, .. }) = self.blocks.front_mut() else { return None };
        let chunk = bytes.split_to(part);
        self.front_read = self.front_read.saturating_add(part);
        self.len = self.len.saturating_sub(part);
        self.pop_if_drained(spares);
        Some(chunk)
    }

    /// Drops the first `n` bytes, or all if there are fewer.
    pub(crate) fn consume(&mut self, n: usize, spares: &mut SpareBlocks) {
        let mut left = n.min(self.len);
        while left > 0 {
            let part = self.front().len().min(left);
            if part == 0 {
                break;
            }
            self.advance_front(part, spares);
            left = left.saturating_sub(part);
        }
    }

    /// Drops everything, the queue's own table included.
    pub(crate) fn clear(&mut self, spares: &mut SpareBlocks) {
        self.consume(usize::MAX, spares);
        self.blocks = VecDeque::new();
    }

    /// Bytes given up since the last call. Bytes read from a block count when the block is gone, so
    /// credit returned for them is never credit for memory that is still occupied.
    pub(crate) fn take_released(&mut self) -> usize {
        core::mem::take(&mut self.released)
    }

    fn tail_room(&self) -> usize {
        self.blocks.back().map_or(0, Block::room)
    }

    fn push_block(&mut self, size: usize, spares: &mut SpareBlocks) {
        let block = Block::Filling(spares.take(size).unwrap_or_else(|| Vec::with_capacity(size)));
        self.capacity = self.capacity.saturating_add(block.capacity());
        room::push_back(&mut self.blocks, block);
    }

    fn fill_tail(&mut self, data: &[u8]) -> usize {
        let Some(Block::Filling(tail)) = self.blocks.back_mut() else { return 0 };
        let room = tail.capacity().saturating_sub(tail.len());
        let part = data.get(..room).unwrap_or(data);
        tail.extend_from_slice(part);
        self.len = self.len.saturating_add(part.len());
        part.len()
    }

    fn freeze_front(&mut self) {
        let read = self.front_read;
        if let Some(block @ Block::Filling(_)) = self.blocks.front_mut() {
            let capacity = block.capacity();
            if let Block::Filling(data) = block {
                let mut bytes = Bytes::from(core::mem::take(data));
                bytes.advance(read.min(bytes.len()));
                *block = Block::Frozen { bytes, capacity };
            }
        }
    }

    fn advance_front(&mut self, n: usize, spares: &mut SpareBlocks) {
        if let Some(Block::Frozen { bytes, .. }) = self.blocks.front_mut() {
            bytes.advance(n.min(bytes.len()));
        }
        self.front_read = self.front_read.saturating_add(n);
        self.len = self.len.saturating_sub(n);
        self.pop_if_drained(spares);
    }

    fn pop_if_drained(&mut self, spares: &mut SpareBlocks) {
        if !self.front().is_empty() {
            return;
        }
        if let Some(block) = self.blocks.pop_front() {
            self.capacity = self.capacity.saturating_sub(block.capacity());
            self.released = self.released.saturating_add(core::mem::take(&mut self.front_read));
            if let Block::Filling(data) = block {
                spares.put(data);
            }
        }
    }
}
