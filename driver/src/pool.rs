//! Scratch buffers, lent to connection tasks while they run.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use septa_core::connection::TRANSMIT_BUFFER;

/// Buffers that are kept for the next task. As many as worker threads ever run at once; a machine
/// with more pays an allocation, not memory for each idle connection.
const MAX_KEPT: usize = 32;

#[derive(Default)]
pub(crate) struct BufferPool(Mutex<Vec<Box<[u8]>>>);

impl BufferPool {
    /// A buffer of [`TRANSMIT_BUFFER`] bytes, for input and output alike.
    pub(crate) fn take(&self) -> Box<[u8]> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![0; TRANSMIT_BUFFER].into())
    }

    pub(crate) fn put(&self, buffer: Box<[u8]>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push(buffer);
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BufferPool")
    }
}
