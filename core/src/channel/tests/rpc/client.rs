//! The asking end.

use alloc::{boxed::Box, vec, vec::Vec};

use super::*;
use crate::{
    channel::{
        Ticket, message,
        message::TooLong,
        rpc::{Error, MAX_REASON_LEN, RequestError},
    },
    varint,
};

fn client_with(requests: usize) -> (Client, Vec<RequestId>) {
    let mut client = Client::new(&config());
    let ids = (0..requests).map(|_| client.request(at(0), b"ask", TIMEOUT).unwrap()).collect();
    sent_by_client(&mut client);
    (client, ids)
}

#[test]
fn requests_are_numbered_from_zero_and_answered_in_any_order() {
    let mut client = Client::new(&config());
    let ids: Vec<RequestId> =
        [b"one", b"two", b"six"].map(|body| client.request(at(0), body, TIMEOUT).unwrap()).to_vec();
    assert_eq!(ids.iter().map(|id| id.get()).collect::<Vec<_>>(), [0, 1, 2]);
    let expected = [frame(REQUEST, 0, b"one"), frame(REQUEST, 1, b"two"), frame(REQUEST, 2, b"six")].concat();
    assert_eq!(sent_by_client(&mut client), expected);
    let reply = [frame(RESPONSE, 2, b"6"), frame(ERROR, 0, b"no such thing"), frame(RESPONSE, 1, b"")].concat();
    tell_client(&mut client, &reply);
    let refused = Answer { id: ids[0], outcome: Outcome::Refused("no such thing".into()) };
    assert_eq!(answers(&mut client), [response(ids[2], b"6"), refused, response(ids[1], b"")]);
    assert_eq!((client.stats().answers, client.stats().pending, client.poll_timeout()), (3, 0, None));
}

#[test]
fn a_client_is_ready_when_it_would_take_a_request() {
    let mut client = Client::new(&config());
    for _ in 0..config().max_pending {
        assert!(client.is_ready());
        client.request(at(0), b"ask", TIMEOUT).unwrap();
    }
    assert!(!client.is_ready(), "as many are pending as may be");
    sent_by_client(&mut client);
    tell_client(&mut client, &frame(RESPONSE, 0, b""));
    assert_eq!(answers(&mut client).len(), 1);
    assert!(client.is_ready());
    client.finish();
    assert!(!client.is_ready());
}

#[test]
fn answers_survive_every_cut() {
    let reply = [frame(RESPONSE, 1, &[7; 200]), frame(ERROR, 0, b"no")].concat();
    for cut in 0..=reply.len() {
        let (mut client, ids) = client_with(2);
        tell_client(&mut client, &reply[..cut]);
        let mut got = answers(&mut client);
        tell_client(&mut client, &reply[cut..]);
        got.extend(answers(&mut client));
        let refused = Answer { id: ids[0], outcome: Outcome::Refused("no".into()) };
        assert_eq!(got, [response(ids[1], &[7; 200]), refused], "cut at {cut}");
    }
}

#[test]
fn a_request_times_out_at_its_deadline_and_the_peer_is_told() {
    let mut client = Client::new(&config());
    let slow = client.request(at(0), b"slow", TIMEOUT).unwrap();
    let patient = client.request(at(1), b"patient", NEVER).unwrap();
    let quick = client.request(at(1), b"quick", TIMEOUT / 5).unwrap();
    sent_by_client(&mut client);
    assert_eq!(client.poll_timeout(), Some(at(2)));
    client.handle_timeout(Instant::from_nanos(at(2).as_nanos() - 1));
    assert_eq!(client.poll_answer(), None, "early");
    client.handle_timeout(at(2));
    client.handle_timeout(at(1));
    assert_eq!(answers(&mut client), [Answer { id: quick, outcome: Outcome::TimedOut }]);
    assert_eq!(sent_by_client(&mut client), frame(CANCEL, 2, b""));
    client.handle_timeout(at(100));
    assert_eq!(answers(&mut client), [Answer { id: slow, outcome: Outcome::TimedOut }]);
    assert_eq!(client.poll_timeout(), None, "one that has no deadline waits for ever");
    client.handle_timeout(Instant::NEVER);
    assert_eq!(client.poll_answer(), None);
    assert_eq!((client.stats().timed_out, client.stats().pending), (2, 1));
    tell_client(&mut client, &frame(RESPONSE, 1, b"at last"));
    assert_eq!(answers(&mut client), [response(patient, b"at last")]);
}

#[test]
fn an_answer_that_has_come_beats_the_deadline() {
    let (mut client, ids) = client_with(1);
    tell_client(&mut client, &frame(RESPONSE, 0, b"just so"));
    client.handle_timeout(at(1000));
    assert_eq!(answers(&mut client), [response(ids[0], b"just so")]);
    assert_eq!(client.stats().timed_out, 0);
}

#[test]
fn answers_that_nobody_waits_for_are_dropped_and_counted() {
    let (mut client, ids) = client_with(3);
    client.cancel(ids[0]);
    client.cancel(ids[0]);
    assert_eq!(sent_by_client(&mut client), frame(CANCEL, 0, b""), "the peer is told once");
    client.handle_timeout(at(5));
    assert_eq!(answers(&mut client).len(), 2);
    let [late, late_too, unknown] = [frame(RESPONSE, 0, b"a"), frame(ERROR, 1, b"b"), frame(RESPONSE, 3, b"c")];
    let mut far = Vec::new();
    varint::encode_to(u64::MAX >> 1, &mut far);
    let far = encode(&[&[RESPONSE], &far], 100).unwrap();
    tell_client(&mut client, &[&late[..], &late_too, &late, &unknown, &far].concat());
    assert_eq!(client.poll_answer(), None);
    let stats = client.stats();
    assert_eq!((stats.late, stats.duplicate, stats.unknown, stats.cancelled, stats.timed_out), (2, 1, 2, 1, 2));
    let id = client.request(at(5), b"next", TIMEOUT).unwrap();
    tell_client(&mut client, &[frame(RESPONSE, 3, b"now"), frame(RESPONSE, 3, b"again")].concat());
    assert_eq!(answers(&mut client), [response(id, b"now")]);
    assert_eq!((client.stats().duplicate, client.failure()), (2, None));
}

#[test]
fn what_is_remembered_of_requests_that_were_given_up_is_bounded() {
    let mut client = Client::new(&config());
    for number in 0..20 {
        let id = client.request(at(0), b"ask", TIMEOUT).unwrap();
        assert_eq!(id.get(), number);
        client.cancel(id);
        sent_by_client(&mut client);
    }
    let reply: Vec<u8> = (0..20).flat_map(|number| frame(RESPONSE, number, b"late")).collect();
    tell_client(&mut client, &reply);
    assert_eq!(client.poll_answer(), None);
    assert_eq!((client.stats().late, client.stats().duplicate), (4, 16), "as many as may be pending");
}

#[test]
fn as_many_requests_are_pending_as_may_and_then_callers_wait_in_line() {
    let (mut client, ids) = client_with(4);
    assert_eq!(client.request(at(0), b"fifth", TIMEOUT), Err(RequestError::Full));
    let mut tickets: [Option<Ticket>; 4] = [None; 4];
    for (place, ticket) in tickets.iter_mut().enumerate() {
        let expected = if place < 3 { RequestError::Full } else { RequestError::TooManyWaiting };
        assert_eq!(client.enter(ticket, at(0), b"wait", TIMEOUT), Err(expected));
    }
    assert_eq!(client.next_to_wake(), None);
    client.cancel(ids[1]);
    assert_eq!((client.next_to_wake(), client.next_to_wake()), (tickets[0], None));
    assert_eq!(client.request(at(0), b"pushes in", TIMEOUT), Err(RequestError::Full));
    client.leave(tickets[0].unwrap());
    assert_eq!(client.next_to_wake(), tickets[1]);
    assert_eq!(client.enter(&mut tickets[1], at(0), b"in", TIMEOUT).map(RequestId::get), Ok(4));
    assert_eq!((tickets[1], client.next_to_wake(), client.stats().waiting), (None, None, 1));
    tell_client(&mut client, &frame(RESPONSE, 0, b""));
    client.poll_answer().unwrap();
    assert_eq!(client.next_to_wake(), tickets[2]);
}

#[test]
fn callers_wait_while_the_peer_does_not_read() {
    let mut client = Client::new(&Config { max_pending: 100, ..config() });
    let ids: Vec<RequestId> = (0..8).map(|_| client.request(at(0), b"ask", TIMEOUT).unwrap()).collect();
    let mut ticket = None;
    assert_eq!(client.enter(&mut ticket, at(0), b"ask", TIMEOUT), Err(RequestError::Full));
    for id in &ids {
        client.cancel(*id);
    }
    assert_eq!(client.stats().queued_messages, 16, "those that were pending can be cancelled");
    assert_eq!(client.next_to_wake(), None);
    let one_request = frame(REQUEST, 0, b"ask").len();
    client.transmitted(8 * one_request);
    client.transmitted(3 * frame(CANCEL, 0, b"").len());
    assert_eq!((client.stats().queued_messages, client.next_to_wake()), (5, None), "low + 1");
    client.transmitted(frame(CANCEL, 0, b"").len());
    assert_eq!(client.next_to_wake(), ticket);
}

#[test]
fn a_caller_that_was_woken_and_comes_in_vain_is_woken_again() {
    let mut client = Client::new(&Config { max_pending: 6, ..config() });
    let ids: Vec<RequestId> = (0..6).map(|_| client.request(at(0), b"ask", TIMEOUT).unwrap()).collect();
    let mut ticket = None;
    assert_eq!(client.enter(&mut ticket, at(0), b"ask", TIMEOUT), Err(RequestError::Full));
    client.cancel(ids[0]);
    assert_eq!((client.next_to_wake(), client.next_to_wake()), (ticket, None));
    // Another cancellation takes the last room in front of it.
    client.cancel(ids[1]);
    assert_eq!(client.enter(&mut ticket, at(0), b"ask", TIMEOUT), Err(RequestError::Full));
    assert_eq!(client.next_to_wake(), None);
    sent_by_client(&mut client);
    assert_eq!(client.next_to_wake(), ticket);
    client.enter(&mut ticket, at(0), b"ask", TIMEOUT).unwrap();
}

#[test]
fn the_longest_request_is_taken_and_one_byte_more_is_not() {
    let mut client = Client::new(&config());
    client.request(at(0), &[1; 300], TIMEOUT).unwrap();
    let too_long = RequestError::TooLong(TooLong { len: 301, max: 300 });
    assert_eq!(client.request(at(0), &[1; 301], TIMEOUT), Err(too_long));
    assert_eq!((client.stats().pending, client.stats().queued_messages), (1, 1));
}

#[test]
fn after_a_violation_all_that_is_pending_is_lost() {
    let longest_reason = "x".repeat(MAX_REASON_LEN);
    let mut long_prefix = Vec::new();
    varint::encode_to(1024 + 10 + 1, &mut long_prefix);
    let table: [(Vec<u8>, Error); 11] = [
        (vec![0], Error::Truncated),
        (vec![1, RESPONSE], Error::Truncated),
        (vec![2, RESPONSE, 0x80], Error::Truncated),
        (vec![3, RESPONSE, 0x80, 0x00], Error::BadNumber),
        (frame(REQUEST, 0, b""), Error::UnexpectedKind(0)),
        (frame(CANCEL, 0, b""), Error::UnexpectedKind(3)),
        (frame(4, 0, b""), Error::UnexpectedKind(4)),
        (frame(RESPONSE, 0, &[0; 301]), Error::Message(message::Error::TooLong { max: 300 })),
        (frame(ERROR, 0, (longest_reason.clone() + "x").as_bytes()), Error::ReasonTooLong),
        (frame(ERROR, 0, &[0xff]), Error::ReasonNotUtf8),
        (long_prefix, Error::Message(message::Error::TooLong { max: 1034 })),
    ];
    for (bytes, error) in table {
        for cut in 0..bytes.len() {
            let (mut client, ids) = client_with(3);
            client.request(at(0), b"not sent", TIMEOUT).unwrap();
            tell_client(&mut client, &[&frame(RESPONSE, 1, b"before")[..], &bytes[..cut]].concat());
            let mut got = answers(&mut client);
            tell_client(&mut client, &bytes[cut..]);
            got.extend(answers(&mut client));
            assert_eq!(got[0], response(ids[1], b"before"));
            let lost = got[1..].iter().map(|answer| (answer.id.get(), answer.outcome.clone())).collect::<Vec<_>>();
            assert_eq!(lost, [0, 2, 3].map(|id| (id, Outcome::Lost)), "{bytes:x?} cut at {cut}");
            assert_eq!(client.failure(), Some(error));
            assert!(!client.wants_input() && !client.wants_transmit());
            assert_eq!(client.request(at(0), b"more", TIMEOUT), Err(RequestError::Closed));
        }
    }
    let (mut client, ids) = client_with(1);
    tell_client(&mut client, &frame(ERROR, 0, longest_reason.as_bytes()));
    let outcome = Outcome::Refused(Box::from(longest_reason));
    assert_eq!(answers(&mut client), [Answer { id: ids[0], outcome }]);
}

#[test]
fn the_end_of_the_stream_loses_what_is_pending_behind_the_answers_that_came() {
    for by_eof in [true, false] {
        let (mut client, ids) = client_with(2);
        client.request(at(0), b"not sent", TIMEOUT).unwrap();
        let mut ticket = None;
        client.request(at(0), b"not sent", TIMEOUT).unwrap();
        assert_eq!(client.enter(&mut ticket, at(0), b"waits", TIMEOUT), Err(RequestError::Full));
        tell_client(&mut client, &frame(RESPONSE, 1, b"whole"));
        if by_eof {
            client.handle_eof()
        } else {
            client.handle_lost()
        }
        let got = answers(&mut client);
        assert_eq!(got[0], response(ids[1], b"whole"));
        assert_eq!(got[1..].iter().map(|answer| answer.id.get()).collect::<Vec<_>>(), [0, 2, 3]);
        assert!(got[1..].iter().all(|answer| answer.outcome == Outcome::Lost));
        assert_eq!((client.next_to_wake(), client.next_to_wake(), client.failure()), (ticket, None, None));
        assert_eq!(client.enter(&mut ticket, at(0), b"waits", TIMEOUT), Err(RequestError::Closed));
        assert!(client.is_finished() && !client.wants_input() && client.poll_timeout().is_none());
    }
}

#[test]
fn a_stream_that_ends_inside_an_answer_broke_a_rule_and_one_that_was_lost_there_did_not() {
    for (by_eof, failure) in [(true, Some(Error::Message(message::Error::UnexpectedEof))), (false, None)] {
        let (mut client, ids) = client_with(1);
        tell_client(&mut client, &[5, RESPONSE, 0]);
        if by_eof {
            client.handle_eof()
        } else {
            client.handle_lost()
        }
        assert_eq!(answers(&mut client), [Answer { id: ids[0], outcome: Outcome::Lost }]);
        assert_eq!(client.failure(), failure);
        assert_eq!(client.poll_answer(), None);
    }
}

#[test]
fn a_finished_client_still_gets_its_answers() {
    let mut client = Client::new(&config());
    let ids = [b"one", b"two"].map(|body| client.request(at(0), body, TIMEOUT).unwrap());
    client.finish();
    assert_eq!(client.request(at(0), b"more", TIMEOUT), Err(RequestError::Closed));
    assert!(!client.is_finished());
    sent_by_client(&mut client);
    assert!(client.is_finished());
    client.cancel(ids[1]);
    assert!(!client.wants_transmit(), "its half of the stream may be over");
    tell_client(&mut client, &frame(RESPONSE, 0, b"1"));
    assert_eq!(answers(&mut client), [response(ids[0], b"1")]);
}

#[test]
fn answers_are_looked_at_only_when_they_are_asked_for() {
    let (mut client, _) = client_with(2);
    let idle = client.memory_used();
    tell_client(&mut client, &[frame(RESPONSE, 0, b"a"), frame(RESPONSE, 1, b"b")].concat());
    assert!(!client.wants_input());
    let mut chunk = Bytes::from_static(b"later");
    client.handle_chunk(&mut chunk);
    assert_eq!(chunk, &b"later"[..]);
    client.poll_answer().unwrap();
    assert!(!client.wants_input());
    client.poll_answer().unwrap();
    assert!(client.wants_input());
    assert_eq!(client.memory_used(), idle);
    let part = Bytes::from(vec![9, RESPONSE, 0, b'p']);
    client.handle_chunk(&mut part.clone());
    assert_eq!((client.poll_answer(), part.is_unique()), (None, true), "no chunk is kept");
}
