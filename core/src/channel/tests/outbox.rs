//! The sending half: what is taken, what is handed out, and what is lost with a stream.

use alloc::{vec, vec::Vec};

use bytes::Bytes;

use crate::channel::{
    Config, DropReason, Epoch, Lost, Outbox, PushError, Pushed, Watermarks, WhenFull,
    message::{MessageReader, TooLong},
};

const SECOND: Epoch = Epoch::FIRST.next();

fn config(high_messages: usize, low_messages: usize) -> Config {
    let watermarks = Watermarks { high_messages, low_messages, ..Watermarks::default() };
    Config { watermarks, max_message_len: 300, ..Config::default() }
}

fn open(config: &Config) -> Outbox {
    let mut outbox = Outbox::new(config);
    assert_eq!(outbox.stream_opened(Epoch::FIRST), None);
    outbox
}

/// Hands out all, `most` bytes at a time, and returns the messages.
fn drain(outbox: &mut Outbox, most: usize) -> Vec<Bytes> {
    let (mut reader, mut messages) = (MessageReader::new(300), Vec::new());
    while outbox.wants_transmit() {
        let mut piece = Bytes::copy_from_slice(outbox.peek_transmit());
        piece.truncate(most);
        outbox.transmitted(piece.len());
        while !piece.is_empty() {
            messages.extend(reader.handle_chunk(&mut piece).unwrap());
        }
    }
    assert_eq!(reader.handle_eof(), Ok(()));
    messages
}

#[test]
fn messages_wait_for_a_stream_and_leave_in_order() {
    let mut outbox = Outbox::new(&config(10, 5));
    assert!(!outbox.wants_stream());
    assert_eq!(outbox.push(b"one"), Ok(Pushed::Queued));
    assert_eq!(outbox.push(&Bytes::from_static(b"two")), Ok(Pushed::Queued));
    assert!(outbox.wants_stream() && !outbox.wants_transmit());
    assert_eq!(outbox.peek_transmit(), b"");
    outbox.transmitted(100);
    assert_eq!(outbox.stats().messages, 2, "nothing can leave without a stream");
    outbox.stream_opened(Epoch::FIRST);
    assert!(!outbox.wants_stream() && outbox.wants_transmit());
    assert_eq!(outbox.peek_transmit(), b"\x03one\x03two");
    assert_eq!(drain(&mut outbox, usize::MAX), ["one", "two"]);
    assert!(!outbox.wants_stream() && !outbox.wants_transmit());
    let stats = outbox.stats();
    assert_eq!((stats.sent_messages, stats.sent_bytes, stats.messages, stats.bytes), (2, 8, 0, 0));
}

#[test]
fn messages_leave_however_the_stream_takes_them() {
    for most in 1..50 {
        let mut outbox = open(&config(100, 50));
        let messages: Vec<Vec<u8>> = (0..20_u8).map(|len| vec![len; usize::from(len) * 9]).collect();
        for message in &messages {
            outbox.push(message).unwrap();
        }
        assert_eq!(drain(&mut outbox, most), messages, "{most} at a time");
    }
}

#[test]
fn the_longest_message_is_taken_and_one_byte_more_changes_nothing() {
    let mut outbox = open(&config(10, 5));
    assert_eq!(outbox.push(&[1; 300]), Ok(Pushed::Queued));
    let before = outbox.stats();
    let too_long = PushError::TooLong(TooLong { len: 301, max: 300 });
    assert_eq!(outbox.push(&[1; 301]), Err(too_long));
    let mut ticket = None;
    assert_eq!(outbox.enter(&mut ticket, &[1; 301]), Err(too_long));
    assert_eq!((ticket, outbox.stats().dropped.get(DropReason::TooLong)), (None, 2));
    let dropped = before.dropped;
    assert_eq!(crate::channel::OutboxStats { dropped, ..outbox.stats() }, before);
    assert_eq!(drain(&mut outbox, 100), [vec![1; 300]]);
}

#[test]
fn a_message_that_is_too_long_frees_the_place_of_its_sender() {
    let mut outbox = open(&config(1, 0));
    outbox.push(b"full").unwrap();
    let (mut first, mut second) = (None, None);
    assert_eq!(outbox.enter(&mut first, b"a"), Err(PushError::Full));
    assert_eq!(outbox.enter(&mut second, b"b"), Err(PushError::Full));
    assert!(matches!(outbox.enter(&mut first, &[0; 301]), Err(PushError::TooLong(_))));
    outbox.transmitted(5);
    assert_eq!((first, outbox.next_to_wake()), (None, second));
}

fn marks(high_messages: usize, low_messages: usize, high_bytes: usize, low_bytes: usize) -> Config {
    let watermarks = Watermarks { high_messages, low_messages, high_bytes, low_bytes };
    Config { watermarks, max_message_len: 300, ..Config::default() }
}

#[test]
fn senders_wait_from_the_high_mark_of_messages_to_the_low_one() {
    let mut outbox = open(&marks(4, 2, 1000, 500));
    for _ in 0..4 {
        assert_eq!(outbox.push(b"x"), Ok(Pushed::Queued));
    }
    assert_eq!(outbox.push(b"x"), Err(PushError::Full));
    outbox.transmitted(2);
    assert_eq!((outbox.stats().messages, outbox.push(b"x")), (3, Err(PushError::Full)), "low + 1 still blocks");
    outbox.transmitted(1);
    assert_eq!((outbox.stats().messages, outbox.push(b"x")), (3, Err(PushError::Full)), "it is not out whole");
    outbox.transmitted(1);
    assert_eq!((outbox.stats().messages, outbox.push(b"x")), (2, Ok(Pushed::Queued)));
}

#[test]
fn senders_wait_from_the_high_mark_of_bytes_to_the_low_one() {
    let config = marks(100, 50, 100, 50);
    for (len, is_ready) in [(98, true), (99, false)] {
        let mut outbox = open(&config);
        outbox.push(&vec![0; len]).unwrap();
        assert_eq!((outbox.stats().bytes, outbox.is_ready()), (len + 1, is_ready));
    }
    for (len, is_ready) in [(49, true), (50, false)] {
        let mut outbox = open(&config);
        outbox.push(&[0; 98]).unwrap();
        outbox.push(&vec![0; len]).unwrap();
        assert!(!outbox.is_ready());
        outbox.transmitted(99);
        assert_eq!((outbox.stats().bytes, outbox.is_ready()), (len + 1, is_ready));
    }
}

#[test]
fn the_level_is_above_the_high_mark_by_one_message_at_most() {
    let mut outbox = open(&marks(100, 50, 100, 50));
    outbox.push(&[0; 98]).unwrap();
    outbox.push(&[0; 300]).unwrap();
    assert_eq!((outbox.stats().bytes, outbox.push(b"")), (99 + 302, Err(PushError::Full)));
    outbox.transmitted(99 + 301);
    assert_eq!((outbox.stats().bytes, outbox.is_ready()), (302, false), "begun, and counted as a whole");
    outbox.transmitted(1);
    assert_eq!((outbox.stats().bytes, outbox.is_ready()), (0, true));
}

#[test]
fn both_measures_must_be_low_again() {
    let mut outbox = open(&marks(4, 2, 100, 50));
    for len in [0, 0, 0, 60] {
        outbox.push(&vec![0; len]).unwrap();
    }
    outbox.transmitted(3);
    assert_eq!((outbox.stats().messages, outbox.is_ready()), (1, false), "few messages, but many bytes");
    let mut outbox = open(&marks(4, 2, 100, 50));
    for len in [90, 0, 0, 0] {
        outbox.push(&vec![0; len]).unwrap();
    }
    outbox.transmitted(91);
    assert_eq!((outbox.stats().bytes, outbox.is_ready()), (3, false), "few bytes, but many messages");
    outbox.transmitted(1);
    assert!(outbox.is_ready());
}

#[test]
fn what_was_begun_is_lost_with_its_stream_and_the_rest_waits_for_the_next() {
    let mut outbox = open(&config(10, 5));
    for message in [b"one", b"two", b"six"] {
        outbox.push(message).unwrap();
    }
    outbox.transmitted(4 + 1);
    assert_eq!(outbox.stream_lost(), Some(Lost { epoch: Epoch::FIRST }));
    assert_eq!(outbox.stream_lost(), None, "it is lost once");
    assert_eq!((outbox.stats().messages, outbox.stats().dropped.get(DropReason::StreamLost)), (1, 1));
    assert!(outbox.wants_stream());
    assert_eq!(outbox.stream_opened(SECOND), None);
    assert_eq!(drain(&mut outbox, 2), ["six"]);
    // A stream in place of another is the loss of that.
    outbox.push(b"ten").unwrap();
    outbox.transmitted(2);
    assert_eq!(outbox.stream_opened(SECOND.next()), Some(Lost { epoch: SECOND }));
    assert_eq!(outbox.stats().messages, 0);
}

#[test]
fn at_every_cut_a_message_arrives_once_or_is_lost_or_waits() {
    let messages: [&[u8]; 4] = [b"", b"one", &[3; 200], b"four"];
    let total: usize = 1 + 4 + 202 + 5;
    for cut in 0..=total {
        let mut outbox = open(&config(10, 5));
        for message in messages {
            outbox.push(message).unwrap();
        }
        let mut sent = outbox.peek_transmit()[..cut].to_vec();
        outbox.transmitted(cut);
        let lost = outbox.stream_lost();
        let (mut reader, mut arrived) = (MessageReader::new(300), Vec::new());
        let mut chunk = Bytes::from(core::mem::take(&mut sent));
        while !chunk.is_empty() {
            arrived.extend(reader.handle_chunk(&mut chunk).unwrap());
        }
        assert_eq!(lost.is_some(), reader.handle_eof().is_err(), "cut at {cut}");
        outbox.stream_opened(SECOND);
        let rest = drain(&mut outbox, 7);
        let lost = usize::from(lost.is_some());
        assert_eq!(arrived, messages[..arrived.len()], "cut at {cut}");
        assert_eq!(rest, messages[arrived.len() + lost..], "cut at {cut}");
    }
}

#[test]
fn the_loss_of_a_stream_can_make_room() {
    let mut outbox = open(&config(2, 1));
    outbox.push(b"one").unwrap();
    outbox.push(b"two").unwrap();
    let mut ticket = None;
    assert_eq!(outbox.enter(&mut ticket, b"three"), Err(PushError::Full));
    outbox.transmitted(1);
    assert_eq!(outbox.next_to_wake(), None);
    outbox.stream_lost();
    assert_eq!(outbox.next_to_wake(), ticket);
    assert_eq!(outbox.enter(&mut ticket, b"three"), Ok(Pushed::Queued));
}

#[test]
fn a_channel_that_drops_the_newest_never_blocks() {
    let mut outbox = open(&Config { when_full: WhenFull::DropNewest, ..config(2, 1) });
    let outcomes: Vec<_> = [b"1", b"2", b"3", b"4"].map(|message| outbox.push(message)).into();
    let (queued, dropped) = (Ok(Pushed::Queued), Ok(Pushed::Dropped));
    assert_eq!(outcomes, [queued, queued, dropped, dropped]);
    assert!(outbox.is_ready());
    outbox.transmitted(2);
    assert_eq!(outbox.enter(&mut None, b"5"), queued, "there is room below the high mark, not only at the low one");
    assert_eq!(outbox.enter(&mut None, b"6"), dropped);
    assert_eq!(drain(&mut outbox, 3).concat(), b"25", "the first was handed out above");
    assert_eq!(outbox.stats().dropped.get(DropReason::BufferFull), 3);
}

#[test]
fn a_channel_that_drops_the_oldest_keeps_the_latest_and_what_was_begun() {
    let mut outbox = open(&Config { when_full: WhenFull::DropOldest, ..config(3, 1) });
    for message in [b"1", b"2", b"3", b"4", b"5"] {
        assert_eq!(outbox.push(message), Ok(Pushed::Queued));
        assert!(outbox.stats().messages <= 3);
    }
    assert_eq!(outbox.stats().dropped.get(DropReason::BufferFull), 2);
    outbox.transmitted(1);
    for message in [b"6", b"7", b"8"] {
        outbox.push(message).unwrap();
    }
    assert_eq!(outbox.peek_transmit(), b"3", "the rest of what was begun");
    outbox.transmitted(1);
    assert_eq!(outbox.peek_transmit(), b"\x017\x018");
    assert_eq!((outbox.stats().messages, outbox.stats().dropped.total()), (2, 5));
}

#[test]
fn a_begun_message_and_one_more_are_the_most_when_the_oldest_are_dropped() {
    let mut outbox = open(&Config { when_full: WhenFull::DropOldest, ..config(1, 0) });
    outbox.push(b"begun").unwrap();
    outbox.transmitted(1);
    for _ in 0..5 {
        outbox.push(b"next").unwrap();
        assert_eq!(outbox.stats().messages, 2);
    }
    assert_eq!(outbox.stats().dropped.get(DropReason::BufferFull), 4);
}

#[test]
fn a_finished_outbox_hands_out_what_waits_and_takes_nothing() {
    let mut outbox = open(&config(2, 1));
    outbox.push(b"one").unwrap();
    outbox.push(b"two").unwrap();
    let mut tickets = [None; 3];
    for ticket in &mut tickets {
        assert_eq!(outbox.enter(ticket, b"late"), Err(PushError::Full));
    }
    outbox.finish();
    assert_eq!([(); 4].map(|()| outbox.next_to_wake()), [tickets[0], tickets[1], tickets[2], None]);
    assert_eq!(outbox.enter(&mut tickets[1], b"late"), Err(PushError::Closed));
    assert_eq!((tickets[1], outbox.push(b"late")), (None, Err(PushError::Closed)));
    assert!(!outbox.is_finished() && !outbox.is_ready());
    outbox.transmitted(4);
    outbox.stream_lost();
    assert!(outbox.wants_stream(), "what was not begun still goes out");
    outbox.stream_opened(SECOND);
    assert_eq!(drain(&mut outbox, 4), ["two"]);
    assert!(outbox.is_finished());
}

#[test]
fn a_closed_outbox_drops_all_and_says_why() {
    for reason in [DropReason::Closed, DropReason::PeerGone] {
        let mut outbox = open(&config(2, 1));
        outbox.push(b"one").unwrap();
        outbox.push(b"two").unwrap();
        outbox.transmitted(1);
        let mut ticket = None;
        assert_eq!(outbox.enter(&mut ticket, b"late"), Err(PushError::Full));
        assert_eq!(outbox.close(reason), Some(Lost { epoch: Epoch::FIRST }));
        assert_eq!((outbox.next_to_wake(), outbox.next_to_wake()), (ticket, None));
        assert_eq!(outbox.push(b"late"), Err(PushError::Closed));
        assert_eq!((outbox.stats().dropped.get(reason), outbox.stats().dropped.total()), (2, 2));
        assert!(outbox.is_finished() && !outbox.wants_stream() && !outbox.wants_transmit());
        assert_eq!((outbox.stream_opened(SECOND), outbox.stream_lost()), (None, None));
        assert_eq!(outbox.memory_used(), 0);
        outbox.finish();
        assert_eq!((outbox.push(b"late"), outbox.close(reason)), (Err(PushError::Closed), None));
    }
    let mut outbox = open(&config(2, 1));
    outbox.push(b"one").unwrap();
    assert_eq!(outbox.close(DropReason::Closed), None, "nothing of it was handed out");
}

#[test]
fn counts_tell_how_often_the_level_was_too_high() {
    let mut outbox = open(&config(2, 1));
    for round in 1..4 {
        while outbox.is_ready() {
            outbox.push(b"x").unwrap();
        }
        assert_eq!(outbox.push(b"x"), Err(PushError::Full));
        assert_eq!(outbox.stats().times_blocked, round);
        drain(&mut outbox, 1);
    }
}
