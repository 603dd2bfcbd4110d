//! The application handshake: who may say what, who wins, and what waits for it.

use bytes::Bytes;

use super::*;
use crate::{
    channel::{
        handshake::{self as wire, CommandError, MAX_MESSAGE_LEN, MAX_MESSAGES, MAX_WAITING, Party, Rejection},
        message,
    },
    link::NodeMessage,
    protocol::{identify, ping},
    testing::RawPeer,
};

const SYN: u16 = 1;
const FIN: u16 = 4;
const RST: u16 = 8;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The stream of the handshake: the first that the dialer opens.
const STREAM: u32 = 1;

fn shaking(protocols: &[ProtocolId]) -> Config {
    Config { handshake: HandshakeMode::APPLICATION, ..serving(protocols) }
}

fn shaking_pair() -> PairConfig {
    let config = || shaking(&[ECHO, ping::PROTOCOL]);
    PairConfig { dialer: config(), listener: config(), ..PairConfig::default() }
}

fn finalize(pair: &mut Pair, end: End) {
    let now = pair.now;
    pair.connection(end).finalize(now).unwrap();
}

/// A pair whose handshake is done, with the events up to there taken.
fn ready_pair() -> Pair {
    let mut pair = Pair::open(shaking_pair());
    for end in End::BOTH {
        finalize(&mut pair, end);
    }
    pair.settle();
    for end in End::BOTH {
        assert_eq!(events(&mut pair, end), [Event::Ready]);
    }
    pair
}

fn messages(connection: &mut Connection) -> Vec<Bytes> {
    core::iter::from_fn(|| connection.handshake_recv()).collect()
}

fn run_to_the_end(pair: &mut Pair) {
    assert!(pair.run_until(|pair| pair.dialer.connection.is_closed() && pair.listener.connection.is_closed()));
}

fn reason(pair: &mut Pair, end: End) -> CloseReason {
    pair.connection(end).close_reason().cloned().unwrap()
}

fn refused(error: wire::Error) -> CloseReason {
    CloseReason::HandshakeRefused(HandshakeRefusal::Protocol(error))
}

fn refused_stream(reason: RefuseReason) -> CloseReason {
    CloseReason::HandshakeRefused(HandshakeRefusal::Stream(reason))
}

// ---- a peer that says what it likes ----

fn frame(kind: u8, flags: u16, id: u32, len: u32) -> Vec<u8> {
    [&[0, kind][..], &flags.to_be_bytes(), &id.to_be_bytes(), &len.to_be_bytes()].concat()
}

fn data(flags: u16, id: u32, body: &[u8]) -> Vec<u8> {
    [frame(0, flags, id, u32::try_from(body.len()).unwrap()), body.to_vec()].concat()
}

fn reset(id: u32, code: u32) -> Vec<u8> {
    frame(1, RST, id, code)
}

fn go_away(code: u32) -> Vec<u8> {
    frame(3, 0, 0, code)
}

fn text(text: &str) -> Vec<u8> {
    message::encode(&[text.as_bytes(), b"\n"], 1000).unwrap()
}

/// multistream-select's header and the proposal of `protocol`, or the answer to it, with `body` behind it.
fn proposal(protocol: &ProtocolId, body: &[u8]) -> Vec<u8> {
    [text("/multistream/1.0.0"), text(protocol.as_str()), body.to_vec()].concat()
}

fn app(body: &[u8]) -> Vec<u8> {
    message::encode(&[&[0], body], usize::MAX).unwrap()
}

const FINALIZE: [u8; 2] = [1, 1];

fn reject(code: u8, reason: &str) -> Vec<u8> {
    message::encode(&[&[2, code], reason.as_bytes()], usize::MAX).unwrap()
}

/// A listener that waits for a dialer's handshake.
fn raw_dialer() -> RawPeer {
    let mut peer = RawPeer::new(Role::Listener, shaking(&[ECHO, ping::PROTOCOL]));
    peer.upgrade();
    assert!(taken(&mut peer.connection).ends_with(&[Event::Open]));
    peer
}

/// The same with the stream open and `body` said on it.
fn raw_dialer_saying(body: &[u8]) -> RawPeer {
    let mut peer = raw_dialer();
    peer.send(&data(SYN, STREAM, &proposal(&wire::PROTOCOL, body)));
    peer
}

/// A dialer whose proposal the raw listener has taken.
fn raw_listener() -> RawPeer {
    let mut peer = RawPeer::new(Role::Dialer, shaking(&[ECHO, ping::PROTOCOL]));
    peer.upgrade();
    assert!(taken(&mut peer.connection).ends_with(&[Event::Open]));
    let asked = data(SYN, STREAM, &proposal(&wire::PROTOCOL, b""));
    assert!(contains(&peer.receive(), &asked), "the dialer asks right after the start");
    peer.send(&data(2, STREAM, &proposal(&wire::PROTOCOL, b"")));
    peer
}

fn taken(connection: &mut Connection) -> Vec<Event> {
    core::iter::from_fn(|| connection.poll_event()).collect()
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

fn id_of(connection: &mut Connection) -> StreamId {
    connection.accept().unwrap()
}

// ---- done ----

#[test]
fn both_applications_talk_and_accept_each_other_in_either_order() {
    for (first, second) in [(End::Dialer, End::Listener), (End::Listener, End::Dialer)] {
        let mut pair = Pair::new(shaking_pair());
        pair.settle();
        for end in End::BOTH {
            let opened = events(&mut pair, end);
            assert_eq!(opened.last(), Some(&Event::Open), "nothing is ready");
            assert!(!pair.connection(end).is_ready());
        }
        let now = pair.now;
        for message in [&b"who are you?"[..], b""] {
            pair.connection(first).handshake_send(now, message).unwrap();
        }
        pair.settle();
        assert_eq!(events(&mut pair, second), [Event::HandshakeReadable]);
        assert_eq!(messages(pair.connection(second)), [&b"who are you?"[..], b""]);
        pair.connection(second).handshake_send(now, b"a friend").unwrap();
        finalize(&mut pair, second);
        pair.settle();
        assert_eq!(events(&mut pair, first), [Event::HandshakeReadable]);
        assert_eq!(messages(pair.connection(first)), [&b"a friend"[..]]);
        assert_eq!(events(&mut pair, second), [], "one side alone does not make it ready");
        finalize(&mut pair, first);
        pair.settle();
        for end in End::BOTH {
            assert_eq!(events(&mut pair, end), [Event::Ready]);
            let connection = pair.connection(end);
            assert!(connection.is_ready() && connection.is_idle(), "the stream of the handshake is gone");
            assert_eq!(connection.poll_timeout(), None);
        }
        open_stream(&mut pair, first);
        open_stream(&mut pair, second);
    }
}

#[test]
fn both_may_finalize_at_once_before_either_stream_was_seen() {
    for latency in [0, 20] {
        let mut pair = Pair::open(PairConfig { latency: Duration::from_millis(latency), ..shaking_pair() });
        for end in End::BOTH {
            finalize(&mut pair, end);
        }
        pair.run_for(Duration::from_millis(100));
        for end in End::BOTH {
            assert_eq!(events(&mut pair, end), [Event::Ready]);
            assert_eq!(pair.connection(end).poll_timeout(), None);
        }
    }
}

#[test]
fn the_cuts_of_the_transport_change_nothing() {
    for cuts in [Cuts::Every(1), Cuts::Every(7), Cuts::Random { seed: crate::Seed::from_bytes([4; 32]), max: 90 }] {
        let mut pair = Pair::open(PairConfig { cuts, ..shaking_pair() });
        let now = pair.now;
        for end in End::BOTH {
            pair.connection(end).handshake_send(now, &[5; 3000]).unwrap();
            finalize(&mut pair, end);
        }
        pair.settle();
        for end in End::BOTH {
            assert_eq!(events(&mut pair, end), [Event::HandshakeReadable, Event::Ready]);
            assert_eq!(messages(pair.connection(end)), [&[5; 3000][..]], "what came can be taken afterwards, too");
        }
    }
}

#[test]
fn the_stream_may_be_cut_at_every_byte() {
    let stream = proposal(&wire::PROTOCOL, &[app(b"one"), app(b""), FINALIZE.to_vec()].concat());
    for cut in 0..=stream.len() {
        let mut peer = raw_dialer();
        peer.connection.finalize(peer.now).unwrap();
        let (head, tail) = stream.split_at(cut);
        peer.send(&data(SYN, STREAM, head));
        assert_eq!(peer.connection.is_ready(), tail.is_empty(), "cut at {cut}");
        peer.send(&data(0, STREAM, tail));
        assert!(peer.connection.is_ready(), "cut at {cut}");
        assert_eq!(taken(&mut peer.connection), [Event::HandshakeReadable, Event::Ready]);
        assert_eq!(messages(&mut peer.connection), [&b"one"[..], b""]);
    }
}

#[test]
fn a_message_is_announced_once_after_there_was_none() {
    let mut peer = raw_dialer_saying(&app(b"first"));
    assert_eq!(taken(&mut peer.connection), [Event::HandshakeReadable]);
    peer.send(&data(0, STREAM, &app(b"second")));
    assert_eq!(taken(&mut peer.connection), [], "nobody has asked since");
    assert_eq!(messages(&mut peer.connection), [&b"first"[..], b"second"]);
    peer.send(&data(0, STREAM, &app(b"third")));
    assert_eq!(messages(&mut peer.connection), [&b"third"[..]]);
    assert_eq!(taken(&mut peer.connection), [], "the call has overtaken the event");
    peer.send(&data(0, STREAM, &app(b"fourth")));
    assert_eq!(taken(&mut peer.connection), [Event::HandshakeReadable]);
}

// ---- the deadline ----

#[test]
fn each_side_gives_up_at_its_own_deadline_and_not_before() {
    for impatient in End::BOTH {
        let mut config = shaking_pair();
        let short = HandshakeMode::Application { timeout: Duration::from_secs(5) };
        match impatient {
            End::Dialer => config.dialer.handshake = short,
            End::Listener => config.listener.handshake = short,
        }
        let mut pair = Pair::open(config);
        finalize(&mut pair, impatient);
        pair.run_for(Duration::from_secs(5) - Duration::from_nanos(1));
        assert!(pair.connection(impatient).is_open());
        run_to_the_end(&mut pair);
        assert_eq!(reason(&mut pair, impatient), CloseReason::HandshakeTimeout);
        let told = CloseReason::Remote { code: codes::connection::GATED };
        assert_eq!(reason(&mut pair, impatient.other()), told);
        for end in End::BOTH {
            assert_eq!(events(&mut pair, end), [Event::Closed]);
            assert_eq!(pair.connection(end).poll_timeout(), None);
        }
    }
}

#[test]
fn a_silent_listener_costs_the_dialer_its_deadline_and_no_less() {
    // It does not even answer the proposal: the negotiation has no deadline of its own.
    let mut peer = RawPeer::new(Role::Dialer, shaking(&[]));
    peer.upgrade();
    peer.receive();
    let deadline = peer.now.saturating_add(TIMEOUT);
    assert_eq!(peer.connection.poll_timeout(), Some(deadline));
    peer.connection.handle_timeout(deadline);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::HandshakeTimeout));
    assert!(peer.receive().ends_with(&go_away(codes::connection::GATED)));
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Accept,
    Accepted,
    Deadline,
}

#[test]
fn of_completion_and_deadline_exactly_one_wins_in_every_order() {
    use Act::*;
    let orders = [
        ([Accept, Accepted, Deadline], true),
        ([Accepted, Accept, Deadline], true),
        ([Accept, Deadline, Accepted], false),
        ([Accepted, Deadline, Accept], false),
        ([Deadline, Accept, Accepted], false),
        ([Deadline, Accepted, Accept], false),
    ];
    for (acts, completes) in orders {
        for late in [Duration::ZERO, Duration::from_secs(5)] {
            let mut peer = raw_dialer_saying(b"");
            let deadline = peer.connection.poll_timeout().unwrap();
            peer.now = deadline.saturating_add(late);
            for act in acts {
                match act {
                    Accept => drop(peer.connection.finalize(peer.now)),
                    Accepted => peer.send(&data(0, STREAM, &FINALIZE)),
                    Deadline => peer.connection.handle_timeout(peer.now),
                }
            }
            peer.connection.handle_timeout(peer.now);
            let ready = taken(&mut peer.connection).contains(&Event::Ready);
            assert_eq!((ready, peer.connection.is_ready()), (completes, completes), "{acts:?}");
            let timed_out = peer.connection.close_reason() == Some(&CloseReason::HandshakeTimeout);
            assert_ne!(ready, timed_out, "{acts:?}");
            peer.receive();
            assert!(!taken(&mut peer.connection).contains(&Event::Ready));
        }
    }
}

#[test]
fn a_clock_that_runs_backwards_moves_no_deadline() {
    let mut peer = raw_dialer_saying(b"");
    let deadline = peer.connection.poll_timeout().unwrap();
    let before = peer.now;
    peer.connection.handle_timeout(deadline.saturating_add(Duration::ZERO).min(before));
    peer.now = before.saturating_add(Duration::from_secs(20));
    peer.connection.handshake_send(peer.now, b"x").unwrap();
    peer.now = Instant::EPOCH;
    peer.connection.handle_timeout(peer.now);
    peer.connection.finalize(peer.now).unwrap();
    assert_eq!(peer.connection.poll_timeout(), Some(deadline));
    peer.connection.handle_timeout(deadline);
    peer.connection.handle_timeout(Instant::EPOCH);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::HandshakeTimeout));
}

// ---- rejection ----

#[test]
fn a_rejection_reaches_the_other_side_with_its_code_and_reason() {
    for latency in [0, 20] {
        for end in End::BOTH {
            let mut pair = Pair::open(PairConfig { latency: Duration::from_millis(latency), ..shaking_pair() });
            let now = pair.now;
            pair.connection(end).handshake_send(now, b"before that").unwrap();
            // A listener may be faster than the dialer's stream.
            pair.connection(end).reject(now, 42, "wrong network").unwrap();
            assert!(!pair.connection(end).is_open());
            run_to_the_end(&mut pair);
            for (at, by) in [(end, Party::Local), (end.other(), Party::Remote)] {
                assert_eq!(reason(&mut pair, at), CloseReason::HandshakeRejected { by, code: 42 });
                let rejection = Rejection { by, code: 42, reason: "wrong network".into() };
                assert_eq!(pair.connection(at).rejection(), Some(&rejection));
            }
            assert_eq!(messages(pair.connection(end.other())), [&b"before that"[..]]);
        }
    }
}

/// The handle of a connection that is over may live for long.
#[test]
fn what_was_still_to_be_said_is_not_kept_when_the_streams_have_ended() {
    let ends: [fn(&mut Connection, Instant); 2] =
        [|connection, now| connection.handle_io_error(now), |connection, now| connection.close(now, 0)];
    for end in ends {
        // A message of which half never comes.
        let mut peer = raw_dialer_saying(&app(&[8; 1000])[..500]);
        for _ in 0..MAX_MESSAGES {
            peer.connection.handshake_send(peer.now, &[7; MAX_MESSAGE_LEN]).unwrap();
        }
        peer.receive();
        assert!(peer.connection.memory_used() > 3 << 20, "the window takes little of it");
        end(&mut peer.connection, peer.now);
        peer.now = peer.now.saturating_add(Config::default().drain_timeout);
        peer.connection.handle_timeout(peer.now);
        peer.receive();
        assert!(!peer.connection.is_open());
        assert!(peer.connection.memory_used() < 4096, "{} bytes are left", peer.connection.memory_used());
    }
}

#[test]
fn the_rejection_leaves_before_the_goodbye() {
    let mut peer = raw_dialer_saying(b"");
    peer.receive();
    peer.connection.reject(peer.now, 7, "no").unwrap();
    let said = peer.receive();
    assert!(contains(&said, &data(0, STREAM, &reject(7, "no"))), "{said:x?}");
    assert!(said.ends_with(&go_away(codes::connection::GATED)));
}

#[test]
fn a_rejection_that_nobody_takes_delays_the_end_only_until_the_drain_timeout() {
    let mut peer = raw_dialer();
    peer.connection.reject(peer.now, 7, "no").unwrap();
    assert_eq!(peer.connection.open(peer.now, &[ping::PROTOCOL]), Err(OpenError::Closing));
    assert_eq!(peer.connection.finalize(peer.now), Err(HandshakeError::Closing));
    assert!(!contains(&peer.receive(), &go_away(codes::connection::GATED)), "the stream may still come");
    let deadline = peer.now.saturating_add(Config::default().drain_timeout);
    assert_eq!(peer.connection.poll_timeout(), Some(deadline));
    peer.connection.handle_timeout(deadline);
    assert!(peer.receive().ends_with(&go_away(codes::connection::GATED)));
    let rejected = CloseReason::HandshakeRejected { by: Party::Local, code: 7 };
    assert_eq!(peer.connection.close_reason(), Some(&rejected));
}

#[test]
fn a_rejection_that_comes_together_with_the_goodbye_counts() {
    // Even behind more messages than may wait.
    let said = [app(b"x").repeat(MAX_WAITING + 3), reject(9, "bye")].concat();
    let mut peer = raw_dialer();
    let stream = data(SYN, STREAM, &proposal(&wire::PROTOCOL, &said));
    peer.send(&[stream, go_away(codes::connection::GATED)].concat());
    let rejected = CloseReason::HandshakeRejected { by: Party::Remote, code: 9 };
    assert_eq!(peer.connection.close_reason(), Some(&rejected));
    assert_eq!(messages(&mut peer.connection).len(), MAX_WAITING + 3);
}

#[test]
fn a_rejection_that_crosses_with_our_finalize_ends_a_ready_connection() {
    let mut peer = raw_dialer_saying(&FINALIZE);
    peer.connection.finalize(peer.now).unwrap();
    peer.receive();
    peer.send(&data(0, STREAM, &reject(3, "changed my mind")));
    assert_eq!(taken(&mut peer.connection), [Event::Ready]);
    let rejected = CloseReason::HandshakeRejected { by: Party::Remote, code: 3 };
    assert_eq!(peer.connection.close_reason(), Some(&rejected));
    assert!(peer.receive().ends_with(&go_away(codes::connection::GATED)));
}

// ---- refusal ----

#[test]
fn a_peer_without_application_handshake_is_refused_at_once() {
    let mut pair = Pair::new(PairConfig { listener: serving(&[ECHO]), ..shaking_pair() });
    let now = pair.now;
    pair.settle();
    assert_eq!(pair.now, now);
    assert_eq!(reason(&mut pair, End::Dialer), refused_stream(RefuseReason::Unsupported));
    assert_eq!(reason(&mut pair, End::Listener), CloseReason::Remote { code: codes::connection::GATED });
    assert!(events(&mut pair, End::Listener).contains(&Event::Ready), "it was content with the peer");
    assert!(!events(&mut pair, End::Dialer).contains(&Event::Ready));
}

#[test]
fn a_dialer_that_never_asks_runs_into_the_deadline() {
    let mut pair = Pair::open(PairConfig { dialer: serving(&[ECHO]), ..shaking_pair() });
    let start = pair.now;
    run_to_the_end(&mut pair);
    assert_eq!(pair.now.saturating_duration_since(start), TIMEOUT);
    assert_eq!(reason(&mut pair, End::Listener), CloseReason::HandshakeTimeout);
}

#[test]
fn a_reset_or_end_of_the_stream_before_ready_is_a_refusal() {
    let ended = refused(wire::Error::UnexpectedEof);
    for said in [&b""[..], &FINALIZE, &[5, 0]] {
        let mut peer = raw_dialer_saying(said);
        peer.send(&data(FIN, STREAM, b""));
        assert_eq!(peer.connection.close_reason(), Some(&ended));
        let mut peer = raw_dialer_saying(said);
        peer.send(&reset(STREAM, 99));
        assert_eq!(peer.connection.close_reason(), Some(&refused_stream(RefuseReason::Reset(99))));
    }
    let mut peer = raw_listener();
    peer.connection.finalize(peer.now).unwrap();
    peer.send(&data(FIN, STREAM, b""));
    assert_eq!(peer.connection.close_reason(), Some(&ended));
    let mut peer = RawPeer::new(Role::Dialer, shaking(&[]));
    peer.upgrade();
    peer.receive();
    peer.send(&reset(STREAM, 5));
    assert_eq!(peer.connection.close_reason(), Some(&refused_stream(RefuseReason::Reset(5))));
}

#[test]
fn a_broken_rule_resets_the_stream_and_ends_the_connection() {
    let too_long = message::Error::TooLong { max: MAX_MESSAGE_LEN + 1 };
    let table: [(Vec<u8>, wire::Error); 8] = [
        (alloc::vec![0], wire::Error::Empty),
        (alloc::vec![1, 3], wire::Error::UnknownKind(3)),
        (alloc::vec![2, 1, 0], wire::Error::FinalizeWithBody),
        ([FINALIZE, FINALIZE].concat(), wire::Error::FinalizedTwice),
        ([FINALIZE.to_vec(), app(b"")].concat(), wire::Error::MessageAfterFinalize),
        (app(&alloc::vec![0; MAX_MESSAGE_LEN + 1])[..3].to_vec(), too_long.into()),
        (alloc::vec![3, 2, 0, 0xff], wire::Error::ReasonNotUtf8),
        (reject(0, &"x".repeat(257)), wire::Error::ReasonTooLong),
    ];
    for (bytes, error) in table {
        for cut in 0..bytes.len().min(8) {
            let mut peer = raw_dialer_saying(&bytes[..cut]);
            peer.receive();
            peer.send(&data(0, STREAM, &bytes[cut..]));
            assert_eq!(peer.connection.close_reason(), Some(&refused(error)), "{bytes:x?} cut at {cut}");
            let said = peer.receive();
            assert!(contains(&said, &reset(STREAM, codes::stream::PROTOCOL_VIOLATION)), "{said:x?}");
            assert!(said.ends_with(&go_away(codes::connection::GATED)));
            assert_eq!(taken(&mut peer.connection), []);
        }
    }
}

#[test]
fn the_65th_message_is_refused() {
    let mut peer = raw_dialer_saying(b"");
    for number in 0..MAX_MESSAGES {
        peer.send(&data(0, STREAM, &app(&[number as u8])));
        assert_eq!(messages(&mut peer.connection), [&[number as u8][..]]);
    }
    assert!(peer.connection.is_open());
    peer.send(&data(0, STREAM, &app(b"")));
    assert_eq!(peer.connection.close_reason(), Some(&refused(wire::Error::TooManyMessages)));
}

#[test]
fn the_applications_own_mistakes_are_errors_and_change_nothing() {
    let mut pair = Pair::open(shaking_pair());
    let now = pair.now;
    let dialer = &mut pair.dialer.connection;
    let command = |error: CommandError| Err(HandshakeError::Command(error));
    assert_eq!(dialer.handshake_send(now, &alloc::vec![0; MAX_MESSAGE_LEN + 1]), command(CommandError::TooLong));
    assert_eq!(dialer.reject(now, 0, &"x".repeat(257)), command(CommandError::ReasonTooLong));
    for _ in 0..MAX_MESSAGES {
        dialer.handshake_send(now, b"").unwrap();
    }
    assert_eq!(dialer.handshake_send(now, b""), command(CommandError::TooManyMessages));
    dialer.finalize(now).unwrap();
    assert_eq!(dialer.finalize(now), command(CommandError::Finalized));
    assert_eq!(dialer.handshake_send(now, b""), command(CommandError::Finalized));
    pair.settle();
    assert_eq!(messages(&mut pair.listener.connection).len(), MAX_MESSAGES);
    finalize(&mut pair, End::Listener);
    pair.settle();
    for end in End::BOTH {
        let connection = pair.connection(end);
        assert!(connection.is_ready());
        assert_eq!(connection.reject(now, 0, ""), command(CommandError::Over));
        assert_eq!(connection.finalize(now), command(CommandError::Over));
        assert_eq!(connection.prepare(now, ProtocolSet::default()), command(CommandError::Over));
    }
    let mut early = Pair::new(shaking_pair());
    assert_eq!(early.dialer.connection.finalize(now), Err(HandshakeError::NotOpen));
    let automatic = &mut early_automatic().dialer.connection;
    assert_eq!(automatic.finalize(now), Err(HandshakeError::Automatic));
    assert_eq!(automatic.prepare(now, ProtocolSet::default()), Err(HandshakeError::Automatic));
    assert_eq!(automatic.handshake_recv(), None);
    early.dialer.connection.close(now, 0);
    assert_eq!(early.dialer.connection.finalize(now), Err(HandshakeError::ConnectionLost(CloseReason::Local)));
}

fn early_automatic() -> Pair {
    Pair::new(echo_pair())
}

// ---- streams that must not be ----

#[test]
fn a_second_stream_of_the_handshake_is_reset_and_the_first_goes_on() {
    let mut peer = raw_dialer_saying(b"");
    for id in [3, 5] {
        peer.send(&data(SYN, id, &proposal(&wire::PROTOCOL, &FINALIZE)));
        assert!(contains(&peer.receive(), &reset(id, codes::stream::PROTOCOL_VIOLATION)));
    }
    peer.connection.finalize(peer.now).unwrap();
    peer.send(&data(0, STREAM, &FINALIZE));
    assert!(peer.connection.is_ready());
    // Once it is done there is none either, and the application never sees one.
    peer.send(&data(SYN, 7, &proposal(&wire::PROTOCOL, &FINALIZE)));
    assert!(contains(&peer.receive(), &reset(7, codes::stream::PROTOCOL_VIOLATION)));
    assert_eq!(peer.connection.accept(), None);
    assert!(peer.connection.is_ready());
}

#[test]
fn a_stream_of_the_handshake_from_the_listener_is_reset() {
    let mut peer = raw_listener();
    peer.send(&data(SYN, 2, &proposal(&wire::PROTOCOL, &FINALIZE)));
    assert!(contains(&peer.receive(), &reset(2, codes::stream::PROTOCOL_VIOLATION)));
    peer.connection.finalize(peer.now).unwrap();
    peer.send(&data(0, STREAM, &FINALIZE));
    assert_eq!(taken(&mut peer.connection), [Event::Ready]);
}

#[test]
fn what_follows_the_handshake_costs_its_stream_and_not_the_connection() {
    for late in [&FINALIZE[..], &app(b"more"), b"\0", b"\xff\xff\xff\xff"] {
        for together in [false, true] {
            let mut peer = raw_dialer_saying(b"");
            peer.connection.finalize(peer.now).unwrap();
            peer.receive();
            if together {
                peer.send(&data(0, STREAM, &[&FINALIZE, late].concat()));
            } else {
                peer.send(&data(0, STREAM, &FINALIZE));
                peer.send(&data(0, STREAM, late));
            }
            assert_eq!(taken(&mut peer.connection), [Event::Ready]);
            assert!(contains(&peer.receive(), &reset(STREAM, codes::stream::PROTOCOL_VIOLATION)));
            assert!(peer.connection.is_ready() && peer.connection.is_idle());
        }
    }
}

#[test]
fn a_peer_that_does_not_end_the_stream_afterwards_holds_it_only_for_a_while() {
    let mut peer = raw_dialer_saying(&FINALIZE);
    peer.connection.finalize(peer.now).unwrap();
    assert!(contains(&peer.receive(), &frame(0, FIN, STREAM, 0)) || !peer.connection.is_idle());
    let deadline = peer.connection.poll_timeout().unwrap();
    assert_eq!(deadline, peer.now.saturating_add(Config::default().negotiation_timeout));
    peer.connection.handle_timeout(deadline);
    assert!(peer.connection.is_ready() && peer.connection.is_idle());
    assert_eq!(peer.connection.poll_timeout(), None);
    assert!(contains(&peer.receive(), &reset(STREAM, 0)));
}

// ---- what waits ----

#[test]
fn streams_that_come_early_are_held_and_released() {
    let mut peer = raw_dialer_saying(b"");
    taken(&mut peer.connection);
    peer.send(&data(SYN, 3, &proposal(&ECHO, b"early ")));
    peer.send(&data(SYN | FIN, 5, &proposal(&OTHER, b"")));
    peer.send(&data(SYN | FIN, 7, &proposal(&ECHO, b"whole")));
    peer.send(&data(SYN, 9, &proposal(&ECHO, b"gone")[..25]));
    assert_eq!((peer.connection.accept(), taken(&mut peer.connection)), (None, alloc::vec![]));
    // Longer than a negotiation may take, which ends only the one that was not complete.
    peer.now = peer.now.saturating_add(Duration::from_secs(11));
    peer.connection.handle_timeout(peer.now);
    let said = peer.receive();
    assert!(contains(&said, &reset(9, codes::stream::NEGOTIATION_FAILED)));
    assert!(!contains(&said, &text("na")) && !contains(&said, &text(ECHO.as_str())));
    peer.send(&data(0, 3, b"bird"));
    peer.connection.finalize(peer.now).unwrap();
    peer.send(&data(0, STREAM, &FINALIZE));
    assert_eq!(taken(&mut peer.connection), [Event::Ready, Event::Incoming]);
    let early = id_of(&mut peer.connection);
    assert_eq!(early.get(), 3);
    assert_eq!(read_all(&mut peer.connection, early), (b"early bird".to_vec(), Err(ReadError::Blocked)));
    let whole = id_of(&mut peer.connection);
    assert_eq!(read_all(&mut peer.connection, whole), (b"whole".to_vec(), Ok(())));
    assert_eq!(peer.connection.accept(), None);
    assert!(contains(&peer.receive(), &text("na")), "what is not served is refused now");
}

#[test]
fn a_dialer_with_several_proposals_is_held_at_the_first() {
    let mut peer = raw_dialer_saying(b"");
    peer.receive();
    peer.send(&data(SYN, 3, &proposal(&OTHER, b"")));
    assert!(!contains(&peer.receive(), &text("na")));
    peer.connection.finalize(peer.now).unwrap();
    peer.send(&data(0, STREAM, &FINALIZE));
    assert!(contains(&peer.receive(), &text("na")));
    peer.send(&data(0, 3, &text(ECHO.as_str())));
    assert_eq!(id_of(&mut peer.connection).get(), 3);
}

#[test]
fn early_streams_are_bounded_by_the_streams_and_their_windows() {
    let mut config = shaking(&[ECHO]);
    Arc::make_mut(&mut config.yamux).max_streams = 4;
    let mut peer = RawPeer::new(Role::Listener, config);
    peer.upgrade();
    for id in [1, 3, 5, 7] {
        peer.send(&data(SYN, id, &proposal(&ECHO, b"")));
    }
    peer.receive();
    peer.send(&data(SYN, 9, &proposal(&ECHO, b"")));
    assert!(contains(&peer.receive(), &reset(9, codes::stream::RESOURCE_LIMIT)));
    assert_eq!(peer.connection.stats().streams, 4);
    // A held stream that the peer gives up is gone.
    peer.send(&reset(1, 0));
    peer.send(&data(SYN, 11, &proposal(&ECHO, b"")));
    assert!(!contains(&peer.receive(), &reset(11, codes::stream::RESOURCE_LIMIT)));
    let window = alloc::vec![0; 256 * 1024 + 1 - proposal(&ECHO, b"").len()];
    peer.send(&data(0, 3, &window));
    let reason = CloseReason::Protocol(ProtocolError::Yamux(yamux::Violation::CreditExceeded));
    assert_eq!(peer.connection.close_reason(), Some(&reason));
}

#[test]
fn ping_and_identify_are_served_before_ready_if_they_are_served_at_all() {
    let basic = [ping::PROTOCOL, identify::PROTOCOL, identify::PUSH_PROTOCOL];
    let mut peer = RawPeer::new(Role::Listener, shaking(&basic));
    peer.upgrade();
    for (protocol, id) in basic.iter().zip([1, 3, 5]) {
        peer.send(&data(SYN, id, &proposal(protocol, b"")));
        let accepted = id_of(&mut peer.connection);
        assert_eq!(peer.connection.stream(accepted).protocol(), Some(protocol));
    }
    let mut peer = RawPeer::new(Role::Listener, shaking(&[]));
    peer.upgrade();
    peer.send(&data(SYN, 1, &proposal(&ping::PROTOCOL, b"")));
    assert_eq!(peer.connection.accept(), None);
}

#[test]
fn before_ready_only_ping_and_identify_can_be_opened() {
    let mut pair = Pair::open(shaking_pair());
    let now = pair.now;
    for end in End::BOTH {
        let connection = pair.connection(end);
        assert_eq!(connection.open(now, &[ECHO]), Err(OpenError::NotReady));
        assert_eq!(connection.open(now, &[ping::PROTOCOL, ECHO]), Err(OpenError::NotReady));
        assert_eq!(connection.open(now, &[wire::PROTOCOL]), Err(OpenError::NotReady));
    }
    let id = pair.dialer.connection.open(now, &[ping::PROTOCOL]).unwrap();
    pair.settle();
    assert_eq!(events(&mut pair, End::Dialer), [Event::Negotiated { id }]);
    assert_eq!(pair.listener.connection.accept(), Some(id));
    for end in End::BOTH {
        finalize(&mut pair, end);
    }
    pair.settle();
    assert!(events(&mut pair, End::Dialer).ends_with(&[Event::Ready, Event::OpenUnblocked]));
    assert!(events(&mut pair, End::Listener).ends_with(&[Event::Ready, Event::OpenUnblocked]));
    for end in End::BOTH {
        open_stream(&mut pair, end);
    }
}

#[test]
fn what_was_prepared_is_served_from_ready_on() {
    let mut pair = Pair::new(PairConfig { listener: shaking(&[ECHO, ping::PROTOCOL]), ..shaking_pair() });
    let now = pair.now;
    pair.listener.connection.prepare(now, [ECHO].into_iter().collect()).unwrap();
    pair.settle();
    pair.listener.connection.prepare(now, [OTHER].into_iter().collect()).unwrap();
    for end in End::BOTH {
        finalize(&mut pair, end);
    }
    pair.settle();
    events(&mut pair, End::Dialer);
    let [other, ping, echo] =
        [OTHER, ping::PROTOCOL, ECHO].map(|protocol| pair.dialer.connection.open(now, &[protocol]).unwrap());
    pair.settle();
    let told = events(&mut pair, End::Dialer);
    assert!(told.contains(&Event::Negotiated { id: other }) && told.contains(&Event::Negotiated { id: ping }));
    assert!(told.contains(&Event::Refused { id: echo, reason: RefuseReason::Unsupported }), "only the last counts");
    // From now on `serve` has the say, at once.
    pair.listener.connection.serve([ECHO].into_iter().collect());
    let echo = pair.dialer.connection.open(now, &[ECHO]).unwrap();
    pair.settle();
    assert!(events(&mut pair, End::Dialer).contains(&Event::Negotiated { id: echo }));
}

#[test]
fn a_change_of_what_is_served_during_the_handshake_counts_from_ready_on() {
    let mut peer = raw_dialer_saying(b"");
    peer.send(&data(SYN, 3, &proposal(&OTHER, b"")));
    peer.connection.serve([OTHER].into_iter().collect());
    assert_eq!(peer.connection.accept(), None);
    peer.connection.finalize(peer.now).unwrap();
    peer.send(&data(0, STREAM, &FINALIZE));
    assert_eq!(id_of(&mut peer.connection).get(), 3);
}

#[test]
fn a_flood_of_messages_stays_in_the_window_until_they_are_taken() {
    let mut pair = Pair::open(shaking_pair());
    let now = pair.now;
    for _ in 0..MAX_MESSAGES {
        pair.dialer.connection.handshake_send(now, &alloc::vec![1; MAX_MESSAGE_LEN]).unwrap();
    }
    finalize(&mut pair, End::Dialer);
    finalize(&mut pair, End::Listener);
    pair.settle();
    let used = pair.listener.connection.memory_used();
    assert!(used < MAX_WAITING * (MAX_MESSAGE_LEN + 1) + 320 * 1024, "{used}");
    assert!(!pair.listener.connection.is_ready());
    let mut got = 0;
    while let Some(message) = pair.listener.connection.handshake_recv() {
        assert_eq!(message.len(), MAX_MESSAGE_LEN);
        got += 1;
        pair.settle();
    }
    assert_eq!(got, MAX_MESSAGES);
    assert_eq!(events(&mut pair, End::Listener), [Event::HandshakeReadable, Event::Ready]);
    assert_eq!(events(&mut pair, End::Dialer), [Event::Ready]);
    // The session keeps spare blocks; the four mebibytes are gone.
    assert!(pair.dialer.connection.memory_used() < 320 * 1024, "{}", pair.dialer.connection.memory_used());
}

// ---- other ends ----

#[test]
fn a_close_during_the_handshake_is_an_ordinary_close() {
    for end in End::BOTH {
        let mut pair = Pair::open(PairConfig { latency: Duration::from_millis(5), ..shaking_pair() });
        finalize(&mut pair, End::Dialer);
        finalize(&mut pair, End::Listener);
        let now = pair.now;
        pair.connection(end).close(now, 5);
        run_to_the_end(&mut pair);
        assert_eq!(reason(&mut pair, end), CloseReason::Local);
        assert_eq!(events(&mut pair, end), [Event::Closed], "never ready");
        assert_eq!(reason(&mut pair, end.other()), CloseReason::Remote { code: 5 });
    }
}

#[test]
fn the_deadline_does_not_run_on_while_a_close_waits() {
    let mut peer = raw_dialer_saying(b"");
    let deadline = peer.now.saturating_add(TIMEOUT);
    // More than the peer's window takes, so that the close has something to wait for.
    let id = peer.connection.open(peer.now, &[ping::PROTOCOL]).unwrap();
    peer.receive();
    peer.send(&data(2, id.get(), &proposal(&ping::PROTOCOL, b"")));
    for _ in 0..2 {
        peer.connection.stream(id).write(&alloc::vec![0; 200 * 1024]).unwrap();
        peer.receive();
    }
    let half = Duration::from_millis(500);
    peer.now = peer.now.saturating_add(TIMEOUT - half);
    peer.connection.handle_timeout(peer.now);
    peer.connection.close(peer.now, 0);
    peer.receive();
    peer.connection.handle_timeout(deadline);
    assert_eq!(peer.connection.close_reason(), None);
    peer.connection.handle_timeout(deadline.saturating_add(half));
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::DrainTimeout));
}

#[test]
fn a_loss_before_ready_keeps_its_reason() {
    let mut peer = raw_dialer_saying(&app(b"last words"));
    peer.connection.handle_recv_eof(peer.now);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Eof));
    assert_eq!(messages(&mut peer.connection), [&b"last words"[..]]);
    let mut peer = raw_dialer_saying(&FINALIZE);
    peer.connection.handle_io_error(peer.now);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Io));
    assert_eq!(peer.connection.finalize(peer.now), Err(HandshakeError::ConnectionLost(CloseReason::Io)));
    assert_eq!(taken(&mut peer.connection), [Event::Closed]);
    assert_eq!(peer.connection.poll_timeout(), None);
}

#[test]
fn ready_comes_before_a_goodbye_that_follows_at_once() {
    let mut peer = raw_dialer_saying(b"");
    peer.connection.finalize(peer.now).unwrap();
    peer.send(&[data(0, STREAM, &FINALIZE), go_away(0)].concat());
    peer.connection.handle_recv_eof(peer.now);
    assert_eq!(taken(&mut peer.connection), [Event::Ready, Event::Closed]);
    assert_eq!(peer.connection.close_reason(), Some(&CloseReason::Remote { code: 0 }));
}

#[test]
fn a_ready_connection_holds_next_to_nothing_more_than_an_automatic_one() {
    let mut shaken = ready_pair();
    let mut automatic = open_pair();
    automatic.settle();
    for end in End::BOTH {
        let more = shaken.connection(end).memory_used() - automatic.connection(end).memory_used();
        assert!(more < 512, "{more}");
    }
}

#[test]
fn a_node_is_told_when_the_connection_is_open_and_when_it_is_ready() {
    for (handshake, expected) in
        [(HandshakeMode::Automatic, alloc::vec![true]), (HandshakeMode::APPLICATION, alloc::vec![false, true])]
    {
        let config = Config { handshake, ..serving(&[]) };
        let link = Link::listener(crate::Seed::from_bytes([3; 32])).of_node(crate::ConnectionId(1));
        let (now, credentials) = (Instant::EPOCH, crate::testing::credentials(1));
        let mut peer = RawPeer::new(Role::Listener, config.clone());
        peer.connection = Connection::new(link, Arc::new(config), credentials, now);
        peer.secure();
        peer.connection.admit(now);
        let mut told = Vec::new();
        let mut listen = |connection: &mut Connection| {
            while let Some(message) = connection.poll_node() {
                if let NodeMessage::Opened { is_ready } = message.0 {
                    told.push(is_ready);
                }
            }
        };
        listen(&mut peer.connection);
        peer.send(&data(SYN, STREAM, &proposal(&wire::PROTOCOL, &FINALIZE)));
        let _ = peer.connection.finalize(now);
        listen(&mut peer.connection);
        assert_eq!(told, expected);
    }
}

#[test]
fn an_automatic_peer_answers_na_and_is_ready_alone() {
    let mut peer = RawPeer::new(Role::Listener, serving(&[ECHO]));
    peer.upgrade();
    assert!(taken(&mut peer.connection).ends_with(&[Event::Open, Event::Ready]));
    assert!(peer.connection.is_ready());
    peer.send(&data(SYN, 1, &proposal(&wire::PROTOCOL, &FINALIZE)));
    assert!(contains(&peer.receive(), &text("na")));
    assert!(peer.connection.is_open());
}

#[test]
fn a_handshake_without_time_is_a_mistake() {
    let config = Config { handshake: HandshakeMode::Application { timeout: Duration::ZERO }, ..Config::default() };
    let errors = config.validate().unwrap_err();
    assert!(errors.iter().eq([&ConfigError::ZeroTimeout { name: "handshake.timeout" }]));
    assert_eq!(Config { handshake: HandshakeMode::APPLICATION, ..Config::default() }.validate(), Ok(()));
}
