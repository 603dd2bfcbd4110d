//! Two sessions that talk to each other.

use bytes::Bytes;
use std::vec;

use super::support::*;
use crate::yamux::{Event, ReadError, WriteError, header::Kind};

#[test]
fn a_request_is_answered_and_both_sides_finish() {
    let (mut a, mut b) = (dialer(quiet()), listener(quiet()));
    let id = a.open().unwrap();
    assert!(!a.wants_transmit(), "opening alone sends nothing");
    assert_eq!(a.write(id, b"hello"), Ok(5));
    a.finish(id).unwrap();
    deliver(&mut a, &mut b);
    assert_eq!(events(&mut b), [Event::Incoming]);
    assert_eq!(b.accept(), Some(id));
    assert_eq!(events(&mut b), [Event::Readable(id)]);
    let mut out = [0; 3];
    assert_eq!(b.read(id, &mut out), Ok(3));
    assert_eq!(b.peek(id).unwrap(), b"lo");
    b.consume(id, 1);
    assert_eq!(b.read_chunk(id, 10), Ok(Some(Bytes::from_static(b"o"))));
    assert_eq!(b.read_chunk(id, 10), Ok(None));
    assert_eq!(b.read(id, &mut out), Ok(0));
    assert_eq!(b.peek(id).unwrap(), b"");
    assert_eq!(a.read(id, &mut out), Err(ReadError::Blocked));
    b.write_chunk(id, &mut Bytes::from_static(b"bye")).unwrap();
    b.finish(id).unwrap();
    assert_eq!(b.write(id, b"more"), Err(WriteError::Finished));
    deliver(&mut b, &mut a);
    assert_eq!(events(&mut a), [Event::Readable(id)]);
    assert_eq!(a.read_chunk(id, 10), Ok(Some(Bytes::from_static(b"bye"))));
    assert_eq!(a.read_chunk(id, 10), Ok(None));
    for session in [&mut a, &mut b] {
        assert!(session.is_flushed());
        session.release(id);
        assert!(session.is_idle() && !session.wants_transmit());
    }
}

#[test]
fn credit_is_returned_at_half_the_window_when_the_application_has_read() {
    let (mut a, mut b) = (dialer(quiet()), listener(quiet()));
    let id = a.open().unwrap();
    let window = vec![5; 256 * 1024];
    assert_eq!(a.write(id, &window), Ok(window.len()));
    deliver(&mut a, &mut b);
    assert_eq!(a.write(id, &window), Ok(window.len()));
    assert!(!a.wants_transmit(), "the credit is used up");
    assert_eq!(b.accept(), Some(id));
    assert_eq!(sent(&mut b), [(Kind::WindowUpdate, ACK, 1, 0)]);
    b.consume(id, 128 * 1024 - 1);
    assert!(!b.wants_transmit());
    assert!(b.streams[&id].recv_window.consumed() < 128 * 1024);
    b.consume(id, 1);
    let updates = transmit(&mut b);
    assert_eq!(parse(&updates)[0].0.length, 128 * 1024);
    a.handle_recv(NOW, &updates).unwrap();
    let bodies = parse(&transmit(&mut a)).into_iter().map(|(header, _)| header.length).sum::<u32>();
    assert_eq!(bodies, 128 * 1024);
}
