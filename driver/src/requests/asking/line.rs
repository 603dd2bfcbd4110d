//! Those who wait for room, in the order in which they came.

use std::{collections::BTreeMap, task::Waker};

use crate::waiters::Woken;

/// A line of futures. Only the first one may go in, and only it is woken when there is room; when it has gone in, or has
/// left, it is the next one's turn.
#[derive(Debug)]
pub(super) struct Line {
    waiting: BTreeMap<u64, Option<Waker>>,
    last_place: u64,
    max: usize,
}

/// As many wait as may.
pub(super) struct TooLong;

impl Line {
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: BTreeMap::new(), last_place: 0, max }
    }

    /// Nobody stands before the holder of `place`; before somebody who comes, if `None`.
    pub(super) fn is_first(&self, place: Option<u64>) -> bool {
        self.waiting.keys().next().copied() == place
    }

    /// Waits, at the end of the line for the first time.
    pub(super) fn wait(&mut self, place: &mut Option<u64>, waker: &Waker) -> Result<(), TooLong> {
        if place.is_none() && self.waiting.len() >= self.max {
            return Err(TooLong);
        }
        let place = *place.get_or_insert_with(|| {
            self.last_place += 1;
            self.last_place
        });
        self.waiting.insert(place, Some(waker.clone()));
        Ok(())
    }

    /// Goes in, or gives up.
    pub(super) fn leave(&mut self, place: &mut Option<u64>) {
        if let Some(place) = place.take() {
            self.waiting.remove(&place);
        }
    }

    /// There is room.
    pub(super) fn wake_first(&mut self, woken: &mut Woken) {
        woken.extend(self.waiting.values_mut().next().and_then(Option::take));
    }

    /// There will be none.
    pub(super) fn wake_all(&mut self, woken: &mut Woken) {
        woken.extend(self.waiting.values_mut().filter_map(Option::take));
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
