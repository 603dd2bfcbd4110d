//! The answering end.

use alloc::{vec, vec::Vec};

use super::*;
use crate::channel::{
    message,
    message::TooLong,
    rpc::{AnswerError, Error, MAX_REASON_LEN},
};

fn requests(numbers: core::ops::Range<u8>) -> Vec<u8> {
    numbers.flat_map(|number| frame(REQUEST, number, &[number])).collect()
}

#[test]
fn requests_are_answered_in_any_order() {
    let mut server = Server::new(&config());
    tell_server(&mut server, &requests(0..3));
    let ids = all_asked(&mut server);
    server.respond(ids[2], b"third").unwrap();
    server.refuse(ids[0], "not that one").unwrap();
    server.respond(ids[1], &Bytes::new()).unwrap();
    let expected = [frame(RESPONSE, 2, b"third"), frame(ERROR, 0, b"not that one"), frame(RESPONSE, 1, b"")].concat();
    assert_eq!(sent_by_server(&mut server), expected);
    assert!(!server.is_finished());
    server.handle_eof();
    assert_eq!(server.poll_asked(), None);
    assert!(server.is_finished());
}

#[test]
fn requests_survive_every_cut() {
    let stream = [frame(REQUEST, 0, &[7; 200]), frame(CANCEL, 0, b""), frame(REQUEST, 1, b"")].concat();
    for cut in 0..=stream.len() {
        let mut server = Server::new(&config());
        let mut got = Vec::new();
        for piece in [&stream[..cut], &stream[cut..]] {
            tell_server(&mut server, piece);
            got.extend(core::iter::from_fn(|| server.poll_asked()));
        }
        let [Asked::Request { id, body }, Asked::Cancelled { id: cancelled }, Asked::Request { id: last, .. }] =
            &got[..]
        else {
            panic!("{got:?} when cut at {cut}")
        };
        assert_eq!((id.get(), body.len(), cancelled, last.get()), (0, 200, id, 1));
    }
}

#[test]
fn no_more_requests_are_taken_than_may_be_answered_at_once() {
    let mut server = Server::new(&config());
    tell_server(&mut server, &requests(0..6));
    let ids = all_asked(&mut server);
    assert_eq!((ids.len(), server.stats().answering, server.stats().waiting), (3, 3, 2));
    assert!(!server.wants_input(), "two wait, and no more may");
    let mut chunk = Bytes::from_static(b"later");
    server.handle_chunk(&mut chunk);
    assert_eq!((chunk.len(), server.poll_asked()), (5, None));
    server.respond(ids[1], b"done").unwrap();
    assert_eq!(asked(&mut server), Some((3, Bytes::from_static(&[3]))));
    assert_eq!((asked(&mut server), server.stats().waiting), (None, 2), "the sixth waits now");
    server.refuse(ids[0], "").unwrap();
    assert_eq!(asked(&mut server), Some((4, Bytes::from_static(&[4]))));
    assert!(asked(&mut server).is_none() && server.wants_input(), "one more may wait");
}

/// Otherwise a peer whose every request is held by the application could not call any of them off.
#[test]
fn requests_can_be_cancelled_although_others_wait_behind_them() {
    let mut server = Server::new(&config());
    let cancels = [3, 0, 1, 2].map(|number| frame(CANCEL, number, b"")).concat();
    tell_server(&mut server, &[requests(0..4), cancels, requests(4..5)].concat());
    let mut told = Vec::new();
    while let Some(asked) = server.poll_asked() {
        told.push(match asked {
            Asked::Request { id, .. } => (id.get(), true),
            Asked::Cancelled { id } => (id.get(), false),
        });
    }
    // The fourth was cancelled before it was taken.
    let expected = [(0, true), (1, true), (2, true), (0, false), (1, false), (2, false), (4, true)];
    assert_eq!(told, expected);
    assert_eq!((server.stats().waiting, server.stats().cancelled), (0, 4));
}

#[test]
fn requests_wait_up_to_so_many_bytes() {
    // More may wait than the bytes allow.
    let mut server = Server::new(&Config { max_held: 100, ..config() });
    tell_server(&mut server, &requests(0..3));
    let ids = all_asked(&mut server);
    tell_server(&mut server, &[frame(REQUEST, 3, &[0; 200]), frame(REQUEST, 4, &[0; 199])].concat());
    assert!(server.poll_asked().is_none() && server.wants_input(), "399 of 400 bytes: one more is taken");
    tell_server(&mut server, &frame(REQUEST, 5, &[0]));
    assert!(server.poll_asked().is_none() && !server.wants_input());
    server.respond(ids[0], b"").unwrap();
    assert_eq!(asked(&mut server).unwrap().0, 3);
    assert!(server.wants_input());
}

#[test]
fn no_more_requests_are_taken_while_answers_are_not_read() {
    let mut server = Server::new(&config());
    for number in 0..8 {
        tell_server(&mut server, &requests(number..number + 1));
        let ids = all_asked(&mut server);
        server.respond(ids[0], b"0123456789").unwrap();
    }
    assert_eq!(server.stats().queued_messages, 8);
    tell_server(&mut server, &requests(8..10));
    assert_eq!(asked(&mut server), None);
    assert!(!server.wants_input());
    server.transmitted(3 * 13);
    assert_eq!((server.stats().queued_messages, asked(&mut server)), (5, None), "low + 1 still blocks");
    server.transmitted(13);
    assert_eq!(asked(&mut server).unwrap().0, 8);
}

#[test]
fn a_cancelled_request_needs_no_answer_and_gives_its_place_back() {
    let mut server = Server::new(&config());
    tell_server(&mut server, &[requests(0..3), frame(CANCEL, 1, b""), requests(3..4)].concat());
    let mut ids = Vec::new();
    for expected in [Some(false), Some(false), Some(false), Some(true), Some(false), None] {
        let asked = server.poll_asked();
        assert_eq!(asked.as_ref().map(|asked| matches!(asked, Asked::Cancelled { .. })), expected);
        if let Some(Asked::Request { id, .. }) = asked {
            ids.push(id);
        }
    }
    assert_eq!(server.respond(ids[1], b"too late"), Err(AnswerError::NotDue));
    assert_eq!(server.respond(ids[0], b"once"), Ok(()));
    assert_eq!(server.respond(ids[0], b"twice"), Err(AnswerError::NotDue));
    assert_eq!(server.refuse(ids[0], "thrice"), Err(AnswerError::NotDue));
    tell_server(&mut server, &[frame(CANCEL, 0, b""), frame(CANCEL, 1, b""), frame(CANCEL, 99, b"")].concat());
    assert_eq!(server.poll_asked(), None);
    let stats = server.stats();
    assert_eq!((stats.requests, stats.cancelled, stats.unknown_cancels, stats.answering), (4, 1, 3, 2));
}

#[test]
fn the_longest_answer_is_taken_and_one_byte_more_is_not() {
    let mut server = Server::new(&config());
    tell_server(&mut server, &requests(0..2));
    let ids = all_asked(&mut server);
    let too_long = |len, max| Err(AnswerError::TooLong(TooLong { len, max }));
    assert_eq!(server.respond(ids[0], &[0; 301]), too_long(301, 300));
    assert_eq!(server.refuse(ids[1], &"x".repeat(MAX_REASON_LEN + 1)), too_long(1025, 1024));
    assert!(!server.wants_transmit());
    assert_eq!(server.respond(ids[0], &[0; 300]), Ok(()), "another answer can still be given");
    assert_eq!(server.refuse(ids[1], &"x".repeat(MAX_REASON_LEN)), Ok(()));
}

#[test]
fn a_violation_ends_it_behind_the_requests_that_came() {
    let unexpected = |got| {
        let mut server = Server::new(&config());
        tell_server(&mut server, &requests(0..3));
        let ids = all_asked(&mut server);
        Error::UnexpectedNumber { expected: ids[1], got: ids[got] }
    };
    let table: [(Vec<u8>, Error); 9] = [
        (frame(REQUEST, 2, b""), unexpected(2)),
        (frame(REQUEST, 0, b""), unexpected(0)),
        (frame(RESPONSE, 0, b""), Error::UnexpectedKind(1)),
        (frame(ERROR, 0, b""), Error::UnexpectedKind(2)),
        (frame(9, 0, b""), Error::UnexpectedKind(9)),
        (frame(CANCEL, 0, b"x"), Error::CancelWithBody),
        (frame(REQUEST, 1, &[0; 301]), Error::Message(message::Error::TooLong { max: 300 })),
        (vec![0], Error::Truncated),
        (vec![0x80, 0x00], Error::Message(message::Error::LengthNotMinimal)),
    ];
    for (bytes, error) in table {
        let mut server = Server::new(&config());
        tell_server(&mut server, &[&requests(0..1)[..], &bytes, &requests(1..2)].concat());
        let ids = all_asked(&mut server);
        assert_eq!(ids.len(), 1, "{bytes:x?}");
        assert_eq!(server.failure(), Some(error));
        assert_eq!(server.respond(ids[0], b"answer"), Err(AnswerError::NotDue));
        assert!(!server.wants_input() && !server.wants_transmit() && !server.is_finished());
        assert_eq!(server.memory_used(), 0);
    }
}

#[test]
fn a_stream_may_end_only_between_requests_and_is_finished_when_all_are_answered() {
    for cut in 0..4 {
        let mut server = Server::new(&config());
        tell_server(&mut server, &[&requests(0..1)[..], &requests(1..2)[..cut]].concat());
        server.handle_eof();
        let ids = all_asked(&mut server);
        assert_eq!(server.failure().is_none(), cut == 0, "cut at {cut}");
        if cut == 0 {
            assert!(!server.is_finished() && !server.wants_input());
            server.respond(ids[0], b"answer").unwrap();
            assert!(!server.is_finished());
            sent_by_server(&mut server);
            assert!(server.is_finished());
        }
    }
}
