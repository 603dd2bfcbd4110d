//! The record side beside the connection, as a driver with threads uses it.

use super::*;
use crate::noise;

/// An open pair whose sealed bytes from the dialer a test feeds to the listener itself.
struct Apart {
    pair: Pair,
    sealer: RecordSealer,
    opener: RecordOpener,
}

fn apart() -> Apart {
    let mut pair = open_pair();
    let (sealer, _) = pair.dialer.connection.detach_records().unwrap();
    let (_, opener) = pair.listener.connection.detach_records().unwrap();
    Apart { pair, sealer, opener }
}

impl Apart {
    /// Opens a stream, writes `data` to it and returns its id and what the dialer sends.
    fn send(&mut self, data: &[u8]) -> (StreamId, Vec<u8>) {
        let now = self.pair.now;
        let connection = &mut self.pair.dialer.connection;
        let id = connection.open(now, &[ECHO]).unwrap();
        assert_eq!(connection.stream(id).write(data), Ok(data.len()));
        let mut sent = Vec::new();
        let mut out = [0; TRANSMIT_BUFFER];
        while connection.wants_transmit() {
            let framed = connection.poll_frames(now, &mut out).unwrap();
            sent.extend_from_slice(self.sealer.seal(framed).unwrap());
        }
        (id, sent)
    }

    fn receive(&mut self, data: &mut [u8]) {
        let opened = self.opener.open(data);
        self.pair.listener.connection.handle_opened(self.pair.now, &opened);
    }

    fn received(&mut self, id: StreamId) -> Vec<u8> {
        let connection = &mut self.pair.listener.connection;
        assert_eq!(connection.accept(), Some(id));
        read_all(connection, id).0
    }
}

#[test]
fn what_is_sealed_and_opened_outside_arrives() {
    let mut apart = apart();
    let data = pseudo_random(200_000, 1);
    let (id, mut sent) = apart.send(&data);
    apart.receive(&mut sent);
    assert_eq!(apart.received(id), data);
}

#[test]
fn records_may_be_cut_at_every_byte() {
    let sent_len = apart().send(b"hello").1.len();
    for cut in 0..=sent_len {
        let mut apart = apart();
        let (id, mut sent) = apart.send(b"hello");
        let (head, tail) = sent.split_at_mut(cut);
        apart.receive(head);
        assert_eq!(apart.opener.partial_len(), if cut == sent_len { 0 } else { cut });
        apart.receive(tail);
        assert_eq!((apart.received(id), apart.opener.memory_used()), (b"hello".to_vec(), 0));
    }
}

#[test]
fn both_ways_of_driving_make_the_same_bytes() {
    let data = pseudo_random(100_000, 2);
    let (_, detached) = apart().send(&data);
    let mut pair = open_pair();
    let now = pair.now;
    let connection = &mut pair.dialer.connection;
    let id = connection.open(now, &[ECHO]).unwrap();
    connection.stream(id).write(&data).unwrap();
    let mut whole = Vec::new();
    let mut out = [0; TRANSMIT_BUFFER];
    while connection.wants_transmit() {
        let n = connection.poll_transmit(now, &mut out).unwrap();
        whole.extend_from_slice(&out[..n]);
    }
    assert!(whole == detached);
}

#[test]
fn what_came_before_a_refused_record_still_counts() {
    let mut apart = apart();
    let (id, mut sent) = apart.send(b"before");
    let (_, mut flipped) = apart.send(b"behind");
    *flipped.last_mut().unwrap() ^= 1;
    sent.append(&mut flipped);
    apart.receive(&mut sent);
    assert_eq!(apart.received(id), b"before");
    let reason = CloseReason::Protocol(ProtocolError::Noise(noise::Error::Decrypt));
    assert_eq!(apart.pair.listener.connection.close_reason(), Some(&reason));
}

#[test]
fn an_end_inside_a_record_is_not_a_clean_end() {
    for (kept, reason) in [(1, CloseReason::Truncated), (0, CloseReason::Eof)] {
        let mut apart = apart();
        let (_, mut sent) = apart.send(b"hello");
        let cut = sent.len() - kept;
        apart.receive(&mut sent[..cut]);
        let now = apart.pair.now;
        apart.pair.listener.connection.handle_recv_eof(now);
        assert_eq!(apart.pair.listener.connection.close_reason(), Some(&reason));
    }
}

#[test]
fn a_violator_that_goes_on_talking_is_cut_off() {
    let mut apart = apart();
    let (_, mut sent) = apart.send(b"hello");
    *sent.last_mut().unwrap() ^= 1;
    apart.receive(&mut sent);
    for _ in 0..super::super::receive::MAX_DISCARDED / 1000 {
        assert!(!apart.pair.listener.connection.is_closed());
        apart.receive(&mut [7; 1000]);
    }
    apart.receive(&mut [7; 1000]);
    assert!(apart.pair.listener.connection.is_closed());
}

#[test]
fn the_record_side_is_handed_out_once_and_only_when_open() {
    let mut pair = Pair::new(echo_pair());
    assert!(pair.dialer.connection.detach_records().is_none());
    pair.settle();
    assert!(pair.dialer.connection.detach_records().is_some());
    assert!(pair.dialer.connection.detach_records().is_none());
}

#[test]
fn the_two_ways_of_driving_exclude_each_other() {
    let mut pair = open_pair();
    let now = pair.now;
    let mut out = [0; TRANSMIT_BUFFER];
    assert_eq!(pair.dialer.connection.poll_frames(now, &mut out).unwrap_err(), TransmitError::Attached);
    pair.dialer.connection.detach_records().unwrap();
    assert_eq!(pair.dialer.connection.poll_transmit(now, &mut out), Err(TransmitError::Detached));
    let room = pair.dialer.connection.recv_room();
    assert_eq!(pair.dialer.connection.handle_recv(now, &mut [0]), Err(NoRoom { given: 1, room }));
    let small = pair.dialer.connection.poll_frames(now, &mut out[..MIN_TRANSMIT - 1]).unwrap_err();
    assert_eq!(small, TransmitError::TooSmall);
    assert!(pair.dialer.connection.poll_frames(now, &mut out).unwrap().is_empty());
}

#[test]
fn a_record_side_that_rested_goes_on_where_it_was() {
    let mut apart = apart();
    for data in [&b"before"[..], b"after"] {
        let (id, mut sent) = apart.send(data);
        apart.receive(&mut sent);
        assert_eq!(apart.received(id), data);
        apart.sealer.rest();
        apart.opener.rest();
    }
}
