//! The receive memory that all sessions of a node share.

use alloc::sync::Arc;
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::buf::BLOCK_LEN;

/// The limits of a [`MemoryPool`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLimits {
    /// Bytes by which the receive windows of all streams together may exceed
    /// [`INITIAL_WINDOW`](super::INITIAL_WINDOW). Stops remotes with long round trips, real or pretended,
    /// from being promised more than the node has; windows beyond it do not grow.
    pub window_loans: usize,
    /// Bytes that blocks of received and unread data of all streams together may occupy. Windows promise
    /// more than a node has to hold at once; this stops remotes that use them all, on many connections,
    /// to applications that do not read. At this bound a session that takes more resets its stream with
    /// the most unread bytes, with code 0x1002; from 7/8 of it on, so do sessions that have more than the
    /// bound divided by the number of sessions. Threads that receive at the same moment can exceed it by
    /// what each takes in one call. What a connection that has ended has left for the application to read
    /// counts until that lets go of it, but is not taken away.
    pub hard_cap: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { window_loans: 256 * 1024 * 1024, hard_cap: 512 * 1024 * 1024 }
    }
}

/// The receive memory that all sessions of a node share: what windows may borrow to grow, and what
/// received and unread data occupies.
///
/// A handle: clones are the same pool, and so are the pools of a cloned [`Config`](super::Config).
/// Sessions may live on different threads. What a session has of it comes back stream by stream, at the
/// latest when the session is dropped.
#[derive(Clone)]
pub struct MemoryPool(Arc<Pool>);

struct Pool {
    limits: MemoryLimits,
    lent: AtomicUsize,
    used: AtomicUsize,
    sessions: AtomicUsize,
}

impl MemoryPool {
    /// A pool of which nothing is in use.
    pub fn new(limits: MemoryLimits) -> Self {
        let zero = AtomicUsize::default;
        Self(Arc::new(Pool { limits, lent: zero(), used: zero(), sessions: zero() }))
    }

    /// The limits it was made with.
    pub fn limits(&self) -> MemoryLimits {
        self.0.limits
    }

    /// Bytes that windows have borrowed, at most [`MemoryLimits::window_loans`].
    pub fn lent(&self) -> usize {
        self.0.lent.load(Relaxed)
    }

    /// Bytes that blocks of received and unread data occupy; see [`MemoryLimits::hard_cap`].
    pub fn used(&self) -> usize {
        self.0.used.load(Relaxed)
    }

    /// Less than an eighth of the hard cap is free.
    fn is_short(&self) -> bool {
        let cap = self.0.limits.hard_cap;
        self.used() > cap.saturating_sub(cap / 8)
    }

    /// What each session may have when memory is short.
    fn fair_share(&self) -> usize {
        self.0.limits.hard_cap.checked_div(self.0.sessions.load(Relaxed)).unwrap_or_default()
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
        f.debug_struct("MemoryPool")
            .field("limits", &self.limits())
            .field("lent", &self.lent())
            .field("used", &self.used())
            .finish()
    }
}

/// What one session has of the pool. It all goes back when the account is dropped.
#[derive(Debug)]
pub(super) struct Account {
    pool: MemoryPool,
    lent: usize,
    used: usize,
}

impl Account {
    pub(super) fn new(pool: MemoryPool) -> Self {
        pool.0.sessions.fetch_add(1, Relaxed);
        Self { pool, lent: 0, used: 0 }
    }

    /// Borrows as long as the session has no more than `limit` of the pool and memory is not short; all
    /// or nothing.
    #[must_use]
    pub(super) fn borrow(&mut self, bytes: usize, limit: usize) -> bool {
        let Some(lent) = self.lent.checked_add(bytes).filter(|lent| *lent <= limit) else { return false };
        let borrowed = !self.pool.is_short() && self.pool.lend(bytes);
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

    /// The blocks of a queue occupied `before` bytes and now occupy `after`.
    pub(super) fn recount(&mut self, before: usize, after: usize) {
        let used = &self.pool.0.used;
        if after > before {
            let more = after.saturating_sub(before);
            self.used = self.used.saturating_add(more);
            used.fetch_add(more, Relaxed);
        } else if after < before {
            let less = before.saturating_sub(after).min(self.used);
            self.used = self.used.saturating_sub(less);
            used.fetch_sub(less, Relaxed);
        }
    }

    /// Blocks for `more` bytes fit under the hard cap.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.pool.used().saturating_add(more).saturating_add(BLOCK_LEN) <= self.pool.limits().hard_cap
    }

    /// Memory is short and this session has more of it than its share.
    pub(super) fn is_above_share(&self) -> bool {
        self.pool.is_short() && self.used > self.pool.fair_share()
    }

    /// Bytes that the blocks of the session occupy.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.lent
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.give_back(self.lent);
        self.recount(self.used, 0);
        self.pool.0.sessions.fetch_sub(1, Relaxed);
    }
}
