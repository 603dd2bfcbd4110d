//! The same for many peers.

use alloc::vec::Vec;

use proptest::prelude::*;

use crate::{PeerId, channel::Broadcast, testing::identity};

fn peers(count: u8) -> Vec<PeerId> {
    (1..=count).map(|seed| identity(seed).peer_id()).collect()
}

#[test]
fn as_many_are_under_way_as_may_and_each_has_a_result() {
    let peers = peers(5);
    let mut broadcast = Broadcast::new(peers.iter().copied().chain([peers[0]]), 2);
    assert_eq!([(); 3].map(|()| broadcast.next_to_start()), [Some(peers[0]), Some(peers[1]), None]);
    assert!(!broadcast.finish(peers[2], "too early") && broadcast.finish(peers[1], "one"));
    assert!(!broadcast.finish(peers[1], "again"));
    assert_eq!((broadcast.next_to_start(), broadcast.next_to_start()), (Some(peers[2]), None));
    for (peer, result) in [(2, "two"), (0, "zero")] {
        assert!(broadcast.finish(peers[peer], result));
    }
    while let Some(peer) = broadcast.next_to_start() {
        assert!(!broadcast.is_done());
        assert!(broadcast.finish(peer, "rest"));
    }
    assert!(broadcast.is_done());
    let mut expected = Vec::from_iter(peers.into_iter().zip(["zero", "one", "two", "rest", "rest"]));
    expected.sort();
    assert_eq!(broadcast.results().map(|(peer, result)| (peer, *result)).collect::<Vec<_>>(), expected);
    assert_eq!(broadcast.into_results().collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_is_done_for_nobody_and_one_is_always_allowed() {
    let mut nobody = Broadcast::<()>::new([], 4);
    assert_eq!((nobody.is_done(), nobody.next_to_start()), (true, None));
    let mut broadcast = Broadcast::new(peers(2), 0);
    assert!(broadcast.next_to_start().is_some());
    assert_eq!(broadcast.next_to_start(), None);
    assert_eq!(broadcast.under_way(), 1);
    assert!(!broadcast.finish(identity(9).peer_id(), ()), "a stranger");
}

#[test]
fn what_is_given_up_has_a_result_too() {
    let peers = peers(4);
    let mut broadcast = Broadcast::new(peers.clone(), 2);
    broadcast.next_to_start().unwrap();
    let second = broadcast.next_to_start().unwrap();
    assert!(broadcast.finish(second, 1));
    broadcast.give_up(|_| 2);
    assert_eq!((broadcast.is_done(), broadcast.next_to_start(), broadcast.under_way()), (true, None, 0));
    assert!(!broadcast.finish(peers[0], 3), "too late");
    let mut results: Vec<i32> = broadcast.into_results().map(|(_, result)| result).collect();
    results.sort();
    assert_eq!(results, [1, 2, 2, 2]);
}

proptest! {
    #[test]
    fn in_any_order_each_peer_is_begun_once_and_no_more_than_allowed(
        count in 0..12_u8, max in 1..5_usize, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let peers = peers(count);
        let mut broadcast = Broadcast::new(peers.clone(), max);
        let (mut begun, mut under_way) = (Vec::new(), Vec::new());
        for pick in picks {
            while let Some(peer) = broadcast.next_to_start() {
                begun.push(peer);
                under_way.push(peer);
            }
            prop_assert_eq!(under_way.len(), max.min(peers.len() - begun.len() + under_way.len()));
            if !under_way.is_empty() {
                prop_assert!(broadcast.finish(under_way.swap_remove(pick.index(under_way.len())), ()));
            }
            prop_assert_eq!(broadcast.under_way(), under_way.len());
            prop_assert_eq!(broadcast.is_done(), begun.len() == peers.len() && under_way.is_empty());
        }
        prop_assert_eq!(&begun[..], &peers[..begun.len()]);
    }
}
