//! Messages in blocks.

use alloc::{vec, vec::Vec};

use bytes::Bytes;
use proptest::prelude::*;

use crate::channel::{
    Payload,
    encoded_queue::{Amount, EncodedQueue},
    message::encode,
};

fn push(queue: &mut EncodedQueue, message: &[u8]) {
    queue.push(&[], Payload::Copied(message));
}

fn drain(queue: &mut EncodedQueue) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !queue.is_empty() {
        let piece = queue.peek().to_vec();
        assert!(!piece.is_empty(), "what is not empty has bytes to hand out");
        queue.transmitted(piece.len());
        bytes.extend(piece);
    }
    assert_eq!(queue.peek(), b"");
    bytes
}

#[test]
fn small_messages_are_handed_out_side_by_side() {
    let mut queue = EncodedQueue::new();
    for _ in 0..1000 {
        push(&mut queue, &[7; 100]);
    }
    assert_eq!(queue.level(), Amount { messages: 1000, bytes: 101_000 });
    let mut pieces = 0;
    while !queue.is_empty() {
        let piece = queue.peek().len();
        queue.transmitted(piece);
        pieces += 1;
    }
    assert!(pieces <= 2 + 101_000 / (16 * 1024), "{pieces} pieces");
}

#[test]
fn a_long_shared_message_is_not_copied_and_a_short_one_is() {
    let mut queue = EncodedQueue::new();
    let (short, long) = (Bytes::from(vec![1; 1023]), Bytes::from(vec![2; 1024]));
    queue.push(&[], Payload::Shared(&short));
    assert!(short.is_unique());
    queue.push(b"head", Payload::Shared(&long));
    let whole = Amount { messages: 1, bytes: 1025 };
    assert_eq!(queue.transmitted(1025), whole);
    assert_eq!((queue.peek_shared(), queue.peek()), (None, &b"\x84\x08head"[..]));
    queue.transmitted(6);
    assert_eq!(queue.peek_shared().unwrap().as_ptr(), long.as_ptr());
    queue.transmitted(1000);
    assert_eq!(queue.peek_shared().unwrap().as_ptr(), long[1000..].as_ptr());
    assert_eq!(queue.transmitted(24), Amount { messages: 1, bytes: 1030 });
    assert!(queue.is_empty());
}

#[test]
fn an_empty_queue_holds_nothing_but_a_short_table() {
    let mut queue = EncodedQueue::new();
    for round in 0..3 {
        for _ in 0..10_000 {
            push(&mut queue, &[round; 100]);
        }
        assert!(queue.memory_used() < 2 * 10_000 * 101);
        drain(&mut queue);
        assert!(queue.memory_used() <= 64 * size_of::<usize>(), "{}", queue.memory_used());
    }
}

#[test]
fn an_empty_message_can_be_begun_and_lost_too() {
    let mut queue = EncodedQueue::new();
    push(&mut queue, b"");
    assert!(!queue.drop_begun(), "nothing of it was handed out");
    assert_eq!(queue.transmitted(1), Amount { messages: 1, bytes: 1 });
    assert!(!queue.drop_begun(), "it was handed out whole");
    assert!(!queue.drop_oldest());
}

#[test]
fn the_oldest_is_dropped_around_a_message_that_was_begun() {
    let mut queue = EncodedQueue::new();
    for message in [&b"begun"[..], b"second", b"third", b"fourth"] {
        push(&mut queue, message);
    }
    queue.transmitted(3);
    assert!(queue.drop_oldest() && queue.drop_oldest());
    push(&mut queue, b"fifth");
    queue.transmitted(1);
    assert!(queue.drop_oldest());
    assert_eq!(queue.level(), Amount { messages: 2, bytes: 12 });
    assert_eq!(drain(&mut queue), b"un\x05fifth");
    push(&mut queue, b"alone");
    queue.transmitted(1);
    assert!(!queue.drop_oldest(), "a message that was begun stays");
    assert!(queue.drop_begun());
    assert_eq!(queue.level(), Amount::default());
}

#[derive(Clone, Debug)]
enum Op {
    Push { len: usize, shared: bool },
    Transmit(usize),
    DropBegun,
    DropOldest,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (prop_oneof![0..200_usize, 0..5000_usize, 15_000..40_000_usize], any::<bool>())
            .prop_map(|(len, shared)| Op::Push { len, shared }),
        6 => prop_oneof![0..50_usize, 0..20_000_usize].prop_map(Op::Transmit),
        2 => Just(Op::DropBegun),
        3 => Just(Op::DropOldest),
        1 => Just(Op::Clear),
    ]
}

proptest! {
    /// The model is a list of encoded messages of which the first is perhaps cut.
    #[test]
    fn a_queue_behaves_like_a_list_of_messages(ops in prop::collection::vec(op(), 1..60)) {
        let mut queue = EncodedQueue::new();
        let mut model: Vec<Vec<u8>> = Vec::new();
        let (mut sent, mut content) = (0_usize, 0_u8);
        for op in ops {
            match op {
                Op::Push { len, shared } => {
                    content = content.wrapping_add(1);
                    let message = vec![content; len];
                    model.push(encode(&[&message], usize::MAX).unwrap());
                    match shared {
                        true => queue.push(&[], Payload::Shared(&Bytes::from(message))),
                        false => queue.push(&[], Payload::Copied(&message)),
                    }
                }
                Op::Transmit(len) => {
                    let expected: Vec<u8> = model.concat()[sent..].to_vec();
                    let len = len.min(queue.peek().len());
                    prop_assert_eq!(queue.peek().is_empty(), expected.is_empty());
                    prop_assert!(expected.starts_with(queue.peek()));
                    if let Some(shared) = queue.peek_shared() {
                        prop_assert_eq!(shared, queue.peek());
                    }
                    let whole = queue.transmitted(len);
                    sent += len;
                    let mut expected = Amount::default();
                    while let Some(first) = model.first() && first.len() <= sent {
                        expected = Amount { messages: expected.messages + 1, bytes: expected.bytes + first.len() };
                        sent -= first.len();
                        model.remove(0);
                    }
                    prop_assert_eq!(whole, expected);
                }
                Op::DropBegun => {
                    prop_assert_eq!(queue.drop_begun(), sent > 0);
                    if sent > 0 {
                        model.remove(0);
                        sent = 0;
                    }
                }
                Op::DropOldest => {
                    let index = usize::from(sent > 0);
                    prop_assert_eq!(queue.drop_oldest(), index < model.len());
                    if index < model.len() {
                        model.remove(index);
                    }
                }
                Op::Clear => {
                    let bytes = model.iter().map(Vec::len).sum();
                    prop_assert_eq!(queue.clear(), Amount { messages: model.len(), bytes });
                    model.clear();
                    sent = 0;
                }
            }
            let bytes = model.iter().map(Vec::len).sum();
            prop_assert_eq!(queue.level(), Amount { messages: model.len(), bytes });
            prop_assert_eq!(queue.is_empty(), model.is_empty());
        }
        prop_assert_eq!(drain(&mut queue), &model.concat()[sent..]);
    }
}
