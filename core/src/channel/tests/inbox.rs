//! The receiving half: what comes out, what is held back, and what is refused.

use alloc::{vec, vec::Vec};

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    channel::{
        Config, Epoch, Inbox, Message, RecvError,
        message::{Error, encode},
    },
    varint,
};

const MAX: usize = 300;

fn config() -> Config {
    Config { max_message_len: MAX, max_received_messages: 8, max_received_bytes: 1000, ..Config::default() }
}

fn inbox() -> Inbox {
    Inbox::new(&config(), Epoch::FIRST)
}

fn encoded(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| encode(&[message], MAX).unwrap()).collect()
}

/// Gives the inbox a chunk that it wants.
fn feed(inbox: &mut Inbox, bytes: &[u8]) -> Result<(), Error> {
    assert!(inbox.wants_input());
    let mut chunk = Bytes::copy_from_slice(bytes);
    let outcome = inbox.handle_chunk(&mut chunk);
    assert!(chunk.is_empty());
    outcome
}

fn take_all(inbox: &mut Inbox) -> (Vec<Bytes>, RecvError) {
    let mut messages = Vec::new();
    loop {
        match inbox.recv() {
            Ok(message) => messages.push(message.body),
            Err(error) => return (messages, error),
        }
    }
}

#[test]
fn messages_survive_every_cut_and_carry_their_epoch() {
    let messages = [vec![7; 3], vec![], vec![9; 128], vec![1], vec![2; MAX]];
    let stream = encoded(&messages);
    let epoch = Epoch::FIRST.next();
    for cut in 0..=stream.len() {
        let mut inbox = Inbox::new(&config(), epoch);
        for piece in [&stream[..cut], &stream[cut..]] {
            feed(&mut inbox, piece).unwrap();
        }
        assert!(inbox.is_readable());
        assert_eq!(inbox.recv(), Ok(Message { epoch, body: Bytes::from_static(&[7; 3]) }));
        assert_eq!(
            take_all(&mut inbox),
            (messages[1..].iter().cloned().map(Bytes::from).collect(), RecvError::Blocked)
        );
        assert_eq!(inbox.handle_eof(), Ok(()));
        assert_eq!(inbox.recv(), Err(RecvError::Ended));
    }
    let mut inbox = Inbox::new(&config(), epoch);
    for byte in stream.chunks(1) {
        feed(&mut inbox, byte).unwrap();
    }
    assert_eq!(take_all(&mut inbox), (messages.map(Bytes::from).to_vec(), RecvError::Blocked));
    let stats = inbox.stats();
    assert_eq!((stats.messages, stats.bytes, stats.received_messages, stats.received_bytes), (0, 0, 5, 432));
}

#[test]
fn a_message_that_lies_whole_in_a_chunk_is_a_slice_of_it() {
    let mut inbox = inbox();
    let chunk = Bytes::from(encoded(&[vec![1; 100], vec![2; 100]]));
    let range = chunk.as_ptr_range();
    inbox.handle_chunk(&mut chunk.clone()).unwrap();
    for _ in 0..2 {
        assert!(range.contains(&inbox.recv().unwrap().body.as_ptr()));
    }
    drop(inbox);
    assert!(chunk.is_unique(), "nothing of it is kept");
}

#[test]
fn no_chunk_is_kept_when_its_messages_have_been_taken() {
    let mut inbox = inbox();
    let mut chunk = Bytes::from(encoded(&[vec![1; 100], vec![2; 100]]));
    inbox.handle_chunk(&mut chunk.clone()).unwrap();
    take_all(&mut inbox);
    assert!(chunk.is_unique());
    // The beginning of a message that is not whole is copied out of its chunk.
    chunk.truncate(150);
    inbox.handle_chunk(&mut chunk.clone()).unwrap();
    take_all(&mut inbox);
    assert!(chunk.is_unique());
    assert_eq!(inbox.memory_used() - inbox_idle(), 48, "the bytes that have come of the second");
}

fn inbox_idle() -> usize {
    let mut inbox = inbox();
    feed(&mut inbox, &encoded(&[vec![1; 100]])).unwrap();
    take_all(&mut inbox);
    inbox.memory_used()
}

#[test]
fn a_reader_that_never_reads_is_sent_no_more_than_the_limits() {
    // By messages: 8, one byte each.
    let mut empty = inbox();
    feed(&mut empty, &[0; 7]).unwrap();
    assert!(empty.wants_input());
    feed(&mut empty, &[0; 5]).unwrap();
    assert_eq!((empty.stats().messages, empty.wants_input()), (8, false));
    let mut chunk = Bytes::from_static(b"\x03one");
    empty.handle_chunk(&mut chunk).unwrap();
    assert_eq!(chunk, &b"\x03one"[..], "it is left where it was");
    for _ in 0..4 {
        assert!(!empty.wants_input(), "a part of the last chunk was not looked at");
        empty.recv().unwrap();
    }
    assert!(!empty.wants_input(), "all was looked at, but there is no room");
    empty.recv().unwrap();
    assert!(empty.wants_input());
    // By bytes: 1000, or less and one message.
    let mut exact = inbox();
    feed(&mut exact, &encoded(&[vec![1; 300], vec![2; 300], vec![3; 300], vec![4; 100]])).unwrap();
    assert_eq!((exact.stats().bytes, exact.wants_input()), (1000, false));
    let mut long = inbox();
    feed(&mut long, &encoded(&[vec![1; 299], vec![2; 300], vec![3; 300], vec![4; 100]])).unwrap();
    assert_eq!((long.stats().bytes, long.wants_input()), (999, true));
    feed(&mut long, &encoded(&[vec![5; 300], vec![6; 300]])).unwrap();
    assert_eq!((long.stats().bytes, long.wants_input()), (1299, false));
    assert!(long.memory_used() <= 1299 + 302 + 8 * size_of::<Bytes>());
    assert_eq!(take_all(&mut long).0.len(), 6);
}

#[test]
fn a_message_may_have_the_limit_and_no_byte_more() {
    let mut inbox = inbox();
    feed(&mut inbox, &encoded(&[vec![1; MAX]])).unwrap();
    let mut prefix = Vec::new();
    varint::encode_to(MAX as u64 + 1, &mut prefix);
    // Only the length has come: the refusal does not wait for the rest.
    assert_eq!(feed(&mut inbox, &prefix), Err(Error::TooLong { max: MAX }));
    assert_eq!(inbox.failure(), Some(Error::TooLong { max: MAX }));
    assert!(!inbox.wants_input());
    let mut more = Bytes::from_static(&[0; 301]);
    assert_eq!(inbox.handle_chunk(&mut more), Err(Error::TooLong { max: MAX }));
    assert_eq!(more.len(), 301, "nothing more is taken");
    assert_eq!(inbox.handle_eof(), Err(Error::TooLong { max: MAX }), "it stays failed");
    let (messages, end) = take_all(&mut inbox);
    assert_eq!((messages, end), (vec![Bytes::from(vec![1; MAX])], RecvError::Failed(Error::TooLong { max: MAX })));
}

#[test]
fn a_violation_in_what_was_not_looked_at_shows_when_it_is() {
    let mut inbox = inbox();
    let mut stream = vec![0; 10];
    stream.extend([0x80, 0x00]);
    assert_eq!(feed(&mut inbox, &stream), Ok(()));
    inbox.recv().unwrap();
    inbox.recv().unwrap();
    assert_eq!(inbox.failure(), None);
    inbox.recv().unwrap();
    assert_eq!(inbox.failure(), Some(Error::LengthNotMinimal), "while seven messages still wait");
    let (messages, end) = take_all(&mut inbox);
    assert_eq!((messages.len(), end), (7, RecvError::Failed(Error::LengthNotMinimal)));
}

#[test]
fn a_stream_may_end_only_between_messages() {
    let stream = encoded(&[vec![3; 200], vec![4; 200]]);
    for cut in 0..=stream.len() {
        let mut inbox = inbox();
        feed(&mut inbox, &stream[..cut]).unwrap();
        let is_whole = cut % 202 == 0;
        assert_eq!(inbox.handle_eof(), if is_whole { Ok(()) } else { Err(Error::UnexpectedEof) }, "cut at {cut}");
        let (messages, end) = take_all(&mut inbox);
        let expected = if is_whole { RecvError::Ended } else { RecvError::Failed(Error::UnexpectedEof) };
        assert_eq!((messages.len(), end), (cut / 202, expected), "cut at {cut}");
        assert!(!inbox.wants_input());
    }
}

#[test]
fn the_end_comes_behind_what_was_not_looked_at() {
    for (tail, expected) in [(&[][..], RecvError::Ended), (&[1], RecvError::Failed(Error::UnexpectedEof))] {
        let mut inbox = inbox();
        feed(&mut inbox, &[&[0; 12], tail].concat()).unwrap();
        assert_eq!(inbox.handle_eof(), Ok(()), "it is not known yet");
        let (messages, end) = take_all(&mut inbox);
        assert_eq!((messages.len(), end), (12, expected));
    }
}

/// The messages at the front of `stream`, and the error behind them.
fn model(mut stream: &[u8]) -> (Vec<Vec<u8>>, RecvError) {
    let mut messages = Vec::new();
    loop {
        let (len, prefix) = match varint::decode(stream, MAX as u64) {
            Ok(None) if stream.is_empty() => return (messages, RecvError::Ended),
            Ok(None) => return (messages, RecvError::Failed(Error::UnexpectedEof)),
            Ok(Some((len, prefix))) => (len as usize, prefix),
            Err(varint::Error::NotMinimal) => return (messages, RecvError::Failed(Error::LengthNotMinimal)),
            Err(_) => return (messages, RecvError::Failed(Error::TooLong { max: MAX })),
        };
        let Some(message) = stream.get(prefix..prefix + len) else {
            return (messages, RecvError::Failed(Error::UnexpectedEof));
        };
        messages.push(message.to_vec());
        stream = &stream[prefix + len..];
    }
}

proptest! {
    #[test]
    fn random_messages_and_nonsense_come_out_as_in_the_model(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=MAX), 0..30),
        nonsense in prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..12)],
        steps in prop::collection::vec((1_usize..700, 1_usize..12), 1..60),
    ) {
        let mut stream = encoded(&messages);
        stream.extend(nonsense);
        let mut inbox = inbox();
        let (mut rest, mut got, mut end) = (Bytes::from(stream.clone()), Vec::new(), RecvError::Blocked);
        for (size, reads) in steps.into_iter().cycle() {
            if rest.is_empty() {
                let _ = inbox.handle_eof();
            } else if inbox.wants_input() {
                let mut chunk = rest.split_to(size.min(rest.len()));
                let _ = inbox.handle_chunk(&mut chunk);
                prop_assert!(chunk.is_empty());
            }
            for _ in 0..reads {
                match inbox.recv() {
                    Ok(message) => got.push(message.body),
                    Err(error) => end = error,
                }
            }
            let stats = inbox.stats();
            prop_assert!(stats.messages <= 8 && stats.bytes < 1000 + MAX);
            prop_assert!(inbox.memory_used() <= 1000 + MAX + MAX + 700 + 64 * size_of::<Bytes>());
            if end != RecvError::Blocked {
                break;
            }
        }
        prop_assert_eq!(inbox.failure().is_some(), matches!(end, RecvError::Failed(_)));
        let (expected, expected_end) = model(&stream);
        prop_assert_eq!(got, expected);
        prop_assert_eq!(end, expected_end);
    }
}
