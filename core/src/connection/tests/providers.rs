//! Connections with every provider, and with two different ones.

use alloc::{sync::Arc, vec};

use super::*;
use crate::{
    ExpectedPeer, Link, Seed,
    crypto::Provider,
    testing::{credentials_with, providers},
};

/// Everything that goes over the wire until both ends are open and one stream has echoed `data`.
fn transcript(dialer: &Arc<dyn Provider>, listener: &Arc<dyn Provider>, data: &[u8]) -> Vec<u8> {
    let (dialer, listener) = (credentials_with(1, dialer.clone()), credentials_with(2, listener.clone()));
    let expected = ExpectedPeer::Exactly(listener.peer_id());
    let connection = |link, credentials| Connection::new(link, Arc::new(serving(&[ECHO])), credentials, Instant::EPOCH);
    let mut dialer = connection(Link::dialer(expected, Seed::from_bytes([3; 32])), dialer);
    let mut listener = connection(Link::listener(Seed::from_bytes([4; 32])), listener);
    let mut wire = vec![];
    settle(&mut dialer, &mut listener, &mut wire);
    assert!(dialer.is_open() && listener.is_open());

    let id = dialer.open(Instant::EPOCH, &[ECHO]).unwrap();
    settle(&mut dialer, &mut listener, &mut wire);
    assert_eq!(listener.accept(), Some(id));
    send(&mut dialer, &mut listener, id, data, &mut wire);
    send(&mut listener, &mut dialer, id, data, &mut wire);
    wire
}

fn send(from: &mut Connection, to: &mut Connection, id: StreamId, data: &[u8], wire: &mut Vec<u8>) {
    assert_eq!(from.stream(id).write(data), Ok(data.len()));
    settle(from, to, wire);
    assert_eq!(read_all(to, id).0, data);
}

fn settle(left: &mut Connection, right: &mut Connection, wire: &mut Vec<u8>) {
    while left.wants_transmit() || right.wants_transmit() {
        transmit(left, right, wire);
        transmit(right, left, wire);
    }
}

fn transmit(from: &mut Connection, to: &mut Connection, wire: &mut Vec<u8>) {
    let mut buffer = vec![0; TRANSMIT_BUFFER];
    while from.wants_transmit() {
        let sent = from.poll_transmit(Instant::EPOCH, &mut buffer).unwrap();
        wire.extend_from_slice(&buffer[..sent]);
        assert_eq!(to.handle_recv(Instant::EPOCH, &mut buffer[..sent]), Ok(()));
        while from.poll_event().is_some() || to.poll_event().is_some() {}
    }
}

#[test]
fn every_two_providers_understand_each_other_and_say_the_same_bytes() {
    let data = pseudo_random(10_000, 5);
    let rust_crypto = &providers()[0];
    let expected = transcript(rust_crypto, rust_crypto, &data);
    assert!(expected.len() > 2 * data.len());
    for dialer in providers() {
        for listener in providers() {
            assert!(transcript(&dialer, &listener, &data) == expected, "{dialer:?} dials {listener:?}");
        }
    }
}
