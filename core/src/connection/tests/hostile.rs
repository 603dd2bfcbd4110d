//! Peers that break rules, honest through Noise or not at all.

use proptest::prelude::*;

use super::*;
use crate::{multistream, noise, testing::RawPeer, yamux::Violation};

const GO_AWAY_PROTOCOL_ERROR: [u8; 12] = [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn frame(kind: u8, flags: u8, id: u32, length: u32) -> Vec<u8> {
    let mut header = alloc::vec![0, kind, 0, flags];
    header.extend(id.to_be_bytes());
    header.extend(length.to_be_bytes());
    header
}

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const SYN: u8 = 1;
const RST: u8 = 8;

/// A listener that is open towards a peer that can say anything.
fn hostile_peer() -> RawPeer {
    let mut peer = RawPeer::new(Role::Listener, serving(&[ECHO]));
    peer.upgrade();
    peer
}

fn assert_broke(peer: &mut RawPeer, violation: Violation) {
    let reason = CloseReason::Protocol(ProtocolError::Yamux(violation));
    assert_eq!(peer.connection.close_reason(), Some(&reason));
    assert!(peer.receive().ends_with(&GO_AWAY_PROTOCOL_ERROR));
    assert!(peer.connection.wants_shutdown());
    assert!(peer.connection.memory_used() <= Config::default().yamux.memory_budget);
}

#[test]
fn a_body_beyond_the_window_is_refused_from_its_header() {
    let mut peer = hostile_peer();
    peer.send(&frame(DATA, SYN, 1, yamux::INITIAL_WINDOW + 1));
    assert_broke(&mut peer, Violation::CreditExceeded);
    // The same, but the window is used up first.
    let mut peer = hostile_peer();
    peer.send(&frame(DATA, SYN, 1, 20));
    peer.send(b"\x13/multistream/1.0.0\n");
    peer.send(&frame(DATA, 0, 1, yamux::INITIAL_WINDOW - 20));
    peer.send(&alloc::vec![b'x'; 64 * 1024]);
    assert!(peer.connection.is_open());
}

#[test]
fn a_peer_that_broke_a_rule_and_goes_on_talking_is_cut_off() {
    let mut peer = hostile_peer();
    peer.send(&frame(DATA, SYN, 1, u32::MAX));
    assert_broke(&mut peer, Violation::CreditExceeded);
    let reason = peer.connection.close_reason().cloned();
    for _ in 0..receive::MAX_DISCARDED / 1024 {
        assert!(!peer.connection.is_closed());
        peer.send_raw(&[0; 1024]);
    }
    assert!(!peer.connection.is_closed());
    peer.send_raw(&[0]);
    assert!(peer.connection.is_closed());
    assert_eq!(peer.connection.close_reason().cloned(), reason);
}

#[test]
fn a_window_that_overflows_is_refused() {
    let mut peer = hostile_peer();
    peer.send(&frame(WINDOW_UPDATE, SYN, 1, 0));
    peer.send(&frame(WINDOW_UPDATE, 0, 1, u32::MAX));
    assert_broke(&mut peer, Violation::WindowOverflow);
}

#[test]
fn pings_are_answered_until_the_peer_stops_reading() {
    let mut peer = hostile_peer();
    let ring = Config::default().yamux.max_pending_pongs;
    for _ in 0..3 {
        for value in 0..ring {
            peer.send(&frame(PING, SYN, 0, u32::try_from(value).unwrap()));
        }
        assert_eq!(peer.receive().len(), 12 * ring);
    }
    for value in 0..=ring {
        peer.send(&frame(PING, SYN, 0, u32::try_from(value).unwrap()));
    }
    assert_broke(&mut peer, Violation::PingFlood);
}

#[test]
fn a_flood_of_streams_is_refused_with_resets_and_then_ends() {
    let mut peer = hostile_peer();
    let config = Config::default().yamux;
    let mut id = 1;
    for _ in 0..config.max_streams {
        peer.send(&frame(WINDOW_UPDATE, SYN, id, 0));
        id += 2;
    }
    assert_eq!(peer.connection.stats().streams, config.max_streams);
    peer.receive();
    peer.send(&frame(WINDOW_UPDATE, SYN, id, 0));
    let reset = peer.receive();
    assert_eq!(reset[..8], frame(WINDOW_UPDATE, RST, id, 0)[..8]);
    // Without reading the resets it gets no further than the ring.
    for _ in 0..=config.max_pending_resets {
        assert!(peer.connection.is_open());
        id += 2;
        peer.send(&frame(WINDOW_UPDATE, SYN, id, 0));
    }
    assert_broke(&mut peer, Violation::RapidReset);
}

#[test]
fn a_storm_of_opened_and_reset_streams_ends_the_connection() {
    let mut peer = hostile_peer();
    let mut id = 1;
    while peer.connection.is_open() && id < 1_000_000 {
        peer.send(&[frame(WINDOW_UPDATE, SYN, id, 0), frame(WINDOW_UPDATE, RST, id, 0)].concat());
        peer.receive();
        id += 2;
    }
    let reason = CloseReason::Protocol(ProtocolError::Yamux(Violation::RapidReset));
    assert_eq!(peer.connection.close_reason(), Some(&reason));
    assert!(peer.connection.memory_used() < 64 * 1024);
}

#[test]
fn refusals_of_what_was_not_proposed_yet_cost_the_stream_and_no_more() {
    let mut peer = RawPeer::new(Role::Dialer, serving(&[]));
    peer.upgrade();
    let id = peer.connection.open(peer.now, &[ECHO, OTHER]).unwrap();
    peer.receive();
    let mut answer = b"\x13/multistream/1.0.0\n".to_vec();
    answer.extend(b"\x03na\n".repeat(1000));
    let mut data = frame(DATA, 2, id.get(), u32::try_from(answer.len()).unwrap());
    data.extend(&answer);
    peer.send(&data);
    let events: Vec<Event> = core::iter::from_fn(|| peer.connection.poll_event()).collect();
    let reason = RefuseReason::Protocol(multistream::Error::ReplyTooEarly);
    assert!(events.contains(&Event::Refused { id, reason }), "{events:?}");
    assert!(peer.connection.is_open());
}

#[test]
fn endless_proposals_cost_the_stream_and_no_more() {
    let mut peer = hostile_peer();
    let mut proposals = b"\x13/multistream/1.0.0\n".to_vec();
    proposals.extend(b"\x05/bad\n".repeat(1000));
    let mut data = frame(DATA, SYN, 1, u32::try_from(proposals.len()).unwrap());
    data.extend(&proposals);
    peer.send(&data);
    assert_eq!(peer.connection.stats().streams, 0);
    assert_eq!(peer.connection.stats().streams_refused, 1);
    assert!(peer.connection.is_open());
}

#[test]
fn negotiating_the_connection_has_the_limits_of_multistream() {
    let connection = |input: &[u8]| {
        let link = Link::listener(crate::Seed::from_bytes([1; 32]));
        let mut connection =
            Connection::new(link, Arc::new(serving(&[])), crate::testing::credentials(1), Instant::EPOCH);
        connection.handle_recv(Instant::EPOCH, &mut input.to_vec()).unwrap();
        connection.close_reason().cloned()
    };
    let broke = |error| Some(CloseReason::Protocol(ProtocolError::Multistream(error)));
    assert_eq!(connection(b"\x00"), broke(multistream::Error::EmptyMessage));
    assert_eq!(connection(b"\xff\xff\x01"), broke(multistream::Error::LengthTooLong));
    assert_eq!(connection(b"\x81\x08"), broke(multistream::Error::MessageTooLong));
    assert_eq!(connection(b"GET / HTTP/1.1\r\n"), None);
    let mut endless = b"\x13/multistream/1.0.0\n".to_vec();
    endless.extend(b"\x05/bad\n".repeat(65));
    assert_eq!(connection(&endless), broke(multistream::Error::TooManyProposals));
}

#[test]
fn an_oversized_handshake_message_is_refused_from_its_length() {
    let link = Link::listener(crate::Seed::from_bytes([1; 32]));
    let mut connection = Connection::new(link, Arc::new(serving(&[])), crate::testing::credentials(1), Instant::EPOCH);
    let mut input = b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff".to_vec();
    connection.handle_recv(Instant::EPOCH, &mut input).unwrap();
    let reason = CloseReason::Protocol(ProtocolError::Noise(noise::Error::UnexpectedPayload));
    assert_eq!(connection.close_reason(), Some(&reason));
}

#[test]
fn a_record_that_was_tampered_with_ends_the_connection() {
    for position in [2, 10, 20, 29] {
        let mut peer = hostile_peer();
        let mut record = alloc::vec![0; 30];
        record[1] = 28;
        record[position] ^= 1;
        peer.send_raw(&record);
        let reason = CloseReason::Protocol(ProtocolError::Noise(noise::Error::Decrypt));
        assert_eq!(peer.connection.close_reason(), Some(&reason));
    }
}

#[test]
fn a_record_is_not_accepted_twice() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    pair.dialer.connection.stream(id).write(b"once").unwrap();
    pair.transmit(End::Dialer);
    for bytes in pair.in_flight(End::Listener) {
        *bytes = bytes.repeat(2);
    }
    pair.settle();
    let reason = CloseReason::Protocol(ProtocolError::Noise(noise::Error::Decrypt));
    assert_eq!(pair.listener.connection.close_reason(), Some(&reason));
}

proptest! {
    #[test]
    fn random_bytes_never_open_a_connection_and_hold_little(
        role in prop_oneof![Just(Role::Dialer), Just(Role::Listener)],
        greeting in any::<bool>(),
        input in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
    ) {
        let link = match role {
            Role::Dialer => Link::dialer(ExpectedPeer::Any, crate::Seed::from_bytes([1; 32])),
            Role::Listener => Link::listener(crate::Seed::from_bytes([1; 32])),
        };
        let mut connection =
            Connection::new(link, Arc::new(serving(&[ECHO])), crate::testing::credentials(1), Instant::EPOCH);
        let mut wire = alloc::vec![0; TRANSMIT_BUFFER];
        if greeting {
            connection.handle_recv(Instant::EPOCH, &mut b"\x13/multistream/1.0.0\n\x07/noise\n".to_vec()).unwrap();
        }
        for mut piece in input {
            connection.handle_recv(Instant::EPOCH, &mut piece).unwrap();
            while connection.poll_transmit(Instant::EPOCH, &mut wire).unwrap() > 0 {}
            prop_assert!(connection.memory_used() < 64 * 1024);
        }
        prop_assert!(!connection.is_open());
    }

    #[test]
    fn random_frames_behind_an_honest_handshake_end_well_or_with_a_named_rule(
        frames in proptest::collection::vec(
            (0u8..5, 0u8..16, prop_oneof![0u32..8, any::<u32>()], prop_oneof![0u32..300_000, any::<u32>()], 0usize..2000),
            1..60,
        ),
    ) {
        let mut peer = hostile_peer();
        for (kind, flags, id, length, body) in frames {
            let mut bytes = frame(kind, flags, id, length);
            if kind == DATA {
                bytes.extend(alloc::vec![b'x'; body.min(usize::try_from(length).unwrap())]);
            }
            peer.send(&bytes);
            prop_assert!(peer.connection.memory_used() <= Config::default().yamux.memory_budget);
            while peer.connection.poll_event().is_some() {}
            while peer.connection.accept().is_some() {}
            peer.receive();
        }
        if let Some(reason) = peer.connection.close_reason() {
            let named = matches!(
                reason,
                CloseReason::Protocol(ProtocolError::Yamux(_)) | CloseReason::Remote { .. }
            );
            prop_assert!(named, "{reason:?}");
        }
    }
}
