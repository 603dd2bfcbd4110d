//! Room for requests that wait for the application: of one stream, and of all together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The room of all streams.
#[derive(Debug)]
pub(super) struct RoomOfAll {
    taken: AtomicUsize,
    max: usize,
}

/// The room of one stream. In either, what reaches the limit is still taken. Dropping it gives all back.
#[derive(Debug)]
pub(super) struct Room {
    of_all: Arc<RoomOfAll>,
    taken: usize,
    max: usize,
}

impl RoomOfAll {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    pub(super) fn is_left(&self) -> bool {
        self.taken.load(Ordering::SeqCst) < self.max
    }
}

impl Room {
    pub(super) fn new(of_all: &Arc<RoomOfAll>, max: usize) -> Self {
        Self { of_all: of_all.clone(), taken: 0, max }
    }

    pub(super) fn is_left(&self) -> bool {
        self.taken < self.max && self.of_all.is_left()
    }

    pub(super) fn is_taken_by_others(&self) -> bool {
        self.taken < self.max && !self.of_all.is_left()
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        self.of_all.taken.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.taken -= bytes;
        self.of_all.taken.fetch_sub(bytes, Ordering::SeqCst);
    }

    pub(super) fn give_all_back(&mut self) {
        self.give_back(self.taken);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_all_back();
    }
}
