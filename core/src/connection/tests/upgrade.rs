//! From the first byte to `Open`, with every way to fail.

use proptest::prelude::*;

use super::*;
use crate::testing::{RawPeer, credentials, identity};

#[test]
fn both_ends_learn_who_the_other_is_and_open() {
    let mut pair = Pair::new(echo_pair());
    pair.settle();
    let [one, two] = [identity(1).peer_id(), identity(2).peer_id()];
    assert_eq!(events(&mut pair, End::Dialer), [Event::Secured { peer: two }, Event::Open, Event::Ready]);
    assert_eq!(events(&mut pair, End::Listener), [Event::Secured { peer: one }, Event::Open, Event::Ready]);
    assert_eq!(pair.dialer.connection.peer(), Some(two));
    assert_eq!(pair.listener.connection.remote_public_key(), Some(identity(1).public_key().clone()));
    let binding = pair.dialer.connection.channel_binding();
    assert!(binding.is_some() && binding == pair.listener.connection.channel_binding());
}

#[test]
fn the_muxer_is_agreed_inside_the_handshake_without_another_byte() {
    let mut pair = open_pair();
    pair.settle();
    for end in End::BOTH {
        assert_eq!(pair.connection(end).stats().records_sent, 0);
    }
}

#[test]
fn a_quiet_open_connection_has_no_timer_left() {
    let pair = open_pair();
    for side in [&pair.dialer, &pair.listener] {
        assert_eq!(side.connection.poll_timeout(), None);
        assert!(!side.connection.wants_transmit());
    }
}

#[test]
fn every_cut_of_the_handshake_gives_the_same_connection() {
    let transcript = |cuts| {
        let mut pair = Pair::new(PairConfig { cuts, ..echo_pair() });
        pair.settle();
        let binding = pair.dialer.connection.channel_binding();
        (binding, events(&mut pair, End::Dialer), events(&mut pair, End::Listener))
    };
    let whole = transcript(Cuts::Whole);
    assert!(whole.0.is_some());
    for size in 1..300 {
        assert_eq!(transcript(Cuts::Every(size)), whole, "pieces of {size}");
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let bytes = || {
        let mut pair = Pair::new(echo_pair());
        let mut all = Vec::new();
        for _ in 0..10 {
            for end in End::BOTH {
                pair.transmit(end);
                all.extend(pair.in_flight(end.other()).map(|bytes| bytes.clone()));
            }
            pair.settle();
        }
        all
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn a_dialer_refuses_another_peer_than_it_dialed_and_says_nothing_more() {
    let link = Link::dialer(ExpectedPeer::Exactly(identity(3).peer_id()), crate::Seed::from_bytes([1; 32]));
    let now = Instant::EPOCH;
    let dialer = Connection::new(link, Arc::new(serving(&[])), credentials(1), now);
    let link = Link::listener(crate::Seed::from_bytes([2; 32]));
    let listener = Connection::new(link, Arc::new(serving(&[])), credentials(2), now);
    let mut pair = Pair::join(dialer, listener, now, Duration::ZERO, Cuts::Whole);
    pair.settle();
    let expected = identity(3).peer_id();
    let found = identity(2).peer_id();
    let wrong = crate::noise::Error::WrongPeer { expected, found };
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::Protocol(ProtocolError::Noise(wrong))));
    // Message 3, which holds the dialer's identity, never left.
    assert_eq!(pair.listener.connection.peer(), None);
    assert_eq!(pair.listener.connection.close_reason(), Some(&CloseReason::Eof));
}

#[test]
fn a_node_that_dials_itself_is_denied_by_both_ends() {
    let now = Instant::EPOCH;
    let connection = |link| Connection::new(link, Arc::new(serving(&[])), credentials(1), now);
    let dialer = connection(Link::dialer(ExpectedPeer::Any, crate::Seed::from_bytes([1; 32])));
    let listener = connection(Link::listener(crate::Seed::from_bytes([2; 32])));
    let mut pair = Pair::join(dialer, listener, now, Duration::ZERO, Cuts::Whole);
    pair.settle();
    let denied = Some(CloseReason::Denied(DenyReason::SelfDial));
    assert_eq!(pair.dialer.connection.close_reason(), denied.as_ref());
    assert_eq!(pair.listener.connection.close_reason(), denied.as_ref());
}

#[test]
fn a_peer_without_early_negotiation_gets_multistream_for_the_muxer() {
    for role in [Role::Dialer, Role::Listener] {
        let mut peer = RawPeer::without_early_muxer(role, serving(&[ECHO]));
        peer.upgrade();
        assert!(peer.connection.is_open(), "{role:?}: {:?}", peer.connection.close_reason());
        // A ping proves that Yamux follows directly behind the negotiation.
        peer.send(&[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(peer.receive(), [0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7]);
    }
}

#[test]
fn ends_that_disagree_how_the_muxer_was_agreed_say_so() {
    // The connection agreed early and expects Yamux, the peer speaks multistream-select.
    let mut peer = RawPeer::new(Role::Dialer, serving(&[ECHO]));
    peer.upgrade();
    peer.send(b"\x13/multistream/1.0.0\n");
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Protocol(ProtocolError::MuxerMismatch)));
    // The connection expects multistream-select, the peer speaks Yamux.
    let mut peer = RawPeer::without_early_muxer(Role::Dialer, serving(&[ECHO]));
    peer.secure();
    peer.send(&[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Protocol(ProtocolError::MuxerMismatch)));
}

#[test]
fn a_peer_that_stops_at_any_step_runs_into_the_upgrade_timeout() {
    for end in End::BOTH {
        let mut bytes_before_open = 0;
        loop {
            let mut pair = Pair::new(PairConfig { cuts: Cuts::Every(16), ..echo_pair() });
            // The other end goes silent after so many of its bytes have arrived.
            let stopped = stop_after(&mut pair, end, bytes_before_open);
            if !stopped {
                break;
            }
            let start = Instant::EPOCH.saturating_add(Duration::from_secs(1));
            let deadline = start.saturating_add(Config::default().upgrade_timeout);
            let connection = pair.connection(end);
            assert_eq!(connection.poll_timeout(), Some(deadline));
            connection.handle_timeout(Instant::from_nanos(deadline.as_nanos() - 1));
            assert!(!connection.is_closed());
            connection.handle_timeout(deadline);
            assert_eq!(connection.close_reason(), Some(&CloseReason::UpgradeTimeout));
            bytes_before_open += 7;
        }
        assert!(bytes_before_open > 100, "the handshake has more bytes than that");
    }
}

#[test]
fn a_transport_that_ends_at_any_byte_of_the_upgrade_is_a_named_end() {
    for end in End::BOTH {
        let mut bytes_before_end = 0;
        loop {
            let mut pair = Pair::new(echo_pair());
            let stopped = stop_after(&mut pair, end, bytes_before_end);
            let now = pair.now;
            let connection = pair.connection(end);
            connection.handle_recv_eof(now);
            assert!(connection.is_closed());
            let named = [CloseReason::Eof, CloseReason::Truncated, CloseReason::DeniedByRemote];
            assert!(named.contains(connection.close_reason().unwrap()), "{end:?} at {bytes_before_end}");
            if !stopped {
                break;
            }
            bytes_before_end += 1;
        }
        assert!(bytes_before_end > 200, "the handshake has more bytes than that");
    }
}

/// Feeds `end` only the first `limit` bytes of its peer; false if that was enough to open.
fn stop_after(pair: &mut Pair, end: End, limit: usize) -> bool {
    let mut left = limit;
    loop {
        pair.transmit(end);
        let to_peer: Vec<u8> = pair.in_flight(end.other()).flat_map(core::mem::take).collect();
        let now = pair.now;
        let mut to_peer = to_peer;
        pair.connection(end.other()).handle_recv(now, &mut to_peer).unwrap();
        pair.transmit(end.other());
        let mut answer: Vec<u8> = pair.in_flight(end).flat_map(core::mem::take).collect();
        let all = answer.len();
        answer.truncate(left);
        left -= answer.len();
        pair.connection(end).handle_recv(now, &mut answer).unwrap();
        if pair.connection(end).is_open() {
            return false;
        }
        if left == 0 || all == 0 {
            return true;
        }
    }
}

#[test]
fn every_flipped_byte_of_the_upgrade_closes_the_connection() {
    // Bytes of the listener's answers and of the dialer's messages, found by running once.
    for end in End::BOTH {
        let mut position = 0;
        while flip(end, position) {
            position += 1;
        }
        assert!(position > 200, "{end:?}: only {position} bytes were tried");
    }
}

/// Flips one bit in the `position`-th byte that `end` receives; false if it receives fewer.
fn flip(end: End, position: usize) -> bool {
    let mut pair = Pair::new(echo_pair());
    let mut seen = 0;
    let mut flipped = false;
    for _ in 0..8 {
        for sender in End::BOTH {
            pair.transmit(sender);
            if sender.other() == end {
                for bytes in pair.in_flight(end) {
                    if let Some(byte) = position.checked_sub(seen).and_then(|at| bytes.get_mut(at)) {
                        *byte ^= 0x10;
                        flipped = true;
                    }
                    seen += bytes.len();
                }
            }
            pair.deliver(sender.other());
        }
    }
    if flipped {
        pair.run_for(Duration::from_secs(30));
        for end in End::BOTH {
            assert!(pair.connection(end).is_closed(), "{end:?} survived a flip at byte {position}");
        }
    }
    flipped
}

#[test]
fn manual_admission_holds_yamux_back_and_bounds_what_waits() {
    let mut config = serving(&[ECHO]);
    config.admission = Admission::Manual;
    let mut pair = Pair::new(PairConfig { listener: config, ..echo_pair() });
    pair.settle();
    assert_eq!(events(&mut pair, End::Listener), [Event::Secured { peer: identity(1).peer_id() }]);
    assert!(pair.dialer.connection.is_open());
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    let data = pseudo_random(256 * 1024, 1);
    let written = pair.dialer.connection.stream(id).write(&data).unwrap();
    pair.settle();
    assert_eq!(events(&mut pair, End::Listener), []);
    assert!(pair.listener.connection.recv_room() < 64 * 1024);
    assert!(pair.listener.connection.memory_used() <= 3 * MAX_RECV);
    pair.listener.connection.admit(now);
    pair.settle();
    assert_eq!(events(&mut pair, End::Listener), [Event::Open, Event::Ready, Event::Incoming]);
    assert_eq!(pair.listener.connection.accept(), Some(id));
    let (got, end) = read_all(&mut pair.listener.connection, id);
    assert_eq!((got.len(), end), (written, Err(ReadError::Blocked)));
    assert!(got == data[..written]);
}

#[test]
fn a_peer_that_says_all_and_leaves_before_it_is_admitted_is_still_heard() {
    for admit in [true, false] {
        let mut config = serving(&[ECHO]);
        config.admission = Admission::Manual;
        let mut pair = Pair::new(PairConfig { listener: config, ..echo_pair() });
        pair.run_until(|pair| pair.dialer.connection.is_open());
        let now = pair.now;
        let dialer = &mut pair.dialer.connection;
        let id = dialer.open(now, &[ECHO]).unwrap();
        dialer.stream(id).write(b"said and gone").unwrap();
        dialer.stream(id).finish().unwrap();
        pair.settle();
        pair.dialer.connection.handle_io_error(now);
        pair.settle();
        let listener = &mut pair.listener.connection;
        assert!(!listener.is_closed());
        assert_eq!(listener.recv_room(), 0, "there is nothing more to read");
        if admit {
            listener.admit(now);
            assert_eq!(listener.close_reason(), Some(&CloseReason::Eof));
            assert_eq!(listener.accept(), Some(id));
            assert_eq!(read_all(listener, id), (b"said and gone".to_vec(), Ok(())));
        } else {
            listener.deny(now, DenyReason::Limit);
            assert_eq!(listener.close_reason(), Some(&CloseReason::Denied(DenyReason::Limit)));
            assert_eq!(listener.accept(), None);
        }
        assert!(listener.is_closed() && !listener.wants_transmit());
        assert_eq!(listener.poll_timeout(), None);
    }
}

#[test]
fn more_input_than_there_is_room_for_is_refused_whole() {
    let mut pair = open_pair();
    let now = pair.now;
    let mut too_much = alloc::vec![0; MAX_RECV + 1];
    let refused = pair.listener.connection.handle_recv(now, &mut too_much);
    assert_eq!(refused, Err(NoRoom { given: MAX_RECV + 1, room: MAX_RECV }));
    assert!(pair.listener.connection.is_open());
}

#[test]
fn a_denied_dialer_learns_that_it_was_denied() {
    for (reason, _code) in [(DenyReason::Banned, 0x1007), (DenyReason::Limit, 0x1001), (DenyReason::Duplicate, 0x1004)]
    {
        let mut config = serving(&[ECHO]);
        config.admission = Admission::Manual;
        let mut pair = Pair::new(PairConfig { listener: config, ..echo_pair() });
        pair.settle();
        let now = pair.now;
        pair.listener.connection.deny(now, reason);
        pair.run_until(|pair| pair.dialer.connection.is_closed() && pair.listener.connection.is_closed());
        assert_eq!(pair.listener.connection.close_reason(), Some(&CloseReason::Denied(reason)));
        assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::DeniedByRemote));
    }
}

#[test]
fn a_dialer_whose_connection_ends_before_the_first_frame_was_denied_too() {
    let mut pair = open_pair();
    let now = pair.now;
    pair.dialer.connection.handle_recv_eof(now);
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::DeniedByRemote));
    // A listener has nobody to be denied by.
    pair.listener.connection.handle_recv_eof(now);
    assert_eq!(pair.listener.connection.close_reason(), Some(&CloseReason::Eof));
}

#[test]
fn an_output_buffer_below_the_minimum_is_refused_and_the_minimum_works() {
    let mut pair = Pair::new(echo_pair());
    let now = pair.now;
    let mut small = [0; MIN_TRANSMIT - 1];
    assert_eq!(pair.dialer.connection.poll_transmit(now, &mut small), Err(TransmitError::TooSmall));
    let mut buffer = [0; MIN_TRANSMIT];
    for _ in 0..1000 {
        for (from, to) in [(End::Dialer, End::Listener), (End::Listener, End::Dialer)] {
            let n = pair.connection(from).poll_transmit(now, &mut buffer).unwrap();
            pair.connection(to).handle_recv(now, &mut buffer[..n]).unwrap();
        }
    }
    assert!(pair.dialer.connection.is_open() && pair.listener.connection.is_open());
}

proptest! {
    #[test]
    fn random_cuts_and_latencies_always_end_open(seed: [u8; 32], max in 1usize..2000, millis in 0u64..2000) {
        let mut pair = Pair::new(PairConfig {
            cuts: Cuts::Random { seed: crate::Seed::from_bytes(seed), max },
            latency: Duration::from_millis(millis),
            ..echo_pair()
        });
        prop_assert!(pair.run_until(|pair| pair.dialer.connection.is_open() && pair.listener.connection.is_open()));
    }
}

#[test]
fn the_first_handshake_message_rides_with_the_proposal() {
    let mut pair = Pair::new(echo_pair());
    assert!(pair.transmit(End::Dialer));
    let first: Vec<u8> = pair.in_flight(End::Listener).flat_map(|bytes| bytes.clone()).collect();
    let proposal = b"\x13/multistream/1.0.0\n\x07/noise\n";
    assert_eq!(first[..proposal.len()], *proposal);
    // A 32-byte ephemeral key behind its length.
    assert_eq!(first[proposal.len()..][..2], [0, 32]);
    assert_eq!(first.len(), proposal.len() + 34);
    pair.deliver(End::Listener);
    pair.transmit(End::Listener);
    let answer: Vec<u8> = pair.in_flight(End::Dialer).flat_map(|bytes| bytes.clone()).collect();
    assert_eq!(answer[..proposal.len()], *proposal);
    assert!(answer.len() > proposal.len() + 96, "the answer brings the second message");
}
