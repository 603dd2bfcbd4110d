//! When the answer to an inbound stream's proposal leaves.

use super::*;

/// A stream that the dialer opened with `data`, accepted by the listener, which has said nothing yet.
fn asked(pair: &mut Pair, data: &[u8]) -> StreamId {
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    pair.dialer.connection.stream(id).write(data).unwrap();
    pair.settle();
    assert_eq!(pair.listener.connection.accept(), Some(id));
    id
}

fn records_sent(pair: &mut Pair) -> u64 {
    pair.listener.connection.stats().records_sent
}

#[test]
fn the_answer_leaves_in_one_frame_with_what_the_application_says() {
    let mut pair = open_pair();
    let before = records_sent(&mut pair);
    let id = asked(&mut pair, b"question");
    assert!(!pair.listener.connection.wants_transmit());
    pair.listener.connection.stream(id).write(b"answer").unwrap();
    pair.settle();
    assert_eq!(records_sent(&mut pair) - before, 1);
    assert_eq!(events(&mut pair, End::Dialer), [Event::Negotiated { id }, Event::Readable { id }]);
    assert_eq!(read_all(&mut pair.dialer.connection, id).0, b"answer");
    // Nothing is left to wait for.
    assert_eq!(pair.listener.connection.poll_timeout(), None);
}

#[test]
fn the_answer_does_not_wait_for_ever() {
    let mut pair = open_pair();
    let start = pair.now;
    let id = asked(&mut pair, b"question");
    assert_eq!(pair.listener.connection.poll_timeout(), Some(start.saturating_add(MAX_ANSWER_DELAY)));
    pair.run_for(MAX_ANSWER_DELAY - Duration::from_nanos(1));
    assert_eq!(events(&mut pair, End::Dialer), []);
    pair.run_for(Duration::from_nanos(1));
    pair.settle();
    assert_eq!(events(&mut pair, End::Dialer), [Event::Negotiated { id }]);
    assert_eq!(pair.listener.connection.poll_timeout(), None);
}

#[test]
fn a_dialer_that_waits_is_answered_at_once() {
    let mut pair = open_pair();
    let now = pair.now;
    let alone = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    let several = pair.dialer.connection.open(now, &[OTHER, ECHO]).unwrap();
    pair.settle();
    assert_eq!(pair.now, now);
    let told = events(&mut pair, End::Dialer);
    assert!(told.contains(&Event::Negotiated { id: alone }) && told.contains(&Event::Negotiated { id: several }));
}

#[test]
fn the_end_of_the_dialers_half_counts_as_data() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    pair.dialer.connection.stream(id).finish().unwrap();
    pair.settle();
    assert_eq!(events(&mut pair, End::Dialer), []);
    assert_eq!(pair.listener.connection.accept(), Some(id));
    pair.listener.connection.stream(id).finish().unwrap();
    pair.settle();
    assert_eq!(pair.now, now);
    assert_eq!(events(&mut pair, End::Dialer), [Event::Negotiated { id }, Event::Readable { id }]);
    assert_eq!(read_all(&mut pair.dialer.connection, id), (alloc::vec![], Ok(())));
}

#[test]
fn a_reset_instead_of_an_answer_comes_behind_the_agreement() {
    let mut pair = open_pair();
    let id = asked(&mut pair, b"nonsense");
    pair.listener.connection.stream(id).reset(9);
    pair.settle();
    assert_eq!(events(&mut pair, End::Dialer)[0], Event::Negotiated { id });
    assert_eq!(read_all(&mut pair.dialer.connection, id).1, Err(ReadError::Reset(9)));
}

#[test]
fn a_close_lets_the_answers_leave_first() {
    let mut pair = open_pair();
    let id = asked(&mut pair, b"question");
    let now = pair.now;
    pair.listener.connection.close(now, 0);
    pair.settle();
    assert_eq!(pair.now, now);
    assert_eq!(events(&mut pair, End::Dialer)[0], Event::Negotiated { id });
}

#[test]
fn what_says_nothing_does_not_hold_the_answer_for_ever() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    pair.dialer.connection.stream(id).write(b"question").unwrap();
    pair.settle();
    // Not accepted yet, so it does not exist.
    assert_eq!(pair.listener.connection.stream(id).write(b"early"), Err(WriteError::Unknown));
    assert_eq!(pair.listener.connection.stream(id).finish(), Err(WriteError::Unknown));
    assert_eq!(pair.listener.connection.accept(), Some(id));
    assert_eq!(pair.listener.connection.stream(id).write(b""), Ok(0));
    pair.run_for(MAX_ANSWER_DELAY);
    assert_eq!(events(&mut pair, End::Dialer), [Event::Negotiated { id }]);
}
