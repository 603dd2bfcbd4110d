//! The receive memory that all sessions of a node share.

use alloc::sync::Arc;
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The limits of a [`MemoryPool`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLimits {
    /// Bytes by which the receive windows of all streams together may exceed
    /// [`INITIAL_WINDOW`](super::INITIAL_WINDOW). Stops remotes with long round trips, real or pretended,
    /// from being promised more than the node has; windows beyond it do not grow.
    pub window_loans: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { window_loans: 256 * 1024 * 1024 }
    }
}

/// The receive memory that all sessions of a node share: what windows may borrow to grow.
///
/// A handle: clones are the same pool, and so are the pools of a cloned [`Config`](super::Config).
/// Sessions may live on different threads. What a session has borrowed comes back stream by stream, at
/// the latest when the session is dropped.
#[derive(Clone)]
pub struct MemoryPool(Arc<Pool>);

struct Pool {
    limits: MemoryLimits,
    lent: AtomicUsize,
}

impl MemoryPool {
    /// A pool of which nothing is in use.
    pub fn new(limits: MemoryLimits) -> Self {
        Self(Arc::new(Pool { limits, lent: AtomicUsize::new(0) }))
    }

    /// The limits it was made with.
    pub fn limits(&self) -> MemoryLimits {
        self.0.limits
    }

    /// Bytes that windows have borrowed, at most [`MemoryLimits::window_loans`].
    pub fn lent(&self) -> usize {
        self.0.lent.load(Relaxed)
    }

    fn lend(&self, bytes: usize) -> bool {
        let fits = |lent: usize| lent.checked_add(bytes).filter(|sum| *sum <= self.0.limits.window_loans);
        self.0.lent.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }
}

impl Default for MemoryPool {
    /// A pool of its own with the default limits.
    fn default() -> Self {
        Self::new(MemoryLimits::default())
    }
}

/// Two handles are equal if they are the same pool.
impl PartialEq for MemoryPool {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MemoryPool {}

impl fmt::Debug for MemoryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPool").field("limits", &self.limits()).field("lent", &self.lent()).finish()
    }
}

/// What one session has of the pool. It all goes back when the account is dropped.
#[derive(Debug)]
pub(super) struct Account {
    pool: MemoryPool,
    lent: usize,
}

impl Account {
    pub(super) fn new(pool: MemoryPool) -> Self {
        Self { pool, lent: 0 }
    }

    /// Borrows as long as the session has no more than `limit` of the pool; all or nothing.
    #[must_use]
    pub(super) fn borrow(&mut self, bytes: usize, limit: usize) -> bool {
        let Some(lent) = self.lent.checked_add(bytes).filter(|lent| *lent <= limit) else { return false };
        let borrowed = self.pool.lend(bytes);
        if borrowed {
            self.lent = lent;
        }
        borrowed
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.lent);
        self.lent = self.lent.saturating_sub(bytes);
        self.pool.0.lent.fetch_sub(bytes, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.lent
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.give_back(self.lent);
    }
}
