//! The room that collections keep beyond what they hold. A node has thousands of them, most of which are empty or
//! hold one thing.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

/// A collection that gives its room back when there is nothing in it.
///
/// By itself a B-tree keeps its last leaf, which is room for eleven, and a queue what it once grew to. The price is that the
/// next filling allocates again: little beside what a stream or an action costs anyway, too much for each message.
pub(crate) trait GiveBack: Default {
    fn holds_nothing(&self) -> bool;

    fn give_back_if_empty(&mut self) {
        if self.holds_nothing() {
            *self = Self::default();
        }
    }
}

impl<T> GiveBack for VecDeque<T> {
    fn holds_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl<T> GiveBack for BTreeSet<T> {
    fn holds_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> GiveBack for BTreeMap<K, V> {
    fn holds_nothing(&self) -> bool {
        self.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_keeps_no_room_and_what_is_not_stays() {
        let mut queue = VecDeque::from([1, 2]);
        queue.give_back_if_empty();
        assert_eq!(queue, [1, 2]);
        queue.clear();
        assert!(queue.capacity() > 0);
        queue.give_back_if_empty();
        assert_eq!(queue.capacity(), 0);

        let mut set = BTreeSet::from([1]);
        set.give_back_if_empty();
        assert_eq!(set, BTreeSet::from([1]));
        let mut map = BTreeMap::from([(1, "one")]);
        map.give_back_if_empty();
        assert_eq!(map, BTreeMap::from([(1, "one")]));
    }

    #[test]
    fn a_queue_begins_with_one_place_and_still_grows_seldom() {
        let (mut queue, mut grown) = (VecDeque::new(), 0);
        push_back(&mut queue, 0);
        assert_eq!(queue.capacity(), 1);
        for number in 1..100_000 {
            let before = queue.capacity();
            push_back(&mut queue, number);
            grown += usize::from(queue.capacity() != before);
        }
        assert!(queue.iter().copied().eq(0..100_000));
        assert!(grown < 20, "{grown} times");
    }
}
