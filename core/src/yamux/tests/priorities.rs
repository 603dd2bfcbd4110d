//! How writable streams share the way out.

use std::{collections::BTreeMap, vec, vec::Vec};

use super::support::*;
use crate::yamux::{
    Config, HEADER_LEN, Priority, Session, StreamId,
    header::{Flags, Kind},
};

/// The longest turn, in bytes: a full frame.
const FULL_TURN: usize = 16 * 1024 + HEADER_LEN;
/// A record of 16 KiB and a header, as a connection frames into.
const RECORD: usize = 16 * 1024 + HEADER_LEN;

/// A dialer with one stream of each of these priorities, all with unlimited credit and full queues.
struct Busy {
    session: Session,
    streams: Vec<StreamId>,
}

impl Busy {
    fn new(config: Config, priorities: &[Priority]) -> Self {
        let mut session = dialer(config);
        let mut streams = Vec::new();
        for priority in priorities {
            let stream = session.open().unwrap();
            session.set_priority(stream, *priority);
            session.write(stream, b"open").unwrap();
            streams.push(stream);
        }
        sent(&mut session);
        for stream in &streams {
            recv(&mut session, &[update(ACK, stream.get(), u32::MAX / 2)]).unwrap();
        }
        let mut busy = Self { session, streams };
        busy.refill();
        busy
    }

    fn refill(&mut self) {
        for stream in &self.streams {
            let _ = self.session.write(*stream, &[0; 300_000]);
        }
    }

    /// The next frames, of at most `room` bytes together, as (stream, bytes of body).
    fn next(&mut self, room: usize) -> Vec<(u32, usize)> {
        let mut out = vec![0; room];
        let n = self.session.poll_transmit(NOW, &mut out);
        self.refill();
        parse(&out[..n]).into_iter().map(|(header, body)| (header.stream, body.len())).collect()
    }

    /// The bytes of body that each stream got out of `total`, in the order in which they were opened.
    fn shares(&mut self, total: usize, room: usize) -> Vec<usize> {
        let mut shares: BTreeMap<u32, usize> = self.streams.iter().map(|stream| (stream.get(), 0)).collect();
        while shares.values().sum::<usize>() < total {
            for (stream, body) in self.next(room) {
                *shares.get_mut(&stream).unwrap() += body;
            }
        }
        shares.into_values().collect()
    }
}

/// Each share is within a tenth of its part, `parts` being proportions.
#[track_caller]
fn assert_proportional(shares: &[usize], parts: &[usize]) {
    let (total, whole): (usize, usize) = (shares.iter().sum(), parts.iter().sum());
    for (share, part) in shares.iter().zip(parts) {
        let expected = total * part / whole;
        assert!(share.abs_diff(expected) <= expected / 10, "{shares:?} are not as {parts:?}");
    }
}

#[test]
fn three_priorities_share_16_to_4_to_1_whatever_the_output_is_cut_to() {
    for room in [200, 1000, 1036, 1300, 5000, RECORD, RECORD + 1023, 4 * RECORD, 300_000] {
        for max_frame_body in [100, 1000, 16 * 1024, 1024 * 1024] {
            let mut busy =
                Busy::new(Config { max_frame_body, ..quiet() }, &[Priority::Low, Priority::High, Priority::Normal]);
            let shares = busy.shares(2_000_000, room);
            assert_proportional(&shares, &[1, 16, 4]);
        }
    }
}

#[test]
fn each_stream_has_the_weight_of_its_priority_however_many_there_are() {
    let mut busy =
        Busy::new(quiet(), &[Priority::High, Priority::Low, Priority::High, Priority::Normal, Priority::Low]);
    assert_proportional(&busy.shares(4_000_000, RECORD), &[16, 1, 16, 4, 1]);
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let mut busy = Busy::new(quiet(), &[priority; 7]);
        assert_proportional(&busy.shares(4_000_000, RECORD), &[1; 7]);
    }
    let mut busy = Busy::new(quiet(), &[Priority::Low, Priority::Normal]);
    assert_proportional(&busy.shares(4_000_000, RECORD), &[1, 4]);
}

#[test]
fn a_full_turn_is_one_frame_and_short_turns_are_given_only_beside_a_higher_priority() {
    let mut busy = Busy::new(quiet(), &[Priority::Low, Priority::Low]);
    assert_eq!(busy.next(2 * RECORD), [(1, 16_384), (3, 16_384)]);
    busy.session.set_priority(id(3), Priority::High);
    assert_eq!(busy.next(RECORD), [(1, 16_384)], "its turn had begun");
    assert_eq!(busy.next(2 * RECORD + 1024), [(3, 16_384), (1, 1012), (3, 16_384)]);
}

#[test]
fn the_rest_of_a_turn_is_used_before_the_next_stream_has_one() {
    let mut busy = Busy::new(quiet(), &[Priority::Normal, Priority::Normal]);
    let frames: Vec<_> = (0..4).flat_map(|_| busy.next(10_000)).collect();
    let first = 16_384 + HEADER_LEN - 10_000;
    assert_eq!(frames[..3], [(1, 9988), (1, first - HEADER_LEN), (3, 10_000 - first - HEADER_LEN)]);
}

#[test]
fn a_stream_alone_needs_no_turns() {
    let mut busy = Busy::new(Config { max_frame_body: 100_000, ..quiet() }, &[Priority::Low]);
    assert_eq!(busy.next(100_012), [(1, 100_000)]);
    let mut busy = Busy::new(Config { max_frame_body: 10_000, ..quiet() }, &[Priority::High]);
    assert_eq!(busy.next(20_024), [(1, 10_000), (1, 10_000)]);
}

/// Bytes that others send between two turns of the stream.
fn longest_wait(busy: &mut Busy, stream: StreamId, total: usize, room: usize) -> usize {
    let (mut waited, mut longest, mut sum) = (0, 0, 0);
    while sum < total {
        for (other, body) in busy.next(room) {
            sum += body;
            waited = if other == stream.get() { 0 } else { waited + body + HEADER_LEN };
            longest = longest.max(waited);
        }
    }
    longest
}

#[test]
fn low_waits_for_at_most_one_turn_of_every_other_stream() {
    let priorities: Vec<_> =
        [(Priority::Low, 1), (Priority::High, 5), (Priority::Normal, 9)].map(|(p, n)| vec![p; n]).concat();
    for room in [1000, RECORD, 4 * RECORD] {
        let mut busy = Busy::new(quiet(), &priorities);
        let low = busy.streams[0];
        // Cutting a turn in two costs a header.
        let bound = 5 * (FULL_TURN + 17 * HEADER_LEN) + 9 * (FULL_TURN / 4 + 5 * HEADER_LEN);
        let waited = longest_wait(&mut busy, low, 3_000_000, room);
        assert!(waited <= bound, "{waited} at {room}");
        assert!(waited >= 5 * FULL_TURN, "{waited} at {room}");
    }
}

#[test]
fn a_message_of_high_priority_waits_for_short_turns_of_many_bulk_streams() {
    let mut priorities = vec![Priority::Low; 255];
    priorities.push(Priority::High);
    let mut busy = Busy::new(quiet(), &priorities);
    let message = busy.streams.pop().unwrap();
    while busy.session.streams[&message].is_ready() {
        busy.next(RECORD);
    }
    busy.session.write(message, b"urgent").unwrap();
    let mut waited = 0;
    'found: loop {
        for (stream, body) in busy.next(RECORD) {
            if stream == message.get() {
                break 'found;
            }
            waited += body + HEADER_LEN;
        }
    }
    assert!(waited <= 254 * 1024 + FULL_TURN, "{waited}");
}

#[test]
fn a_change_of_priority_holds_from_the_next_turn_on_and_costs_no_place() {
    let mut busy = Busy::new(quiet(), &[Priority::High, Priority::Low]);
    assert_proportional(&busy.shares(2_000_000, RECORD), &[16, 1]);
    busy.session.set_priority(id(1), Priority::Low);
    busy.session.set_priority(id(3), Priority::Normal);
    assert_proportional(&busy.shares(2_000_000, RECORD), &[1, 4]);
    // Set before every frame, it changes nothing.
    let mut shares = [0, 0];
    while shares.iter().sum::<usize>() < 2_000_000 {
        for stream in busy.streams.clone() {
            busy.session.set_priority(stream, Priority::Normal);
        }
        for (stream, body) in busy.next(5000) {
            shares[(stream / 2) as usize] += body;
        }
    }
    assert_proportional(&shares, &[1, 1]);
}

#[test]
fn a_stream_that_had_nothing_to_send_has_saved_nothing() {
    let mut busy = Busy::new(quiet(), &[Priority::High, Priority::Normal]);
    let idle = busy.streams.remove(0);
    while busy.session.streams[&idle].is_ready() {
        busy.next(RECORD);
    }
    assert_eq!(busy.session.streams[&idle].deficit, 0, "what was left of its turn is gone");
    busy.shares(1_000_000, RECORD);
    busy.streams.insert(0, idle);
    busy.refill();
    assert_proportional(&busy.shares(1_000_000, RECORD), &[4, 1]);
}

#[test]
fn ends_of_streams_take_their_turns_and_leave_nothing_behind() {
    let mut busy = Busy::new(quiet(), &[Priority::High, Priority::Low, Priority::Low]);
    let finished = [busy.streams[1], busy.streams[2]];
    busy.streams.truncate(1);
    for stream in finished {
        while busy.session.streams[&stream].is_ready() {
            busy.next(4 * RECORD);
        }
        busy.session.finish(stream).unwrap();
    }
    let mut out = vec![0; RECORD + 2 * HEADER_LEN];
    let n = busy.session.poll_transmit(NOW, &mut out);
    let frames: Vec<_> = parse(&out[..n]).into_iter().map(|(header, _)| header).collect();
    let ends: Vec<_> =
        frames.iter().filter(|header| header.flags.has(Flags::FIN)).map(|header| header.stream).collect();
    assert_eq!(ends, [3, 5], "one turn of the busy stream does not hold them up");
    assert_eq!(frames.iter().map(|header| HEADER_LEN + header.length as usize).sum::<usize>(), n);
    busy.session.reset(id(1), 0);
    assert!(busy.session.ready.is_consistent(&busy.session.streams) && busy.session.ready.is_empty());
}

#[test]
fn an_unread_stream_at_its_window_does_not_slow_another() {
    let (mut a, mut b) = (dialer(quiet()), listener(quiet()));
    let (unread, read) = (a.open().unwrap(), a.open().unwrap());
    a.set_priority(unread, Priority::High);
    a.write(unread, &[0; 256 * 1024]).unwrap();
    deliver(&mut a, &mut b);
    while b.accept().is_some() {}
    a.write(unread, &[0; 256 * 1024]).unwrap();
    assert!(!a.wants_transmit(), "the unread stream has used its window up");
    let (mut out, mut got) = (vec![0; RECORD], 0);
    for round in 0..200 {
        a.write(read, &[0; RECORD]).unwrap();
        let n = a.poll_transmit(NOW, &mut out);
        assert_eq!(n, RECORD, "every record is full in round {round}");
        b.handle_recv(NOW, &out[..n]).unwrap();
        if round == 0 {
            assert_eq!(b.accept(), Some(read));
        }
        got += read_all(&mut b, read).0.len();
        let updates = transmit(&mut b);
        assert!(parse(&updates).iter().all(|(header, _)| header.kind == Kind::WindowUpdate));
        a.handle_recv(NOW, &updates).unwrap();
    }
    assert_eq!(got, 200 * 16 * 1024);
    assert_eq!(b.streams[&unread].recv.len(), 256 * 1024);
}

#[test]
fn streams_that_the_application_does_not_hold_have_no_priority_to_set() {
    let mut session = listener(quiet());
    recv(&mut session, &[update(SYN, 1, 0)]).unwrap();
    session.set_priority(id(1), Priority::High);
    session.set_priority(id(7), Priority::High);
    assert_eq!(session.streams[&id(1)].priority, Priority::Normal);
    session.accept().unwrap();
    session.set_priority(id(1), Priority::High);
    assert_eq!(session.streams[&id(1)].priority, Priority::High);
}
