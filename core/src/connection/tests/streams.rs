//! Streams: negotiation, both halves, back-pressure, the arming rule.

use proptest::prelude::*;

use super::{app::App, *};
use crate::{multistream, testing::RawPeer};

#[test]
fn a_stream_carries_bytes_both_ways_and_ends_in_two_halves() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    assert_eq!(pair.dialer.connection.stream(id).write(b"question"), Ok(8));
    pair.dialer.connection.stream(id).finish().unwrap();
    pair.settle();
    assert_eq!(events(&mut pair, End::Listener), [Event::Incoming]);
    let listener = &mut pair.listener.connection;
    assert_eq!(listener.accept(), Some(id));
    assert_eq!(listener.accept(), None);
    assert_eq!(listener.stream(id).protocol(), Some(&ECHO));
    assert_eq!(read_all(listener, id), (b"question".to_vec(), Ok(())));
    assert_eq!(listener.stream(id).write(b"answer"), Ok(6));
    listener.stream(id).finish().unwrap();
    pair.settle();
    assert_eq!(events(&mut pair, End::Dialer), [Event::Negotiated { id }, Event::Readable { id }]);
    let dialer = &mut pair.dialer.connection;
    assert_eq!(read_all(dialer, id), (b"answer".to_vec(), Ok(())));
    assert_eq!(dialer.stream(id).write(b"more"), Err(WriteError::Finished));
    for end in End::BOTH {
        pair.connection(end).stream(id).release();
        assert_eq!(pair.connection(end).stats().streams, 0, "{end:?}");
    }
    pair.settle();
}

#[test]
fn what_is_read_and_written_counts_for_the_protocol_while_the_stream_lives_and_afterwards() {
    let mut pair = open_pair();
    let counted = |pair: &mut Pair, end: End| -> Vec<(ProtocolId, u64, u64, u64)> {
        let stats = pair.connection(end).protocol_stats();
        stats.into_iter().map(|s| (s.protocol, s.streams, s.bytes_received, s.bytes_sent)).collect()
    };
    assert_eq!(counted(&mut pair, End::Dialer), []);
    for round in 0..3 {
        let id = open_stream(&mut pair, End::Dialer);
        pair.dialer.connection.stream(id).write(&[7; 1000]).unwrap();
        assert_eq!(counted(&mut pair, End::Dialer), [(ECHO, round + 1, round * 10, (round + 1) * 1000)]);
        pair.settle();
        assert_eq!(counted(&mut pair, End::Listener), [(ECHO, round + 1, round * 1000, round * 10)], "unread");
        assert_eq!(read_all(&mut pair.listener.connection, id).0.len(), 1000);
        pair.listener.connection.stream(id).write_chunk(&mut bytes::Bytes::from_static(&[8; 10])).unwrap();
        pair.settle();
        assert_eq!(pair.dialer.connection.stream(id).read_chunk(100).unwrap().unwrap().len(), 10);
        for end in End::BOTH {
            pair.connection(end).stream(id).release();
        }
        pair.settle();
    }
    assert_eq!(counted(&mut pair, End::Dialer), [(ECHO, 3, 30, 3000)]);
    assert_eq!(counted(&mut pair, End::Listener), [(ECHO, 3, 3000, 30)]);
}

#[test]
fn only_so_many_protocols_are_counted() {
    let name = |number: usize| ProtocolId::new(&alloc::format!("/test/{number}")).unwrap();
    let protocols: Vec<ProtocolId> = (0..=MAX_COUNTED_PROTOCOLS).map(name).collect();
    let mut pair = Pair::open(PairConfig { listener: serving(&protocols), ..PairConfig::default() });
    for protocol in &protocols {
        let now = pair.now;
        let id = pair.dialer.connection.open(now, core::slice::from_ref(protocol)).unwrap();
        pair.settle();
        assert_eq!(pair.listener.connection.accept(), Some(id));
        pair.listener.connection.stream(id).release();
        pair.dialer.connection.stream(id).release();
        pair.settle();
    }
    let counted: Vec<ProtocolId> =
        pair.listener.connection.protocol_stats().into_iter().map(|stats| stats.protocol).collect();
    assert_eq!(counted, protocols[..MAX_COUNTED_PROTOCOLS]);
}

#[test]
fn one_protocol_is_proposed_optimistically_with_the_data_behind_it() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    pair.dialer.connection.stream(id).write(b"at once").unwrap();
    pair.transmit(End::Dialer);
    // A single record holds the SYN, the proposal and the data.
    assert_eq!(pair.dialer.connection.stats().records_sent, 1);
    pair.deliver(End::Listener);
    assert_eq!(pair.listener.connection.accept(), Some(id));
    assert_eq!(read_all(&mut pair.listener.connection, id).0, b"at once");
}

#[test]
fn with_several_protocols_writing_waits_for_the_answer() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[OTHER, ECHO]).unwrap();
    assert_eq!(pair.dialer.connection.stream(id).write(b"early"), Err(WriteError::Blocked));
    assert_eq!(pair.dialer.connection.stream(id).protocol(), None);
    pair.settle();
    assert_eq!(events(&mut pair, End::Dialer), [Event::Negotiated { id }, Event::Writable { id }]);
    assert_eq!(pair.dialer.connection.stream(id).protocol(), Some(&ECHO));
    assert_eq!(pair.dialer.connection.stream(id).write(b"now"), Ok(3));
}

#[test]
fn a_finish_before_the_answer_waits_for_it() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[OTHER, ECHO]).unwrap();
    pair.dialer.connection.stream(id).finish().unwrap();
    assert_eq!(pair.dialer.connection.stream(id).finish(), Err(WriteError::Finished));
    pair.settle();
    assert_eq!(pair.listener.connection.accept(), Some(id));
    assert_eq!(read_all(&mut pair.listener.connection, id), (Vec::new(), Ok(())));
}

#[test]
fn an_unsupported_protocol_is_refused_with_its_reason() {
    for protocols in [&[OTHER][..], &[OTHER, YAMUX][..]] {
        let mut pair = open_pair();
        let now = pair.now;
        let id = pair.dialer.connection.open(now, protocols).unwrap();
        let blocked = pair.dialer.connection.stream(id).read(&mut [0]);
        assert_eq!(blocked, Err(ReadError::Blocked));
        pair.settle();
        let reason = RefuseReason::Unsupported;
        assert_eq!(
            events(&mut pair, End::Dialer),
            [Event::Refused { id, reason: reason.clone() }, Event::Readable { id }]
        );
        let stream = &mut pair.dialer.connection.stream(id);
        assert_eq!(stream.read(&mut [0]), Err(ReadError::Refused(reason.clone())));
        assert_eq!(stream.write(b"x"), Err(WriteError::Refused(reason.clone())));
        assert_eq!(stream.finish(), Err(WriteError::Refused(reason)));
        pair.dialer.connection.stream(id).release();
        pair.settle();
        assert_eq!(pair.listener.connection.accept(), None);
        for end in End::BOTH {
            assert!(pair.connection(end).is_open());
            assert_eq!(pair.connection(end).stats().streams_refused, 1, "{end:?}");
            assert_eq!(pair.connection(end).stats().streams, 0, "{end:?}");
        }
    }
}

#[test]
fn a_refusal_is_not_overtaken_by_the_data_that_was_sent_in_hope() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[OTHER]).unwrap();
    pair.dialer.connection.stream(id).write(b"\x00 this is no negotiation").unwrap();
    pair.settle();
    let refused = Event::Refused { id, reason: RefuseReason::Unsupported };
    assert_eq!(events(&mut pair, End::Dialer), [refused, Event::Readable { id }]);
    pair.dialer.connection.stream(id).release();
    pair.settle();
    for end in End::BOTH {
        assert_eq!(pair.connection(end).stats().streams, 0, "{end:?}");
    }
}

#[test]
fn a_peer_may_refuse_with_a_reset_that_says_so() {
    let mut peer = RawPeer::new(Role::Dialer, serving(&[]));
    peer.upgrade();
    let id = peer.connection.open(peer.now, &[ECHO]).unwrap();
    peer.receive();
    let mut reset = alloc::vec![0, 1, 0, 8];
    reset.extend(id.get().to_be_bytes());
    reset.extend(codes::stream::NEGOTIATION_FAILED.to_be_bytes());
    peer.send(&reset);
    let events: Vec<Event> = core::iter::from_fn(|| peer.connection.poll_event()).collect();
    assert!(events.contains(&Event::Refused { id, reason: RefuseReason::Unsupported }), "{events:?}");
}

#[test]
fn the_set_of_served_protocols_can_change() {
    let mut pair = open_pair();
    pair.listener.connection.serve([OTHER].into_iter().collect());
    let now = pair.now;
    let old = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    let new = pair.dialer.connection.open(now, &[OTHER]).unwrap();
    pair.settle();
    assert_eq!(pair.listener.connection.accept(), Some(new));
    let events = events(&mut pair, End::Dialer);
    assert!(events.contains(&Event::Refused { id: old, reason: RefuseReason::Unsupported }), "{events:?}");
}

#[test]
fn a_peer_that_never_answers_a_proposal_is_given_up() {
    let mut peer = RawPeer::new(Role::Dialer, serving(&[]));
    peer.upgrade();
    let id = peer.connection.open(peer.now, &[ECHO]).unwrap();
    peer.receive();
    let deadline = peer.connection.poll_timeout().unwrap();
    assert_eq!(deadline, peer.now.saturating_add(Config::default().negotiation_timeout));
    peer.connection.handle_timeout(deadline);
    let events: Vec<Event> = core::iter::from_fn(|| peer.connection.poll_event()).collect();
    assert!(events.contains(&Event::Refused { id, reason: RefuseReason::TimedOut }), "{events:?}");
    assert!(peer.connection.is_open());
    assert_eq!(peer.connection.poll_timeout(), None);
}

#[test]
fn a_peer_that_opens_a_stream_and_never_proposes_loses_it() {
    let mut peer = RawPeer::new(Role::Listener, serving(&[ECHO]));
    peer.upgrade();
    peer.send(&[0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
    peer.receive();
    assert_eq!(peer.connection.stats().streams, 1);
    let deadline = peer.connection.poll_timeout().unwrap();
    peer.connection.handle_timeout(deadline);
    assert_eq!(peer.receive(), [0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0x10, 0x01]);
    assert_eq!(peer.connection.stats().streams, 0);
    assert_eq!(peer.connection.accept(), None);
}

#[test]
fn a_reset_reaches_the_peer_with_its_code_after_what_was_delivered() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    pair.dialer.connection.stream(id).write(b"before").unwrap();
    pair.settle();
    pair.dialer.connection.stream(id).reset(0x1234);
    pair.settle();
    assert_eq!(read_all(&mut pair.listener.connection, id), (b"before".to_vec(), Err(ReadError::Reset(0x1234))));
    assert_eq!(pair.listener.connection.stream(id).write(b"x"), Err(WriteError::Reset(0x1234)));
}

#[test]
fn a_reset_behind_the_end_of_the_input_is_told_to_who_asks_for_it() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    pair.dialer.connection.stream(id).finish().unwrap();
    pair.settle();
    assert_eq!(read_all(&mut pair.listener.connection, id), (Vec::new(), Ok(())));
    assert_eq!(pair.listener.connection.stream(id).lost(), WriteError::Blocked);
    let _ = events(&mut pair, End::Listener);
    // It wants no answer any more.
    pair.dialer.connection.stream(id).release();
    pair.settle();
    assert_eq!(events(&mut pair, End::Listener), [Event::Writable { id }]);
    assert_eq!(pair.listener.connection.stream(id).lost(), WriteError::Reset(0));
    assert_eq!(read_all(&mut pair.listener.connection, id), (Vec::new(), Ok(())), "as before");
    pair.listener.connection.stream(id).release();
    assert_eq!(pair.listener.connection.stream(id).lost(), WriteError::Unknown);
}

#[test]
fn a_released_stream_is_reset_unless_both_halves_are_over() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    pair.dialer.connection.stream(id).write(b"unfinished").unwrap();
    pair.dialer.connection.stream(id).release();
    pair.settle();
    assert_eq!(read_all(&mut pair.listener.connection, id).1, Err(ReadError::Reset(0)));
    assert_eq!(pair.dialer.connection.stream(id).read(&mut [0]), Err(ReadError::Unknown));
    assert_eq!(pair.dialer.connection.stream(id).write(b"x"), Err(WriteError::Unknown));
}

#[test]
fn data_sent_and_forgotten_arrives_although_the_sender_did_not_wait_for_the_answer() {
    let mut pair = open_pair();
    let now = pair.now;
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    let mut stream = pair.dialer.connection.stream(id);
    stream.write(b"fire and forget").unwrap();
    stream.finish().unwrap();
    stream.release();
    pair.settle();
    assert_eq!(pair.listener.connection.accept(), Some(id));
    assert_eq!(read_all(&mut pair.listener.connection, id), (b"fire and forget".to_vec(), Ok(())));
    pair.run_for(MAX_ANSWER_DELAY);
    assert_eq!(events(&mut pair, End::Dialer), []);
    assert_eq!(pair.dialer.connection.stats().streams, 0);
}

#[test]
fn a_writer_is_blocked_at_the_quota_and_told_once_at_half_of_it() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    let quota = Config::default().yamux.send_quota;
    let data = alloc::vec![7; 2 * quota];
    let now = pair.now;
    // The peer does not read: its window fills, then the quota.
    let mut sent = 0;
    for _ in 0..100 {
        match pair.dialer.connection.stream(id).write(&data) {
            Ok(n) => sent += n,
            Err(WriteError::Blocked) => break,
            Err(error) => panic!("{error}"),
        }
        pair.settle();
    }
    let window = usize::try_from(yamux::INITIAL_WINDOW).unwrap();
    assert!(sent > quota && sent <= quota + window, "{sent}");
    let _ = pair.dialer.connection.stream(id).write(&data);
    assert_eq!(events(&mut pair, End::Dialer), []);
    let (got, _) = read_all(&mut pair.listener.connection, id);
    assert!(got.len() <= window);
    let _ = now;
    pair.settle();
    assert_eq!(events(&mut pair, End::Dialer), [Event::Writable { id }]);
    assert!(pair.dialer.connection.stream(id).write(&data).is_ok());
}

#[test]
fn more_streams_than_allowed_block_until_one_is_released() {
    let mut pair = open_pair();
    let now = pair.now;
    let mut ids = Vec::new();
    let refused = loop {
        match pair.dialer.connection.open(now, &[ECHO]) {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!((refused, ids.len()), (OpenError::Blocked, Config::default().yamux.max_streams));
    pair.settle();
    assert_eq!(core::iter::from_fn(|| pair.listener.connection.accept()).count(), ids.len());
    events(&mut pair, End::Dialer);
    for end in End::BOTH {
        pair.connection(end).stream(ids[0]).release();
    }
    pair.settle();
    assert!(events(&mut pair, End::Dialer).contains(&Event::OpenUnblocked));
    assert!(pair.dialer.connection.open(now, &[ECHO]).is_ok());
}

#[test]
fn mistakes_of_the_caller_are_typed_errors() {
    let mut pair = Pair::new(echo_pair());
    let now = pair.now;
    assert_eq!(pair.dialer.connection.open(now, &[ECHO]), Err(OpenError::NotOpen));
    let none = multistream::InvalidProposals::Empty;
    assert_eq!(pair.dialer.connection.open(now, &[]), Err(OpenError::InvalidProposals(none)));
    let too_many = multistream::InvalidProposals::TooMany;
    let proposals = alloc::vec![ECHO; multistream::MAX_PROPOSALS + 1];
    assert_eq!(pair.dialer.connection.open(now, &proposals), Err(OpenError::InvalidProposals(too_many)));
    pair.settle();
    let id = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    pair.dialer.connection.stream(id).reset(1);
    assert_eq!(pair.listener.connection.stream(id).read(&mut [0]), Err(ReadError::Unknown));
    assert_eq!(pair.listener.connection.stream(id).write(b"x"), Err(WriteError::Unknown));
    assert_eq!(pair.listener.connection.stream(id).finish(), Err(WriteError::Unknown));
    pair.listener.connection.stream(id).reset(1);
    pair.listener.connection.stream(id).stop(1);
    pair.listener.connection.stream(id).release();
}

#[test]
fn events_of_a_released_stream_are_gone() {
    let mut pair = open_pair();
    let id = open_stream(&mut pair, End::Dialer);
    assert_eq!(pair.listener.connection.stream(id).read(&mut [0]), Err(ReadError::Blocked));
    pair.dialer.connection.stream(id).write(b"x").unwrap();
    let now = pair.now;
    let mut wire = alloc::vec![0; TRANSMIT_BUFFER];
    let n = pair.dialer.connection.poll_transmit(now, &mut wire).unwrap();
    pair.listener.connection.handle_recv(now, &mut wire[..n]).unwrap();
    pair.listener.connection.stream(id).release();
    assert_eq!(pair.listener.connection.poll_event(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn applications_that_act_only_on_events_never_stall(
        seed: [u8; 32],
        sizes in proptest::collection::vec((any::<bool>(), 0usize..300_000), 1..5),
        dialer_step in prop_oneof![1usize..8, 100usize..5000, Just(100_000)],
        listener_step in prop_oneof![1usize..8, 100usize..5000, Just(100_000)],
        cut in prop_oneof![1usize..100, 1000usize..100_000],
    ) {
        // One-byte steps over large streams take long and show nothing new.
        let limit = dialer_step.min(listener_step).min(cut).saturating_mul(4_000);
        let mut pair = Pair::open(PairConfig {
            cuts: Cuts::Random { seed: crate::Seed::from_bytes(seed), max: cut },
            ..echo_pair()
        });
        let mut apps = [App::new(dialer_step), App::new(listener_step)];
        let mut sent: Vec<Vec<Vec<u8>>> = alloc::vec![Vec::new(), Vec::new()];
        for (i, (from_dialer, size)) in sizes.into_iter().enumerate() {
            let data = pseudo_random(size.min(limit), u8::try_from(i).unwrap());
            let end = if from_dialer { End::Dialer } else { End::Listener };
            let now = pair.now;
            apps[usize::from(!from_dialer)].send(pair.connection(end), now, data.clone());
            sent[usize::from(!from_dialer)].push(data);
        }
        let [dialer, listener] = &mut apps;
        app::run(&mut pair, dialer, listener);
        for (app, sent) in apps.iter().zip(sent) {
            let echoed: Vec<_> = app.senders.values().map(|sender| sender.echoed.clone()).collect();
            prop_assert!(echoed == sent);
        }
        for end in End::BOTH {
            prop_assert_eq!(pair.connection(end).stats().streams, 0);
        }
    }
}
