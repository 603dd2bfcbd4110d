//! Windows that grow with the round-trip time, and what lends to them.

use core::time::Duration;
use std::vec::Vec;

use proptest::prelude::*;

use super::support::*;
use crate::{
    Instant, Role,
    yamux::{
        Config, MemoryLimits, MemoryPool, Session, StreamId,
        header::{HEADER_LEN, Kind},
        memory::Account,
    },
};

const KIB: u32 = 1024;
const RTT: Duration = Duration::from_millis(100);

fn after(time: Duration) -> Instant {
    NOW.saturating_add(time)
}

fn pool(window_loans: usize) -> MemoryPool {
    MemoryPool::new(MemoryLimits { window_loans, ..MemoryLimits::default() })
}

/// A listener with an accepted stream for each of these ids that has measured [`RTT`], at that time.
fn measured(config: Config, streams: &[u32]) -> Session {
    let mut session = listener(config);
    for stream in streams {
        recv(&mut session, &[update(SYN, *stream, 0)]).unwrap();
        session.accept().unwrap();
    }
    let ping = sent(&mut session).into_iter().find(|frame| frame.0 == Kind::Ping).unwrap();
    session.handle_recv(after(RTT), &frame(Kind::Ping, ACK, 0, ping.3)).unwrap();
    assert_eq!(session.rtt(), Some(RTT));
    session
}

fn target(session: &Session, stream: u32) -> u32 {
    session.streams[&id(stream)].recv_window.target()
}

/// What the session sends now, as the sum of the credit for this stream.
fn granted(session: &mut Session, now: Instant, stream: u32) -> u32 {
    let mut out = std::vec![0; 70_000];
    let n = session.poll_transmit(now, &mut out);
    let updates = parse(&out[..n]).into_iter().map(|(header, _)| header);
    updates.filter(|h| h.kind == Kind::WindowUpdate && h.stream == stream).map(|h| h.length).sum()
}

/// The remote uses its credit up, the application reads it all.
fn use_window(session: &mut Session, now: Instant, stream: u32) -> u32 {
    let credit = session.streams[&id(stream)].recv_window.credit();
    let mut left = credit as usize;
    while left > 0 {
        let part = left.min(16 * 1024);
        session.handle_recv(now, &data(NONE, stream, &std::vec![0; part])).unwrap();
        left -= part;
    }
    session.consume(id(stream), usize::MAX);
    credit
}

#[test]
fn half_a_window_in_less_than_two_round_trips_doubles_it() {
    let mut session = measured(Config::default(), &[1]);
    let just_in_time = after(2 * RTT).as_nanos() - 1;
    use_window(&mut session, after(RTT), 1);
    assert_eq!(granted(&mut session, Instant::from_nanos(just_in_time), 1), 512 * KIB);
    assert_eq!(target(&session, 1), 512 * KIB);
    // The pace is taken from the last time on.
    let later = Instant::from_nanos(just_in_time).saturating_add(2 * RTT);
    use_window(&mut session, later, 1);
    assert_eq!((granted(&mut session, later, 1), target(&session, 1)), (512 * KIB, 512 * KIB));
    use_window(&mut session, later, 1);
    assert_eq!((granted(&mut session, later, 1), target(&session, 1)), (1024 * KIB, 1024 * KIB));
}

#[test]
fn a_slow_reader_and_an_unknown_round_trip_leave_windows_as_they_are() {
    let mut session = measured(Config::default(), &[1]);
    for round in 1..20 {
        let now = after(RTT * 2 * round);
        use_window(&mut session, now, 1);
        assert_eq!(granted(&mut session, now, 1), 256 * KIB);
    }
    for config in [quiet(), Config::default()] {
        let mut session = listener(config);
        recv(&mut session, &[update(SYN, 1, 0)]).unwrap();
        session.accept().unwrap();
        for _ in 0..20 {
            use_window(&mut session, NOW, 1);
            assert_eq!(granted(&mut session, NOW, 1), 256 * KIB, "no pong has come");
        }
    }
}

#[test]
fn a_window_grows_to_its_limit_and_no_further() {
    let config = Config { max_window: 3000 * KIB, ..Config::default() };
    let mut session = measured(config.clone(), &[1]);
    let mut targets = Vec::new();
    for _ in 0..6 {
        use_window(&mut session, after(RTT), 1);
        assert_eq!(granted(&mut session, after(RTT), 1), session.streams[&id(1)].recv_window.credit());
        targets.push(target(&session, 1) / KIB);
    }
    assert_eq!(targets, [512, 1024, 2048, 3000, 3000, 3000]);
    assert_eq!(config.memory.lent(), (3000 - 256) * 1024);
}

#[test]
fn all_windows_of_a_session_grow_by_no_more_than_its_budget_leaves() {
    let config = Config { max_streams: 4, memory_budget: 4 << 20, max_window: 3 << 20, ..Config::default() };
    config.validate().unwrap();
    let mut session = measured(config, &[1, 3, 5]);
    for _ in 0..6 {
        for stream in [1, 3, 5] {
            use_window(&mut session, after(RTT), stream);
            granted(&mut session, after(RTT), stream);
        }
    }
    // 3 MiB beside the 4 initial windows: three times 768 KiB, and the next step of 1 MiB does not fit.
    assert_eq!([1, 3, 5].map(|stream| target(&session, stream) / KIB), [1024; 3]);
    session.reset(id(1), 0);
    use_window(&mut session, after(RTT), 5);
    granted(&mut session, after(RTT), 5);
    assert_eq!(target(&session, 5) / KIB, 2048, "what a stream had is free when it is gone");
}

#[test]
fn sessions_borrow_from_one_pool_and_give_back_when_they_end() {
    let config = Config { memory: pool(768 * 1024), ..Config::default() };
    let (mut first, mut second) = (measured(config.clone(), &[1]), measured(config.clone(), &[1]));
    for _ in 0..3 {
        for session in [&mut first, &mut second] {
            use_window(session, after(RTT), 1);
            granted(session, after(RTT), 1);
        }
    }
    assert_eq!((target(&first, 1) / KIB, target(&second, 1) / KIB), (512, 512));
    assert_eq!(config.memory.lent(), 512 * 1024);
    drop(first);
    assert_eq!(config.memory.lent(), 256 * 1024);
    use_window(&mut second, after(RTT), 1);
    assert_eq!(granted(&mut second, after(RTT), 1), 1024 * KIB);
    assert_eq!(config.memory.lent(), 768 * 1024, "to the last byte");
    drop(second);
    assert_eq!(config.memory.lent(), 0);
}

#[test]
fn sessions_on_many_threads_never_borrow_more_than_there_is() {
    let memory = pool(1000);
    std::thread::scope(|scope| {
        for thread in 1..5 {
            let memory = &memory;
            scope.spawn(move || {
                let mut account = Account::new(memory.clone());
                for round in 0..5000 {
                    let bytes = (round * thread) % 400;
                    if account.borrow(bytes, 900) && round % 3 > 0 {
                        account.give_back(bytes);
                    }
                    account.recount(0, bytes);
                    account.recount(bytes, if round % 2 == 0 { 0 } else { 1 });
                    assert!(memory.lent() <= 1000 && account.lent() <= 900);
                }
            });
        }
    });
    assert_eq!((memory.lent(), memory.used()), (0, 0));
    assert!(Account::new(memory).borrow(1000, 1000), "all of it is there again");
}

#[test]
fn a_loan_comes_back_as_soon_as_the_window_is_of_no_use() {
    type End = fn(&mut Session);
    let ends: [(&str, End); 6] = [
        ("reset here", |s| s.reset(id(1), 0)),
        ("released", |s| s.release(id(1))),
        ("reset by the remote", |s| recv(s, &[update(RST, 1, 0)]).unwrap()),
        ("finished by the remote and read", |s| recv(s, &[update(FIN, 1, 0)]).unwrap()),
        ("finished by the remote with data, then read", |s| {
            recv(s, &[data(FIN, 1, b"the end")]).unwrap();
            assert!(s.account.lent() > 0, "there is something to read");
            s.read(id(1), &mut [0; 100]).unwrap();
        }),
        ("finished by the remote with data, then stopped", |s| {
            recv(s, &[data(FIN, 1, b"the end")]).unwrap();
            s.stop(id(1), 0);
        }),
    ];
    for (end, apply) in ends {
        let config = Config::default();
        let mut session = measured(config.clone(), &[1]);
        use_window(&mut session, after(RTT), 1);
        granted(&mut session, after(RTT), 1);
        assert_eq!(config.memory.lent(), 256 * 1024);
        apply(&mut session);
        assert_eq!((config.memory.lent(), session.account.lent()), (0, 0), "{end}");
    }
}

#[test]
fn input_that_nobody_reads_grows_no_window() {
    let config = Config::default();
    let mut session = measured(config.clone(), &[1]);
    session.stop(id(1), 0);
    for _ in 0..5 {
        use_window(&mut session, after(RTT), 1);
        assert_eq!(granted(&mut session, after(RTT), 1), 256 * KIB);
    }
    assert_eq!(config.memory.lent(), 0);
}

#[test]
fn a_remote_that_delays_its_pongs_gains_no_more_than_the_limits() {
    let config = Config { max_window: 1 << 20, memory: pool(768 << 10), ..Config::default() };
    let mut session = listener(config.clone());
    recv(&mut session, &[update(SYN, 1, 0), update(SYN, 3, 0), update(SYN, 5, 0)]).unwrap();
    while session.accept().is_some() {}
    let ping = sent(&mut session).into_iter().find(|frame| frame.0 == Kind::Ping).unwrap();
    session.handle_recv(after(Duration::from_secs(19)), &frame(Kind::Ping, ACK, 0, ping.3)).unwrap();
    for round in 0..20 {
        let now = after(Duration::from_secs(19) + Duration::from_millis(100) * round);
        for stream in [1, 3, 5] {
            use_window(&mut session, now, stream);
            granted(&mut session, now, stream);
            assert!(target(&session, stream) <= 1 << 20 && config.memory.lent() <= 768 << 10);
        }
    }
    assert_eq!(config.memory.lent(), 768 << 10);
}

#[test]
fn a_tuned_window_is_granted_by_eighths() {
    let mut session = measured(Config { max_window: 4 << 20, ..Config::default() }, &[1]);
    for _ in 0..4 {
        use_window(&mut session, after(RTT), 1);
        granted(&mut session, after(RTT), 1);
    }
    assert_eq!(target(&session, 1), 4 << 20);
    for _ in 0..32 {
        session.handle_recv(after(RTT), &data(NONE, 1, &[0; 16 * 1024])).unwrap();
    }
    session.consume(id(1), 512 * 1024 - 16 * 1024);
    assert_eq!(granted(&mut session, after(RTT), 1), 0);
    session.consume(id(1), 16 * 1024);
    assert_eq!(granted(&mut session, after(RTT), 1), 512 * KIB);
}

/// A sender at zero credit whose receiver has read everything is always granted something, whatever the
/// window has grown to: otherwise both wait for ever (go-yamux issue 137).
#[test]
fn a_blocked_sender_is_always_granted_something_once_all_is_read() {
    let mut session = measured(Config::default(), &[1]);
    for pause in [0, 0, 1, 9, 0, 0, 0, 9, 0, 0, 0, 0] {
        let now = session.now.saturating_add(RTT * pause);
        use_window(&mut session, now, 1);
        assert_eq!(session.streams[&id(1)].recv_window.credit(), 0);
        assert!(session.wants_transmit(), "at a window of {}", target(&session, 1));
        assert!(granted(&mut session, now, 1) > 0);
    }
    assert_eq!(target(&session, 1), 32 << 20, "and it has grown all the way");
}

/// A sender and a reader with a link between them, in steps of a millisecond.
struct Flow {
    sender: Session,
    reader: Session,
    stream: StreamId,
    now: Instant,
    delay: Duration,
    /// What is under way, with its time of arrival, to the reader and back.
    wires: [std::collections::VecDeque<(Instant, Vec<u8>)>; 2],
}

impl Flow {
    fn new(config: &Config, delay: Duration) -> Self {
        let mut sender = Session::new(Role::Dialer, Config::default(), NOW);
        let stream = sender.open().unwrap();
        sender.write(stream, b"x").unwrap();
        Self { sender, reader: listener(config.clone()), stream, now: NOW, delay, wires: Default::default() }
    }

    /// Everything that can happen in this millisecond; at most `read` bytes are read. Returns how many were.
    fn step(&mut self, read: usize) -> usize {
        self.now = self.now.saturating_add(Duration::from_millis(1));
        for (wire, session) in self.wires.iter_mut().zip([&mut self.reader, &mut self.sender]) {
            while wire.front().is_some_and(|(arrival, _)| *arrival <= self.now) {
                session.handle_recv(self.now, &wire.pop_front().unwrap().1).unwrap();
            }
        }
        while self.reader.accept().is_some() {}
        let mut out = std::vec![0; read];
        let got = self.reader.read(self.stream, &mut out).unwrap_or_default();
        let _ = self.sender.write(self.stream, &std::vec![0; 300_000]);
        for (wire, session) in self.wires.iter_mut().zip([&mut self.sender, &mut self.reader]) {
            let mut out = std::vec![0; 4 * (16 * 1024 + HEADER_LEN)];
            let n = session.poll_transmit(self.now, &mut out);
            if n > 0 {
                wire.push_back((self.now.saturating_add(self.delay), out[..n].to_vec()));
            }
        }
        got
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the pace, no stream stops for longer than a round trip while its reader reads, and no
    /// limit is passed.
    #[test]
    fn a_stream_never_gets_stuck_while_its_window_grows(
        delay in 0u64..120,
        paces in proptest::collection::vec((1u32..200, prop_oneof![Just(0usize), 1usize..500, 1usize..80_000]), 1..8),
        max_window in (256 * KIB)..(8 << 20),
        window_loans in 0usize..(8 << 20),
    ) {
        let config = Config { max_window, memory: pool(window_loans), ..Config::default() };
        let delay = Duration::from_millis(delay);
        let mut flow = Flow::new(&config, delay);
        for (steps, read) in paces {
            for _ in 0..steps {
                flow.step(read);
                let lent = flow.reader.account.lent();
                let held: usize = flow.reader.streams.values().map(|s| s.recv_window.credit() as usize + s.recv.len()).sum();
                prop_assert!(held <= 256 * 1024 + lent && lent <= window_loans && config.memory.lent() == lent);
                prop_assert!(flow.reader.streams.values().all(|s| s.recv_window.target() <= max_window));
            }
        }
        // A round trip empties the window, at most; the next brings more.
        for _ in 0..3 {
            let mut got = 0;
            for _ in 0..2 * delay.as_millis() + 300 {
                got += flow.step(1 << 20);
            }
            prop_assert!(got > 0, "stuck");
        }
        drop(flow);
        prop_assert_eq!(config.memory.lent(), 0);
    }
}
