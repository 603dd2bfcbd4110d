use std::{collections::VecDeque, vec, vec::Vec};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    ChunkQueue, SendQueue, SpareBlocks,
    block::{BLOCK_LEN, MIN_BLOCK_LEN},
};

const MAX_SPARES: usize = 16;

#[test]
fn the_first_block_is_sized_to_the_data_and_the_next_is_full_size() {
    let (mut queue, mut spares) = (ChunkQueue::default(), SpareBlocks::new(MAX_SPARES));
    queue.append_received(&[1; 10], 1 << 18, &mut spares);
    assert_eq!(queue.capacity(), 256);
    queue.append_received(&[2; 247], 1 << 18, &mut spares);
    assert_eq!((queue.len(), queue.capacity()), (257, 256 + BLOCK_LEN));
    let (mut queue, mut spares) = (ChunkQueue::default(), SpareBlocks::new(MAX_SPARES));
    queue.append_received(&[1; 5000], 1 << 18, &mut spares);
    assert_eq!(queue.capacity(), 5000);
}

#[test]
fn what_is_unread_occupies_at_most_256_times_its_length_and_a_block_beside_it() {
    for step in [1, 2, 3, 255, 257, 4000, 20_000] {
        let (mut queue, mut spares) = (ChunkQueue::default(), SpareBlocks::new(MAX_SPARES));
        let mut worst = 0;
        while queue.len() < 200_000 {
            queue.append_received(&vec![1; step], 1 << 18, &mut spares);
            assert!(queue.capacity() < queue.len() + BLOCK_LEN, "{} for {}", queue.capacity(), queue.len());
            worst = worst.max(queue.capacity() / queue.len());
        }
        assert!(worst <= 256);
        assert_eq!(worst == 256, step == 1, "a single byte is the worst case");
        let unread = queue.len() - BLOCK_LEN;
        queue.consume(unread, &mut spares);
        assert!(queue.capacity() < queue.len() + 2 * BLOCK_LEN, "and a block that is partly read");
    }
}

#[test]
fn taking_a_part_of_a_block_leaves_its_room_in_use() {
    let (mut queue, mut spares) = (ChunkQueue::default(), SpareBlocks::new(MAX_SPARES));
    queue.append_received(&[1; 12], 1 << 18, &mut spares);
    assert_eq!(queue.take_chunk(1, &mut spares).unwrap().len(), 1);
    queue.append_received(&vec![2; (1 << 18) - 12], (1 << 18) - 12, &mut spares);
    assert!(queue.capacity() <= 1 << 18, "{}", queue.capacity());
    assert_eq!(queue.take_chunk(100, &mut spares).unwrap()[..12], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
    assert_eq!((queue.len(), queue.take_released()), ((1 << 18) - 101, 0));
}

#[test]
fn no_block_is_larger_than_what_may_still_arrive() {
    let (mut queue, mut spares) = (ChunkQueue::default(), SpareBlocks::new(MAX_SPARES));
    queue.append_received(&[1; 3], 3, &mut spares);
    assert_eq!(queue.capacity(), 3);
    queue.append_received(&[1; 1], 40, &mut spares);
    assert_eq!(queue.capacity(), 43);
}

#[test]
fn bytes_are_released_when_their_block_is_gone_and_not_before() {
    let (mut queue, mut spares) = (ChunkQueue::default(), SpareBlocks::new(MAX_SPARES));
    queue.append_received(&[7; 300], 1 << 18, &mut spares);
    assert_eq!(queue.read(&mut [0; 299], &mut spares), 299);
    assert_eq!(queue.take_released(), 0);
    assert_eq!(queue.take_chunk(usize::MAX, &mut spares).unwrap().len(), 1);
    assert_eq!((queue.take_released(), queue.capacity()), (300, 0));
}

#[test]
fn a_drained_full_block_is_reused_and_the_spare_list_is_bounded() {
    let (mut queue, mut spares) = (SendQueue::default(), SpareBlocks::new(MAX_SPARES));
    let data = vec![3; 20 * BLOCK_LEN];
    assert_eq!(queue.write(&data, usize::MAX, &mut spares), data.len());
    let mut out = vec![0; data.len()];
    assert_eq!(queue.read(&mut out, &mut spares), data.len());
    assert_eq!(spares.capacity(), MAX_SPARES * BLOCK_LEN);
    queue.write(b"x", usize::MAX, &mut spares);
    assert_eq!(spares.capacity(), (MAX_SPARES - 1) * BLOCK_LEN);
    spares.drop_all();
    assert_eq!(spares.capacity(), 0);
}

#[test]
fn one_drained_block_of_the_smallest_size_is_kept_and_reused() {
    let mut spares = SpareBlocks::new(MAX_SPARES);
    let mut queues = [SendQueue::default(), SendQueue::default()];
    for queue in &mut queues {
        queue.write(b"small", usize::MAX, &mut spares);
    }
    for queue in &mut queues {
        queue.read(&mut [0; 5], &mut spares);
    }
    assert_eq!(spares.capacity(), MIN_BLOCK_LEN, "the second one is freed");
    spares.drop_full_size();
    queues[0].write(b"small", usize::MAX, &mut spares);
    assert_eq!((spares.capacity(), queues[0].capacity()), (0, MIN_BLOCK_LEN));
    queues[0].read(&mut [0; 5], &mut spares);
    spares.drop_smallest();
    assert_eq!(spares.capacity(), 0);
}

#[test]
fn a_message_that_waits_alone_costs_no_full_block() {
    let (mut queue, mut spares) = (SendQueue::default(), SpareBlocks::new(MAX_SPARES));
    queue.write(b"first", usize::MAX, &mut spares);
    assert_eq!(queue.capacity(), MIN_BLOCK_LEN);
    queue.write(&[0; MIN_BLOCK_LEN], usize::MAX, &mut spares);
    assert_eq!(queue.capacity(), MIN_BLOCK_LEN + BLOCK_LEN, "more is coming");
}

#[test]
fn headers_between_chunks_cost_no_full_block_each_even_if_there_are_drained_ones() {
    let (mut queue, mut spares) = (SendQueue::default(), SpareBlocks::new(MAX_SPARES));
    let data = vec![3; 20 * BLOCK_LEN];
    queue.write(&data, usize::MAX, &mut spares);
    queue.read(&mut vec![0; data.len()], &mut spares);
    queue.write(b"a drained block is at hand", usize::MAX, &mut spares);
    assert_eq!(queue.capacity(), BLOCK_LEN);
    for number in 1..10 {
        queue.write_chunk(&mut Bytes::from(vec![1; 1024]), usize::MAX, &mut spares);
        queue.write(b"head", usize::MAX, &mut spares);
        assert_eq!(queue.capacity(), BLOCK_LEN + number * (1024 + MIN_BLOCK_LEN));
    }
}

#[test]
fn writes_stop_at_the_quota_and_a_large_chunk_is_not_copied() {
    let (mut queue, mut spares) = (SendQueue::default(), SpareBlocks::new(MAX_SPARES));
    assert_eq!(queue.write(&[0; 10], 8, &mut spares), 8);
    assert_eq!(queue.write(&[0; 10], 8, &mut spares), 0);
    let (mut queue, mut chunk) = (SendQueue::default(), Bytes::from(vec![1; 5000]));
    assert_eq!(queue.write_chunk(&mut chunk, 4000, &mut spares), 4000);
    assert_eq!((chunk.len(), queue.capacity()), (1000, 4000));
    assert_eq!(queue.write_chunk(&mut chunk, 4000, &mut spares), 0);
    assert_eq!(chunk.len(), 1000);
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Share(usize),
    Read(usize),
    Take(usize),
    Consume(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0usize..40_000).prop_map(Op::Append),
        (1usize..2_000).prop_map(Op::Share),
        (0usize..40_000).prop_map(Op::Read),
        (1usize..20_000).prop_map(Op::Take),
        (0usize..40_000).prop_map(Op::Consume),
    ]
}

proptest! {
    #[test]
    fn a_queue_behaves_like_a_deque_of_bytes(ops in proptest::collection::vec(op(), 1..40)) {
        let (mut queue, mut spares) = (ChunkQueue::default(), SpareBlocks::new(MAX_SPARES));
        let mut model = VecDeque::new();
        let (mut next, mut taken, mut released) = (0u8, 0usize, 0usize);
        let mut fresh = |n: usize| -> Vec<u8> { (0..n).map(|_| { next = next.wrapping_add(1); next }).collect() };
        for op in ops {
            match op {
                Op::Append(n) => {
                    let data = fresh(n);
                    queue.append_received(&data, 1 << 18, &mut spares);
                    model.extend(data);
                }
                Op::Share(n) => {
                    let data = fresh(n);
                    model.extend(data.iter().copied());
                    queue.push_shared(Bytes::from(data));
                }
                Op::Read(n) => {
                    let mut out = vec![0; n];
                    let got = queue.read(&mut out, &mut spares);
                    prop_assert_eq!(got, n.min(model.len()));
                    prop_assert_eq!(&out[..got], &model.drain(..got).collect::<Vec<_>>());
                    taken += got;
                }
                Op::Take(max) => {
                    let got = queue.take_chunk(max, &mut spares);
                    prop_assert_eq!(got.is_none(), model.is_empty());
                    let got = got.unwrap_or_default();
                    prop_assert!(got.len() <= max);
                    prop_assert_eq!(&got[..], &model.drain(..got.len()).collect::<Vec<_>>());
                    taken += got.len();
                }
                Op::Consume(n) => {
                    let n = n.min(model.len());
                    queue.consume(n, &mut spares);
                    model.drain(..n);
                    taken += n;
                }
            }
            released += queue.take_released();
            prop_assert_eq!(queue.len(), model.len());
            prop_assert!(released <= taken && taken - released < BLOCK_LEN);
            prop_assert!(queue.capacity() >= queue.len());
            if queue.is_empty() {
                prop_assert_eq!((queue.capacity(), released), (0, taken));
            }
        }
    }
}
