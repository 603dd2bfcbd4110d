//! Things that happen at the same time: the goodbye and the last data, an answer and a change of mind,
//! an event and the call that overtakes it.

use super::*;
use crate::testing::RawPeer;

const SYN: u8 = 1;
const FIN: u8 = 4;
const RST: u8 = 8;

fn window_update(flags: u8, id: u8) -> Vec<u8> {
    alloc::vec![0, 1, 0, flags, 0, 0, 0, id, 0, 0, 0, 0]
}

fn data(flags: u8, id: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = alloc::vec![0, 0, 0, flags, 0, 0, 0, id, 0, 0, 0, u8::try_from(body.len()).unwrap()];
    frame.extend(body);
    frame
}

fn go_away(code: u8) -> Vec<u8> {
    alloc::vec![0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, code]
}

/// multistream-select's header and the proposal of [`ECHO`], with `body` behind it.
fn proposal(body: &[u8]) -> Vec<u8> {
    [b"\x13/multistream/1.0.0\n\x0d/test/echo/1\n", body].concat()
}

fn listening_to_raw_peer() -> RawPeer {
    let mut peer = RawPeer::new(Role::Listener, serving(&[ECHO]));
    peer.upgrade();
    while peer.connection.poll_event().is_some() {}
    peer
}

fn taken(connection: &mut Connection) -> Vec<Event> {
    core::iter::from_fn(|| connection.poll_event()).collect()
}

fn id(number: u8) -> StreamId {
    let mut pair = open_pair();
    let end = if number % 2 == 1 { End::Dialer } else { End::Listener };
    let now = pair.now;
    let open = || pair.connection(end).open(now, &[ECHO]).unwrap();
    core::iter::repeat_with(open).find(|id| id.get() == u32::from(number)).unwrap()
}

#[test]
fn a_stream_that_arrives_together_with_the_goodbye_can_be_accepted_and_read() {
    for cuts in [Cuts::Whole, Cuts::Every(1), Cuts::Every(50)] {
        let mut pair = Pair::open(PairConfig { cuts, ..echo_pair() });
        let now = pair.now;
        let dialer = &mut pair.dialer.connection;
        let id = dialer.open(now, &[ECHO]).unwrap();
        dialer.stream(id).write(b"all I had to say").unwrap();
        dialer.stream(id).finish().unwrap();
        dialer.close(now, 0);
        pair.settle();
        assert!(pair.listener.connection.is_closed());
        assert_eq!(events(&mut pair, End::Listener), [Event::Incoming, Event::Closed]);
        let listener = &mut pair.listener.connection;
        assert_eq!(listener.accept(), Some(id));
        assert_eq!(listener.stream(id).protocol(), Some(&ECHO));
        assert_eq!(read_all(listener, id), (b"all I had to say".to_vec(), Ok(())));
        let lost = WriteError::ConnectionLost(CloseReason::Remote { code: 0 });
        assert_eq!(listener.stream(id).write(b"thanks"), Err(lost));
        assert_eq!(listener.accept(), None);
        assert_eq!(listener.poll_event(), None, "nothing follows Closed");
    }
}

#[test]
fn a_negotiation_that_ends_together_with_the_connection_counts() {
    let mut peer = listening_to_raw_peer();
    peer.send(&window_update(SYN, 1));
    peer.send(&[data(0, 1, &proposal(b"late")), data(FIN, 1, b""), go_away(0)].concat());
    assert_eq!(taken(&mut peer.connection), [Event::Incoming]);
    assert_eq!(peer.connection.accept(), Some(id(1)));
    assert_eq!(taken(&mut peer.connection), [Event::Readable { id: id(1) }]);
    assert_eq!(read_all(&mut peer.connection, id(1)), (b"late".to_vec(), Ok(())));
}

#[test]
fn what_came_before_a_broken_rule_in_the_same_read_counts() {
    let mut peer = listening_to_raw_peer();
    peer.send(&[data(SYN, 1, &proposal(b"honest")), data(SYN, 1, b"")].concat());
    let reason = CloseReason::Protocol(ProtocolError::Yamux(yamux::Violation::DuplicateStream));
    assert_eq!(peer.connection.close_reason(), Some(&reason));
    assert_eq!(peer.connection.accept(), Some(id(1)));
    let lost = Err(ReadError::ConnectionLost(reason));
    assert_eq!(read_all(&mut peer.connection, id(1)), (b"honest".to_vec(), lost));
}

#[test]
fn accepting_after_the_transport_was_cut_announces_readable_before_closed() {
    let mut peer = listening_to_raw_peer();
    peer.send(&data(SYN, 1, &proposal(b"")));
    peer.connection.handle_io_error(peer.now);
    assert_eq!(peer.connection.accept(), Some(id(1)));
    assert_eq!(taken(&mut peer.connection), [Event::Incoming, Event::Readable { id: id(1) }, Event::Closed]);
    let lost = Err(ReadError::ConnectionLost(CloseReason::Io));
    assert_eq!(read_all(&mut peer.connection, id(1)), (Vec::new(), lost));
}

#[test]
fn a_stream_that_was_not_accepted_yet_does_not_exist_for_the_application() {
    let mut peer = listening_to_raw_peer();
    peer.send(&data(SYN, 1, &proposal(b"data")));
    let mut stream = peer.connection.stream(id(1));
    assert_eq!(stream.protocol(), None);
    assert_eq!(stream.read(&mut [0]), Err(ReadError::Unknown));
    assert_eq!(stream.write(b"x"), Err(WriteError::Unknown));
    assert_eq!(stream.finish(), Err(WriteError::Unknown));
    stream.reset(1);
    stream.stop(1);
    stream.release();
    assert_eq!(peer.connection.accept(), Some(id(1)));
    assert_eq!(read_all(&mut peer.connection, id(1)).0, b"data");
}

#[test]
fn an_id_that_is_used_again_within_the_negotiation_timeout_does_no_harm() {
    let mut peer = listening_to_raw_peer();
    peer.send(&window_update(SYN, 1));
    let first = peer.connection.poll_timeout().unwrap();
    // Data after FIN: the session resets the stream while its negotiation is under way.
    peer.send(&[data(FIN, 1, b""), data(0, 1, b"more")].concat());
    peer.now = peer.now.saturating_add(Duration::from_secs(5));
    peer.send(&window_update(SYN, 1));
    let second = peer.connection.poll_timeout().unwrap();
    assert!(second > first, "the first negotiation is over");
    for deadline in [first, second] {
        peer.connection.handle_timeout(deadline);
    }
    assert_eq!(peer.connection.poll_timeout(), None);
    assert_eq!(peer.connection.stats().streams, 0);
    assert!(peer.connection.is_open());
}

#[test]
fn an_id_that_the_application_still_holds_cannot_be_used_again() {
    let mut peer = listening_to_raw_peer();
    peer.send(&data(SYN, 1, &proposal(b"")));
    assert_eq!(peer.connection.accept(), Some(id(1)));
    // Finished and stopped: the session has forgotten the stream, its handle has not.
    peer.connection.stream(id(1)).finish().unwrap();
    peer.receive();
    peer.connection.stream(id(1)).stop(9);
    peer.receive();
    peer.send(&data(SYN, 1, &proposal(b"impostor")));
    assert_eq!(peer.connection.accept(), None);
    assert_eq!(peer.connection.stream(id(1)).read(&mut [0]), Err(ReadError::Unknown));
    assert!(peer.receive().ends_with(&[0, 1, 0, RST, 0, 0, 0, 1, 0, 0, 0x10, 0x04]));
    assert_eq!(peer.connection.stats().streams, 0);
}

#[test]
fn streams_reset_for_data_after_fin_count_as_streams_until_they_are_accepted_and_released() {
    let mut peer = listening_to_raw_peer();
    let limit = Config::default().yamux.max_streams;
    for number in 0..2 * u32::try_from(limit).unwrap() {
        let mut frames = [data(SYN, 1, &proposal(b"")), data(FIN, 1, b""), data(0, 1, b"more")];
        for frame in &mut frames {
            frame.splice(4..8, (2 * number + 1).to_be_bytes());
            peer.send(frame);
        }
        peer.receive();
    }
    assert_eq!(peer.connection.stats().streams, limit);
    assert!(peer.connection.memory_used() < 128 * 1024, "{}", peer.connection.memory_used());
    let ids: Vec<_> = core::iter::from_fn(|| peer.connection.accept()).collect();
    assert_eq!(ids.len(), limit);
    for id in ids {
        assert_eq!(read_all(&mut peer.connection, id), (Vec::new(), Ok(())));
        assert_eq!(peer.connection.stream(id).write(b"x"), Err(WriteError::Reset(codes::stream::PROTOCOL_VIOLATION)));
        peer.connection.stream(id).release();
    }
    assert_eq!(peer.connection.stats().streams, 0);
}

#[test]
fn a_storm_of_resets_is_noticed_even_if_each_comes_in_a_read_of_its_own() {
    let mut peer = listening_to_raw_peer();
    let limit = Config::default().yamux.max_unaccepted_resets;
    for number in 0..=limit {
        assert!(peer.connection.is_open(), "only {number} resets");
        for flags in [SYN, RST] {
            let mut frame = window_update(flags, 1);
            frame.splice(4..8, (2 * number + 1).to_be_bytes());
            peer.send(&frame);
        }
    }
    let reason = CloseReason::Protocol(ProtocolError::Yamux(yamux::Violation::RapidReset));
    assert_eq!(peer.connection.close_reason(), Some(&reason));
    assert!(peer.receive().ends_with(&go_away(1)));
}

#[test]
fn a_stream_that_is_only_written_outlives_its_negotiation() {
    for protocols in [&[ECHO][..], &[OTHER, ECHO][..]] {
        let mut pair = open_pair();
        let now = pair.now;
        let id = pair.dialer.connection.open(now, protocols).unwrap();
        pair.dialer.connection.stream(id).stop(7);
        assert_eq!(pair.dialer.connection.stream(id).read(&mut [0]), Err(ReadError::Unknown));
        pair.run_for(Duration::from_secs(60));
        assert!(!events(&mut pair, End::Dialer).contains(&Event::Readable { id }));
        assert_eq!(pair.dialer.connection.stream(id).protocol(), Some(&ECHO));
        assert_eq!(pair.dialer.connection.stream(id).write(b"still here"), Ok(10));
        pair.settle();
        assert_eq!(pair.listener.connection.accept(), Some(id));
        assert_eq!(read_all(&mut pair.listener.connection, id).0, b"still here");
        assert_eq!(pair.dialer.connection.stream(id).read(&mut [0]), Err(ReadError::Unknown));
    }
}

#[test]
fn a_stream_reset_before_the_answer_is_gone_at_once() {
    for protocols in [&[ECHO][..], &[OTHER, ECHO][..]] {
        let mut peer = RawPeer::new(Role::Dialer, serving(&[]));
        peer.upgrade();
        while peer.connection.poll_event().is_some() {}
        let id = peer.connection.open(peer.now, protocols).unwrap();
        peer.receive();
        peer.connection.stream(id).reset(3);
        assert_eq!(peer.connection.stream(id).read(&mut [0]), Err(ReadError::Unknown));
        assert_eq!(peer.connection.stream(id).write(b"x"), Err(WriteError::Unknown));
        assert_eq!(peer.connection.stream(id).finish(), Err(WriteError::Unknown));
        assert_eq!(peer.receive()[8..], [0, 0, 0, 3]);
        assert_eq!(peer.connection.poll_timeout(), None);
        assert_eq!(taken(&mut peer.connection), []);
        peer.connection.stream(id).release();
    }
}

#[test]
fn a_stream_finished_and_given_up_before_the_answer_still_ends_cleanly() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[OTHER, ECHO]).unwrap();
    pair.dialer.connection.stream(id).finish().unwrap();
    assert_eq!(pair.dialer.connection.stream(id).write(b"x"), Err(WriteError::Finished));
    pair.dialer.connection.stream(id).release();
    assert_eq!(pair.dialer.connection.stream(id).read(&mut [0]), Err(ReadError::Unknown));
    pair.settle();
    assert_eq!(pair.listener.connection.accept(), Some(id));
    assert_eq!(read_all(&mut pair.listener.connection, id), (Vec::new(), Ok(())));
    assert_eq!(events(&mut pair, End::Dialer), []);
    assert_eq!(pair.dialer.connection.stats().streams, 0);
}

#[test]
fn a_close_waits_for_an_end_of_stream_that_waits_for_its_answer() {
    let mut pair = Pair::open(PairConfig { latency: Duration::from_millis(5), ..echo_pair() });
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[OTHER, ECHO]).unwrap();
    pair.dialer.connection.stream(id).finish().unwrap();
    pair.dialer.connection.close(now, 0);
    pair.run_until(|pair| pair.dialer.connection.is_closed() && pair.listener.connection.is_closed());
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::Local));
    assert_eq!(pair.listener.connection.accept(), Some(id));
    assert_eq!(read_all(&mut pair.listener.connection, id), (Vec::new(), Ok(())));
    // A peer that never answers delays it no longer than the drain timeout.
    let mut peer = RawPeer::new(Role::Dialer, serving(&[]));
    peer.upgrade();
    let id = peer.connection.open(peer.now, &[OTHER, ECHO]).unwrap();
    peer.connection.stream(id).finish().unwrap();
    peer.connection.close(peer.now, 0);
    peer.receive();
    assert!(!peer.connection.wants_shutdown());
    let deadline = peer.connection.poll_timeout().unwrap();
    assert_eq!(deadline, peer.now.saturating_add(Config::default().drain_timeout));
    peer.connection.handle_timeout(deadline);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::DrainTimeout));
    assert_eq!(peer.receive(), go_away(0));
}

#[test]
fn what_is_written_after_a_close_and_before_the_goodbye_leaves_too() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    let now = pair.now;
    let dialer = &mut pair.dialer.connection;
    dialer.stream(id).write(b"one ").unwrap();
    dialer.close(now, 0);
    dialer.stream(id).write(b"two").unwrap();
    dialer.stream(id).finish().unwrap();
    pair.settle();
    assert_eq!(read_all(&mut pair.listener.connection, id), (b"one two".to_vec(), Ok(())));
}

#[test]
fn an_event_that_a_call_has_overtaken_is_taken_back() {
    let mut peer = listening_to_raw_peer();
    peer.send(&data(SYN, 1, &proposal(b"")));
    assert_eq!(peer.connection.accept(), Some(id(1)));
    assert_eq!(peer.connection.accept(), None);
    assert_eq!(taken(&mut peer.connection), [], "Incoming was overtaken");
    peer.send(&data(0, 1, b"a"));
    // The application reads before it looks at events.
    let blocked = Err(ReadError::Blocked);
    assert_eq!(read_all(&mut peer.connection, id(1)), (b"a".to_vec(), blocked.clone()));
    assert_eq!(taken(&mut peer.connection), []);
    peer.send(&data(0, 1, b"b"));
    assert_eq!(read_all(&mut peer.connection, id(1)), (b"b".to_vec(), blocked));
    peer.send(&data(0, 1, b"c"));
    assert_eq!(taken(&mut peer.connection), [Event::Readable { id: id(1) }]);
    peer.send(&data(SYN, 3, &proposal(b"")));
    assert_eq!(taken(&mut peer.connection), [Event::Incoming]);
}

#[test]
fn a_blocked_open_is_told_once_and_also_when_the_connection_closes() {
    let mut config = echo_pair();
    Arc::make_mut(&mut config.dialer.yamux).max_streams = 1;
    let mut pair = Pair::open(config);
    let now = pair.now;
    let dialer = &mut pair.dialer.connection;
    let mut id = dialer.open(now, &[ECHO]).unwrap();
    for _ in 0..5 {
        assert_eq!(dialer.open(now, &[ECHO]), Err(OpenError::Blocked));
        dialer.stream(id).release();
        let _ = dialer.wants_transmit();
        dialer.handle_timeout(now);
        id = dialer.open(now, &[ECHO]).unwrap();
        assert_eq!(dialer.open(now, &[ECHO]), Err(OpenError::Blocked));
    }
    assert_eq!(taken(dialer), [], "each was overtaken by the next blocked call");
    dialer.close(now, 0);
    assert_eq!(taken(dialer), [Event::OpenUnblocked]);
    assert_eq!(dialer.open(now, &[ECHO]), Err(OpenError::Closing));
}

#[test]
fn a_writer_at_the_quota_is_not_woken_by_the_agreement() {
    let mut peer = RawPeer::new(Role::Dialer, serving(&[]));
    peer.upgrade();
    while peer.connection.poll_event().is_some() {}
    let id = peer.connection.open(peer.now, &[ECHO]).unwrap();
    let data_to_send = alloc::vec![1; 300_000];
    while peer.connection.stream(id).write(&data_to_send).is_ok() {
        peer.receive();
    }
    peer.send(&data(2, 1, &proposal(b"")));
    assert_eq!(taken(&mut peer.connection), [Event::Negotiated { id }]);
    assert_eq!(peer.connection.stream(id).write(b"x"), Err(WriteError::Blocked));
}

#[test]
fn an_early_end_is_a_denial_only_within_the_window_and_before_any_frame() {
    let reason = |late: Duration, end: fn(&mut RawPeer)| {
        let mut peer = RawPeer::new(Role::Dialer, serving(&[]));
        peer.upgrade();
        peer.now = peer.now.saturating_add(late);
        end(&mut peer);
        peer.connection.close_reason().cloned().unwrap()
    };
    let just_before = DENIAL_WINDOW - Duration::from_nanos(1);
    let eof = |peer: &mut RawPeer| peer.connection.handle_recv_eof(peer.now);
    let goodbye = |peer: &mut RawPeer| peer.send(&go_away(7));
    let cut = |peer: &mut RawPeer| peer.connection.handle_io_error(peer.now);
    for end in [eof, goodbye, cut] {
        assert_eq!(reason(just_before, end), CloseReason::DeniedByRemote);
    }
    // An idle connection that nobody used, without pings, is closed by rust-libp2p after 10 s.
    assert_eq!(reason(DENIAL_WINDOW, eof), CloseReason::Eof);
    assert_eq!(reason(DENIAL_WINDOW, goodbye), CloseReason::Remote { code: 7 });
    assert_eq!(reason(DENIAL_WINDOW, cut), CloseReason::Io);
    // Whoever has said something does not deny us.
    let ping = |peer: &mut RawPeer| {
        peer.send(&[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        peer.connection.handle_recv_eof(peer.now);
    };
    assert_eq!(reason(Duration::ZERO, ping), CloseReason::Eof);
    let half = |peer: &mut RawPeer| {
        peer.send(&[0, 2, 0]);
        peer.connection.handle_recv_eof(peer.now);
    };
    assert_eq!(reason(Duration::ZERO, half), CloseReason::Truncated);
    // Nor does one that ends while we do.
    let closing = |peer: &mut RawPeer| {
        peer.connection.close(peer.now, 0);
        peer.connection.handle_recv_eof(peer.now);
    };
    assert_eq!(reason(Duration::ZERO, closing), CloseReason::Eof);
}

#[test]
fn a_goodbye_or_an_end_of_the_peer_cuts_a_drain_short() {
    type End = fn(&mut RawPeer);
    let ends: [(End, CloseReason); 3] = [
        (|peer| peer.send(&go_away(5)), CloseReason::Remote { code: 5 }),
        (|peer| peer.connection.handle_recv_eof(peer.now), CloseReason::Eof),
        (|peer| peer.connection.handle_io_error(peer.now), CloseReason::Io),
    ];
    for (end, reason) in ends {
        let mut peer = listening_to_raw_peer();
        peer.send(&data(SYN, 1, &proposal(b"unread")));
        assert_eq!(peer.connection.accept(), Some(id(1)));
        let more = alloc::vec![1; 600_000];
        while peer.connection.stream(id(1)).write(&more).is_ok() {
            peer.receive();
        }
        peer.connection.close(peer.now, 0);
        end(&mut peer);
        assert_eq!(peer.connection.close_reason(), Some(&reason));
        assert!(peer.receive().is_empty(), "nobody is there to read it");
        assert_eq!(
            read_all(&mut peer.connection, id(1)),
            (b"unread".to_vec(), Err(ReadError::ConnectionLost(reason.clone())))
        );
        for _ in 0..2 {
            peer.connection.handle_recv_eof(peer.now);
        }
        assert_eq!(peer.connection.close_reason(), Some(&reason), "the first reason stays");
        assert_eq!(taken(&mut peer.connection).iter().filter(|event| **event == Event::Closed).count(), 1);
        assert_eq!(peer.connection.poll_timeout(), None);
        // What nobody can take any more is not kept, and the rest goes with the handle.
        peer.connection.stream(id(1)).release();
        assert!(peer.connection.memory_used() < 2048, "{}", peer.connection.memory_used());
    }
}

#[test]
fn a_close_loses_nothing_through_the_smallest_buffers() {
    let mut pair = Pair::open(PairConfig { cuts: Cuts::Every(1), ..echo_pair() });
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    let sent = pseudo_random(5000, 3);
    pair.dialer.connection.stream(id).write(&sent).unwrap();
    pair.dialer.connection.stream(id).finish().unwrap();
    pair.dialer.connection.close(now, 0x1234);
    pair.settle();
    assert_eq!(pair.dialer.connection.close_reason(), Some(&CloseReason::Local));
    assert_eq!(pair.listener.connection.close_reason(), Some(&CloseReason::Remote { code: 0x1234 }));
    assert_eq!(pair.listener.connection.accept(), Some(id));
    assert_eq!(read_all(&mut pair.listener.connection, id), (sent, Ok(())));
}

#[test]
fn a_close_while_admission_is_pending_says_goodbye_and_discards_what_waits() {
    let mut config = serving(&[ECHO]);
    config.admission = Admission::Manual;
    let mut peer = RawPeer::new(Role::Listener, config);
    peer.upgrade();
    peer.send(&data(SYN, 1, &proposal(b"eager")));
    peer.connection.close(peer.now, 6);
    assert_eq!(peer.connection.recv_room(), MAX_RECV);
    peer.connection.admit(peer.now);
    peer.connection.deny(peer.now, DenyReason::Banned);
    assert_eq!(peer.receive(), go_away(6));
    assert!(peer.connection.wants_shutdown());
    peer.connection.handle_recv_eof(peer.now);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Local));
    assert_eq!(peer.connection.accept(), None);
}

#[test]
fn a_muxer_mismatch_is_named_however_the_peer_cuts_its_records() {
    let mut peer = RawPeer::new(Role::Dialer, serving(&[ECHO]));
    peer.upgrade();
    for byte in b"\x13/multistream/1.0.0\n" {
        if peer.connection.close_reason().is_none() {
            peer.send(&[*byte]);
        }
    }
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Protocol(ProtocolError::MuxerMismatch)));
}

#[test]
fn a_negotiation_message_fits_the_smallest_quota() {
    let mut config = echo_pair();
    let long = ProtocolId::new(&alloc::format!("/{}", "x".repeat(254))).unwrap();
    Arc::make_mut(&mut config.dialer.yamux).send_quota = MIN_SEND_QUOTA;
    config.listener = Config { protocols: [long.clone()].into_iter().collect(), ..config.listener };
    Arc::make_mut(&mut config.listener.yamux).send_quota = MIN_SEND_QUOTA;
    assert_eq!(config.dialer.validate(), Ok(()));
    Arc::make_mut(&mut config.dialer.yamux).send_quota = MIN_SEND_QUOTA - 1;
    let errors = config.dialer.validate().unwrap_err();
    assert_eq!(errors.iter().collect::<Vec<_>>(), [&ConfigError::SendQuotaTooSmall]);
    Arc::make_mut(&mut config.dialer.yamux).send_quota = MIN_SEND_QUOTA;
    let mut pair = Pair::open(config);
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[long]).unwrap();
    pair.settle();
    assert_eq!(pair.listener.connection.accept(), Some(id));
    assert!(events(&mut pair, End::Dialer).contains(&Event::Negotiated { id }));
}

#[test]
fn a_stream_that_was_released_before_its_data_left_is_gone_with_the_connection() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    let dialer = &mut pair.dialer.connection;
    dialer.stream(id).write(&[1; 100_000]).unwrap();
    dialer.stream(id).finish().unwrap();
    dialer.stream(id).release();
    assert_eq!(dialer.stats().streams, 1, "its data is still to leave");
    let now = pair.now;
    dialer.handle_io_error(now);
    assert_eq!(dialer.stats().streams, 0);
    assert!(dialer.memory_used() < 2048, "{}", dialer.memory_used());
}

// Where streams are named by their protocol alone, two that open the same one at once reset each other's.
#[test]
fn both_ends_open_the_same_protocol_at_once_and_lose_nothing() {
    for cuts in [Cuts::Whole, Cuts::Every(1), Cuts::Every(50)] {
        let mut pair = Pair::open(PairConfig { cuts, ..echo_pair() });
        let now = pair.now;
        let ids = End::BOTH.map(|end| {
            let connection = pair.connection(end);
            let id = connection.open(now, &[ECHO]).unwrap();
            connection.stream(id).write(&first_words(end)).unwrap();
            id
        });
        assert_ne!(ids[0], ids[1]);
        pair.settle();
        // Each end has its own stream and the other's, and what was said first is there.
        for (end, [own, other]) in End::BOTH.into_iter().zip([[ids[0], ids[1]], [ids[1], ids[0]]]) {
            let connection = pair.connection(end);
            assert_eq!((connection.accept(), connection.accept()), (Some(other), None));
            assert_eq!(connection.stats().streams, 2);
            assert_eq!(read_all(connection, other), (first_words(end.other()), Err(ReadError::Blocked)));
            connection.stream(other).write(b"heard").unwrap();
            connection.stream(own).write(b", and more").unwrap();
        }
        pair.settle();
        for (end, [own, other]) in End::BOTH.into_iter().zip([[ids[0], ids[1]], [ids[1], ids[0]]]) {
            let connection = pair.connection(end);
            assert_eq!(read_all(connection, own), (b"heard".to_vec(), Err(ReadError::Blocked)));
            assert_eq!(read_all(connection, other), (b", and more".to_vec(), Err(ReadError::Blocked)));
            assert_eq!(connection.stats().streams_refused, 0);
        }
    }
}

fn first_words(end: End) -> Vec<u8> {
    alloc::format!("first words of the {end:?}").into_bytes()
}
