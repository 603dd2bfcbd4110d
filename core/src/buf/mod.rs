//! Queues of byte blocks: what a stream has received and not read, and what it has to send.
//!
//! Blocks are at most 16 KiB and are counted by capacity, not by what they hold, so that a slow
//! reader or a dribbling peer cannot pin more memory than the accounting shows.

mod block;
mod chunk_queue;
mod send_queue;
#[cfg(test)]
mod tests;

pub(crate) use block::BLOCK_LEN;
pub use block::SpareBlocks;
pub(crate) use chunk_queue::ChunkQueue;
pub(crate) use send_queue::SendQueue;
