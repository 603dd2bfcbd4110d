//! The room that collections keep beyond what they hold. A node has thousands of them, most of which are empty or
//! hold one thing.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

/// A collection that gives its room back while there is nothing in it.
///
/// A B-tree keeps its last leaf, which is room for eleven, and a queue what it once grew to. Not for what becomes empty
/// and is filled again all the time: each filling allocates.
pub(crate) trait GiveBack: Default {
    fn has_something(&self) -> bool;

    fn give_back_if_empty(&mut self) {
        if !self.has_something() {
            *self = Self::default();
        }
    }
}

impl<T> GiveBack for VecDeque<T> {
    fn has_something(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> GiveBack for BTreeSet<T> {
    fn has_something(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> GiveBack for BTreeMap<K, V> {
    fn has_something(&self) -> bool {
        !self.is_empty()
    }
}

/// Appends to a queue that mostly holds one thing or two. Its room doubles from one on; by itself it would begin with
/// four.
#[inline]
pub(crate) fn push_back<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact(queue.len().max(1));
    }
    queue.push_back(item);
}
