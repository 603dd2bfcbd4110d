//! What a worker thread needs while it runs a connection's task: lent, so that idle connections hold
//! none of it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use septa_core::{buf::SpareBlocks, connection::TRANSMIT_BUFFER};

/// Sets that are kept for the next task. As many as worker threads ever run at once; a machine with
/// more pays an allocation, not memory for each idle connection.
const MAX_KEPT: usize = 32;

/// Blocks of 16 KiB that a worker keeps for reuse: as many as a connection may have.
const MAX_SPARE_BLOCKS: usize = 64;

/// What one task uses while it runs.
pub(crate) struct Worker {
    /// [`TRANSMIT_BUFFER`] bytes, for input and output alike.
    pub(crate) scratch: Box<[u8]>,
    /// Blocks of stream data that wait for reuse, lent on to the connection.
    pub(crate) spares: SpareBlocks,
}

impl Worker {
    fn new() -> Self {
        Self { scratch: vec![0; TRANSMIT_BUFFER].into(), spares: SpareBlocks::new(MAX_SPARE_BLOCKS) }
    }
}

/// Boxed, because they go in and out with each message.
#[allow(clippy::vec_box)]
#[derive(Default)]
pub(crate) struct WorkerPool(Mutex<Vec<Box<Worker>>>);

impl WorkerPool {
    pub(crate) fn take(&self) -> Box<Worker> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Box::new(Worker::new()))
    }

    pub(crate) fn put(&self, worker: Box<Worker>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push(worker);
        }
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerPool")
    }
}
