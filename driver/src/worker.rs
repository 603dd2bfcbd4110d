//! What a thread needs while it runs a connection's task or flushes: its own, so that idle connections hold none of it
//! and no two threads share it.

use std::cell::Cell;

use septa_core::{buf::SpareBlocks, connection::TRANSMIT_BUFFER};

/// Blocks of 16 KiB that a thread keeps for reuse: as many as a connection may have. Only threads that run tasks of
/// connections come to have any. So these threads keep up to 1 MiB and the scratch, and those that only flush the scratch,
/// until they end: there is no list of them that could grow. What a block held before, or whether there is one, changes
/// no byte on the wire and no decision, only the sizes of blocks that `memory_used` tells; so runs in the simulator stay
/// the same whatever ran on their thread before.
const MAX_SPARE_BLOCKS: usize = 64;

thread_local! {
    static IDLE: Cell<Option<Box<Worker>>> = const { Cell::new(None) };
}

/// What is used for one run of a task or one flush.
pub(crate) struct Worker {
    /// [`TRANSMIT_BUFFER`] bytes, for input and output alike.
    pub(crate) scratch: Box<[u8]>,
    /// Blocks of stream data that wait for reuse, lent on to the connection.
    pub(crate) spares: SpareBlocks,
}

impl Worker {
    /// That of this thread, or a new one if it has none yet or is using it.
    pub(crate) fn take() -> Box<Self> {
        // On a thread that ends there is nothing to take any more.
        let idle = IDLE.try_with(Cell::take).ok().flatten();
        idle.unwrap_or_else(|| Box::new(Self::new()))
    }

    /// Keeps it for the next time on this thread, until that ends.
    pub(crate) fn put_back(self: Box<Self>) {
        let _ = IDLE.try_with(|idle| idle.set(Some(self)));
    }

    #[cold]
    fn new() -> Self {
        Self { scratch: vec![0; TRANSMIT_BUFFER].into(), spares: SpareBlocks::new(MAX_SPARE_BLOCKS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was left in the scratch before.
    fn mark(worker: &Worker) -> u8 {
        worker.scratch[0]
    }

    fn marked(mut worker: Box<Worker>, mark: u8) -> Box<Worker> {
        worker.scratch[0] = mark;
        worker
    }

    #[test]
    fn a_thread_uses_its_own_again_and_no_other_does() {
        marked(Worker::take(), 7).put_back();
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| mark(&Worker::take())).join().unwrap());
        assert_eq!(elsewhere, 0);
        assert_eq!(mark(&Worker::take()), 7);
    }

    #[test]
    fn one_that_is_in_use_is_not_lent_twice() {
        marked(Worker::take(), 7).put_back();
        let (outer, inner) = (Worker::take(), Worker::take());
        assert_eq!((mark(&outer), mark(&inner)), (7, 0));
        // Of two that come back one stays.
        outer.put_back();
        inner.put_back();
        assert_eq!((mark(&Worker::take()), mark(&Worker::take())), (0, 0));
    }
}
