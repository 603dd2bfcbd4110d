//! Wakers of many futures that wait for the same thing.

use std::{collections::BTreeMap, task::Waker};

use smallvec::SmallVec;

/// Wakers that are woken when no lock is held any more. There is mostly one, which needs no allocation.
pub(crate) type Woken = SmallVec<[Waker; 4]>;

/// One waker for each waiting future, woken in the order in which they began to wait.
///
/// Bounded by the number of futures that exist: each removes itself when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: BTreeMap<u64, Waker>,
    last_key: u64,
}

impl Waiters {
    /// Registers the future that owns `key`, which it keeps for its next call.
    pub(crate) fn wait(&mut self, key: &mut Option<u64>, waker: &Waker) {
        let key = *key.get_or_insert_with(|| {
            self.last_key = self.last_key.wrapping_add(1);
            self.last_key
        });
        self.wakers.insert(key, waker.clone());
    }

    /// Removes the future that owns `key`.
    pub(crate) fn forget(&mut self, key: Option<u64>) {
        if let Some(key) = key {
            self.wakers.remove(&key);
        }
    }

    /// Moves all wakers to `woken`, to be woken when no lock is held.
    pub(crate) fn wake_into(&mut self, woken: &mut Woken) {
        woken.extend(std::mem::take(&mut self.wakers).into_values());
    }
}
