//! Every way in which a connection ends.

use super::*;
use crate::testing::RawPeer;

fn run_to_the_end(pair: &mut Pair) {
    let closed = |pair: &Pair| pair.dialer.connection.is_closed() && pair.listener.connection.is_closed();
    assert!(pair.run_until(closed), "{:?} {:?}", pair.dialer.connection, pair.listener.connection);
    for end in End::BOTH {
        let count = events(pair, end).iter().filter(|event| **event == Event::Closed).count();
        assert_eq!(count, 1, "{end:?} reports its end exactly once");
        assert_eq!(pair.connection(end).poll_timeout(), None);
        assert!(!pair.connection(end).wants_transmit());
    }
}

#[test]
fn a_close_flushes_what_was_written_and_then_says_goodbye() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    let data = pseudo_random(200_000, 3);
    assert_eq!(pair.dialer.connection.stream(id).write(&data), Ok(data.len()));
    pair.dialer.connection.stream(id).finish().unwrap();
    let now = pair.now;
    pair.dialer.connection.close(now, codes::connection::SHUTDOWN);
    run_to_the_end(&mut pair);
    assert_eq!(read_all(&mut pair.listener.connection, id), (data, Ok(())));
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::Local));
    let remote = CloseReason::Remote { code: codes::connection::SHUTDOWN };
    assert_eq!(pair.listener.connection.close_reason(), Some(&remote));
    assert_eq!(pair.listener.connection.stream(id).write(b"x"), Err(WriteError::ConnectionLost(remote.clone())));
    let now = pair.now;
    assert_eq!(pair.listener.connection.open(now, &[ECHO]), Err(OpenError::ConnectionLost(remote)));
}

#[test]
fn sixteen_mebibytes_and_then_a_close_lose_nothing() {
    let mut pair = Pair::open(PairConfig { latency: Duration::from_millis(5), ..echo_pair() });
    let id = open_stream_with_latency(&mut pair);
    let data = pseudo_random(16 << 20, 4);
    let mut sent = 0;
    let mut got = Vec::new();
    while sent < data.len() {
        match pair.dialer.connection.stream(id).write(&data[sent..]) {
            Ok(n) => sent += n,
            Err(WriteError::Blocked) => {
                pair.step();
                got.extend(read_all(&mut pair.listener.connection, id).0);
            }
            Err(error) => panic!("{error}"),
        }
    }
    pair.dialer.connection.stream(id).finish().unwrap();
    let now = pair.now;
    pair.dialer.connection.close(now, 0);
    while !pair.dialer.connection.is_closed() {
        assert!(pair.step());
        got.extend(read_all(&mut pair.listener.connection, id).0);
    }
    let (rest, end) = read_all(&mut pair.listener.connection, id);
    got.extend(rest);
    assert_eq!(end, Ok(()));
    assert!(got == data);
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::Local));
}

fn open_stream_with_latency(pair: &mut Pair) -> StreamId {
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.listener.connection.accept(), Some(id));
    id
}

#[test]
fn while_draining_no_stream_can_be_opened_from_either_side() {
    let mut pair = Pair::open(PairConfig { latency: Duration::from_millis(5), ..echo_pair() });
    let held = open_stream_with_latency(&mut pair);
    // A full window keeps the drain from ending.
    let data = alloc::vec![1; 600_000];
    while pair.dialer.connection.stream(held).write(&data).is_ok() {
        pair.run_for(Duration::from_millis(20));
    }
    let now = pair.now;
    pair.dialer.connection.close(now, 0);
    assert!(!pair.dialer.connection.is_open());
    assert_eq!(pair.dialer.connection.open(now, &[ECHO]), Err(OpenError::Closing));
    let refused = pair.listener.connection.open(now, &[ECHO]).unwrap();
    pair.listener.events.clear();
    pair.run_for(Duration::from_millis(50));
    let reason = RefuseReason::Reset(codes::stream::SHUTDOWN);
    assert!(events(&mut pair, End::Listener).contains(&Event::Refused { id: refused, reason }));
}

#[test]
fn a_peer_that_does_not_take_the_data_delays_a_close_only_until_the_drain_timeout() {
    let mut pair = Pair::open(echo_pair());
    let id = open_stream(&mut pair, End::Dialer);
    let data = alloc::vec![1; 600_000];
    while pair.dialer.connection.stream(id).write(&data).is_ok() {
        pair.settle();
    }
    let start = pair.now;
    pair.dialer.connection.close(start, 0);
    run_to_the_end(&mut pair);
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::DrainTimeout));
    let took = pair.now.saturating_duration_since(start);
    assert!(took <= 2 * Config::default().drain_timeout, "{took:?}");
}

#[test]
fn a_peer_that_never_closes_its_side_is_left_after_the_linger() {
    let mut peer = RawPeer::new(Role::Dialer, serving(&[]));
    peer.upgrade();
    peer.connection.close(peer.now, 0);
    assert_eq!(peer.receive(), [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(peer.connection.wants_shutdown());
    // It goes on talking; all of it is discarded.
    peer.send(&[0xff; 100]);
    let deadline = peer.connection.poll_timeout().unwrap();
    peer.connection.handle_timeout(deadline);
    assert!(peer.connection.is_closed());
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Local));
}

#[test]
fn a_second_close_changes_nothing() {
    let mut pair = open_pair();
    let now = pair.now;
    pair.dialer.connection.close(now, 1);
    pair.dialer.connection.close(now, 2);
    run_to_the_end(&mut pair);
    let now = pair.now;
    pair.dialer.connection.close(now, 3);
    assert_eq!(pair.listener.connection.close_reason(), Some(&CloseReason::Remote { code: 1 }));
}

#[test]
fn both_ends_may_close_at_once() {
    let mut pair = Pair::open(PairConfig { latency: Duration::from_millis(5), ..echo_pair() });
    let now = pair.now;
    for end in End::BOTH {
        pair.connection(end).close(now, 0);
    }
    run_to_the_end(&mut pair);
    for end in End::BOTH {
        assert_eq!(pair.connection(end).close_reason(), Some(&CloseReason::Local));
    }
}

#[test]
fn a_close_before_the_connection_is_open_ends_it_at_once() {
    for steps in 0..3 {
        let mut pair = Pair::new(echo_pair());
        for _ in 0..steps {
            pair.transmit(End::Dialer);
            pair.deliver(End::Listener);
            pair.transmit(End::Listener);
            pair.deliver(End::Dialer);
        }
        if pair.listener.connection.is_open() {
            break;
        }
        let now = pair.now;
        pair.listener.connection.close(now, 0);
        assert_eq!(pair.listener.connection.close_reason(), Some(&CloseReason::Local));
        run_to_the_end(&mut pair);
        let reason = pair.dialer.connection.close_reason().cloned().unwrap();
        assert!(matches!(reason, CloseReason::Eof | CloseReason::DeniedByRemote), "{steps}: {reason:?}");
    }
}

#[test]
fn buffered_data_stays_readable_after_the_transport_is_cut() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    pair.dialer.connection.stream(id).write(b"last words").unwrap();
    pair.settle();
    let now = pair.now;
    pair.listener.connection.handle_io_error(now);
    let lost = Err(ReadError::ConnectionLost(CloseReason::Io));
    assert_eq!(read_all(&mut pair.listener.connection, id), (b"last words".to_vec(), lost));
}

#[test]
fn an_end_of_stream_inside_a_record_or_frame_is_a_truncation() {
    // Inside a record.
    let mut peer = RawPeer::new(Role::Listener, serving(&[]));
    peer.upgrade();
    peer.send_raw(&[0, 40, 1, 2, 3]);
    peer.connection.handle_recv_eof(peer.now);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Truncated));
    // Inside a frame.
    let mut peer = RawPeer::new(Role::Listener, serving(&[]));
    peer.upgrade();
    peer.send(&[0, 2, 0]);
    peer.connection.handle_recv_eof(peer.now);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Truncated));
    // Between two frames: how go-libp2p says goodbye.
    let mut peer = RawPeer::new(Role::Listener, serving(&[]));
    peer.upgrade();
    peer.send(&[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    peer.connection.handle_recv_eof(peer.now);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Eof));
}

#[test]
fn a_transport_that_takes_nothing_for_too_long_is_given_up() {
    let mut pair = open_pair();
    let now = pair.now;
    let connection = &mut pair.dialer.connection;
    connection.handle_transmit_blocked(now);
    let deadline = now.saturating_add(Config::default().write_stall_timeout);
    assert_eq!(connection.poll_timeout(), Some(deadline));
    // Blocked again later: the timer runs from the first time.
    connection.handle_transmit_blocked(now.saturating_add(Duration::from_secs(1)));
    assert_eq!(connection.poll_timeout(), Some(deadline));
    // Bytes move: the timer starts over.
    connection.handle_transmitted(now);
    assert_eq!(connection.poll_timeout(), None);
    connection.handle_transmit_blocked(now);
    let deadline = connection.poll_timeout().unwrap();
    connection.handle_timeout(deadline);
    assert_eq!(connection.close_reason(), Some(&CloseReason::WriteStall));
}

#[test]
fn a_peer_that_answers_no_ping_is_given_up() {
    let mut config = serving(&[]);
    Arc::make_mut(&mut config.yamux).keep_alive = yamux::Config::default().keep_alive;
    let mut peer = RawPeer::new(Role::Dialer, config);
    peer.upgrade();
    for _ in 0..10 {
        peer.receive();
        let Some(deadline) = peer.connection.poll_timeout() else { break };
        peer.connection.handle_timeout(deadline);
    }
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::KeepAliveTimeout));
}

#[test]
fn an_answered_ping_gives_the_round_trip_time() {
    let mut config = serving(&[]);
    Arc::make_mut(&mut config.yamux).keep_alive = yamux::Config::default().keep_alive;
    let latency = Duration::from_millis(20);
    let mut pair = Pair::open(PairConfig { dialer: config, latency, ..echo_pair() });
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.dialer.connection.rtt(), Some(2 * latency));
    assert!(pair.dialer.connection.is_open());
}

#[test]
fn a_clock_that_runs_backwards_does_no_harm() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    pair.run_for(Duration::from_secs(5));
    for end in End::BOTH {
        pair.connection(end).handle_timeout(Instant::EPOCH);
    }
    pair.dialer.connection.stream(id).write(b"x").unwrap();
    pair.settle();
    assert_eq!(read_all(&mut pair.listener.connection, id).0, b"x");
}

/// The stream ends on both sides and is given back.
fn end_stream(pair: &mut Pair, id: StreamId) {
    for end in End::BOTH {
        let _ = pair.connection(end).stream(id).finish();
    }
    pair.run_for(Duration::from_millis(20));
    for end in End::BOTH {
        assert_eq!(pair.connection(end).stream(id).read(&mut [0; 8]), Ok(0));
        pair.connection(end).stream(id).release();
    }
}

#[test]
fn a_connection_that_retires_lets_its_streams_end() {
    let mut pair = open_pair();
    let (ours, theirs) = (open_stream(&mut pair, End::Dialer), open_stream(&mut pair, End::Listener));
    let now = pair.now;
    pair.dialer.connection.retire(now, codes::connection::SUPPLANTED);
    pair.dialer.connection.retire(now, codes::connection::SHUTDOWN);
    assert_eq!(pair.dialer.connection.open(now, &[ECHO]), Err(OpenError::Closing));
    // The peer does not know, and is still served.
    let late = open_stream(&mut pair, End::Listener);
    pair.run_for(Duration::from_secs(5));
    for id in [ours, theirs, late] {
        assert_eq!(pair.dialer.connection.stream(id).write(b"still here"), Ok(10));
        pair.run_for(Duration::from_millis(20));
        assert_eq!(read_all(&mut pair.listener.connection, id).0, b"still here");
        assert!(!pair.dialer.connection.is_closed());
        end_stream(&mut pair, id);
    }
    run_to_the_end(&mut pair);
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::Local));
    let remote = CloseReason::Remote { code: codes::connection::SUPPLANTED };
    assert_eq!(pair.listener.connection.close_reason(), Some(&remote), "the first call counts");
}

#[test]
fn a_connection_without_streams_retires_in_a_second_and_one_with_an_endless_stream_at_its_deadline() {
    for with_stream in [false, true] {
        let mut pair = open_pair();
        if with_stream {
            open_stream(&mut pair, End::Dialer);
        }
        let begin = pair.now;
        pair.dialer.connection.retire(begin, 7);
        run_to_the_end(&mut pair);
        let took = pair.now.saturating_duration_since(begin);
        let least = Duration::from_secs(if with_stream { 11 } else { 1 });
        assert!(took >= least && took < least + Duration::from_secs(2), "{took:?}");
        assert_eq!(pair.listener.connection.close_reason(), Some(&CloseReason::Remote { code: 7 }));
    }
}

#[test]
fn a_close_overtakes_a_retirement() {
    let mut pair = open_pair();
    open_stream(&mut pair, End::Dialer);
    let begin = pair.now;
    pair.dialer.connection.retire(begin, 7);
    pair.dialer.connection.close(begin, codes::connection::SHUTDOWN);
    run_to_the_end(&mut pair);
    assert!(pair.now.saturating_duration_since(begin) < Duration::from_secs(3));
    let remote = CloseReason::Remote { code: codes::connection::SHUTDOWN };
    assert_eq!(pair.listener.connection.close_reason(), Some(&remote));
}

#[test]
fn a_connection_that_is_not_open_yet_does_not_retire_but_close() {
    let mut pair = Pair::new(echo_pair());
    let now = pair.now;
    pair.dialer.connection.retire(now, 7);
    run_to_the_end(&mut pair);
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::Local));
}
