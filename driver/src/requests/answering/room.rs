//! Room for requests that wait for the application: of one stream or peer, and of all together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// So many bytes may wait of all that share this. What reaches the limit is still taken.
#[derive(Debug)]
pub(super) struct Limit {
    taken: AtomicUsize,
    max: usize,
}

/// What one stream takes, within two limits. Dropping it gives all back.
#[derive(Debug)]
pub(super) struct Room {
    of_all: Arc<Limit>,
    /// Shared by the streams of a peer, or not at all.
    own: Arc<Limit>,
    taken: usize,
    /// There is room again within the own limit, because of this stream.
    is_reopened: bool,
}

impl Limit {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    pub(super) fn is_left(&self) -> bool {
        self.taken.load(Ordering::SeqCst) < self.max
    }

    fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes, Ordering::SeqCst);
    }

    /// True if there is room again.
    fn give_back(&self, bytes: usize) -> bool {
        let taken = self.taken.fetch_sub(bytes, Ordering::SeqCst);
        taken >= self.max && taken - bytes < self.max
    }
}

impl Room {
    pub(super) fn new(of_all: &Arc<Limit>, own: Arc<Limit>) -> Self {
        Self { of_all: of_all.clone(), own, taken: 0, is_reopened: false }
    }

    pub(super) fn is_left(&self) -> bool {
        self.own.is_left() && self.of_all.is_left()
    }

    pub(super) fn is_taken_by_others(&self) -> bool {
        self.own.is_left() && !self.of_all.is_left()
    }

    /// The stream takes so many bytes now.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes >= self.taken {
            self.own.take(bytes - self.taken);
            self.of_all.take(bytes - self.taken);
        } else {
            self.is_reopened |= self.own.give_back(self.taken - bytes);
            self.of_all.give_back(self.taken - bytes);
        }
        self.taken = bytes;
    }

    /// Whether others that share the own limit are to look, once.
    pub(super) fn take_reopened(&mut self) -> bool {
        std::mem::take(&mut self.is_reopened)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.set(0);
    }
}
