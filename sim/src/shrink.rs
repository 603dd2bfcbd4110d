//! Making what fails small.

/// The smallest part of `items`, in their order, that was found to fail still: delta debugging. Nothing can be taken out
/// of it alone without its passing.
///
/// `fails` is asked at most about `items.len()` squared times, and most often far less. It must say the same of the
/// same items each time. If nothing fails even without any item, nothing is returned.
pub fn minimize<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if fails(&[]) {
        return Vec::new();
    }
    let mut left = items.to_vec();
    let mut parts = 2;
    while left.len() > 1 {
        let length = left.len().div_ceil(parts);
        let without = (0..left.len()).step_by(length).find_map(|from| {
            let rest = [&left[..from], &left[(from + length).min(left.len())..]].concat();
            fails(&rest).then_some(rest)
        });
        match without {
            Some(rest) => {
                left = rest;
                parts = (parts - 1).max(2);
            }
            None if length == 1 => break,
            None => parts = (parts * 2).min(left.len()),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_culprits_far_apart_are_found_among_many() {
        let items: Vec<u32> = (0..1000).collect();
        let mut asked = 0;
        let smallest = minimize(&items, |items| {
            asked += 1;
            items.contains(&17) && items.contains(&940)
        });
        assert_eq!(smallest, [17, 940]);
        assert!(asked < 200, "asked {asked} times");
    }

    #[test]
    fn what_fails_without_anything_needs_nothing() {
        assert!(minimize(&[1, 2, 3], |_| true).is_empty());
    }

    #[test]
    fn what_needs_everything_keeps_everything() {
        let items = [1, 2, 3, 4, 5];
        assert_eq!(minimize(&items, |rest| rest == items), items);
    }

    proptest! {
        #[test]
        fn the_culprits_are_found_in_their_order(
            count in 0..200_usize,
            culprits in prop::collection::btree_set(0..200_usize, 0..6),
        ) {
            let culprits: BTreeSet<usize> = culprits.into_iter().filter(|culprit| *culprit < count).collect();
            let items: Vec<usize> = (0..count).collect();
            let fails = |items: &[usize]| culprits.iter().all(|culprit| items.contains(culprit));
            prop_assert_eq!(minimize(&items, fails), culprits.into_iter().collect::<Vec<_>>());
        }
    }
}
